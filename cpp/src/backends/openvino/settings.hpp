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

/// OpenVINO 2026.4.1 reduces by these over all axes, whatever the attribute says, and says nothing
/// (findings/openvino-reductions-lose-their-axes.sh). Up to opset 11, and from 18 on, it reads them right.
void refuse_lost_axes(const ModelFile& file);

}  // namespace trtpose::openvino
