// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are read, and as what.
#include <gtest/gtest.h>

#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

class AnchorGridRecognition : public WithModelFiles {
protected:
    FoundSpec find(const Dims& input, const std::vector<std::pair<std::string, Dims>>& outputs,
                   const Metadata& metadata) {
        OnnxModel model;
        model.inputs = {{"images", input}};
        model.outputs = outputs;
        model.metadata = metadata;
        return WithModelFiles::find(model);
    }
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
        {"decoded, three strides", kSquare, {{"output", {1, 3 * kCells3, 57}}}, {}, "decoded", {8, 16, 32}},
        {"decoded, four strides", kSquare, {{"output", {1, 3 * kCells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"decoded, open batch", {-1, 3, 64, 64}, {{"output", {-1, 3 * kCells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"decoded by its name", kSquare, {{"output", {1, -1, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"raw heads",
         kSquare,
         {{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}, {"d", {1, 171, 1, 1}}},
         {},
         "heads",
         {8, 16, 32, 64}},
        {"raw heads of five dimensions",
         kSquare,
         {{"a", {1, 3, 8, 8, 57}}, {"b", {1, 3, 4, 4, 57}}, {"c", {1, 3, 2, 2, 57}}, {"d", {1, 3, 1, 1, 57}}},
         {},
         "heads5d",
         {8, 16, 32, 64}},
    };
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
        {"an input of two dimensions", {1, 3}, {{"x", {1, 56, 84}}}, {}, "not N×3×H×W", {}},
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
        {"a size no stride divides", {1, 3, 70, 70}, {{"x", {1, 56, 84}}}, {}, "multiple", {}},
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
    for (const auto& c : in_doubt()) {
        SCOPED_TRACE(c.what);
        TRTPOSE_EXPECT_ERROR(find(c.input, c.outputs, c.metadata), ErrorCode::model, c.expected);
    }
}

}  // namespace
}  // namespace trtpose::test
