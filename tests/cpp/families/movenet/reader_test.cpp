// SPDX-License-Identifier: Apache-2.0
// From MoveNet's outputs to poses: against what the networks' own decoding answers, and where the rule is ours.
#include <algorithm>
#include <cmath>

#include "families/family.hpp"
#include "support/goldens.hpp"
#include "support/op_test.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

// Rounding of float32 over a side of a few hundred pixels.
constexpr double kSameConstants = 2e-5;
// The files' constants are float16 (1/48 alone is off by 2.5e-4 of itself), a spec without them has the exact ones.
constexpr double kExactConstants = 1e-3;
constexpr double kScore = 1e-5;
// What TensorFlow's half precision makes of 1.8 and of 0.3, and of 0.127, which files of six people have beside them.
constexpr const char* kHalfConstants = R"("softening": 1.7998046875, "spread": 0.300048828125)";
constexpr const char* kHalfOfSixPeople = R"(, "counted": 0.126953125, "people": 6)";

struct Pose {
    float score = 0;
    std::vector<float> box, points;
};

/// Outputs of one image, in the spec's order.
struct Heads {
    std::vector<std::vector<int64_t>> shapes;
    std::vector<std::vector<float>> data;

    void add(const GoldenArray& array) {
        shapes.push_back(array.shape);
        data.push_back(array.floats);
    }
};

ModelSpec spec_of(const char* form, int keypoints, Size input, const std::string& more = {}) {
    const auto whole = [](int v) { return std::to_string(v); };
    return ModelSpec::from_json(
        R"({"trtpose": 1, "family": "movenet", "name": "test", "names": ["person"], "form": ")" + std::string(form) +
            R"(", "imgsz": [)" + whole(input.height) + ", " + whole(input.width) +
            R"(], "strides": [4], "kpt_shape": [)" + whole(keypoints) + ", 3]" + (more.empty() ? "" : ", " + more) +
            "}",
        "the test");
}

class MoveNetTest : public OnDevice {
protected:
    std::vector<Pose> read(const ModelSpec& spec, const Heads& heads, const Thresholds& t) {
        const auto reader = families::family_of(spec).default_reader(spec);
        const auto memory = reader->plan({heads.shapes, DType::f32, 1, spec.imgsz}, t, context().device);
        std::vector<DeviceArray<float>> arrays;
        std::vector<const void*> data;
        for (const auto& values : heads.data) {
            arrays.push_back(array(values));
            data.push_back(arrays.back().data());
        }
        const auto slots = static_cast<size_t>(t.max_det), pose = static_cast<size_t>(spec.keypoints) * 3;
        const auto held = array<char>(memory.held), scratch = array<char>(memory.scratch);
        const auto counts = array<int32_t>(1), classes = array<int32_t>(slots);
        const auto boxes = array<float>(4 * slots), scores = array<float>(slots), points = array<float>(slots * pose);
        const auto places = array(
            std::vector{math::letterbox(spec.imgsz.width, spec.imgsz.height, spec.imgsz.width, spec.imgsz.height)});
        reader->read(data, 1, t, places.data(),
                     {held.data(),
                      {scratch.data(), scratch.size()},
                      {counts.data(), {boxes.data(), scores.data(), classes.data(), points.data()}}},
                     context(), {});
        std::vector<Pose> out;
        const auto all_boxes = boxes.get(), all_scores = scores.get(), all_points = points.get();
        for (int i = 0; i < counts.get()[0]; ++i) {
            Pose& p = out.emplace_back();
            p.score = all_scores[static_cast<size_t>(i)];
            p.box.assign(all_boxes.begin() + 4 * i, all_boxes.begin() + 4 * i + 4);
            p.points.assign(all_points.begin() + static_cast<ptrdiff_t>(pose) * i,
                            all_points.begin() + static_cast<ptrdiff_t>(pose) * (i + 1));
        }
        return out;
    }

    static Thresholds from(float conf) {
        Thresholds t;
        t.conf = conf;
        return t;
    }

    /// `row` holds y, x, score per keypoint, in parts of the input.
    static void expect_points(const Pose& pose, const float* row, Size input, double tolerance) {
        for (size_t k = 0; k < pose.points.size() / 3; ++k) {
            EXPECT_NEAR(pose.points[3 * k] / static_cast<float>(input.width), row[3 * k + 1], tolerance)
                << "keypoint " << k;
            EXPECT_NEAR(pose.points[3 * k + 1] / static_cast<float>(input.height), row[3 * k], tolerance)
                << "keypoint " << k;
            EXPECT_NEAR(pose.points[3 * k + 2], row[3 * k + 2], kScore) << "keypoint " << k;
        }
    }
};
TRTPOSE_ON_EVERY_DEVICE(MoveNetTest);

