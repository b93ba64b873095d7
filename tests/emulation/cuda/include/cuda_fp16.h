// SPDX-License-Identifier: Apache-2.0
// Stands in for CUDA's header of this name: half-precision numbers as far as trtpose uses them.
#pragma once

#include <cstdint>
#include <cstring>

struct alignas(2) __half {
    uint16_t bits;
};

inline float __half2float(__half h) {
    const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000) << 16;
    const uint32_t exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    uint32_t bits;
    float value;
    if (exponent == 0) {  // zero and denormals: fraction · 2^-24
        value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
        std::memcpy(&bits, &value, sizeof(bits));
        bits |= sign;
    } else {
        bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    }
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

/// To the nearest, half to even.
inline __half __float2half_rn(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t magnitude = bits & 0x7FFFFFFF;
    const auto half = [&](uint32_t low) { return __half{static_cast<uint16_t>(sign | low)}; };
    if (magnitude > 0x7F800000) return half(0x7FFF);   // not a number
    if (magnitude >= 0x477FF000) return half(0x7C00);  // 65520 and above round to infinity
    if (magnitude < 0x33000001) return half(0);        // up to 2^-25, the tie with zero, rounds to zero
    const int exponent = static_cast<int>(magnitude >> 23) - 112;
    const uint32_t fraction = (magnitude & 0x7FFFFF) | 0x800000;
    const int shift = exponent > 0 ? 13 : 14 - exponent;  // denormals lose more
    const uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
    const uint32_t up = rest > tie || (rest == tie && (kept & 1)) ? 1 : 0;
    // The leading one of `kept` adds to the exponent, and so does a carry of the rounding.
    return half((exponent > 0 ? static_cast<uint32_t>(exponent - 1) << 10 : 0) + kept + up);
}
