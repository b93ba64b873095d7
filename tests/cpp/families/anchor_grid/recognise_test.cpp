// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are read, and as what.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

class AnchorGridRecognition : public WithModelFiles {
protected:
    FoundSpec find(const Dims& input, const std::vector<std::pair<std::string, Dims>>& outputs,
                   const Metadata& metadata, NetworkProbe* probe = nullptr) {
        OnnxModel model;
        model.inputs = {{"images", input}};
        model.outputs = outputs;
        model.metadata = metadata;
        return find_spec(read(model.text()), {}, probe);
    }
};

/// Rows of 57 numbers as families write them: 4 of the box, objectness, 18 that are KAPAO's classes, 34 of coordinates.
class Rows final : public NetworkProbe {
public:
    Rows(float box, float classes, float coordinates, int rows = 3 * 84) {
        for (int row = 0; row < rows; ++row) {
            numbers_.insert(numbers_.end(), 4, box);
            numbers_.push_back(0.5f);
            numbers_.push_back(0.5f);
            numbers_.insert(numbers_.end(), 17, classes);
            numbers_.insert(numbers_.end(), 34, coordinates);
        }
    }
    /// The 17 classes of one row in `every` become pixels.
    Rows& pixels_in_one_row_of(int every) {
        for (size_t row = 0; row < numbers_.size() / 57; row += static_cast<size_t>(every)) numbers_[row * 57 + 8] = 30;
        return *this;
    }
    std::vector<std::vector<int64_t>> shapes(Size) override { return {{1, 3 * 84, 57}}; }
    std::vector<float> numbers(size_t, Size) override {
        ++asked;
        if (numbers_.empty()) throw Error(ErrorCode::model, "it is on a GPU");
        return numbers_;
    }
    int asked = 0;

private:
    std::vector<float> numbers_;
};

/// A network that says its outputs' shapes alone.
class Shapes final : public NetworkProbe {
public:
    explicit Shapes(std::vector<std::vector<int64_t>> shapes) : shapes_(std::move(shapes)) {}
    std::vector<std::vector<int64_t>> shapes(Size size) override {
        EXPECT_EQ(size, (Size{64, 64}));
        if (shapes_.empty()) throw Error(ErrorCode::model, "it does not open");
        return shapes_;
    }
    std::vector<float> numbers(size_t, Size) override { throw Error(ErrorCode::model, "not to be asked"); }

private:
    std::vector<std::vector<int64_t>> shapes_;
};

const int64_t kCells3 = 64 + 16 + 4, kCells4 = kCells3 + 1;  // of 64 × 64
const Dims kSquare = {1, 3, 64, 64};

struct Case {
    const char* what;
    Dims input;
    std::vector<std::pair<std::string, Dims>> outputs;
    Metadata metadata;
    const char* expected;  ///< layout or, if it is refused, part of the message
    std::vector<int> strides;
};

std::vector<Case> of_ultralytics() {
    return {
        {"Ultralytics", kSquare, {{"output0", {1, 56, kCells3}}}, ultralytics(), "channels_first", {8, 16, 32}},
        {"Ultralytics, four strides",
         kSquare,
         {{"output0", {1, 56, kCells4}}},
         ultralytics(),
         "channels_first",
         {8, 16, 32, 64}},
        {"Ultralytics, five keypoints, two classes",
         kSquare,
         {{"output0", {1, 4 + 2 + 15, kCells3}}},
         ultralytics("[5, 3]", "['a', 'b']"),
         "channels_first",
         {8, 16, 32}},
        {"Ultralytics, two numbers per keypoint",
         kSquare,
         {{"output0", {1, 4 + 1 + 34, kCells3}}},
         ultralytics("[17, 2]"),
         "channels_first",
         {8, 16, 32}},
        {"Ultralytics, open sizes",
         {-1, 3, -1, -1},
         {{"output0", {-1, 56, -1}}},
         ultralytics(),
         "channels_first",
         {8, 16, 32}},
        {"end to end",
         kSquare,
         {{"output0", {1, 300, 57}}},
         [] {
             auto m = ultralytics();
             m.push_back({"end2end", "True"});
             return m;
         }(),
         "final",
         {8, 16, 32}},
    };
}

std::vector<Case> by_names_and_shapes() {
    return {
        {"no metadata, channels first", kSquare, {{"output0", {1, 56, kCells3}}}, {}, "channels_first", {8, 16, 32}},
    };
}

