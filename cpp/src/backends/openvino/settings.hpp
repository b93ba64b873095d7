// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "backends/backend.hpp"

namespace trtpose::openvino {

/// The threads of each stream, which is a compilation of its own: one compilation with several streams makes OpenVINO
/// 2026.4.1 prepare int8 weights for them at the same time, and now and then some are wrong from then on, with no error
/// (findings/openvino-streams-spoil-weights.sh).
std::vector<ov::AnyMap> lane_configs(const SessionOptions& options);

/// How many threads each stream has.
int threads_of_lane(const SessionOptions& options);

/// The precision that was asked for. Throws Error(input) for one that is not known, Error(device) where this processor
/// has none.
void set_precision(ov::AnyMap& config, const std::string& precision, const ov::Core& core);

/// Operations that OpenVINO 2026.4.1 computes otherwise than ONNX has them, and says nothing. Throws Error(model).
///
/// Some reductions of opset 13 to 17, over all axes (findings/openvino-reductions-lose-their-axes.sh); a ConvTranspose
/// with output_shape, moved by a pixel (findings/openvino-deconvolution-with-output-shape-is-shifted.sh); a Resize that
/// keeps the aspect ratio or filters, which it does not (findings/openvino-opencv-resize-stretches.sh).
void refuse_misread(const ModelFile& file);

}  // namespace trtpose::openvino
