// SPDX-License-Identifier: Apache-2.0
// Which rows become poses, which way back they take, and which files are read without a spec.
#include <limits>

#include "families/family.hpp"
#include "model/ultralytics.hpp"
#include "support/files.hpp"
#include "support/op_test.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

using Floats = std::vector<float>;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

std::string spec_text(const std::string& more = {}) {
    return R"({"trtpose": 2, "family": "rows", "name": "test", "form": "dets_keypoints", "imgsz": [64, 64],
        "names": ["person"], "kpt_shape": [2, 3], "color": "bgr", "std": [1, 1, 1], "placement": "top_left",
        "rounding": "down", "sigmas": [0.1, 0.1])" +
           more + "}";
}

struct Poses {
    int count = 0;
    Floats boxes, scores, points;
};

class RowsTest : public OnDevice {
protected:
    Poses read(const Floats& rows, const Floats& points, const Thresholds& t, const math::Letterbox& place,
               const std::string& more = {}) {
        const ModelSpec spec = ModelSpec::from_json(spec_text(more), "the test");
        const auto reader = families::family_of(spec).default_reader(spec);
        const auto count = static_cast<int64_t>(rows.size() / 5);
        const auto memory =
            reader->plan({{{1, count, 5}, {1, count, 2, 3}}, DType::f32, 1, {64, 64}}, t, context().device);
        const auto d_rows = array(rows), d_points = array(points);
        const auto slots = static_cast<size_t>(t.max_det);
        const auto held = array<char>(memory.held), scratch = array<char>(memory.scratch);
        const auto counts = array<int32_t>(1), classes = array<int32_t>(slots);
        const auto boxes = array<float>(4 * slots), scores = array<float>(slots), found = array<float>(6 * slots);
        const auto places = array(std::vector{place});
        const std::vector<const void*> data{d_rows.data(), d_points.data()};
        reader->read(data, 1, t, places.data(),
                     {held.data(),
                      {scratch.data(), scratch.size()},
                      {counts.data(), {boxes.data(), scores.data(), classes.data(), found.data()}}},
                     context(), {});
        Poses out;
        out.count = counts.get()[0];
        const auto first = [&](const Floats& all, int each) {
            return Floats(all.begin(), all.begin() + static_cast<ptrdiff_t>(out.count) * each);
        };
        out.boxes = first(boxes.get(), 4);
        out.scores = first(scores.get(), 1);
        out.points = first(found.get(), 6);
        return out;
    }
};
TRTPOSE_ON_EVERY_DEVICE(RowsTest);

TEST_P(RowsTest, PosesAreRowsAboveTheConfidenceOnTheirWayBack) {
    // A frame of 128 × 96 at half its size in the upper left corner.
    const math::LetterboxForm corner{math::Placement::top_left, math::Rounding::down};
    const Poses found = read({0,  0,    0,  0,  0,       //
                              10, 8,    20, 40, 0.5f,    //
                              -4, 30,   70, 60, 0.9f,    //
                              1,  1,    2,  2,  0.25f,   //
                              1,  1,    2,  2,  kNan,    //
                              1,  kInf, 2,  2,  0.8f},   //
                             {0,  0,  0,    0,    0, 0,  //
                              12, 9,  0.7f, kNan, 3, 1,  //
                              -2, 62, 0.4f, 0,    0, 0,  //
                              1,  1,  1,    1,    1, 1,  //
                              1,  1,  1,    1,    1, 1,  //
                              1,  1,  1,    1,    1, 1},
                             {}, math::letterbox(128, 96, 64, 64, corner));
    EXPECT_EQ(found.count, 2);
    EXPECT_EQ(found.scores, (Floats{0.9f, 0.5f}));
    EXPECT_EQ(found.boxes, (Floats{0, 60, 128, 96, 20, 16, 40, 80}));
    EXPECT_EQ(found.points, (Floats{-4, 124, 0.4f, 0, 0, 0, 24, 18, 0.7f, 0, 0, 0}));
}

TEST_P(RowsTest, OverlapsAreSuppressedOnceMore) {
    // As rtmlib does it behind the network's own suppression, whose padding may name somebody a second time.
    const Floats rows{0, 0, 10, 10, 0.9f, 0, 0, 10, 10, 0.8f, 0, 0, 10, 5, 0.7f, 20, 0, 30, 10, 0.6f};
    const Floats points{1, 1, 1, 5, 5, 1, 1, 1, 1, 5, 5, 1, 9, 9, 1, 2, 2, 1, 21, 1, 1, 25, 5, 1};
    const math::Letterbox same = math::letterbox(64, 64, 64, 64);
    Thresholds t;
    EXPECT_EQ(read(rows, points, t, same).scores, (Floats{0.9f, 0.7f, 0.6f}));
    t.iou = 0.45f;
    EXPECT_EQ(read(rows, points, t, same).scores, (Floats{0.9f, 0.6f}));
    EXPECT_EQ(read(rows, points, t, same, R"(, "suppress": true)").scores, (Floats{0.9f, 0.6f}));
    EXPECT_EQ(read(rows, points, t, same, R"(, "suppress": false)").scores, (Floats{0.9f, 0.8f, 0.7f, 0.6f}));
    t.iou = 1;
    EXPECT_EQ(read(rows, points, t, same).scores, (Floats{0.9f, 0.8f, 0.7f, 0.6f}));
    t.iou = 0.65f;
    t.oks = true;
    EXPECT_EQ(read(rows, points, t, same).scores, (Floats{0.9f, 0.7f, 0.6f}));
    t.conf = 0.7f;
    EXPECT_EQ(read(rows, points, t, same).scores, (Floats{0.9f}));
    t.conf = 0.9f;
    EXPECT_EQ(read(rows, points, t, same).count, 0);
}

