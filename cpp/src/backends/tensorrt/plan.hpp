// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/tensorrt/kept_file.hpp"
#include "backends/tensorrt/vendor.hpp"

namespace trtpose::tensorrt {

/// What clones share: the plan, opened once.
struct Plan {
    std::string path, rebuild;
    std::shared_ptr<Vendor> vendor;
    Library library;
    SessionInfo info;
    size_t weight_bytes = 0, fixed_weight_bytes = 0;
    std::unique_ptr<VendorRuntime> runtime;
    std::unique_ptr<VendorEngine> engine;
    std::mutex mutex;         ///< for what changes below and in the engine
    size_t contexts = 0;      ///< that exist
    size_t streamed_out = 0;  ///< of the weights, bytes that stay on the host

    bool keeps_kernels = false;
    KeptFile kernels_file;
    std::string kernels_kept;  ///< what the file holds

    Plan() = default;
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    /// "TensorRT 10.13.0".
    std::string name() const;
    /// Whether several contexts may use one profile; before 10 only in plans that were built for it.
    bool shares_profiles() const { return vendor->interfaces(library) >= 10; }
    /// The profile made for the least that still takes the shape. Throws Error(model).
    int profile_for(const std::vector<int64_t>& shape) const;
    /// What was compiled since the last time goes to the user's cache folder.
    void keep_kernels();
};

/// Open an engine file's plan on the GPU that `options` name. Throws Error.
std::shared_ptr<Plan> open_plan(std::shared_ptr<Vendor> vendor, const ModelFile& file, const SessionOptions& options);

}  // namespace trtpose::tensorrt