std::vector<Case> decoded() {
    return {
        {"three strides", kSquare, {{"output", {1, 3 * kCells3, 57}}}, {}, "decoded", {8, 16, 32}},
        {"four strides", kSquare, {{"output", {1, 3 * kCells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"open batch", {-1, 3, 64, 64}, {{"output", {-1, 3 * kCells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"by its name", kSquare, {{"output", {1, -1, 57}}}, {}, "decoded", {8, 16, 32, 64}},
    };
}

std::vector<Case> of_other_kinds() {
    return {
        {"raw heads of public networks",
         kSquare,
         {{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}, {"d", {1, 171, 1, 1}}},
         {},
         "YOLO-Pose or of KAPAO",
         {}},
        {"raw heads of five dimensions",
         kSquare,
         {{"a", {1, 3, 8, 8, 57}}, {"b", {1, 3, 4, 4, 57}}, {"c", {1, 3, 2, 2, 57}}, {"d", {1, 3, 1, 1, 57}}},
         {},
         "trtpose export, which puts the spec into it",
         {}},
        {"DFL, five keypoints",
         kSquare,
         {{"a", {1, 80, 8, 8}}, {"b", {1, 80, 4, 4}}, {"c", {1, 80, 2, 2}}},
         ultralytics("[5, 3]"),
         "box distributions",
         {}},
        {"DFL, a person's keypoints, without metadata",
         kSquare,
         {{"a", {1, 116, 8, 8}}, {"b", {1, 116, 4, 4}}, {"c", {1, 116, 2, 2}}},
         {},
         "51 keypoint numbers",
         {}},
        {"DFL, four strides",
         kSquare,
         {{"a", {1, 80, 8, 8}}, {"b", {1, 80, 4, 4}}, {"c", {1, 80, 2, 2}}, {"d", {1, 80, 1, 1}}},
         {},
         "box distributions",
         {}},
        {"maps", kSquare, {{"a", {1, 17, 8, 8}}, {"b", {1, 34, 8, 8}}}, {}, "maps of one size", {}},
        {"OpenPose's maps", kSquare, {{"a", {1, 19, 8, 8}}, {"b", {1, 38, 8, 8}}}, {}, "how pictures are fed", {}},
        {"detections without a batch", kSquare, {{"detections", {3, 57}}}, {}, "--export-nms", {}},
        {"any number of detections", kSquare, {{"detections", {-1, 57}}}, {}, "NMS inside", {}},
        {"detections of faces", kSquare, {{"x", {100, 21}}}, {}, "NMS inside", {}},
    };
}

/// What no spec can settle; beside them the sentence says what helps.
std::vector<Case> without_any_spec() {
    const Dims upright = {1, 3, 256, 192};
    return {
        {"DFL, two numbers a keypoint, by its metadata",
         kSquare,
         {{"a", {1, 75, 8, 8}}, {"b", {1, 75, 4, 4}}, {"c", {1, 75, 2, 2}}},
         ultralytics("[5, 2]"),
         "10 keypoint numbers",
         {}},
        {"DFL, two classes, by its metadata",
         kSquare,
         {{"a", {1, 75, 8, 8}}, {"b", {1, 75, 4, 4}}, {"c", {1, 75, 2, 2}}},
         ultralytics("[3, 3]", "['a', 'b']"),
         "2 scores, 9 keypoint numbers",
         {}},
        {"maps of two sizes",
         kSquare,
         {{"a", {1, 34, 16, 16}}, {"b", {1, 17, 32, 32}}},
         {},
         "maps of unlike channels",
         {}},
        {"SimCC", upright, {{"x", {-1, 17, 384}}, {"y", {-1, 17, 512}}}, {}, "17 keypoints of one person", {}},
        {"SimCC, three bins a pixel", upright, {{"x", {1, 133, 576}}, {"y", {1, 133, 768}}}, {}, "SimCC", {}},
        {"a detector", kSquare, {{"output0", {1, 300, 6}}}, {}, "too few numbers for a box, a score and keypoints", {}},
        {"a detector, channels first", kSquare, {{"output0", {1, 5, 8400}}}, {}, "too few numbers", {}},
        {"boxes and keypoints apart",
         kSquare,
         {{"boxes", {1, 100, 5}}, {"joints", {1, 100, 17, 3}}},
         {},
         "'joints' 1×100×17×3: boxes, scores and keypoints apart",
         {}},
        {"a classifier", kSquare, {{"x", {1, 1000}}}, {}, "no layout of pose networks", {}},
        {"a size no stride divides", {1, 3, 70, 70}, {{"x", {1, 56, 84}}}, {}, "sides are multiples of it", {}},
    };
}

/// What may be more than one thing, of which a spec settles one.
std::vector<Case> with_a_spec_perhaps() {
    return {
        {"one map", {1, 3, 256, 192}, {{"x", {1, 17, 64, 48}}}, {}, "if it is a raw head, give the model spec", {}},
        {"anchors or DFL",
         kSquare,
         {{"a", {1, 75, 8, 8}}, {"b", {1, 75, 4, 4}}, {"c", {1, 75, 2, 2}}},
         {},
         "box distributions, which trtpose does not decode); give the model spec",
         {}},
        {"heads beside a map",
         kSquare,
         {{"a", {1, 45, 8, 8}}, {"b", {1, 45, 4, 4}}, {"c", {1, 32, 16, 16}}},
         {},
         "anchors are not known; give the model spec",
         {}},
    };
}

Metadata with_entry(const std::string& key, const std::string& value) {
    Metadata out = ultralytics("[3, 3]", "{0: 'a', 1: 'b'}");
    for (auto& [name, text] : out) {
        if (name == key) text = value;
    }
    if (std::none_of(out.begin(), out.end(), [&](const auto& e) { return e.first == key; }))
        out.emplace_back(key, value);
    return out;
}

std::vector<Case> in_doubt() {
    return {
        {"300 rows of 57", kSquare, {{"output0", {1, 300, 57}}}, {}, "layout decoded", {}},
        {"raw heads of three strides",
         kSquare,
         {{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}},
         {},
         "anchors are not known",
         {}},
        {"raw heads of another width", kSquare, {{"a", {1, 63, 8, 8}}}, {}, "anchors are not known", {}},
        {"no layout at all", kSquare, {{"x", {1, 10, 10}}}, {}, "fits no layout", {}},
        {"one dimension", kSquare, {{"x", {10}}}, {}, "no layout", {}},
        {"no shape", kSquare, {{"x", {}}}, {}, "no layout", {}},
        {"open size, nothing said", {1, 3, -1, -1}, {{"x", {1, 56, -1}}}, {}, "input size is open", {}},
        {"an input of two dimensions", {1, 3}, {{"x", {1, 56, 84}}}, {}, "expected N×3×H×W", {}},
        {"open count without metadata", kSquare, {{"x", {1, 56, -1}}}, {}, "fits no layout", {}},
        {"another task", kSquare, {{"x", {1, 84, kCells3}}}, {{"task", "detect"}}, "task 'pose'", {}},
        {"unreadable metadata",
         kSquare,
         {{"x", {1, 56, kCells3}}},
         {{"task", "pose"}, {"kpt_shape", "[17, "}},
         "kpt_shape",
         {}},
        {"metadata of another type", kSquare, {{"x", {1, 56, kCells3}}}, {{"kpt_shape", "17"}}, "kpt_shape", {}},
        {"no keypoints", kSquare, {{"x", {1, 56, kCells3}}}, {{"kpt_shape", "[0, 3]"}}, "kpt_shape", {}},
        {"names that are numbers", kSquare, {{"x", {1, 56, kCells3}}}, ultralytics("[17, 3]", "[1]"), "names", {}},
    };
}

void expect_found(const FoundSpec& found, const Case& c) {
    EXPECT_STREQ(to_string(found.spec.layout), c.expected);
    EXPECT_EQ(found.spec.strides, c.strides);
    EXPECT_EQ(found.origin, c.metadata.empty() ? "names and shapes" : "metadata of Ultralytics");
    EXPECT_EQ(found.spec.imgsz, (Size{64, 64}));
    // What was inferred can be written down and read again.
    EXPECT_EQ(ModelSpec::from_json(found.spec.to_json(), "again").to_json(), found.spec.to_json());
}

TEST_F(AnchorGridRecognition, NamesShapesAndMetadataThatLeaveNoDoubt) {
    for (const auto& cases : {of_ultralytics(), by_names_and_shapes()}) {
        for (const auto& c : cases) {
            SCOPED_TRACE(c.what);
            try {
                expect_found(find(c.input, c.outputs, c.metadata), c);
            } catch (const Error& error) {
                ADD_FAILURE() << error.what();
            }
        }
    }
}

TEST_F(AnchorGridRecognition, WhatIsInDoubtIsRefused) {
    for (const auto& cases : {in_doubt(), of_other_kinds(), without_any_spec(), with_a_spec_perhaps()}) {
        for (const auto& c : cases) {
            SCOPED_TRACE(c.what);
            TRTPOSE_EXPECT_ERROR(find(c.input, c.outputs, c.metadata), ErrorCode::model, c.expected);
        }
    }
}

TEST_F(AnchorGridRecognition, NoSpecIsAskedForWhereNoneHelps) {
    for (const auto& c : without_any_spec()) {
        SCOPED_TRACE(c.what);
        try {
            find(c.input, c.outputs, c.metadata);
            ADD_FAILURE() << "was not refused";
        } catch (const Error& error) {
            EXPECT_EQ(std::string(error.what()).find("spec"), std::string::npos) << error.what();
        }
    }
}

TEST_F(AnchorGridRecognition, DecodedRowsAreToldByOneRun) {
    for (const auto& c : decoded()) {
        SCOPED_TRACE(c.what);
        Rows pose(40, 30, 30);
        expect_found(find(c.input, c.outputs, c.metadata, &pose), c);
        EXPECT_EQ(pose.asked, 1);
        const auto refused = [&](Rows rows, const char* why) {
            TRTPOSE_EXPECT_ERROR(find(c.input, c.outputs, c.metadata, &rows), ErrorCode::model, why);
        };
        Rows kapao(40, 0.5f, 30);
        EXPECT_EQ(find(c.input, c.outputs, c.metadata, &kapao).spec.family, "kapao");
        refused(Rows(40, 0.5f, 0.5f), "its keypoints are not decoded");
        refused(Rows(0.5f, 0.5f, 0.5f), "nothing in it is decoded");
        refused(Rows(40, 0.5f, 30).pixels_in_one_row_of(2), "one run does not tell");
        refused(Rows(0, 0, 0, 0), "was not possible (it is on a GPU)");
        TRTPOSE_EXPECT_ERROR(find(c.input, c.outputs, c.metadata), ErrorCode::model, "YOLO-Pose and KAPAO both give");
    }
}

TEST_F(AnchorGridRecognition, OpenShapesAreAskedOfTheNetwork) {
    const std::vector<std::pair<std::string, Dims>> open = {{"output0", {-1, -1, -1}}};
    Shapes first({{1, 56, kCells3}}), four({{1, 56, kCells4}}), wrong({{1, 50, kCells3}}), closed({});
    const Dims any = {-1, 3, -1, -1};
    const FoundSpec found = find(any, open, ultralytics(), &first);
    EXPECT_EQ(found.spec.layout, Layout::channels_first);
    EXPECT_EQ(found.spec.strides, (std::vector<int>{8, 16, 32}));
    EXPECT_EQ(find(any, open, ultralytics(), &four).spec.strides, (std::vector<int>{8, 16, 32, 64}));
    EXPECT_EQ(find(kSquare, open, {}, &first).spec.layout, Layout::channels_first);
    Shapes people({{1, 300, 57}});
    EXPECT_EQ(find(any, open, with_entry("kpt_shape", "[17, 3]"), &people).spec.layout, Layout::final);
    TRTPOSE_EXPECT_ERROR(find(any, open, ultralytics(), &wrong), ErrorCode::model, "is ?×50×84, which fits no layout");
    TRTPOSE_EXPECT_ERROR(find(any, open, ultralytics(), &closed), ErrorCode::model, "is ?×?×?, which fits no layout");
    TRTPOSE_EXPECT_ERROR(find(any, open, {}, &first), ErrorCode::model, "input size is open");
}

TEST_F(AnchorGridRecognition, ClassesAreNamedByKey) {
    const std::vector<std::pair<std::string, Dims>> outputs = {{"output0", {1, 4 + 2 + 9, kCells3}}};
    const auto names = [&](const std::string& text) {
        return find(kSquare, outputs, with_entry("names", text)).spec.names;
    };
    const std::vector<std::string> cat_and_dog = {"cat", "dog"};
    for (const char* text : {"{1: 'dog', 0: 'cat'}", "{0: 'cat', 1: 'dog'}", R"({"1": "dog", "0": "cat"})",
                             "['cat', 'dog']", "('cat', 'dog')"}) {
        EXPECT_EQ(names(text), cat_and_dog) << text;
    }
    const auto refused = [&](const std::string& text, const char* why) {
        TRTPOSE_EXPECT_ERROR(names(text), ErrorCode::model, why);
    };
    refused("{0: 'cat', 2: 'dog'}", "a key is 2 where 2 entries are numbered from 0 without a gap");
    refused("{1: 'cat', 2: 'dog'}", "a key is 2");
    refused("{0: 'cat', 0: 'dog'}", "key 0 is there twice");
    refused("{0: 'cat', -1: 'dog'}", "a key is -1");
    refused("{0: 'cat', 0.5: 'dog'}", "a key is 0.5");
    refused("{'cat': 0, 'dog': 1}", "names");
    refused("'cat'", "expected a list, or a dict by number");
    refused("{0: 'cat', 1: None}", "expected names in quotes");
}

TEST_F(AnchorGridRecognition, KeypointsAreNamed) {
    const std::vector<std::pair<std::string, Dims>> outputs = {{"output0", {1, 4 + 2 + 9, kCells3}}};
    const auto names = [&](const std::string& text) {
        std::string out;
        for (const auto& [key, value] : find(kSquare, outputs, with_entry("kpt_names", text)).spec.extra)
            out += key + ": " + value;
        return out;
    };
    const std::string expected = R"(kpt_names: ["nose", "tail", "paw"])";
    EXPECT_EQ(names("['nose', 'tail', 'paw']"), expected);
    EXPECT_EQ(names("{0: ['nose', 'tail', 'paw'], 1: ['nose', 'tail', 'paw']}"), expected);
    EXPECT_EQ(names("{1: ['nose', 'tail', 'paw'], 0: ['nose', 'tail', 'paw']}"), expected);
    EXPECT_EQ(names("{0: {2: 'paw', 0: 'nose', 1: 'tail'}}"), expected);
    EXPECT_EQ(names("None"), "");
    EXPECT_EQ(names("{}"), "");
    // One pose cannot have both classes' names.
    EXPECT_EQ(names("{0: ['nose', 'tail', 'paw'], 1: ['a', 'b', 'c']}"), R"(kpt_names: ["0", "1", "2"])");
    TRTPOSE_EXPECT_ERROR(names("['nose', 'tail']"), ErrorCode::model, "2 names for 3 keypoints");
    TRTPOSE_EXPECT_ERROR(names("{0: ['nose', 'tail', 7]}"), ErrorCode::model, "kpt_names");
    TRTPOSE_EXPECT_ERROR(names("{1: ['nose', 'tail', 'paw']}"), ErrorCode::model, "a key is 1");
}

TEST_F(AnchorGridRecognition, SigmasOfPersonsAreForPersons) {
    const auto sigmas = [&](const std::string& classes, const std::string& keypoints) {
        Metadata metadata = ultralytics("[17, 3]", classes);
        if (!keypoints.empty()) metadata.emplace_back("kpt_names", keypoints);
        const int64_t count = classes.find("1:") == classes.npos ? 1 : 2;
        return find(kSquare, {{"output0", {1, 4 + count + 51, kCells3}}}, metadata).spec.sigmas.size();
    };
    std::string coco =
        "['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', "
        "'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', "
        "'right_knee', 'left_ankle', 'right_ankle']";
    EXPECT_EQ(sigmas("{0: 'person'}", ""), 17u);
    EXPECT_EQ(sigmas("{0: 'Person', 1: 'pedestrian'}", ""), 17u);
    EXPECT_EQ(sigmas("{0: 'worker'}", coco), 17u);
    EXPECT_EQ(sigmas("{0: 'animal'}", ""), 0u);
    EXPECT_EQ(sigmas("{0: 'person', 1: 'dog'}", ""), 0u);
    EXPECT_EQ(sigmas("{0: 'person'}", coco.replace(coco.find("nose"), 4, "tail")), 0u);
}

TEST_F(AnchorGridRecognition, PicturesOfOneChannelAreRefused) {
    const std::vector<std::pair<std::string, Dims>> outputs = {{"output0", {1, 4 + 2 + 9, kCells3}}};
    TRTPOSE_EXPECT_ERROR(find({1, -1, 64, 64}, outputs, with_entry("channels", "1")), ErrorCode::model,
                         "1 channel(s), trtpose runs networks of three colours");
    EXPECT_EQ(find(kSquare, outputs, with_entry("channels", "3")).spec.keypoints, 3);
}

}  // namespace
}  // namespace trtpose::test
