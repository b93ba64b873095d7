// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "support/goldens.hpp"
#include "support/op_test.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

using Scene = std::vector<ReferenceCandidate>;

class NmsTest : public OpTest {
protected:
    /// What is kept of each scene, as positions in it. `capacity` 0: as many as the largest scene.
    std::vector<std::vector<int>> keep(const std::vector<Scene>& scenes, const ops::NmsParams& params,
                                       const std::vector<float>& sigmas = {}, int capacity = 0) {
        for (const auto& scene : scenes) capacity = std::max(capacity, static_cast<int>(scene.size()));
        capacity = std::max(capacity, 1);
        const size_t pose = 3 * sigmas.size(), all = scenes.size() * static_cast<size_t>(capacity);
        std::vector<int32_t> counts, classes(all), anchors(all);
        std::vector<float> boxes(4 * all), scores(all), keypoints(all * pose);
        for (size_t n = 0; n < scenes.size(); ++n) {
            counts.push_back(static_cast<int32_t>(scenes[n].size()));
            for (size_t i = 0; i < scenes[n].size(); ++i) {
                const auto& c = scenes[n][i];
                const size_t at = n * static_cast<size_t>(capacity) + i;
                std::copy(c.box.begin(), c.box.end(), boxes.begin() + static_cast<ptrdiff_t>(4 * at));
                scores[at] = c.score;
                classes[at] = c.class_id;
                anchors[at] = c.anchor;
                if (pose)
                    std::copy(c.keypoints.begin(), c.keypoints.end(),
                              keypoints.begin() + static_cast<ptrdiff_t>(at * pose));
            }
        }
        const auto d_counts = array(counts), d_classes = array(classes), d_anchors = array(anchors);
        const auto d_boxes = array(boxes), d_scores = array(scores), d_keypoints = array(keypoints);
        const ops::Candidates view{d_counts.data(),  d_boxes.data(),   d_scores.data(),
                                   d_classes.data(), d_anchors.data(), capacity};
        return nms(params, view, static_cast<int>(scenes.size()), pose ? d_keypoints.data() : nullptr, sigmas);
    }
    std::vector<int> keep(const Scene& scene, const ops::NmsParams& params, const std::vector<float>& sigmas = {}) {
        return keep(std::vector<Scene>{scene}, params, sigmas).front();
    }
};
TRTPOSE_ON_EVERY_DEVICE(NmsTest);

ReferenceCandidate candidate(std::array<float, 4> box, float score, int anchor, int class_id = 0) {
    return {box, score, class_id, anchor, {}};
}

/// `count` boxes in heaps, so that there is much to suppress, on scores from a coarse grid, so that many tie.
Scene random_scene(std::mt19937& random, int count, int classes, size_t keypoints = 0) {
    std::uniform_real_distribution<float> place(0, 600), side(20, 200), shift(-12, 12), unit(0, 1);
    Scene scene;
    std::array<float, 4> centre{};
    for (int i = 0; i < count; ++i) {
        if (i % 12 == 0) centre = {place(random), place(random), side(random), side(random)};
        const float x = centre[0] + shift(random), y = centre[1] + shift(random);
        const float w = centre[2] + shift(random), h = centre[3] + shift(random);
        auto c = candidate({x, y, x + w, y + h}, std::ceil(unit(random) * 40) / 41, i,
                           static_cast<int>(random() % static_cast<unsigned>(classes)));
        for (size_t k = 0; k < keypoints; ++k) {
            // Some on their places, some far off, as joints of neighbours are.
            const float spread = random() % 8 ? 0.05f : 0.6f;
            const auto angle = static_cast<float>(k) * 2.4f;
            c.keypoints.push_back(centre[0] +
                                  centre[2] * (0.5f + 0.4f * std::cos(angle) + spread * (unit(random) - 0.5f)));
            c.keypoints.push_back(centre[1] +
                                  centre[3] * (0.5f + 0.4f * std::sin(angle) + spread * (unit(random) - 0.5f)));
            c.keypoints.push_back(unit(random));
        }
        scene.push_back(std::move(c));
    }
    std::shuffle(scene.begin(), scene.end(), random);
    return scene;
}

std::vector<int> anchors_of(const Scene& scene, const std::vector<int>& kept) {
    std::vector<int> out;
    for (const int i : kept) out.push_back(scene[static_cast<size_t>(i)].anchor);
    return out;
}

