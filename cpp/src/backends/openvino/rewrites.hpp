// SPDX-License-Identifier: Apache-2.0
// Changes to a network, the same in what it computes, without which this OpenVINO gets it wrong or not at all.
#pragma once

#include <openvino/openvino.hpp>

namespace trtpose::openvino {

/// Makes one FakeQuantize of each activation's pair of QuantizeLinear and DequantizeLinear, which the import leaves as
/// FakeQuantize, two conversions, an optional Subtract and a Multiply. The numbers are the same. OpenVINO 2026.4 does
/// this itself only within its integer transformations, and there loses scales where pairs with signed integers or zero
/// points meet in a Concat: people were missing from such networks.
///
/// Returns whether none was left that those transformations would get wrong.
bool fold_quantisation(ov::Model& model);

/// Makes a VariadicSplit of each Slice whose piece a GatherElements takes from, which is how end-to-end networks end.
/// OpenVINO 2026.4 takes a Slice from 0 for useless there, looks for the whole tensor's sizes in the indices and
/// refuses the network.
void split_before_gather(ov::Model& model);

}  // namespace trtpose::openvino
