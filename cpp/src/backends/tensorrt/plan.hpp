// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/tensorrt/api.hpp"
#include "backends/tensorrt/kept_file.hpp"
#include "backends/tensorrt/vendor_library.hpp"

namespace trtpose::tensorrt {

/// What clones share: the plan, opened once.
struct Plan {
    std::string path, rebuild;
    Library library;
    SessionInfo info;
    size_t weight_bytes = 0, fixed_weight_bytes = 0;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::mutex mutex;         ///< for what changes below and in the engine
    size_t contexts = 0;      ///< that exist
    size_t streamed_out = 0;  ///< of the weights, bytes that stay on the host

    KernelCache kernels;
    KeptFile kernels_file;
    std::string kernels_kept;  ///< what the file holds

    Plan() = default;
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    /// "TensorRT 10.13.0".
    std::string name() const;
    /// The profile made for the least that still takes the shape. Throws Error(model).
    int profile_for(const std::vector<int64_t>& shape) const;
    nvinfer1::IExecutionContext* make_context();
    /// What was compiled since the last time goes to the user's cache folder.
    void keep_kernels();
};

/// Open an engine file's plan on the GPU that `options` name. Throws Error.
std::shared_ptr<Plan> open_plan(const ModelFile& file, const SessionOptions& options);

inline std::vector<int64_t> shape_of(const nvinfer1::Dims& dims) {
    return dims.nbDims < 0 ? std::vector<int64_t>() : std::vector<int64_t>(dims.d, dims.d + dims.nbDims);
}

}  // namespace trtpose::tensorrt
