// SPDX-License-Identifier: Apache-2.0
// Rows that nobody looks at are not computed: where a network says in one map how likely somebody is at each cell, the
// branches that say more of each cell are computed only for those cells that are likely enough.
#pragma once

#include <functional>
#include <memory>
#include <openvino/openvino.hpp>

#include "trtpose/session.hpp"

namespace trtpose::openvino {

/// For the one thread that asks.
using Compile = std::function<ov::CompiledModel(const std::shared_ptr<ov::Model>&)>;

/// Changes a network of known shapes so, that it takes one input more, the least score, behind its own. Rows of the
/// output none of whose scores is above it hold anything; where there are many others everything is computed as before.
/// The change is made where the graph's end, run on random maps, shows which cell each row comes from.
///
/// `threads` are those that compute a convolution; `compile` gets the graph's end. Returns whether the network was
/// changed; else it is as it was. Where something throws, it is of no use any more.
bool leave_out_low_rows(ov::Model& model, const ScoredRows& rows, int threads, const Compile& compile);

/// Bytes of the weights that a network which was changed so has beside those of the whole one.
size_t bytes_beside(const ov::Model& model);

}  // namespace trtpose::openvino