TEST(RowsSpec, FieldsAreChecked) {
    const auto parse = [](const std::string& text) { return ModelSpec::from_json(text, "a.json"); };
    const auto with = [](const std::string& from, const std::string& to) {
        std::string text = spec_text();
        return text.replace(text.find(from), from.size(), to);
    };
    const ModelSpec spec = parse(spec_text(R"(, "rows": 50)"));
    EXPECT_EQ(families::family_of(spec).most_rows(spec), 50);
    EXPECT_EQ(families::family_of(spec).most_rows(parse(spec_text())), 0);
    EXPECT_EQ(parse(spec.to_json()).to_json(), spec.to_json());
    TRTPOSE_EXPECT_ERROR(parse(with("dets_keypoints", "heads")), ErrorCode::model,
                         "form is 'heads', expected dets_keypoints");
    TRTPOSE_EXPECT_ERROR(parse(with(R"("form": "dets_keypoints",)", "")), ErrorCode::model, "lacks form");
    TRTPOSE_EXPECT_ERROR(parse(with("[2, 3]", "[2, 2]")), ErrorCode::model, "kpt_shape has 2 numbers per keypoint");
    TRTPOSE_EXPECT_ERROR(parse(with(R"("person")", R"("a", "b")")), ErrorCode::model, "names has 2 classes");
    TRTPOSE_EXPECT_ERROR(parse(spec_text(R"(, "suppress": 0)")), ErrorCode::model,
                         "suppress is neither true nor false");
    for (const char* rows : {"0", "40000", "\"all\""})
        TRTPOSE_EXPECT_ERROR(parse(spec_text(std::string(R"(, "rows": )") + rows)), ErrorCode::model, "rows");
}

ModelFile file_of(const std::vector<int64_t>& boxes, const std::vector<int64_t>& points) {
    ModelFile file;
    file.path = "rtmo.onnx";
    file.kind = "onnx";
    file.inputs = {{"input", DType::f32, {-1, 3, 640, 640}}};
    file.outputs = {{"dets", DType::f32, boxes}, {"keypoints", DType::f32, points}};
    return file;
}

TEST(RowsRecognition, TakesWhatNamesAndShapesSay) {
    const ModelFile file = file_of({-1, -1, 5}, {-1, -1, 17, 3});
    const FoundSpec found = find_spec(file);
    EXPECT_EQ(found.spec.family, "rows");
    EXPECT_EQ(found.origin, "names and shapes");
    EXPECT_EQ(found.spec.outputs, (std::vector<std::string>{"dets", "keypoints"}));
    EXPECT_EQ(found.spec.keypoints, 17);
    EXPECT_EQ(found.spec.color, PixelFormat::bgr);
    EXPECT_EQ(found.spec.std[2], 1.0f);
    EXPECT_EQ(found.spec.letterbox, (math::LetterboxForm{math::Placement::top_left, math::Rounding::down}));
    EXPECT_GT(families::family_of(found.spec).most_rows(found.spec), 0);
    const ModelSpec again = ModelSpec::from_json(found.spec.to_json(), "again");
    EXPECT_EQ(again.to_json(), found.spec.to_json());
    const FoundSpec fixed = find_spec(file_of({1, 50, 5}, {1, 50, 14, 3}));
    EXPECT_EQ(families::family_of(fixed.spec).most_rows(fixed.spec), 0);
    TRTPOSE_EXPECT_ERROR(find_spec(file_of({-1, -1, -1}, {-1, -1, -1, -1})), ErrorCode::model,
                         "its number of keypoints is open");
}

TEST(RowsRecognition, LeavesTheRest) {
    const families::Family& rows = *families::find_family("rows");
    const auto taken = [&](const ModelFile& file) {
        return !rows.recognise(file, UltralyticsMetadata::of(file), nullptr).readings.empty();
    };
    EXPECT_TRUE(taken(file_of({1, 50, 5}, {1, 50, 17, 3})));
    EXPECT_FALSE(taken(file_of({1, 50, 6}, {1, 50, 17, 3})));
    EXPECT_FALSE(taken(file_of({1, 50, 5}, {1, 49, 17, 3})));
    EXPECT_FALSE(taken(file_of({1, 50, 5}, {1, 50, 17, 2})));
    EXPECT_FALSE(taken(file_of({1, 50, 5}, {1, 50, 51})));
    ModelFile named = file_of({1, 50, 5}, {1, 50, 17, 3});
    named.outputs[0].name = "boxes";
    EXPECT_FALSE(taken(named));
    ModelFile more = file_of({1, 50, 5}, {1, 50, 17, 3});
    more.outputs.push_back({"labels", DType::f32, {1, 50}});
    EXPECT_FALSE(taken(more));
    ModelFile open = file_of({1, 50, 5}, {1, 50, 17, 3});
    open.inputs[0].shape = {1, 3, -1, -1};
    TRTPOSE_EXPECT_ERROR(find_spec(open), ErrorCode::model, "its input size is open");
}

TEST(RowsRecognition, ASpecMustFit) {
    const auto spec = spec_text(R"(, "outputs": ["dets", "keypoints"])");
    ModelFile file = file_of({1, 50, 5}, {1, 50, 2, 3});
    file.inputs[0].shape = {1, 3, 64, 64};
    EXPECT_EQ(find_spec(file, spec).origin, "the caller");
    file.outputs[1].shape = {1, 50, 3, 3};
    TRTPOSE_EXPECT_ERROR(find_spec(file, spec), ErrorCode::model, "rows with 2 keypoints need");
    file.outputs.pop_back();
    TRTPOSE_EXPECT_ERROR(find_spec(file, spec_text()), ErrorCode::model, "rows need 2 outputs, it has 1");
}

}  // namespace
}  // namespace trtpose::test
