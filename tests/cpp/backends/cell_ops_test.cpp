// SPDX-License-Identifier: Apache-2.0
// The operations on numbers, without a graph: which cells are likely, when they are few, what is computed of them.
#include "backends/openvino/cell_ops.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <openvino/op/parameter.hpp>
#include <vector>

#include "backends/openvino/cell_layers.hpp"

namespace trtpose::openvino {
namespace {

constexpr size_t kHeight = 3, kWidth = 4, kCells = kHeight * kWidth;

ov::Output<ov::Node> parameter(const ov::Shape& shape) {
    return std::make_shared<ov::op::v0::Parameter>(ov::element::f32, shape);
}

ov::Tensor tensor(const ov::Shape& shape, const std::vector<float>& values) {
    ov::Tensor out(ov::element::f32, shape);
    std::copy(values.begin(), values.end(), out.data<float>());
    return out;
}

/// One layer of one cell: what comes out is 2x + 1, for two images of two classes.
struct Doubling {
    std::vector<float> weight{2.0f}, bias{1.0f};
    std::vector<float> packed;

    Doubling() {
        const CellLayer layer{1, 1, 1, false, nullptr, nullptr};
        packed = packed_weights(weight.data(), layer);
    }

    std::vector<float> of(const std::vector<float>& scores, float least, const std::vector<float>& input) const {
        const ov::Shape map{2, 1, kHeight, kWidth}, classes{2, 2, kHeight, kWidth};
        const OfCells op(
            {parameter(map), parameter(classes), parameter({1}), parameter({packed.size()}), parameter({1})}, {1}, {1},
            {0});
        EXPECT_EQ(op.get_output_shape(0), map);
        ov::TensorVector out{ov::Tensor(ov::element::f32, map)};
        EXPECT_TRUE(op.evaluate(out, {tensor(map, input), tensor(classes, scores), tensor({1}, {least}),
                                      tensor({packed.size()}, packed), tensor({1}, bias)}));
        return {out[0].data<float>(), out[0].data<float>() + out[0].get_size()};
    }
};

bool few(const std::vector<float>& scores, float least, int64_t most, std::vector<int64_t> sides = {1},
         std::vector<int64_t> costs = {1}) {
    const ov::Shape classes{2, 2, kHeight, kWidth};
    const FewCells op({parameter(classes), parameter({1})}, std::move(sides), std::move(costs), most);
    ov::TensorVector out{ov::Tensor(ov::element::boolean, ov::Shape{1})};
    EXPECT_TRUE(op.evaluate(out, {tensor(classes, scores), tensor({1}, {least})}));
    return *out[0].data<bool>();
}

/// Numbers of two images of two classes, all low but some: image, class, cell.
std::vector<float> low_but(const std::vector<std::vector<size_t>>& high, float value) {
    std::vector<float> out(4 * kCells, -20.0f);
    for (const auto& at : high) out[(at[0] * 2 + at[1]) * kCells + at[2]] = value;
    return out;
}

TEST(CellOps, LikelyCellsAreComputedOfEveryImageAndClass) {
    const Doubling doubling;
    std::vector<float> input(2 * kCells);
    for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<float>(i + 1);
    const auto found = doubling.of(low_but({{0, 0, 0}, {0, 1, 11}, {1, 1, 5}, {1, 0, 5}}, 3.0f), 0.5f, input);
    for (size_t i = 0; i < found.size(); ++i) {
        const bool likely = i == 0 || i == 11 || i == kCells + 5;
        EXPECT_EQ(found[i], likely ? 2 * input[i] + 1 : 0.0f) << "cell " << i;
    }
}

TEST(CellOps, NoScoreAboveTheThresholdIsLeftOutForRounding) {
    const Doubling doubling;
    const std::vector<float> input(2 * kCells, 1.0f);
    // Numbers on both sides of a threshold: whose logistic function in float32 is above it must be there.
    for (const float least : {0.0f, 1e-6f, 1e-5f, 0.001f, 0.25f, 0.5f, 0.9f, 0.999f, 0.99999f, 0.9999999f, 1.0f}) {
        const double exact = std::log(static_cast<double>(least) / (1 - static_cast<double>(least)));
        for (const double beside : {-1.0, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 1.0}) {
            const auto number = static_cast<float>(std::clamp(exact + beside, -100.0, 100.0));
            const float score = 1.0f / (1.0f + std::exp(-number));
            const bool there = doubling.of(low_but({{1, 0, 7}}, number), least, input)[kCells + 7] != 0.0f;
            EXPECT_TRUE(there || !(score > least)) << "threshold " << least << ", number " << number;
        }
    }
}

TEST(CellOps, WhatIsNoNumberIsComputed) {
    const Doubling doubling;
    const std::vector<float> input(2 * kCells, 1.0f);
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        EXPECT_EQ(doubling.of(low_but({{0, 1, 3}}, odd), 0.9f, input)[3], 3.0f);
    const float never = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(doubling.of(low_but({{0, 1, 3}}, never), 0.9f, input)[3], 0.0f);
}

TEST(CellOps, WhatDoesNotFitTogetherIsRefused) {
    const ov::Shape map{2, 1, kHeight, kWidth};
    const auto made = [&](const ov::Shape& input, const ov::Shape& scores, size_t weights, size_t bias) {
        OfCells({parameter(input), parameter(scores), parameter({1}), parameter({weights}), parameter({bias})}, {1},
                {1}, {0});
    };
    const size_t weights = Doubling().packed.size();
    EXPECT_NO_THROW(made(map, map, weights, 1));
    EXPECT_THROW(made({3, 1, kHeight, kWidth}, map, weights, 1), ov::Exception) << "more images than scores";
    EXPECT_THROW(made(map, {2, 1, kHeight, kWidth + 1}, weights, 1), ov::Exception);
    EXPECT_THROW(made(map, map, weights - 1, 1), ov::Exception);
    EXPECT_THROW(made(map, map, weights, 2), ov::Exception);
    EXPECT_THROW(made({2, 2, kHeight, kWidth}, map, weights, 1), ov::Exception) << "weights of fewer inputs";
    EXPECT_THROW(FewCells({parameter(map), parameter({1})}, {1, 3}, {1}, 1), ov::Exception);
}

TEST(CellOps, FewIsWhatAllImagesTogetherCost) {
    const auto three = low_but({{0, 0, 0}, {0, 1, 0}, {0, 0, 11}, {1, 1, 5}}, 3.0f);
    EXPECT_TRUE(few(three, 0.5f, 3));
    EXPECT_FALSE(few(three, 0.5f, 2));
    EXPECT_TRUE(few(three, 0.99f, 0)) << "none";
    EXPECT_FALSE(few(three, 0.0f, 23)) << "all";
    EXPECT_TRUE(few(three, 0.0f, 24));
    // Of layers one behind the other the cells around count as well: 4 + 4 + 9 of the first.
    EXPECT_TRUE(few(three, 0.5f, 17 * 10 + 3, {1, 3}, {10, 1}));
    EXPECT_FALSE(few(three, 0.5f, 17 * 10 + 2, {1, 3}, {10, 1}));
}

}  // namespace
}  // namespace trtpose::openvino