/// The names of pictures in an archive, "lightning/skier" or "bus", of which it has `array`.
std::vector<std::string> pictures_with(const Goldens& goldens, const std::string& array) {
    std::vector<std::string> out;
    for (const auto& [name, value] : goldens) {
        const size_t tail = name.size() - std::min(name.size(), array.size() + 1);
        if (name.substr(tail) == "/" + array) out.push_back(name.substr(0, tail));
    }
    return out;
}

Heads heads_of(const Goldens& goldens, const std::string& picture, const std::vector<const char*>& names) {
    Heads out;
    for (const char* name : names) out.add(goldens.at(picture + "/" + name));
    return out;
}

Size input_of(const Goldens& goldens, const std::string& picture) {
    const auto& shape = goldens.at(picture + "/input").shape;
    return {static_cast<int>(shape[0]), static_cast<int>(shape[1])};
}

TEST_P(MoveNetTest, HeadsOfOnePersonEqualTheNetworksOwnDecoding) {
    for (const char* archive : {"movenet-crops", "movenet-lightning"}) {
        TRTPOSE_GOLDENS_OR_SKIP(goldens, archive);
        const auto pictures = pictures_with(goldens, "heatmap");
        ASSERT_GE(pictures.size(), 5u);
        for (const std::string& picture : pictures) {
            SCOPED_TRACE(picture);
            const Size input = input_of(goldens, picture);
            const Heads heads = heads_of(goldens, picture, {"heatmap", "center", "regress", "offset"});
            const auto& output = goldens.at(picture + "/output").floats;
            // Half of 1/48; 1/64 is exact.
            const std::string cell = input.width == 192 ? R"(, "cell": 3.99902343750)" : "";
            const auto same =
                read(spec_of("single_heads", 17, input, kHalfConstants + cell + R"(, "counted": 0)"), heads, from(0));
            const auto exact = read(spec_of("single_heads", 17, input, R"("counted": 0)"), heads, from(0));
            ASSERT_EQ(same.size(), 1u);
            ASSERT_EQ(exact.size(), 1u);
            expect_points(same[0], output.data(), input, kSameConstants);
            expect_points(exact[0], output.data(), input, kExactConstants);
        }
    }
}

TEST_P(MoveNetTest, TheScoreIsTheMeanOfWhatCounts) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "movenet-crops");
    for (const std::string& picture : pictures_with(goldens, "output")) {
        SCOPED_TRACE(picture);
        const auto& output = goldens.at(picture + "/output");
        double sum = 0;
        int count = 0;
        for (size_t k = 0; k < 17; ++k) {
            if (const float score = output.floats[3 * k + 2]; score > 0.2f) {
                sum += score;
                ++count;
            }
        }
        Heads decoded;
        decoded.add(output);
        const Size input = input_of(goldens, picture);
        const auto poses = read(spec_of("single", 17, input), decoded, from(0));
        ASSERT_EQ(poses.size(), count ? 1u : 0u);
        if (!count) continue;
        EXPECT_NEAR(poses[0].score, sum / count, kScore);
        expect_points(poses[0], output.floats.data(), input, kSameConstants);
    }
}

TEST_P(MoveNetTest, TheReproductionsHeadsEqualItsDecoder) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "movenet-fire717");
    const auto pictures = pictures_with(goldens, "heatmap");
    ASSERT_EQ(pictures.size(), 6u);
    int dropped = 0;
    for (const std::string& picture : pictures) {
        SCOPED_TRACE(picture);
        const Size input = input_of(goldens, picture);
        const auto& expected = goldens.at(picture + "/keypoints").floats;
        const auto poses =
            read(spec_of("single_heads", 17, input,
                         R"("pairs": "xy", "activated": true, "rounded": true, "floor": 0.1, "counted": 0.1)"),
                 heads_of(goldens, picture, {"heatmap", "center", "regress", "offset"}), from(0));
        ASSERT_EQ(poses.size(), 1u);
        for (size_t k = 0; k < 17; ++k) {
            const float* const point = poses[0].points.data() + 3 * k;
            if (expected[3 * k] < 0) {
                EXPECT_EQ(std::vector<float>(point, point + 3), std::vector<float>(3)) << "keypoint " << k;
                ++dropped;
                continue;
            }
            EXPECT_NEAR(point[0] / static_cast<float>(input.width), expected[3 * k], kSameConstants)
                << "keypoint " << k;
            EXPECT_NEAR(point[1] / static_cast<float>(input.height), expected[3 * k + 1], kSameConstants)
                << "keypoint " << k;
            EXPECT_NEAR(point[2], expected[3 * k + 2], kScore) << "keypoint " << k;
        }
    }
    EXPECT_GT(dropped, 0);
}

