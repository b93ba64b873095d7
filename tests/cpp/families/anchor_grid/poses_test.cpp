// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "support/op_test.hpp"

namespace trtpose::test {
namespace {

class PosesTest : public OpTest {
protected:
    struct Out {
        std::vector<float> boxes, scores, keypoints;
        std::vector<int32_t> class_ids;
    };

    /// Keep `kept` of one image's candidates and map them to the frame.
    Out poses(const Decoded& d, const std::vector<int>& kept, const math::Letterbox& place, int max_det) {
        std::vector<int32_t> indices(static_cast<size_t>(max_det), -1);
        std::copy(kept.begin(), kept.end(), indices.begin());
        const auto counts = array(std::vector<int32_t>{static_cast<int32_t>(kept.size())});
        const auto d_indices = array(indices);
        const auto places = array(std::vector<math::Letterbox>{place});
        const auto n = static_cast<size_t>(max_det), pose = static_cast<size_t>(d.heads.keypoints) * 3;
        const auto boxes = array<float>(4 * n), scores = array<float>(n), keypoints = array<float>(n * pose);
        const auto classes = array<int32_t>(n);
        ops::Decode(d.spec).poses(d.heads, d.candidates.view, {counts.data(), d_indices.data(), max_det}, places.data(),
                                  {boxes.data(), scores.data(), classes.data(), keypoints.data()}, context());
        return {boxes.get(), scores.get(), keypoints.get(), classes.get()};
    }

    /// Detections of layout final, one row each: x1 y1 x2 y2 score class, then x y confidence per keypoint.
    Decoded finals(int keypoints, const std::vector<float>& rows) {
        const ModelSpec spec = make_spec(Layout::final, 1, 1, 2, keypoints, 3);
        const int64_t fields = 6 + 3 * keypoints;
        return decode(spec, {{{1, static_cast<int64_t>(rows.size()) / fields, fields}}, {rows}}, {64, 64}, 0.0f);
    }
};
TRTPOSE_ON_EVERY_DEVICE(PosesTest);

TEST_P(PosesTest, MapBackToTheFrameClipBoxesAndLeaveKeypoints) {
    // 100 × 50 in 64 × 64: scaled to 64 × 32 with 16 rows above.
    const math::Letterbox place = math::letterbox(100, 50, 64, 64);
    ASSERT_EQ(place.top, 16);
    const Decoded d = finals(2, {-8, 8,  72, 60, 0.9f, 1, -6.4f, 16, 0.5f, 32, 80, 0.25f,  //
                                 16, 24, 48, 40, 0.8f, 0, 16,    24, 1.0f, 0,  0,  0});
    ASSERT_EQ(d.counts[0], 2);
    const auto anchors = d.candidates.anchors.get();
    const std::vector<int> order = anchors[0] == 0 ? std::vector<int>{0, 1} : std::vector<int>{1, 0};
    const Out out = poses(d, order, place, 3);
    const std::vector<float> boxes(out.boxes.begin(), out.boxes.begin() + 8);
    EXPECT_EQ(boxes, (std::vector<float>{0, 0, 100, 50, 25, 12.5f, 75, 37.5f}));
    EXPECT_EQ(out.scores[0], 0.9f);
    EXPECT_EQ(out.scores[1], 0.8f);
    EXPECT_EQ(out.class_ids[0], 1);
    EXPECT_EQ(out.class_ids[1], 0);
    const float factor = 100.0f / 64.0f;
    EXPECT_EQ(std::vector<float>(out.keypoints.begin(), out.keypoints.begin() + 12),
              (std::vector<float>{-6.4f * factor, 0, 0.5f, 50, 100, 0.25f, 25, 12.5f, 1.0f, 0, 0, 0}));
    // Beyond the count nothing is written.
    EXPECT_TRUE(std::isnan(out.scores[2]));
}

TEST_P(PosesTest, FollowTheOrderOfWhatWasKept) {
    std::mt19937 random(seed());
    const ModelSpec spec = make_spec(Layout::heads, 2, 3, 1, 4, 3);
    std::normal_distribution<float> number(0, 1);
    NetworkOutputs outputs;
    const Size input{64, 96};
    for (const int stride : spec.strides) {
        outputs.shapes.push_back({1, 3 * spec.fields(), input.height / stride, input.width / stride});
        auto& values = outputs.data.emplace_back(
            static_cast<size_t>(3 * spec.fields() * (input.height / stride) * (input.width / stride)));
        for (auto& v : values) v = number(random);
    }
    const Decoded d = decode(spec, outputs, input, 0.0f);
    const auto found = candidates_of(d, 0);
    const auto anchors = d.candidates.anchors.get();
    std::vector<int> kept(static_cast<size_t>(d.counts[0]));
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<int>(i);
    std::shuffle(kept.begin(), kept.end(), random);
    kept.resize(50);
    const math::Letterbox place = math::letterbox(301, 177, input.width, input.height);
    const Out out = poses(d, kept, place, 50);
    for (size_t i = 0; i < kept.size(); ++i) {
        const auto& c = found[static_cast<size_t>(anchors[static_cast<size_t>(kept[i])])];
        EXPECT_EQ(out.scores[i], c.score);
        const auto back_x = [&](double x) { return (x - place.left) * 301.0 / place.width; };
        const auto back_y = [&](double y) { return (y - place.top) * 177.0 / place.height; };
        // One rounding of the factor and one of the product, on numbers up to a few hundred.
        EXPECT_NEAR(out.boxes[4 * i], std::clamp(back_x(c.box[0]), 0.0, 301.0), 1e-4);
        EXPECT_NEAR(out.boxes[4 * i + 1], std::clamp(back_y(c.box[1]), 0.0, 177.0), 1e-4);
        EXPECT_NEAR(out.boxes[4 * i + 2], std::clamp(back_x(c.box[2]), 0.0, 301.0), 1e-4);
        EXPECT_NEAR(out.boxes[4 * i + 3], std::clamp(back_y(c.box[3]), 0.0, 177.0), 1e-4);
        for (size_t k = 0; k < 4; ++k) {
            EXPECT_NEAR(out.keypoints[12 * i + 3 * k], back_x(c.keypoints[3 * k]), 1e-3);
            EXPECT_NEAR(out.keypoints[12 * i + 3 * k + 1], back_y(c.keypoints[3 * k + 1]), 1e-3);
            EXPECT_EQ(out.keypoints[12 * i + 3 * k + 2], c.keypoints[3 * k + 2]);
        }
    }
}

}  // namespace
}  // namespace trtpose::test
