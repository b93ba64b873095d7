// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_device.hpp"

#include "core/check.hpp"
#include "core/fork.hpp"
#include "trtpose/version.hpp"

#if TRTPOSE_WITH_CUDA
#include "core/cuda_check.hpp"
#include "core/cuda_guard.hpp"
#endif

namespace trtpose {

#if TRTPOSE_WITH_CUDA
CudaStatus cuda_status() {
    CudaStatus status;
    status.runtime = CUDART_VERSION;
    if (cudaDriverGetVersion(&status.driver) != cudaSuccess) status.driver = 0;
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) {
        static_cast<void>(cudaGetLastError());
        status.problem = status.driver == 0 ? "no NVIDIA driver was found; install one, or use device cpu"
                         : status.driver < status.runtime && error == cudaErrorInsufficientDriver
                             ? text("the NVIDIA driver serves CUDA ", status.driver / 1000, ".",
                                    status.driver % 1000 / 10, ", this build of trtpose needs ", status.runtime / 1000,
                                    ".", status.runtime % 1000 / 10, "; update the driver")
                         : error != cudaSuccess && fork_generation() > 0
                             ? text("CUDA cannot be used in this process (", cudaGetErrorString(error),
                                    "), as after a fork from one that used it; start processes with 'spawn' or "
                                    "'forkserver'")
                         : error != cudaSuccess
                             ? text("CUDA found no GPU: ", cudaGetErrorString(error))
                             : std::string("the NVIDIA driver shows no GPU; see CUDA_VISIBLE_DEVICES");
        return status;
    }
    for (int i = 0; i < count; ++i) {
        cudaDeviceProp properties;
        if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
        status.devices.push_back({i, properties.name, properties.major, properties.minor, properties.totalGlobalMem});
    }
    if (status.devices.empty()) status.problem = "the NVIDIA driver does not describe its GPUs";
    return status;
}

CudaDeviceGuard::CudaDeviceGuard(int device) {
    cuda_check(cudaGetDevice(&previous_), "find the current GPU");
    if (previous_ == device) return;
    cuda_check(cudaSetDevice(device), "change to the GPU asked for");
    changed_ = true;
}

CudaDeviceGuard::~CudaDeviceGuard() {
    if (changed_) static_cast<void>(cudaSetDevice(previous_));
}
#else
CudaStatus cuda_status() {
    CudaStatus status;
    status.problem = "this build of trtpose has no CUDA; install one that has, or use device cpu";
    return status;
}
#endif

int cuda_version() {
#if TRTPOSE_WITH_CUDA
    return CUDART_VERSION;
#else
    return 0;
#endif
}

void require_cuda_device(int index) {
    const CudaStatus status = cuda_status();
    require(!status.devices.empty(), ErrorCode::device, "device cuda:", index, ": ", status.problem);
    for (const auto& device : status.devices) {
        if (device.index == index) return;
    }
    throw Error(ErrorCode::device,
                text("device cuda:", index, ": this machine has ", status.devices.size(), " GPU(s), counted from 0"));
}

}  // namespace trtpose
