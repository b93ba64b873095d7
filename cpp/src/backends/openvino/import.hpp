// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <openvino/core/model.hpp>

#include "model/onnx_content.hpp"

namespace trtpose::openvino {

/// OpenVINO's form of an ONNX model. Throws Error(model) where the file changes meanwhile, else std::exception.
std::shared_ptr<ov::Model> import(OnnxContent content);

/// Throws std::exception where a tensor of known shape in a graph is larger than kMaxTensorNumbers: before anything is
/// compiled, as a compiler may compute it then and there.
void check_sizes(const ov::Model& model);

/// Bytes of the intermediate tensors that are alive at the same time, running the operations in order; an upper
/// estimate, as the plugin fuses operations and reuses their memory.
size_t peak_activations(const ov::Model& model);

}  // namespace trtpose::openvino