TEST_P(NmsTest, KeepsTheRowsOfTheReferenceInOrder) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "nms-keypoints");
    int scenes = 0;
    for (const auto& [name, predictions] : goldens) {
        const auto slash = name.find("/predictions");
        if (slash == name.npos) continue;
        SCOPED_TRACE(name);
        const std::string scene = name.substr(0, slash);
        const auto& expected = goldens.at(scene + "/detections");
        const auto& thresholds = goldens.at(scene + "/thresholds").floats;
        const int64_t rows = predictions.shape[0], fields = predictions.shape[1];
        ModelSpec spec;
        spec.layout = Layout::decoded;
        spec.strides = {8};
        spec.names = {"person"};
        spec.keypoints = static_cast<int>((fields - 6) / 3);
        const Decoded d = decode(spec, {{{1, rows, fields}}, {predictions.floats}}, {960, 960}, thresholds[0]);
        ops::NmsParams params;
        params.threshold = thresholds[1];
        const auto kept = nms(params, d.candidates.view, 1).front();
        ASSERT_EQ(kept.size(), static_cast<size_t>(expected.shape[0]));

        const auto boxes = d.candidates.boxes.get(), scores = d.candidates.scores.get();
        const auto anchors = d.candidates.anchors.get();
        for (size_t i = 0; i < kept.size(); ++i) {
            const auto at = static_cast<size_t>(kept[i]);
            const float* row = expected.floats.data() + i * static_cast<size_t>(fields);
            // The reference computed in float32 on the same float16 numbers: its boxes and scores are met bit by bit.
            for (size_t c = 0; c < 4; ++c) ASSERT_EQ(boxes[4 * at + c], row[c]) << "row " << i;
            ASSERT_EQ(scores[at], row[4]) << "row " << i;
            ASSERT_EQ(row[5], 0.0f);
            const float* source = predictions.floats.data() + anchors[at] * fields;
            for (int64_t f = 6; f < fields; ++f) ASSERT_EQ(source[f], row[f]) << "row " << i;
        }
        ++scenes;
    }
    EXPECT_EQ(scenes, 5);
}

TEST_P(NmsTest, RandomScenesEqualBruteForce) {
    std::mt19937 random(seed());
    int compared = 0;
    for (int round = 0; round < 60; ++round) {
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << round);
        std::vector<Scene> scenes;
        for (int n = 0; n < 3; ++n)
            scenes.push_back(random_scene(random, static_cast<int>(random() % 300), 1 + round % 3));
        ops::NmsParams params;
        params.threshold = 0.3f + 0.05f * static_cast<float>(round % 10);
        params.agnostic = round % 2 == 0;
        params.max_det = round % 5 == 0 ? 7 : 300;
        params.max_nms = round % 7 == 0 ? 40 : 30000;
        params.suppress = round % 11 != 0;
        const auto kept = keep(scenes, params);
        for (size_t n = 0; n < scenes.size(); ++n) {
            double closest;
            const auto expected = nms_reference(scenes[n], params, {}, &closest);
            if (closest < 1e-6) continue;  // float32 may fall on either side
            EXPECT_EQ(kept[n], expected);
            ++compared;
        }
    }
    EXPECT_GT(compared, 150);
}

TEST_P(NmsTest, OksEqualsBruteForce) {
    std::mt19937 random(seed());
    int compared = 0, suppressed = 0;
    for (int round = 0; round < 40; ++round) {
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << round);
        std::vector<float> sigmas;
        for (int k = 0; k < 1 + round % 17; ++k) sigmas.push_back(0.025f + 0.01f * static_cast<float>(k));
        ops::NmsParams params;
        params.similarity = ops::Similarity::oks;
        params.threshold = 0.2f + 0.1f * static_cast<float>(round % 7);
        params.agnostic = round % 2 == 0;
        std::vector<Scene> scenes;
        for (int n = 0; n < 2; ++n) scenes.push_back(random_scene(random, 150, 1 + round % 3, sigmas.size()));
        const auto kept = keep(scenes, params, sigmas);
        for (size_t n = 0; n < scenes.size(); ++n) {
            double closest;
            const auto expected = nms_reference(scenes[n], params, sigmas, &closest);
            if (closest < 1e-5) continue;
            EXPECT_EQ(kept[n], expected);
            ++compared;
            suppressed += static_cast<int>(scenes[n].size() - expected.size());
        }
    }
    EXPECT_GT(compared, 60);
    EXPECT_GT(suppressed, 1000);
}