TEST_P(MoveNetTest, HeadsOfSixPeopleEqualTheNetworksOwnDecoding) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "movenet-multipose-heads");
    const auto pictures = pictures_with(goldens, "heatmap");
    ASSERT_EQ(pictures.size(), 2u);
    for (const std::string& picture : pictures) {
        const Size input = input_of(goldens, picture);
        const Heads heads =
            heads_of(goldens, picture, {"heatmap", "center", "regress", "offset", "box_scale", "box_offset"});
        const auto poses =
            read(spec_of("multi_heads", 17, input, std::string(kHalfConstants) + kHalfOfSixPeople), heads, from(0));
        auto rows = goldens.at(picture + "/output").floats;
        ASSERT_GT(poses.size(), 0u);
        // Ours come by their score, the network's by their centre's.
        size_t scored = 0;
        for (size_t r = 0; r < 6; ++r) scored += rows[56 * r + 55] > 0;
        ASSERT_EQ(poses.size(), scored);
        for (const Pose& pose : poses) {
            SCOPED_TRACE(picture + " score " + std::to_string(pose.score));
            size_t nearest = 0;
            for (size_t r = 1; r < 6; ++r) {
                if (std::fabs(rows[56 * r + 55] - pose.score) < std::fabs(rows[56 * nearest + 55] - pose.score))
                    nearest = r;
            }
            const float* const row = rows.data() + 56 * nearest;
            EXPECT_NEAR(pose.score, row[55], kScore);
            expect_points(pose, row, input, kSameConstants);
            EXPECT_NEAR(pose.box[0] / static_cast<float>(input.width), row[52], kSameConstants);
            EXPECT_NEAR(pose.box[1] / static_cast<float>(input.height), row[51], kSameConstants);
            EXPECT_NEAR(pose.box[2] / static_cast<float>(input.width), row[54], kSameConstants);
            EXPECT_NEAR(pose.box[3] / static_cast<float>(input.height), row[53], kSameConstants);
        }
    }
}

TEST_P(MoveNetTest, DecodedRowsAreSortedAndThoseBelowConfLeftOut) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "movenet-multipose");
    for (const std::string& picture : pictures_with(goldens, "output")) {
        SCOPED_TRACE(picture);
        const Size input = input_of(goldens, picture);
        Heads decoded;
        decoded.add(goldens.at(picture + "/output"));
        std::vector<float> scores;
        for (size_t r = 0; r < 6; ++r) scores.push_back(decoded.data[0][56 * r + 55]);
        std::sort(scores.begin(), scores.end(), std::greater<>());
        for (const float conf : {0.0f, 0.2f}) {
            const auto poses = read(spec_of("multi", 17, input), decoded, from(conf));
            ASSERT_EQ(poses.size(), static_cast<size_t>(std::count_if(scores.begin(), scores.end(),
                                                                      [&](float s) { return s > conf; })));
            for (size_t i = 0; i < poses.size(); ++i) EXPECT_EQ(poses[i].score, scores[i]);
        }
    }
}

// ---- By hand: a grid of 16 by 16 cells, one keypoint ---------------------------------------------------------------

constexpr int kSide = 16, kCells = kSide * kSide;
constexpr Size kInput{4 * kSide, 4 * kSide};
constexpr size_t at(int row, int column) { return static_cast<size_t>(row * kSide + column); }

/// Scores of 0, expected places and offsets at the cell itself, boxes of six by six cells.
Heads blank(bool several) {
    Heads out;
    for (const int64_t channels : {1, 1, 2, 2, 2, 2}) {
        if (!several && out.shapes.size() == 4) break;
        out.shapes.push_back({1, channels, kSide, kSide});
        const float value = out.shapes.size() == 5 ? 6.0f : 0.0f;
        out.data.emplace_back(static_cast<size_t>(channels * kCells), value);
    }
    return out;
}
enum { kHeatmap, kCenter, kRegress, kOffset, kScale, kShift };

