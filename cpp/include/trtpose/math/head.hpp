// SPDX-License-Identifier: Apache-2.0
// The formulas of the YOLO-Pose head, shared by the CPU and the CUDA kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "trtpose/math/host_device.hpp"

namespace trtpose::math {

/// e^x by Cephes' expf (range reduction by ln 2 in two parts, polynomial of degree 7), in plain multiplications and
/// additions: within 2 units in the last place, and the same bits on every device, which the libraries' exp are not.
TRTPOSE_HD float exp_fast(float x) {
    if (!(x > -87.0f)) return x != x ? x : 0.0f;
    if (x > 88.0f) x = 88.0f;
    const float scaled = x * 1.44269504088896341f;
    const int n = static_cast<int>(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    const float k = static_cast<float>(n);
    float r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t bits = (n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return p * power;
}

/// 1 / (1 + e^-x).
TRTPOSE_HD float sigmoid(float x) { return 1.0f / (1.0f + exp_fast(-x)); }

/// What a raw number is above where its sigmoid is above `threshold`, with room for the rounding of sigmoid.
inline float logit_below(float threshold) {
    if (threshold <= 0) return -std::numeric_limits<float>::infinity();
    if (threshold >= 1) return std::numeric_limits<float>::infinity();
    const double t = threshold;
    return static_cast<float>(std::log(t / (1 - t)) - (1e-4 + 1e-6 / (t * (1 - t))));
}

/// Centre of a box from its raw number: (2σ(t) − 0.5 + cell)·stride.
TRTPOSE_HD float head_center(float t, float cell, float stride) { return (2.0f * sigmoid(t) - 0.5f + cell) * stride; }

/// Side of a box from its raw number: (2σ(t))²·anchor.
TRTPOSE_HD float head_side(float t, float anchor) {
    const float s = 2.0f * sigmoid(t);
    return s * s * anchor;
}

/// Coordinate of a keypoint from its raw number: (2t − 0.5 + cell)·stride, no sigmoid.
TRTPOSE_HD float head_keypoint(float t, float cell, float stride) { return (2.0f * t - 0.5f + cell) * stride; }

/// False for NaN and infinities.
TRTPOSE_HD bool is_finite(float x) { return x - x == 0.0f; }

}  // namespace trtpose::math