TEST_P(NmsTest, TheOrderOfTheCandidatesDoesNotMatter) {
    std::mt19937 random(seed());
    for (int round = 0; round < 10; ++round) {
        Scene scene = random_scene(random, 400, 2);
        ops::NmsParams params;
        params.threshold = 0.5f;
        params.max_det = 60;
        params.max_nms = 250;
        const auto expected = anchors_of(scene, keep(scene, params));
        for (int again = 0; again < 3; ++again) {
            std::shuffle(scene.begin(), scene.end(), random);
            EXPECT_EQ(anchors_of(scene, keep(scene, params)), expected) << "seed " << seed() << " round " << round;
        }
    }
}

TEST_P(NmsTest, EqualScoresGoToTheLowerAnchor) {
    const Scene scene = {candidate({0, 0, 10, 10}, 0.5f, 9), candidate({0, 0, 10, 10}, 0.5f, 4),
                         candidate({50, 50, 60, 60}, 0.5f, 7), candidate({80, 80, 90, 90}, 0.5f, 1),
                         candidate({20, 20, 30, 30}, 0.75f, 100)};
    EXPECT_EQ(keep(scene, {}), (std::vector<int>{4, 3, 1, 2}));
}

TEST_P(NmsTest, AnOverlapEqualToTheThresholdIsKept) {
    // 10 × 5 inside 10 × 10: exactly one half, also in float32.
    const Scene scene = {candidate({0, 0, 10, 10}, 0.9f, 0), candidate({0, 0, 10, 5}, 0.8f, 1)};
    ops::NmsParams params;
    params.threshold = 0.5f;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{0, 1}));
    params.threshold = std::nextafter(0.5f, 0.0f);
    EXPECT_EQ(keep(scene, params), (std::vector<int>{0}));
}

TEST_P(NmsTest, ASuppressedCandidateSuppressesNothing) {
    // The second goes by the first; the third overlaps the second alone and stays.
    const Scene scene = {candidate({0, 0, 10, 10}, 0.9f, 0), candidate({3, 0, 13, 10}, 0.8f, 1),
                         candidate({6, 0, 16, 10}, 0.7f, 2)};
    ops::NmsParams params;
    params.threshold = 0.5f;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{0, 2}));
}

TEST_P(NmsTest, ClassesAreSuppressedApartUnlessAgnostic) {
    const Scene scene = {candidate({0, 0, 10, 10}, 0.9f, 0, 1), candidate({0, 0, 10, 10}, 0.8f, 1, 0),
                         candidate({1, 0, 10, 10}, 0.7f, 2, 1)};
    ops::NmsParams params;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{0, 1}));
    params.agnostic = true;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{0}));
}

TEST_P(NmsTest, WithoutSuppressionOnlySortsAndCuts) {
    const Scene scene = {candidate({0, 0, 10, 10}, 0.5f, 0), candidate({0, 0, 10, 10}, 0.9f, 1),
                         candidate({0, 0, 10, 10}, 0.7f, 2), candidate({0, 0, 10, 10}, 0.7f, 3)};
    ops::NmsParams params;
    params.suppress = false;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{1, 2, 3, 0}));
    params.max_det = 2;
    EXPECT_EQ(keep(scene, params), (std::vector<int>{1, 2}));
}

TEST_P(NmsTest, OnlyTheBestMaxNmsAreConsidered) {
    Scene scene;
    for (int i = 0; i < 100; ++i) {
        const auto x = static_cast<float>(20 * i);
        scene.push_back(candidate({x, 0, x + 10, 10}, 0.001f * static_cast<float>(1 + (i * 37) % 100), i));
    }
    ops::NmsParams params;
    params.max_nms = 10;
    const auto kept = keep(scene, params);
    ASSERT_EQ(kept.size(), 10u);
    for (size_t i = 0; i < kept.size(); ++i)
        EXPECT_FLOAT_EQ(scene[static_cast<size_t>(kept[i])].score, 0.001f * static_cast<float>(100 - i));
}