TEST_P(MoveNetTest, NearAndHighWinsNotTheHighest) {
    const ModelSpec spec = spec_of("single_heads", 1, kInput, R"("activated": true)");
    Heads heads = blank(false);
    heads.data[kCenter][at(8, 9)] = 0.9f;
    heads.data[kRegress][at(8, 9)] = -3.0f;          // rows
    heads.data[kRegress][kCells + at(8, 9)] = 2.0f;  // columns
    heads.data[kHeatmap][at(5, 11)] = 0.5f;          // where it is expected: 0.5 / 1.8
    heads.data[kHeatmap][at(5, 13)] = 1.0f;          // 1 / 3.8
    heads.data[kOffset][at(5, 11)] = 0.25f;
    heads.data[kOffset][kCells + at(5, 11)] = -0.5f;
    auto poses = read(spec, heads, from(0.25f));
    ASSERT_EQ(poses.size(), 1u);
    EXPECT_EQ(poses[0].points, (std::vector<float>{4 * 10.5f, 4 * 5.25f, 0.5f}));
    EXPECT_EQ(poses[0].score, 0.5f);
    EXPECT_EQ(poses[0].box, (std::vector<float>{42, 21, 42, 21}));
    // A cell nearer to the middle of the picture beats a higher one farther away: 0.9 / 2.8 and 1 / (√50 + 1.8).
    heads.data[kCenter][at(3, 3)] = 1.0f;
    EXPECT_EQ(read(spec, heads, from(0.25f))[0].points, poses[0].points);
    // Nothing below conf.
    EXPECT_TRUE(read(spec, heads, from(0.5f)).empty());
}

TEST_P(MoveNetTest, OfEqualCellsTheFirstCounts) {
    const ModelSpec spec = spec_of("single_heads", 1, kInput, R"("activated": true)");
    Heads heads = blank(false);
    heads.data[kCenter][at(8, 8)] = 1.0f;
    for (const size_t cell : {at(8, 10), at(10, 8), at(6, 8), at(8, 6)}) heads.data[kHeatmap][cell] = 0.75f;
    const auto poses = read(spec, heads, from(0));
    ASSERT_EQ(poses.size(), 1u);
    EXPECT_EQ(poses[0].points, (std::vector<float>{32, 24, 0.75f}));
}

TEST_P(MoveNetTest, TheReproductionCutsTowardsZeroAndSwapsPairs) {
    const ModelSpec spec =
        spec_of("single_heads", 1, kInput, R"("activated": true, "pairs": "xy", "rounded": true, "floor": 0.1)");
    Heads heads = blank(false);
    heads.data[kCenter][at(8, 8)] = 1.0f;
    heads.data[kRegress][at(8, 8)] = -0.7f;           // columns: 0, not -1
    heads.data[kRegress][kCells + at(8, 8)] = -1.7f;  // rows: -1, not -2
    // Both equally near to (7, 8), which they are not if either number is rounded.
    heads.data[kHeatmap][at(7, 9)] = 0.5f;
    heads.data[kHeatmap][at(7, 7)] = 0.5f + 1e-6f;
    EXPECT_EQ(read(spec, heads, from(0))[0].points, (std::vector<float>{28, 28, 0.5f + 1e-6f}));
    heads.data[kHeatmap][at(6, 8)] = 0.5f + 2e-6f;
    EXPECT_EQ(read(spec, heads, from(0))[0].points, (std::vector<float>{32, 24, 0.5f + 2e-6f}));
    // Below the floor a keypoint is not there, and nobody is.
    for (float& v : heads.data[kHeatmap]) v *= 0.15f;
    EXPECT_TRUE(read(spec, heads, from(0)).empty());
}

