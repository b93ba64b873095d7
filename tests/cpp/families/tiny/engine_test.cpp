// SPDX-License-Identifier: Apache-2.0
// The engine runs a family that it has never heard of.
#include "families/tiny/tiny.hpp"
#include "support/people.hpp"

namespace trtpose::test {
namespace {

constexpr size_t kRows = 12, kFields = 7;

/// As many people as the picture's number says, mod 4, at places that say who they are; the best is the last.
std::vector<float> row_of(int number, int person) {
    const float x = 10.0f * static_cast<float>(person) + 5, y = static_cast<float>(number % 16) + 20;
    return {0.5f + 0.1f * static_cast<float>(person), x, y, 0.75f, x + 3, y + 2, 0.5f};
}

std::shared_ptr<FakeNetwork> rows_network() {
    auto network = std::make_shared<FakeNetwork>();
    network->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{kRows, kFields}}; };
    network->answer = [](const float* image, Size size, const std::vector<float*>& outputs) {
        const int number = number_of(image, size);
        std::fill_n(outputs[0], kRows * kFields, 0.0f);
        for (int i = 0; i < number % 4; ++i) {
            const std::vector<float> row = row_of(number, i);
            std::copy(row.begin(), row.end(), outputs[0] + static_cast<size_t>(3 * i) * kFields);
        }
    };
    return network;
}

class TinyInEngine : public testing::Test {
protected:
    Engine make(int batch) {
        added_tiny_family();
        EngineOptions options;
        options.threads = 1;
        options.batch = batch;
        const ModelSpec spec = ModelSpec::from_json(
            R"({"trtpose": 1, "family": "tiny", "name": "rows", "imgsz": [64, 64], "strides": [1],
                "names": ["person"], "kpt_shape": [2, 3]})",
            "the test");
        return {make_fake_session(rows_network()), spec, options};
    }

    static void expect_people(const Poses& poses, int number) {
        ASSERT_EQ(poses.count, number % 4);
        for (int i = 0; i < poses.count; ++i) {
            const std::vector<float> row = row_of(number, poses.count - 1 - i);  // best first
            const auto at = static_cast<size_t>(i);
            EXPECT_EQ(poses.scores[at], row[0]);
            EXPECT_EQ(std::vector<float>(poses.keypoints.begin() + 6 * i, poses.keypoints.begin() + 6 * (i + 1)),
                      std::vector<float>(row.begin() + 1, row.end()));
            EXPECT_EQ(std::vector<float>(poses.boxes.begin() + 4 * i, poses.boxes.begin() + 4 * (i + 1)),
                      (std::vector<float>{row[1], row[2], row[4], row[5]}));
        }
    }
};

TEST_F(TinyInEngine, FindsWhatTheNetworkSays) {
    Engine engine = make(3);
    EXPECT_EQ(engine.spec().family, "tiny");
    std::vector<Frame> frames;
    for (int number = 1; number <= 7; ++number) frames.emplace_back(number, 64, 64);
    std::vector<ImageView> views;
    for (const Frame& frame : frames) views.push_back(frame.view);
    // Several times, since a GPU runs it otherwise at first than later.
    for (int i = 0; i < 3; ++i) {
        const auto poses = engine.infer(views);
        ASSERT_EQ(poses.size(), frames.size());
        for (int number = 1; number <= 7; ++number) expect_people(poses[static_cast<size_t>(number) - 1], number);
    }
}

TEST_F(TinyInEngine, ThresholdsOfACallCount) {
    Engine engine = make(1);
    const Frame frame(7, 64, 64);
    Thresholds thresholds;
    thresholds.conf = 0.65f;
    EXPECT_EQ(engine.infer({&frame.view, 1}, thresholds)[0].count, 1);
    thresholds.conf = 0.1f;
    thresholds.max_det = 2;
    const Poses best = engine.infer({&frame.view, 1}, thresholds)[0];
    ASSERT_EQ(best.count, 2);
    EXPECT_GT(best.scores[0], best.scores[1]);
    EXPECT_EQ(best.scores[0], row_of(7, 2)[0]);
}

TEST_F(TinyInEngine, OutputsOfAnotherShapeAreRefused) {
    added_tiny_family();
    auto network = rows_network();
    network->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{kRows, kFields + 1}}; };
    try {
        Engine(make_fake_session(network), tiny_examples().front().spec, {});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::model);
    }
}

}  // namespace
}  // namespace trtpose::test
