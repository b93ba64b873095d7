// SPDX-License-Identifier: Apache-2.0
// What the targets of the operations share: numbers drawn from the input, memory exactly as long as asked for.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "fuzz.hpp"
#include "trtpose/context.hpp"
#include "trtpose/math/letterbox.hpp"

namespace trtpose::fuzz {

/// `count` values as an operation is given them, aligned; AddressSanitizer sees a step beyond. They begin as NaN or -1.
template <typename T>
class Block {
public:
    explicit Block(size_t count) : size_(count) {
        void* data = nullptr;
        expect(::posix_memalign(&data, kAlignment, count * sizeof(T)) == 0, "there is memory");
        std::memset(data, 0xFF, count * sizeof(T));
        data_.reset(static_cast<T*>(data));
    }
    T* data() const { return data_.get(); }
    size_t size() const { return size_; }
    size_t bytes() const { return size_ * sizeof(T); }
    T& operator[](size_t i) const { return data_.get()[i]; }
    T& operator[](int i) const { return data_.get()[i]; }

private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    size_t size_;
    std::unique_ptr<T, Free> data_;
};

/// A float as a network may give it: everyday ones mostly, also what is no number.
inline float any_float(FuzzedDataProvider& in) {
    using Limits = std::numeric_limits<float>;
    static constexpr float kOdd[] = {0.0f,
                                     -0.0f,
                                     1.0f,
                                     -1.0f,
                                     0.5f,
                                     1e-30f,
                                     1e30f,
                                     -1e30f,
                                     Limits::max(),
                                     Limits::min(),
                                     Limits::lowest(),
                                     Limits::denorm_min(),
                                     Limits::infinity(),
                                     -Limits::infinity(),
                                     Limits::quiet_NaN()};
    const auto chosen = in.ConsumeIntegral<uint8_t>();
    if (chosen < std::size(kOdd)) return kOdd[chosen];
    if (chosen < 64) {
        const auto bits = in.ConsumeIntegral<uint32_t>();
        float value;
        std::memcpy(&value, &bits, sizeof(value));
        return value;
    }
    return static_cast<float>(chosen - 160) / 8;
}

/// `count` of them into `to`; input that has run out begins anew.
inline void fill(FuzzedDataProvider& in, const Block<float>& to) {
    size_t drawn = 0;
    for (; drawn < to.size() && (drawn == 0 || in.remaining_bytes() > 0); ++drawn) to[drawn] = any_float(in);
    for (size_t i = drawn; i < to.size(); ++i) to[i] = to[i - drawn];
}

inline math::LetterboxForm any_form(FuzzedDataProvider& in) {
    return {static_cast<math::Placement>(in.ConsumeBool()), static_cast<math::Rounding>(in.ConsumeBool()),
            static_cast<math::Sizing>(in.ConsumeIntegralInRange(0, 2))};
}

inline math::Letterbox any_placement(FuzzedDataProvider& in, Size input) {
    const int width = in.ConsumeIntegralInRange(1, 4000), height = in.ConsumeIntegralInRange(1, 4000);
    return math::letterbox(width, height, input.width, input.height, any_form(in));
}

}  // namespace trtpose::fuzz
