// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/rewrites.hpp"

#include <algorithm>
#include <openvino/op/broadcast.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/fake_quantize.hpp>
#include <openvino/op/gather_elements.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/reshape.hpp>
#include <openvino/op/slice.hpp>
#include <openvino/op/subtract.hpp>
#include <openvino/op/variadic_split.hpp>
#include <optional>
#include <vector>

namespace trtpose::openvino {
namespace {

/// The numbers of a constant behind an input, conversions and reshapes passed over; empty if there is none.
std::vector<float> numbers_of(const ov::Input<ov::Node>& input) {
    auto node = input.get_source_output().get_node_shared_ptr();
    while (ov::is_type<ov::op::v0::Convert>(node) || ov::is_type<ov::op::v1::Reshape>(node))
        node = node->get_input_node_shared_ptr(0);
    const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
    return constant ? constant->cast_vector<float>() : std::vector<float>();
}

/// The one whole number of a constant input; the import leaves a step of 1 as a Broadcast of it.
std::optional<int64_t> whole_of(const ov::Node& slice, size_t input) {
    auto node = slice.get_input_node_shared_ptr(input);
    if (ov::is_type<ov::op::v3::Broadcast>(node)) node = node->get_input_node_shared_ptr(0);
    const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node);
    if (!constant || ov::shape_size(constant->get_shape()) != 1) return {};
    if (ov::shape_size(slice.get_input_partial_shape(input).get_max_shape()) != 1) return {};
    return constant->cast_vector<int64_t>()[0];
}

struct Cut {
    int64_t axis, begin, end, length;
};

/// Where a Slice of step 1 along one axis of known length cuts.
std::optional<Cut> cut_of(const ov::Node& slice) {
    const auto& shape = slice.get_input_partial_shape(0);
    constexpr size_t kStart = 1, kStop = 2, kStep = 3, kAxes = 4;
    const auto start = whole_of(slice, kStart), stop = whole_of(slice, kStop), step = whole_of(slice, kStep);
    std::optional<int64_t> axis = 0;
    if (slice.get_input_size() > kAxes) axis = whole_of(slice, kAxes);
    if (!start || !stop || step != 1 || !axis || shape.rank().is_dynamic()) return {};
    if (*axis < 0) *axis += shape.rank().get_length();
    const auto& dimension = shape[static_cast<size_t>(*axis)];
    if (dimension.is_dynamic()) return {};
    const int64_t length = dimension.get_length();
    const auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length); };
    const Cut cut{*axis, place(*start), place(*stop), length};
    if (cut.begin >= cut.end) return {};
    return cut;
}

bool feeds_gather_elements(const ov::Node& node) {
    const auto targets = node.output(0).get_target_inputs();
    return std::any_of(targets.begin(), targets.end(), [](const ov::Input<ov::Node>& input) {
        return ov::is_type<ov::op::v6::GatherElements>(input.get_node()) && input.get_index() == 0;
    });
}

}  // namespace

bool fold_quantisation(ov::Model& model) {
    bool all = true;
    for (const auto& multiply : model.get_ordered_ops()) {
        if (!ov::is_type<ov::op::v1::Multiply>(multiply)) continue;
        auto node = multiply->get_input_node_shared_ptr(0);
        float zero_point = 0;
        bool uniform = true;
        if (ov::is_type<ov::op::v1::Subtract>(node)) {
            const auto zero_points = numbers_of(node->input(1));
            uniform = zero_points.size() == 1;
            if (uniform) zero_point = zero_points[0];
            node = node->get_input_node_shared_ptr(0);
        }
        if (!ov::is_type<ov::op::v0::Convert>(node)) continue;
        const auto integers = node->get_input_node_shared_ptr(0);
        if (!ov::is_type<ov::op::v0::Convert>(integers) || !integers->get_element_type().is_integral_number()) continue;
        const auto fake = ov::as_type_ptr<ov::op::v0::FakeQuantize>(integers->get_input_node_shared_ptr(0));
        if (!fake) continue;
        const auto scale = numbers_of(multiply->input(1));
        const auto low = numbers_of(fake->input(3)), high = numbers_of(fake->input(4));
        const auto type = fake->get_output_element_type(0);
        if (!uniform || scale.size() != 1 || low.size() != 1 || high.size() != 1 || type != ov::element::f32 ||
            multiply->get_output_element_type(0) != type) {
            all = false;
            continue;
        }
        const auto bound = [&](float integer) {
            return ov::op::v0::Constant::create(type, ov::Shape{}, {(integer - zero_point) * scale[0]});
        };
        const auto folded =
            std::make_shared<ov::op::v0::FakeQuantize>(fake->input_value(0), fake->input_value(1), fake->input_value(2),
                                                       bound(low[0]), bound(high[0]), fake->get_levels());
        folded->set_friendly_name(multiply->get_friendly_name());
        ov::replace_node(multiply, folded);
    }
    model.validate_nodes_and_infer_types();
    return all;
}

void split_before_gather(ov::Model& model) {
    const auto constant = [](const std::vector<int64_t>& values) {
        return ov::op::v0::Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
    };
    for (const auto& slice : model.get_ordered_ops()) {
        if (!ov::is_type<ov::op::v8::Slice>(slice) || !feeds_gather_elements(*slice)) continue;
        const auto cut = cut_of(*slice);
        if (!cut) continue;
        std::vector<int64_t> lengths;
        if (cut->begin > 0) lengths.push_back(cut->begin);
        const size_t piece = lengths.size();
        lengths.push_back(cut->end - cut->begin);
        if (cut->end < cut->length) lengths.push_back(cut->length - cut->end);
        const auto split = std::make_shared<ov::op::v1::VariadicSplit>(slice->input_value(0), constant({cut->axis}),
                                                                       constant(lengths));
        split->set_friendly_name(slice->get_friendly_name());
        slice->output(0).replace(split->output(piece));
    }
    model.validate_nodes_and_infer_types();
}

}  // namespace trtpose::openvino