TEST_P(MoveNetTest, EveryPeakIsSomebodyAndOfEqualNeighboursTheFirst) {
    const ModelSpec spec = spec_of("multi_heads", 1, kInput, R"("activated": true)");
    Heads heads = blank(true);
    for (int row = 1; row < kSide; row += 3) {
        for (int column = 1; column < kSide; column += 3) heads.data[kCenter][at(row, column)] = 0.5f;
    }
    heads.data[kCenter][at(0, 0)] = 0.5f;  // an equal one before its neighbour
    heads.data[kCenter][at(2, 3)] = 0.4f;  // beside a greater one
    heads.data[kHeatmap].assign(kCells, 0.5f);
    const auto poses = read(spec, heads, from(0.2f));
    ASSERT_EQ(poses.size(), 25u);
    for (const Pose& pose : poses) EXPECT_EQ(pose.score, 0.25f);
    // By their place where scores are equal; the keypoint where it is expected, in a box that the grid clips.
    EXPECT_EQ(poses[0].points, (std::vector<float>{0, 0, 0.5f}));
    EXPECT_EQ(poses[0].box, (std::vector<float>{0, 0, 12, 12}));
    EXPECT_EQ(poses[6].points, (std::vector<float>{16, 16, 0.5f}));
    EXPECT_EQ(poses[6].box, (std::vector<float>{4, 4, 28, 28}));
    EXPECT_TRUE(read(spec, heads, from(0.25f)).empty());
}

TEST_P(MoveNetTest, AKeypointIsFoundInItsPersonsBoxAlone) {
    const ModelSpec spec = spec_of("multi_heads", 1, kInput, R"("activated": true)");
    Heads heads = blank(true);
    heads.data[kCenter][at(8, 8)] = 1.0f;
    heads.data[kRegress][at(8, 8)] = 2.0f;
    heads.data[kHeatmap][at(10, 8)] = 0.5f;
    heads.data[kHeatmap][at(11, 8)] = 1.0f;  // the box ends at row 11
    auto poses = read(spec, heads, from(0.25f));
    ASSERT_EQ(poses.size(), 1u);
    EXPECT_EQ(poses[0].points, (std::vector<float>{32, 40, 0.5f}));
    heads.data[kScale][at(8, 8)] = 6.5f;  // now at 11.25: row 11 is in it, one cell from where it is expected
    poses = read(spec, heads, from(0.25f));
    ASSERT_EQ(poses.size(), 1u);
    EXPECT_EQ(poses[0].points[1], 44);
    EXPECT_NEAR(poses[0].points[2], std::exp(-1 / (0.3 * kSide)), 1e-6);
    // A box of no size holds nothing.
    heads.data[kScale].assign(heads.data[kScale].size(), -1.0f);
    EXPECT_TRUE(read(spec, heads, from(0)).empty());
}

TEST_P(MoveNetTest, AsTheNetworkDecodesAKeypointHasTheBestScoreOfAllPeople) {
    Heads heads = blank(true);
    heads.data[kCenter][at(8, 6)] = 0.9f;
    heads.data[kCenter][at(8, 9)] = 0.8f;
    heads.data[kRegress][kCells + at(8, 6)] = 1.0f;   // expects column 7
    heads.data[kRegress][kCells + at(8, 9)] = -1.0f;  // expects column 8
    heads.data[kHeatmap][at(8, 8)] = 0.5f;
    const double farther = 0.5 * std::exp(-1 / (0.3 * kSide));
    const auto own = read(spec_of("multi_heads", 1, kInput, R"("activated": true)"), heads, from(0.1f));
    const auto all = read(spec_of("multi_heads", 1, kInput, R"("activated": true, "people": 6)"), heads, from(0.1f));
    ASSERT_EQ(own.size(), 2u);
    ASSERT_EQ(all.size(), 2u);
    EXPECT_NEAR(own[0].score, 0.8 * 0.5, 1e-6);
    EXPECT_NEAR(own[1].score, 0.9 * farther, 1e-6);
    EXPECT_NEAR(all[0].score, 0.9 * 0.5, 1e-6);
    EXPECT_NEAR(all[1].score, 0.8 * 0.5, 1e-6);
}

TEST_P(MoveNetTest, SpecsThatSayNothingSensibleAreRefused) {
    const auto refused = [](const std::string& more, const std::string& why) {
        try {
            spec_of("multi_heads", 1, kInput, more);
        } catch (const Error& error) {
            return std::string(error.what()).find(why) != std::string::npos;
        }
        return false;
    };
    EXPECT_TRUE(refused(R"("pairs": "zx")", "pairs is 'zx', expected yx or xy"));
    EXPECT_TRUE(refused(R"("activated": 1)", "activated is neither true nor false"));
    EXPECT_TRUE(refused(R"("softening": 0)", "softening is 0, expected 0.01 to 10000"));
    EXPECT_TRUE(refused(R"("people": -1)", "people holds -1"));
    EXPECT_THROW(spec_of("single", 1, kInput, R"("people": 6)"), Error);
    EXPECT_THROW(spec_of("double", 1, kInput), Error);
}

}  // namespace
}  // namespace trtpose::test
