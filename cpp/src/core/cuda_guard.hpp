// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace trtpose {

/// Makes a GPU the calling thread's current one and afterwards the one that was; built with CUDA alone.
class CudaDeviceGuard {
public:
    explicit CudaDeviceGuard(int device);
    ~CudaDeviceGuard();
    CudaDeviceGuard(const CudaDeviceGuard&) = delete;
    CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

private:
    int previous_ = 0;
    bool changed_ = false;
};

}  // namespace trtpose
