// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/cell_ops.hpp"

#include <cmath>
#include <limits>
#include <openvino/core/op_extension.hpp>
#include <utility>

#include "backends/openvino/cell_layers.hpp"

namespace trtpose::openvino {
namespace {

/// A number that is less than any whose logistic function comes out above a score, computed in float32.
float number_of(float score) {
    constexpr double kLess = 1e-5;
    const double least = static_cast<double>(score) - kLess;
    if (!(least > 0.0)) return -std::numeric_limits<float>::infinity();
    return static_cast<float>(std::log(least / (1.0 - least)));
}

Size size_of(const ov::Shape& shape) { return {static_cast<int>(shape[2]), static_cast<int>(shape[3])}; }

bool is_map(const ov::PartialShape& shape) { return shape.is_static() && shape.size() == 4; }

/// The cells of an image with a number that is above the bound, or none.
std::vector<int32_t> cells_above(const float* scores, size_t channels, Size map, float bound) {
    std::vector<int32_t> found;
    const int32_t cells = map.width * map.height;
    for (int32_t cell = 0; cell < cells; ++cell) {
        for (size_t c = 0; c < channels; ++c) {
            if (scores[c * static_cast<size_t>(cells) + static_cast<size_t>(cell)] <= bound) continue;
            found.push_back(cell);
            break;
        }
    }
    return found;
}

}  // namespace

FewCells::FewCells(const ov::OutputVector& inputs, std::vector<int64_t> sides, std::vector<int64_t> costs, int64_t most)
    : Op(inputs), sides_(std::move(sides)), costs_(std::move(costs)), most_(most) {
    constructor_validate_and_infer_types();
}

void FewCells::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this,
                          get_input_size() == 2 && is_map(get_input_partial_shape(0)) && !sides_.empty() &&
                              sides_.size() == costs_.size(),
                          "not as it was made");
    set_output_type(0, ov::element::boolean, ov::Shape{1});
}

std::shared_ptr<ov::Node> FewCells::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    return std::make_shared<FewCells>(inputs, sides_, costs_, most_);
}

bool FewCells::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("sides", sides_);
    visitor.on_attribute("costs", costs_);
    visitor.on_attribute("most", most_);
    return true;
}

bool FewCells::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const ov::Shape& shape = inputs[0].get_shape();
    const Size map = size_of(shape);
    const float bound = number_of(*inputs[1].data<const float>());
    const std::vector<int> sides(sides_.begin(), sides_.end());
    const size_t image = shape[1] * shape[2] * shape[3];
    int64_t cost = 0;
    for (size_t n = 0; n < shape[0] && cost <= most_; ++n) {
        auto wanted = cells_above(inputs[0].data<const float>() + n * image, shape[1], map, bound);
        // The last layer alone tells that there are too many.
        if (static_cast<int64_t>(wanted.size()) * costs_.back() > most_) cost = most_ + 1;
        if (cost > most_ || wanted.empty()) continue;
        const auto cells = needed_cells({sides.data(), sides.size()}, std::move(wanted), map);
        for (size_t l = 0; l < cells.size(); ++l) cost += static_cast<int64_t>(cells[l].size()) * costs_[l];
    }
    *outputs[0].data<bool>() = cost <= most_;
    return true;
}

OfCells::OfCells(const ov::OutputVector& inputs, std::vector<int64_t> sides, std::vector<int64_t> channels,
                 std::vector<int64_t> activated)
    : Op(inputs), sides_(std::move(sides)), channels_(std::move(channels)), activated_(std::move(activated)) {
    constructor_validate_and_infer_types();
}

void OfCells::validate_and_infer_types() {
    constexpr size_t kOfLayers = 3;
    const size_t layers = sides_.size();
    NODE_VALIDATION_CHECK(this,
                          layers > 0 && channels_.size() == layers && activated_.size() == layers &&
                              get_input_size() == kOfLayers + 2 * layers && is_map(get_input_partial_shape(0)) &&
                              is_map(get_input_partial_shape(1)),
                          "not as it was made");
    ov::PartialShape shape = get_input_partial_shape(0);
    const ov::Shape map = shape.to_shape(), scores = get_input_shape(1);
    NODE_VALIDATION_CHECK(this, map[0] == scores[0] && map[2] == scores[2] && map[3] == scores[3],
                          "maps of different sizes");
    auto inputs = static_cast<int64_t>(map[1]);
    for (size_t l = 0; l < layers; ++l) {
        const CellLayer layer{static_cast<int>(inputs),
                              static_cast<int>(channels_[l]),
                              static_cast<int>(sides_[l]),
                              false,
                              nullptr,
                              nullptr};
        NODE_VALIDATION_CHECK(
            this,
            ov::shape_size(get_input_shape(kOfLayers + 2 * l)) == packed_count(layer) &&
                ov::shape_size(get_input_shape(kOfLayers + 2 * l + 1)) == static_cast<size_t>(channels_[l]),
            "weights of another size");
        inputs = channels_[l];
    }
    shape[1] = channels_.back();
    set_output_type(0, ov::element::f32, shape);
}

std::shared_ptr<ov::Node> OfCells::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    return std::make_shared<OfCells>(inputs, sides_, channels_, activated_);
}

bool OfCells::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("sides", sides_);
    visitor.on_attribute("channels", channels_);
    visitor.on_attribute("activated", activated_);
    return true;
}

bool OfCells::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    constexpr size_t kFirstWeights = 3;
    const ov::Shape &shape = inputs[0].get_shape(), &scores = inputs[1].get_shape();
    const Size map = size_of(shape);
    std::vector<CellLayer> layers;
    int64_t channels = static_cast<int64_t>(shape[1]);
    for (size_t l = 0; l < sides_.size(); ++l) {
        layers.push_back({static_cast<int>(channels), static_cast<int>(channels_[l]), static_cast<int>(sides_[l]),
                          activated_[l] != 0, inputs[kFirstWeights + 2 * l].data<const float>(),
                          inputs[kFirstWeights + 2 * l + 1].data<const float>()});
        channels = channels_[l];
    }
    const size_t cells = shape[2] * shape[3], out = static_cast<size_t>(channels) * cells;
    const float bound = number_of(*inputs[2].data<const float>());
    auto* const answer = outputs[0].data<float>();
    std::fill_n(answer, shape[0] * out, 0.0f);
    for (size_t n = 0; n < shape[0]; ++n) {
        const float* const of_image = inputs[1].data<const float>() + n * scores[1] * cells;
        compute_cells({layers.data(), layers.size()}, inputs[0].data<const float>() + n * shape[1] * cells, map,
                      cells_above(of_image, scores[1], map, bound), answer + n * out);
    }
    return true;
}

void add_cell_operations(ov::Core& core) {
    core.add_extension(ov::Extension::Ptr(std::make_shared<ov::OpExtension<FewCells>>()));
    core.add_extension(ov::Extension::Ptr(std::make_shared<ov::OpExtension<OfCells>>()));
}

}  // namespace trtpose::openvino
