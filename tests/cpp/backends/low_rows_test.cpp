// SPDX-License-Identifier: Apache-2.0
// Networks that leave out what belongs to low scores, beside the same networks whole.
#include "backends/openvino/low_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <openvino/opsets/opset13.hpp>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "backends/openvino/cell_ops.hpp"

namespace trtpose::openvino {
namespace {

namespace op = ov::opset13;
using Value = ov::Output<ov::Node>;

constexpr size_t kClasses = 2, kPoints = 6;
constexpr int64_t kBest = 40;

/// What of a network is otherwise than usual.
struct Kind {
    bool rows_first = false;     ///< N × rows × fields, the best rows, a score and a class
    bool mean = false;           ///< boxes as distributions
    bool swish = false;          ///< x·sigmoid(x) as one operation
    bool points_turned = false;  ///< the points' rows in another order than the scores'
    bool read_twice = false;     ///< the boxes' branch begins within the points'
    bool floor = false;          ///< no score is below 0.4
    bool coupled = false;        ///< each row's points move those of all others
    bool wide_bias = false;      ///< of the smaller map's points: one number for each column
    bool steeper = false;        ///< scores are not the logistic function of their map
    bool trunk_in_rows = false;  ///< rows are not of the last maps alone
    size_t points = kPoints;
    int64_t batch = 1;
};

class Builder {
public:
    explicit Builder(const Kind& kind) : kind_(kind) {}

    std::shared_ptr<ov::Model> model() {
        const auto picture =
            std::make_shared<op::Parameter>(ov::element::f32, ov::PartialShape{kind_.batch, 3, 32, 48});
        const Value trunk = silu(convolution(picture, 12, 3, 2));
        const Value large = silu(convolution(trunk, 16, 3, 2)), small = silu(convolution(large, 24, 3, 2));
        ov::OutputVector boxes, scores, points;
        for (const Value& map : {large, small}) {
            const Value first = silu(convolution(map, 17, 3)), second = silu(convolution(first, 18, 3));
            Value box = silu(convolution(kind_.read_twice ? first : map, 8, 3));
            if (kind_.mean) box = silu(convolution(box, 8, 3));
            boxes.push_back(flat(convolution(box, kind_.mean ? 32 : 4, 1)));
            scores.push_back(flat(convolution(silu(convolution(map, 9, 3)), kClasses, 1, 1, 3.0f)));
            points.push_back(flat(point_map(second)));
            if (kind_.trunk_in_rows) boxes.back() = plus_mean(boxes.back(), map);
        }
        if (kind_.points_turned) std::swap(points[0], points[1]);
        Value logits = join(scores, 2);
        if (kind_.steeper) logits = std::make_shared<op::Add>(logits, logits);
        Value likely = std::make_shared<op::Sigmoid>(logits), places = std::make_shared<op::Tanh>(join(points, 2));
        if (kind_.floor)
            likely = std::make_shared<op::Maximum>(likely, op::Constant::create(ov::element::f32, ov::Shape{}, {0.4f}));
        if (kind_.coupled)
            places = std::make_shared<op::Add>(places, std::make_shared<op::ReduceMean>(places, numbers({2}), true));
        const Value rows = join({box_of(join(boxes, 2)), likely, places}, 1);
        return std::make_shared<ov::Model>(ov::OutputVector{kind_.rows_first ? best_of(rows) : rows},
                                           ov::ParameterVector{picture});
    }

private:
    static Value numbers(const std::vector<int64_t>& values) {
        return op::Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
    }
    Value random(const ov::Shape& shape, float deviation) {
        std::normal_distribution<float> normal(0.0f, deviation);
        std::vector<float> values(ov::shape_size(shape));
        for (float& one : values) one = normal(random_);
        return op::Constant::create(ov::element::f32, shape, values);
    }
    Value convolution(const Value& input, size_t outputs, size_t side, size_t step = 1, float deviation = 1.0f) {
        const size_t inputs = input.get_shape()[1];
        const auto pad = static_cast<std::ptrdiff_t>(side / 2);
        const Value weights =
            random({outputs, inputs, side, side}, deviation / std::sqrt(static_cast<float>(inputs * side * side) / 2));
        const auto node =
            std::make_shared<op::Convolution>(input, weights, ov::Strides{step, step}, ov::CoordinateDiff{pad, pad},
                                              ov::CoordinateDiff{pad, pad}, ov::Strides{1, 1});
        return std::make_shared<op::Add>(node, random({1, outputs, 1, 1}, 0.3f));
    }
    Value point_map(const Value& input) {
        const Value map = convolution(input, kind_.points, 1);
        if (!kind_.wide_bias || map.get_shape()[3] != kind_.points) return map;
        return std::make_shared<op::Add>(map.get_node()->input_value(0), random({1, 1, 1, kind_.points}, 3.0f));
    }
    Value silu(const Value& x) const {
        if (kind_.swish) return std::make_shared<op::Swish>(x);
        return std::make_shared<op::Multiply>(x, std::make_shared<op::Sigmoid>(x));
    }
    static Value flat(const Value& map) {
        const ov::Shape& shape = map.get_shape();
        return std::make_shared<op::Reshape>(
            map, numbers({static_cast<int64_t>(shape[0]), static_cast<int64_t>(shape[1]), -1}), false);
    }
    static Value join(const ov::OutputVector& parts, int64_t axis) { return std::make_shared<op::Concat>(parts, axis); }
    static Value plus_mean(const Value& rows, const Value& map) {
        return std::make_shared<op::Add>(rows, std::make_shared<op::ReduceMean>(flat(map), numbers({1, 2}), true));
    }
    /// Of distributions over 0 to 7 their means, by a convolution.
    Value box_of(const Value& rows) const {
        if (!kind_.mean) return rows;
        const auto apart = std::make_shared<op::Reshape>(rows, numbers({kind_.batch, 4, 8, -1}), false);
        const auto turned = std::make_shared<op::Transpose>(apart, numbers({0, 2, 1, 3}));
        const auto weights =
            op::Constant::create(ov::element::f32, ov::Shape{1, 8, 1, 1}, std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
        const auto mean =
            std::make_shared<op::Convolution>(std::make_shared<op::Softmax>(turned, 1), weights, ov::Strides{1, 1},
                                              ov::CoordinateDiff{0, 0}, ov::CoordinateDiff{0, 0}, ov::Strides{1, 1});
        return std::make_shared<op::Reshape>(mean, numbers({kind_.batch, 4, -1}), false);
    }
    /// The best rows, as end-to-end networks give them.
    Value best_of(const Value& rows) const {
        const auto turned = std::make_shared<op::Transpose>(rows, numbers({0, 2, 1}));
        const auto parts = std::make_shared<op::VariadicSplit>(
            turned, numbers({2}), numbers({4, static_cast<int64_t>(kClasses), static_cast<int64_t>(kind_.points)}));
        const auto best = std::make_shared<op::ReduceMax>(parts->output(1), numbers({2}), false);
        const auto top = std::make_shared<op::TopK>(best, op::Constant::create(ov::element::i64, ov::Shape{}, {kBest}),
                                                    -1, op::TopK::Mode::MAX, op::TopK::SortType::SORT_VALUES);
        const auto apart = [](const Value& value) { return std::make_shared<op::Unsqueeze>(value, numbers({2})); };
        const auto taken = [&](const Value& from) {
            const auto width = static_cast<int64_t>(from.get_shape()[2]);
            return std::make_shared<op::GatherElements>(
                from, std::make_shared<op::Broadcast>(apart(top->output(1)), numbers({kind_.batch, kBest, width})), 1);
        };
        return join({taken(parts->output(0)), apart(top->output(0)),
                     apart(std::make_shared<op::Convert>(top->output(1), ov::element::f32)), taken(parts->output(2))},
                    2);
    }

    Kind kind_;
    std::mt19937 random_{7};
};

ScoredRows rows_of(const Kind& kind) {
    if (kind.rows_first) return {0, false, 4, 1, kClasses};
    return {0, true, 4, kClasses, kClasses};
}

class LowRows : public testing::Test {
protected:
    LowRows() { add_cell_operations(core_); }

