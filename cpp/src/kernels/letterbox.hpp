// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "trtpose/math/letterbox.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::kernels {

/// One frame on its way into one input.
struct LetterboxJob {
    const uint8_t* src;    ///< first byte of the frame
    ptrdiff_t src_stride;  ///< bytes from row to row
    math::Letterbox place;
    bool swap;              ///< the frame's channel order is not the network's
    float mean[3], std[3];  ///< in the network's channel order
    int pad;
    float* dst;  ///< 3 × dst_height × dst_width
};

/// Scratch bytes for one frame of an input `dst_width` wide.
size_t letterbox_cpu_scratch(int dst_width);

/// All jobs have the same destination width. `simd` false keeps to the scalar code, which is the specification.
void letterbox_cpu(const LetterboxJob* jobs, int count, void* scratch, ThreadPool* threads, bool simd = true);

}  // namespace trtpose::kernels
