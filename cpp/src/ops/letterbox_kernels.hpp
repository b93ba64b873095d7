// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "trtpose/math/letterbox.hpp"
#include "trtpose/math/yuv.hpp"
#include "trtpose/types.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::kernels {

/// One frame on its way into one input; without initialisers, so that it can lie in a GPU's shared memory.
struct LetterboxJob {
    const uint8_t* src;    ///< first byte of the frame
    ptrdiff_t src_stride;  ///< bytes from row to row
    math::Letterbox place;
    bool swap;              ///< the frame's channel order is not the network's
    float mean[3], std[3];  ///< in the network's channel order
    int pad;
    float* dst;             ///< 3 × dst_height × dst_width; not used on CUDA
    const uint8_t* chroma;  ///< NV12's second plane, null for interleaved pixels
    ptrdiff_t chroma_stride;
    math::YuvMatrix yuv;
    double scale_x, scale_y;  ///< math::column_scale and row_scale
};

/// Scratch bytes for one frame of an input `dst_width` wide.
size_t letterbox_cpu_scratch(int dst_width);

/// All jobs have the same destination width. `simd` false keeps to the scalar code, which is the specification.
void letterbox_cpu(const LetterboxJob* jobs, int count, void* scratch, ThreadPool* threads, bool simd = true);

/// Copies `count` jobs from the host to `device_jobs` as arguments of kernels, so that the host's copy may go at once
/// and a graph holds their values.
void letterbox_upload_cuda(const LetterboxJob* jobs, int count, LetterboxJob* device_jobs, void* stream);

/// All frames in one launch: job k of `device_jobs` fills image k of `output`, count × 3 × height × width of type f32
/// or f16, and placements[k], unless that is null. Everything lies on the device.
void letterbox_cuda(const LetterboxJob* device_jobs, int count, Size size, void* output, DType dtype,
                    math::Letterbox* placements, void* stream);

}  // namespace trtpose::kernels
