// SPDX-License-Identifier: Apache-2.0
// What of CUDA C++ is not C++, as macros: the kernels also compile as plain C++ against a model of CUDA's execution
// (tests/emulation), which is how they are tested where there is no GPU.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#if defined(__CUDACC__)
/// kernel<<<grid, block, shared, stream>>>(arguments...), the stream as void*. `kernel` is a name or a pointer.
#define TRTPOSE_LAUNCH(kernel, grid, block, shared, stream, ...) \
    (kernel)<<<(grid), (block), (shared), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
/// `count` elements in the block's shared memory, uninitialised.
#define TRTPOSE_SHARED(type, name, count) __shared__ type name[count]
/// The shared memory given at the launch, aligned to 16 bytes.
#define TRTPOSE_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#else
#define TRTPOSE_LAUNCH(kernel, grid, block, shared, stream, ...) \
    emulation::launch(#kernel, (kernel), (grid), (block), (shared), static_cast<cudaStream_t>(stream), ##__VA_ARGS__)
#define TRTPOSE_SHARED(type, name, count) type* const name = emulation::shared_array<type>(__FILE__, __LINE__, count)
#define TRTPOSE_DYNAMIC_SHARED(name) unsigned char* const name = emulation::dynamic_shared()
#endif

namespace trtpose::kernels {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ inline float to_float(__half x) { return __half2float(x); }

}  // namespace trtpose::kernels
