// SPDX-License-Identifier: Apache-2.0
// A network that needs no library: every number of its one head is a pixel times a factor plus an offset, the same on a
// GPU and on the CPU in every bit. What it finds depends on the picture, so a frame that was read wrongly shows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace trtpose::test {

/// One anchor a cell, one class, K keypoints; layout `heads`.
struct SamplingNetwork {
    static constexpr int kStride = 8;
    static constexpr int kKeypoints = 5;
    static constexpr int kFields = 6 + 3 * kKeypoints;

    /// Head value of field `f` in cell (row, column) of an image of planes × height × width.
    template <typename T>
    __host__ __device__ static float value(const T* image, int height, int width, int f, int row, int column) {
        // Another pixel of the cell and another plane for each field.
        const int y = row * kStride + f * 3 % kStride, x = column * kStride + f * 5 % kStride;
        const auto at = (static_cast<size_t>(f % 3) * static_cast<size_t>(height) + static_cast<size_t>(y)) *
                            static_cast<size_t>(width) +
                        static_cast<size_t>(x);
        // Factors are powers of two: their products are exact, so that one rounding is left whoever adds.
        const float pixel = static_cast<float>(image[at]) - 0.5f;
        if (f < 4) return pixel * 2.0f;
        if (f == 4) return pixel * 16.0f - 4.0f;  // few cells have somebody in them
        if (f == 5) return pixel * 4.0f + 3.0f;
        return (f - 6) % 3 == 2 ? pixel * 8.0f : pixel * 4.0f;
    }
};

/// Heads of `batch` images, N × kFields × rows × columns.
void run_sampling_network(const void* images, bool half, int batch, int height, int width, float* heads,
                          cudaStream_t stream);

}  // namespace trtpose::test