    ov::CompiledModel compiled(const std::shared_ptr<ov::Model>& model) {
        return core_.compile_model(
            model, "CPU",
            {ov::hint::inference_precision(ov::element::f32), ov::inference_num_threads(2), ov::num_streams(1)});
    }
    bool leave_out(ov::Model& model, const Kind& kind) {
        return leave_out_low_rows(model, rows_of(kind), 1, [this](const auto& end) { return compiled(end); });
    }
    static size_t choices(const ov::Model& model) {
        const auto nodes = model.get_ordered_ops();
        return static_cast<size_t>(std::count_if(nodes.begin(), nodes.end(),
                                                 [](const auto& node) { return ov::is_type<ov::op::v8::If>(node); }));
    }

    /// Rows of the two networks' answers with a score above the least: how many there are; each must be the same.
    static int compare(ov::InferRequest& whole, ov::InferRequest& shorter, const Kind& kind, float least,
                       const ov::Tensor& input) {
        whole.set_input_tensor(0, input);
        whole.infer();
        shorter.set_input_tensor(0, input);
        ov::Tensor score(ov::element::f32, ov::Shape{1});
        *score.data<float>() = least;
        shorter.set_input_tensor(1, score);
        shorter.infer();
        const ov::Tensor a = whole.get_output_tensor(0), b = shorter.get_output_tensor(0);
        const ov::Shape shape = a.get_shape();
        const size_t fields = shape[kind.rows_first ? 2 : 1], count = shape[kind.rows_first ? 1 : 2];
        int high = 0;
        for (size_t i = 0; i < shape[0] * count; ++i) {
            const auto at = [&](size_t f) {
                const size_t n = i / count, r = i % count;
                return kind.rows_first ? (n * count + r) * fields + f : (n * fields + f) * count + r;
            };
            const auto* const numbers = a.data<const float>();
            const float best = kind.rows_first ? numbers[at(4)] : std::max(numbers[at(4)], numbers[at(5)]);
            for (size_t f = 0; f < fields; ++f) {
                const bool is_score = f == 4 || (f == 5 && !kind.rows_first);
                if (best > least || is_score) {
                    EXPECT_NEAR(numbers[at(f)], b.data<const float>()[at(f)], 2e-5f) << "row " << i << " field " << f;
                }
            }
            high += best > least ? 1 : 0;
        }
        return high;
    }

