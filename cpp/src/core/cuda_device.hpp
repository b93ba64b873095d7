// SPDX-License-Identifier: Apache-2.0
// Which GPUs there are. Works, and says why there are none, on a machine without a driver.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace trtpose {

struct CudaDevice {
    int index = 0;
    std::string name;
    int major = 0, minor = 0;  ///< compute capability
    size_t total_bytes = 0;
};

struct CudaStatus {
    std::vector<CudaDevice> devices;
    int driver = 0;       ///< highest CUDA version the driver serves, 13000 for 13.0; 0: no driver
    int runtime = 0;      ///< CUDA version of this build; 0: built without
    std::string problem;  ///< why there are no devices, and what to do; empty if there are some
};

/// Asks the driver, which must be done before anything else of CUDA or TensorRT is called. Throws nothing.
CudaStatus cuda_status();

/// Throws Error(device) with the reason unless device `index` is there.
void require_cuda_device(int index);

}  // namespace trtpose
