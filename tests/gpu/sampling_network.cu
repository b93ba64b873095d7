// SPDX-License-Identifier: Apache-2.0
#include <cuda_fp16.h>

#include "core/cuda_check.hpp"
#include "sampling_network.cuh"

namespace trtpose::test {
namespace {

template <typename T>
__global__ void sample(const T* images, int height, int width, float* heads) {
    using Net = SamplingNetwork;
    const int rows = height / Net::kStride, columns = width / Net::kStride;
    const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= columns) return;
    const int row = static_cast<int>(blockIdx.y), n = static_cast<int>(blockIdx.z);
    const T* image = images + static_cast<size_t>(n) * 3 * static_cast<size_t>(height) * static_cast<size_t>(width);
    for (int f = 0; f < Net::kFields; ++f) {
        const size_t at =
            ((static_cast<size_t>(n) * Net::kFields + static_cast<size_t>(f)) * static_cast<size_t>(rows) +
             static_cast<size_t>(row)) *
                static_cast<size_t>(columns) +
            static_cast<size_t>(column);
        heads[at] = Net::value(image, height, width, f, row, column);
    }
}

}  // namespace

void run_sampling_network(const void* images, bool half, int batch, int height, int width, float* heads,
                          cudaStream_t stream) {
    const int rows = height / SamplingNetwork::kStride, columns = width / SamplingNetwork::kStride;
    const dim3 grid(static_cast<unsigned>((columns + 63) / 64), static_cast<unsigned>(rows),
                    static_cast<unsigned>(batch));
    if (half) {
        sample<<<grid, 64, 0, stream>>>(static_cast<const __half*>(images), height, width, heads);
    } else {
        sample<<<grid, 64, 0, stream>>>(static_cast<const float*>(images), height, width, heads);
    }
    cuda_check_launch("the sampling network");
}

}  // namespace trtpose::test