    static ov::Tensor picture(const Kind& kind, unsigned seed) {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal(0.0f, 1.0f);
        ov::Tensor out(ov::element::f32, ov::Shape{static_cast<size_t>(kind.batch), 3, 32, 48});
        std::generate_n(out.data<float>(), out.get_size(), [&] { return normal(random); });
        return out;
    }

    void expect_alike(const Kind& kind, size_t choices_wanted) {
        const auto model = Builder(kind).model();
        const auto shorter = model->clone();
        ASSERT_TRUE(leave_out(*shorter, kind));
        EXPECT_EQ(choices(*shorter), choices_wanted);
        auto a = compiled(model).create_infer_request(), b = compiled(shorter).create_infer_request();
        std::set<int> counts;
        for (unsigned seed = 0; seed < 4; ++seed) {
            for (const float least : {0.0f, 0.3f, 0.9f, 0.97f, 0.99f, 0.999f, 0.99999f, 1.0f})
                counts.insert(compare(a, b, kind, least, picture(kind, seed)));
        }
        EXPECT_GE(counts.size(), 5u) << "few, many and all";
    }

    ov::Core core_;
};

TEST_F(LowRows, HighOnesAreThoseOfTheWholeNetwork) { expect_alike({}, 4); }

TEST_F(LowRows, AlsoOfBatches) {
    Kind kind;
    kind.batch = 3;
    expect_alike(kind, 4);
}

TEST_F(LowRows, AlsoWhereBoxesAreDistributions) {
    Kind kind;
    kind.mean = kind.swish = true;
    expect_alike(kind, 2);  // branches over the same squares are one choice
}

TEST_F(LowRows, AlsoWhereTheNetworkChoosesTheBest) {
    Kind kind;
    kind.rows_first = true;
    expect_alike(kind, 4);
}

TEST_F(LowRows, WhatSomebodyElseReadsIsComputed) {
    Kind kind;
    kind.read_twice = true;
    expect_alike(kind, 2);
}

TEST_F(LowRows, RowsOfMoreThanTheLastMapsAreLeftAlone) {
    Kind kind;
    kind.trunk_in_rows = true;
    const auto model = Builder(kind).model();
    EXPECT_THROW(leave_out(*model, kind), ov::Exception);
    EXPECT_EQ(model->inputs().size(), 1u);
    EXPECT_EQ(choices(*model), 0u);
}

TEST_F(LowRows, RowsThatAreNotOfTheScoresCellsAreLeftAlone) {
    Kind kind;
    kind.points_turned = true;
    const auto model = Builder(kind).model();
    EXPECT_FALSE(leave_out(*model, kind));
    EXPECT_EQ(model->inputs().size(), 1u);
    EXPECT_EQ(choices(*model), 0u);
}

TEST_F(LowRows, ScoresThatAreNoLogisticFunctionAreLeftAlone) {
    Kind kind;
    kind.steeper = true;
    const auto model = Builder(kind).model();
    EXPECT_FALSE(leave_out(*model, kind));
    EXPECT_EQ(model->inputs().size(), 1u);
}

TEST_F(LowRows, RowsThatAreMoreThanTheirCellAreLeftAlone) {
    Kind floor, coupled;
    floor.floor = coupled.coupled = true;
    for (const Kind& kind : {floor, coupled}) {
        const auto model = Builder(kind).model();
        EXPECT_FALSE(leave_out(*model, kind));
        EXPECT_EQ(model->inputs().size(), 1u);
    }
}

TEST_F(LowRows, ABiasOfColumnsIsNoneOfChannels) {
    Kind kind;
    kind.wide_bias = true;
    expect_alike(kind, 4);
}

TEST_F(LowRows, RowsThatAreNarrowerThanTheSpecSaysAreLeftAlone) {
    const auto model = Builder({}).model();
    ScoredRows rows = rows_of({});
    rows.first_score = 4 + kClasses + kPoints - 1;
    EXPECT_FALSE(leave_out_low_rows(*model, rows, 1, [this](const auto& end) { return compiled(end); }));
}

TEST_F(LowRows, MapsThatCouldAllBeTheScoresAreLeftAlone) {
    Kind kind;
    kind.points = kClasses;
    const auto model = Builder(kind).model();
    EXPECT_FALSE(leave_out(*model, kind));
}

TEST_F(LowRows, TheyCanBeKept) {
    const auto model = Builder({}).model();
    const auto shorter = model->clone();
    ASSERT_TRUE(leave_out(*shorter, {}));
    std::stringstream kept;
    compiled(shorter).export_model(kept);
    auto a = compiled(model).create_infer_request();
    auto b = core_.import_model(kept, "CPU", {}).create_infer_request();
    EXPECT_GT(compare(a, b, {}, 0.9f, picture({}, 1)), 0);
}

}  // namespace
}  // namespace trtpose::openvino
