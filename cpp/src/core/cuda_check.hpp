// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime's error codes as exceptions.
#pragma once

#include <cuda_runtime.h>

#include "core/check.hpp"

namespace trtpose {

/// Throw Error(device) unless `status` is success; `what` says in a few words what was being done.
inline void cuda_check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    // A call that failed leaves its code behind for the next to find.
    static_cast<void>(cudaGetLastError());
    throw Error(ErrorCode::device,
                text("CUDA could not ", what, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")"));
}

/// Throw Error(device) if the launch just made was refused.
inline void cuda_check_launch(const char* kernel) {
    const cudaError_t status = cudaGetLastError();
    if (status == cudaSuccess) return;
    throw Error(ErrorCode::device, text("CUDA could not launch ", kernel, ": ", cudaGetErrorString(status), " (",
                                        cudaGetErrorName(status), ")"));
}

}  // namespace trtpose