TEST_P(NmsTest, EmptyAndInvertedBoxesDoNoHarm) {
    constexpr float kHuge = 3e38f;
    const Scene scene = {candidate({5, 5, 5, 5}, 0.9f, 0),         candidate({5, 5, 5, 5}, 0.8f, 1),
                         candidate({0, 0, 10, 10}, 0.7f, 2),       candidate({10, 10, 0, 0}, 0.6f, 3),
                         candidate({0, 4, 10, 4}, 0.5f, 4),        candidate({-kHuge, -kHuge, kHuge, kHuge}, 0.4f, 5),
                         candidate({-kHuge, 0, kHuge, 1}, 0.3f, 6)};
    // An empty box has nothing in common with anybody, not even with its equal.
    EXPECT_EQ(keep(scene, {}), (std::vector<int>{0, 1, 2, 3, 4, 5, 6}));
}

TEST_P(NmsTest, ScenesOfABatchDoNotTouchEachOther) {
    std::mt19937 random(seed());
    std::vector<Scene> scenes;
    for (const int count : {200, 0, 1, 77, 300}) scenes.push_back(random_scene(random, count, 1));
    ops::NmsParams params;
    params.threshold = 0.5f;
    const auto together = keep(scenes, params);
    ASSERT_EQ(together.size(), scenes.size());
    EXPECT_TRUE(together[1].empty());
    for (size_t n = 0; n < scenes.size(); ++n) EXPECT_EQ(together[n], keep(scenes[n], params)) << "scene " << n;
}

TEST_P(NmsTest, CountsBeyondTheRoomReadWhatIsThere) {
    Scene scene = {candidate({0, 0, 10, 10}, 0.9f, 0), candidate({20, 0, 30, 10}, 0.8f, 1)};
    const auto counts = array<int32_t>(std::vector<int32_t>{1000});
    const auto boxes = array<float>(std::vector<float>{0, 0, 10, 10, 20, 0, 30, 10});
    const auto scores = array<float>(std::vector<float>{0.8f, 0.9f});
    const auto classes = array<int32_t>(std::vector<int32_t>{0, 0});
    const auto anchors = array<int32_t>(std::vector<int32_t>{5, 6});
    const ops::Candidates view{counts.data(), boxes.data(), scores.data(), classes.data(), anchors.data(), 2};
    EXPECT_EQ(nms({}, view, 1).front(), (std::vector<int>{1, 0}));
}

TEST_P(NmsTest, ManyCandidatesAreSortedAsAFew) {
    // More than max_nms, so that only a part is sorted, and more than any block of threads holds.
    std::mt19937 random(seed());
    Scene scene;
    std::uniform_real_distribution<float> unit(0, 1);
    for (int i = 0; i < 40000; ++i) {
        const auto x = static_cast<float>(i % 200 * 20), y = static_cast<float>(i / 200 * 20);
        scene.push_back(candidate({x, y, x + 10, y + 10}, std::ceil(unit(random) * 5000) / 5001, i));
    }
    std::shuffle(scene.begin(), scene.end(), random);
    ops::NmsParams params;
    params.max_det = 1000;
    EXPECT_EQ(keep(scene, params), nms_reference(scene, params, {}));
}

TEST(NmsArguments, AreChecked) {
    ops::NmsParams params;
    params.similarity = ops::Similarity::oks;
    const auto code_of = [](auto&& make) {
        try {
            make();
        } catch (const Error& error) {
            return error.code();
        }
        return ErrorCode::budget;
    };
    EXPECT_EQ(code_of([&] { ops::Nms(params, {}); }), ErrorCode::input) << "OKS without sigmas";
    params = {};
    params.max_det = 0;
    EXPECT_EQ(code_of([&] { ops::Nms nms(params); }), ErrorCode::input);
    params = {};
    params.max_nms = 0;
    EXPECT_EQ(code_of([&] { ops::Nms nms(params); }), ErrorCode::input);

    params = {};
    const ops::Nms nms(params);
    int32_t count = 0, indices[300] = {};
    const ops::Candidates none{&count, nullptr, nullptr, nullptr, nullptr, 0};
    EXPECT_EQ(code_of([&] { nms(none, 1, nullptr, {&count, indices, 10}, {}, {}); }), ErrorCode::input)
        << "another max_det than asked for";
    const ops::Candidates some{&count, nullptr, nullptr, nullptr, nullptr, 100};
    EXPECT_EQ(code_of([&] { nms(some, 1, nullptr, {&count, indices, 300}, {nullptr, 8}, {}); }), ErrorCode::input)
        << "a workspace that is too small";
}

}  // namespace
}  // namespace trtpose::test
