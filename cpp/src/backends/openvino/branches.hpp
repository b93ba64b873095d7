// SPDX-License-Identifier: Apache-2.0
// What a network ends in: maps, and the branches of convolutions that give them.
#pragma once

#include <cstdint>
#include <openvino/openvino.hpp>
#include <vector>

#include "backends/openvino/cell_layers.hpp"

namespace trtpose::openvino {

using Value = ov::Output<ov::Node>;

/// The number that a value is whatever the network is fed; empty where it is none.
ov::Tensor constant_of(const Value& value);

/// A convolution of a branch with what belongs to it.
struct Layer {
    CellLayer shape;
    std::vector<float> weights, bias;
    Value input;
};

/// Convolutions one behind the other that nobody else reads, and what the first of them reads.
struct Branch {
    Value input, output;
    std::vector<Layer> layers;

    /// Whether it is worth leaving something out: one layer is no more work than finding out.
    bool is_worth_it() const { return layers.size() > 1; }
    int64_t cost() const {
        int64_t sum = 0;
        for (const Layer& layer : layers) sum += layer.shape.cost();
        return sum * static_cast<int64_t>(output.get_shape()[0] * output.get_shape()[2] * output.get_shape()[3]);
    }
};

/// Maps of one size: which holds scores, and branches to what is of use where those are high enough.
struct Level {
    Value scores;
    std::vector<Branch> branches;
};

/// What the last convolutions of a network give, in the graph's order.
std::vector<Value> last_maps(const ov::Model& model);

/// All maps by their sizes; none where it is not clear which hold scores.
std::vector<Level> levels_of(const std::vector<Value>& maps, size_t classes);

}  // namespace trtpose::openvino
