// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/branches.hpp"

#include <algorithm>
#include <map>
#include <openvino/op/add.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convolution.hpp>
#include <openvino/op/group_conv.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/sigmoid.hpp>
#include <openvino/op/swish.hpp>
#include <optional>
#include <set>
#include <utility>

namespace trtpose::openvino {
namespace {

namespace v0 = ov::op::v0;
namespace v1 = ov::op::v1;

std::vector<float> numbers_of(const Value& value) {
    const ov::Tensor found = constant_of(value);
    if (!found || found.get_element_type() != ov::element::f32) return {};
    return {found.data<const float>(), found.data<const float>() + found.get_size()};
}

bool is_alone(const Value& value) { return value.get_target_inputs().size() == 1; }

/// Whether a sum adds a number to each channel of its first input.
bool is_of_channels(const ov::Node& sum) {
    const auto &map = sum.get_input_partial_shape(0), &added = sum.get_input_partial_shape(1);
    if (!map.is_static() || !added.is_static() || map.size() != 4 || sum.get_output_partial_shape(0) != map)
        return false;
    ov::Shape shape = added.to_shape();
    if (shape.size() > 4) return false;
    shape.insert(shape.begin(), 4 - shape.size(), 1);
    return shape == ov::Shape{1, map.to_shape()[1], 1, 1};
}

/// The convolution and its bias behind a value; none where it is another or somebody else reads what lies between.
std::optional<Layer> convolution_of(const Value& value) {
    Layer out;
    auto node = value.get_node_shared_ptr();
    if (ov::is_type<v1::Add>(node)) {
        if (!is_of_channels(*node) || !is_alone(node->input_value(0))) return {};
        out.bias = numbers_of(node->input_value(1));
        if (out.bias.empty()) return {};
        node = node->get_input_node_shared_ptr(0);
    }
    const auto convolution = ov::as_type_ptr<v1::Convolution>(node);
    if (!convolution || !node->get_input_partial_shape(0).is_static()) return {};
    const ov::Shape& weights = node->get_input_shape(1);
    const size_t side = weights[2];
    const ov::CoordinateDiff pads(2, static_cast<std::ptrdiff_t>(side / 2));
    if (weights.size() != 4 || weights[3] != side || side % 2 == 0 || convolution->get_pads_begin() != pads ||
        convolution->get_pads_end() != pads || convolution->get_strides() != ov::Strides{1, 1} ||
        convolution->get_dilations() != ov::Strides{1, 1} || node->get_element_type() != ov::element::f32)
        return {};
    out.shape.inputs = static_cast<int>(weights[1]);
    out.shape.outputs = static_cast<int>(weights[0]);
    out.shape.side = static_cast<int>(side);
    out.weights = numbers_of(node->input_value(1));
    if (out.bias.empty()) out.bias.assign(weights[0], 0.0f);
    if (out.bias.size() != weights[0] || out.weights.empty()) return {};
    out.weights = packed_weights(out.weights.data(), out.shape);
    out.input = node->input_value(0);
    return out;
}

/// The same with x·sigmoid(x) of it, as one operation or as two.
std::optional<Layer> activated_convolution_of(const Value& value) {
    const auto node = value.get_node_shared_ptr();
    Value inner;
    if (ov::is_type<ov::op::v4::Swish>(node) && node->get_input_size() == 1) {
        inner = node->input_value(0);
        if (!is_alone(inner)) return {};
    } else if (ov::is_type<v1::Multiply>(node)) {
        const size_t gate = ov::is_type<v0::Sigmoid>(node->get_input_node_shared_ptr(0)) ? 0 : 1;
        const auto sigmoid = node->get_input_node_shared_ptr(gate);
        inner = node->input_value(1 - gate);
        if (!ov::is_type<v0::Sigmoid>(sigmoid) || sigmoid->input_value(0) != inner ||
            inner.get_target_inputs().size() != 2 || !is_alone(sigmoid))
            return {};
    } else {
        return {};
    }
    auto out = convolution_of(inner);
    if (out) out->shape.silu = true;
    return out;
}

/// The branch that ends in a map; without layers where that is no such convolution.
Branch branch_of(const Value& map) {
    Branch out;
    out.output = map;
    auto layer = convolution_of(map);
    while (layer) {
        out.input = layer->input;
        out.layers.insert(out.layers.begin(), std::move(*layer));
        layer = is_alone(out.input) ? activated_convolution_of(out.input) : std::nullopt;
    }
    return out;
}

/// The mean of a distribution over 0, 1, 2 and so on, which boxes are given as by some (Li et al., 2020, "Generalized
/// Focal Loss"): written as a convolution, and nothing that was learned.
bool is_mean(const ov::Node& node) {
    if (!ov::is_type<v1::Convolution>(&node) || node.get_output_partial_shape(0)[1] != 1) return false;
    const std::vector<float> weights = numbers_of(node.input_value(1));
    for (size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] != static_cast<float>(i)) return false;
    }
    return weights.size() > 1;
}

bool is_product(const ov::Node& node) {
    if (is_mean(node)) return false;
    return ov::is_type<v1::Convolution>(&node) || ov::is_type<v1::GroupConvolution>(&node) ||
           ov::is_type<v0::MatMul>(&node);
}

}  // namespace

ov::Tensor constant_of(const Value& value) {
    const auto node = value.get_node_shared_ptr();
    if (const auto constant = ov::as_type_ptr<v0::Constant>(node)) return constant->get_tensor_view();
    if (node->get_input_size() == 0 || node->get_output_size() != 1 || !value.get_partial_shape().is_static())
        return {};
    ov::TensorVector inputs;
    for (const auto& input : node->input_values()) {
        inputs.push_back(constant_of(input));
        if (!inputs.back()) return {};
    }
    ov::TensorVector out{ov::Tensor(value.get_element_type(), value.get_shape())};
    return node->has_evaluate() && node->evaluate(out, inputs) ? out[0] : ov::Tensor();
}

std::vector<Value> last_maps(const ov::Model& model) {
    const auto nodes = model.get_ordered_ops();
    std::set<const ov::Node*> before;  // a convolution
    std::vector<Value> found;
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
        bool leads = false;
        for (const Value& output : (*node)->outputs()) {
            for (const auto& target : output.get_target_inputs())
                leads = leads || is_product(*target.get_node()) || before.count(target.get_node());
        }
        if (leads) before.insert(node->get());
        if (leads || !ov::is_type<v1::Convolution>(*node) || is_mean(**node)) continue;
        Value map = (*node)->output(0);
        const auto target = map.get_target_inputs().begin()->get_node()->shared_from_this();
        if (is_alone(map) && ov::is_type<v1::Add>(target) && is_of_channels(*target)) map = target->output(0);
        if (map.get_partial_shape().is_static() && map.get_shape().size() == 4) found.push_back(map);
    }
    std::reverse(found.begin(), found.end());
    return found;
}

std::vector<Level> levels_of(const std::vector<Value>& maps, size_t classes) {
    std::map<std::pair<size_t, size_t>, Level> found;
    for (const Value& map : maps) {
        const ov::Shape& shape = map.get_shape();
        if (shape[0] != maps.front().get_shape()[0]) return {};
        Level& level = found[{shape[2], shape[3]}];
        if (shape[1] != classes) {
            level.branches.push_back(branch_of(map));
        } else if (std::exchange(level.scores, map).get_node()) {
            return {};
        }
    }
    std::vector<Level> out;
    for (auto& [size, level] : found) {
        if (!level.scores.get_node()) return {};
        out.push_back(std::move(level));
    }
    return out;
}

}  // namespace trtpose::openvino
