// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are taken for KAPAO's, and what its specs may say.
#include <gtest/gtest.h>

#include "core/check.hpp"
#include "families/kapao/options.hpp"
#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

/// Rows of a network with K keypoints on a picture of 64 × 64.
class Rows final : public NetworkProbe {
public:
    Rows(int keypoints, size_t count, float box, float scores, float coordinates) {
        for (size_t row = 0; row < count; ++row) {
            numbers_.insert(numbers_.end(), 4, box);
            numbers_.insert(numbers_.end(), static_cast<size_t>(keypoints) + 2, scores);
            numbers_.insert(numbers_.end(), 2 * static_cast<size_t>(keypoints), coordinates);
        }
    }
    /// A column becomes another class.
    Rows& probabilities_in(size_t column, size_t width) {
        for (size_t at = column; at < numbers_.size(); at += width) numbers_[at] = 0.25f;
        return *this;
    }
    std::vector<std::vector<int64_t>> shapes(Size) override { throw Error(ErrorCode::model, "not to be asked"); }
    std::vector<float> numbers(size_t index, Size size) override {
        EXPECT_EQ(index, 0u);
        EXPECT_EQ(size, (Size{64, 64}));
        ++asked;
        return numbers_;
    }
    int asked = 0;

private:
    std::vector<float> numbers_;
};

const int64_t kCells3 = 64 + 16 + 4, kCells4 = kCells3 + 1;  // of 64 × 64

class KapaoRecognition : public WithModelFiles {
protected:
    FoundSpec find(const std::vector<std::pair<std::string, Dims>>& outputs, NetworkProbe* probe,
                   const Metadata& metadata = {}) {
        OnnxModel model;
        model.inputs = {{"images", {1, 3, 64, 64}}};
        model.outputs = outputs;
        model.metadata = metadata;
        return find_spec(read(model.text()), {}, probe);
    }
};

TEST_F(KapaoRecognition, DecodedRowsOfItsNetworksAreToldByOneRun) {
    for (const int keypoints : {17, 14}) {
        SCOPED_TRACE(keypoints);
        for (const int64_t cells : {kCells4, kCells3}) {
            Rows rows(keypoints, static_cast<size_t>(3 * cells), 40, 0.5f, 30);
            const ModelSpec spec =
                find({{"output", {1, 3 * cells, 6 + 3 * keypoints}}, {"more", {1, 3, 8, 8, 6 + 3 * keypoints}}}, &rows)
                    .spec;
            EXPECT_EQ(rows.asked, 1);
            EXPECT_EQ(spec.family, "kapao");
            EXPECT_EQ(kapao::options_of(spec).form, kapao::Form::decoded);
            EXPECT_EQ(spec.keypoints, keypoints);
            EXPECT_EQ(spec.classes(), keypoints + 1);
            EXPECT_EQ(spec.names[0], "person");
            EXPECT_EQ(spec.strides.size(), cells == kCells4 ? 4u : 3u);
            EXPECT_EQ(spec.sigmas.size(), keypoints == 17 ? 17u : 0u);
            EXPECT_EQ(ModelSpec::from_json(spec.to_json(), "the test").to_json(), spec.to_json());
        }
    }
}

TEST_F(KapaoRecognition, OtherNumbersOfKeypointsMayBeAnotherNetworksClasses) {
    for (const int keypoints : {1, 3, 5}) {
        SCOPED_TRACE(keypoints);
        const Dims shape{1, 3 * kCells3, 6 + 3 * keypoints};
        Rows rows(keypoints, static_cast<size_t>(3 * kCells3), 40, 0.5f, 30);
        for (const std::string& part :
             {text("may be KAPAO's with ", keypoints, " keypoints, or a pose network's with ", keypoints + 1,
                   " classes and ", keypoints, " keypoints of two numbers"),
              std::string("trtpose export FILE"), std::string("\"family\": \"kapao\", \"form\": \"decoded\""),
              text("\"layout\": \"decoded\", \"kpt_shape\": [", keypoints, ", 2]")})
            TRTPOSE_EXPECT_ERROR(find({{"output", shape}}, &rows), ErrorCode::model, part.c_str());
        // Both ways out are ways: either spec opens the file.
        std::string names = "\"person\"";
        for (int k = 0; k < keypoints; ++k) names += text(", \"class ", k, "\"");
        const std::string rest = text(R"("imgsz": [64, 64], "strides": [8, 16, 32], "names": [)", names,
                                      R"(], "kpt_shape": [)", keypoints, ", 2]}");
        OnnxModel model;
        model.inputs = {{"images", {1, 3, 64, 64}}};
        model.outputs = {{"output", shape}};
        const ModelFile file = read(model.text());
        EXPECT_EQ(find_spec(file, R"({"family": "kapao", "form": "decoded", )" + rest).spec.family, "kapao");
        EXPECT_EQ(find_spec(file, R"({"layout": "decoded", )" + rest).spec.keypoint_dims, 2);
    }
}

TEST_F(KapaoRecognition, WhatIsNotDecodedIsRefusedByName) {
    const auto refused = [&](Rows rows, int64_t width, const char* why) {
        TRTPOSE_EXPECT_ERROR(find({{"output", {1, 3 * kCells4, width}}}, &rows), ErrorCode::model, why);
    };
    const auto count = static_cast<size_t>(3 * kCells4);
    for (const int keypoints : {17, 14}) {
        const int64_t width = 6 + 3 * keypoints;
        refused(Rows(keypoints, count, 0.5f, 0.5f, 0.5f), width, "\"family\": \"kapao\", \"form\": \"sigmoid\"");
        refused(Rows(keypoints, count, 40, 0.5f, 0.5f), width, "\"family\": \"kapao\", \"form\": \"undecoded\"");
    }
    // Nothing tells them from a detector's classes.
    refused(Rows(14, count, 40, 0.5f, 0.5f), 48, "may be a detector's with 43 classes and no keypoints");
    TRTPOSE_EXPECT_ERROR(find({{"output", {1, 3 * kCells4, 48}}}, nullptr), ErrorCode::model,
                         "may be KAPAO's with 14 keypoints, and running it once, which tells, was not possible");
    // A detector of twenty classes with coefficients of masks is as wide as 17 keypoints.
    refused(Rows(17, count, 40, 0.5f, 30).probabilities_in(24, 57), 57, "one run does not tell");
    refused(Rows(14, count, 40, 0.5f, 30).probabilities_in(24, 48), 48, "fits no layout");
}

TEST_F(KapaoRecognition, NothingIsRunWhereShapesOrMetadataSayOtherwise) {
    for (const int64_t rows : {3 * kCells4 + 1, int64_t{300}}) {
        Rows probe(14, static_cast<size_t>(rows), 40, 0.5f, 30);
        EXPECT_THROW(find({{"output", {1, rows, 48}}}, &probe), Error);
        EXPECT_EQ(probe.asked, 0);
    }
    Rows probe(17, static_cast<size_t>(3 * kCells4), 40, 0.5f, 30);
    EXPECT_THROW(find({{"output", {1, 3 * kCells4, 57}}}, &probe, ultralytics("[5, 3]")), Error);
    EXPECT_EQ(probe.asked, 0);
}

TEST_F(KapaoRecognition, RawHeadsAreLeftToASpec) {
    TRTPOSE_EXPECT_ERROR(
        find({{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}, {"d", {1, 171, 1, 1}}}, nullptr),
        ErrorCode::model, "YOLO-Pose or of KAPAO");
}

const char* const kSpec = R"("trtpose": 1, "family": "kapao", "imgsz": [64, 64], "strides": [32, 64],
    "names": ["person", "a", "b"], "kpt_shape": [2, 2])";

ModelSpec spec_with(const std::string& more) {
    return ModelSpec::from_json("{" + std::string(kSpec) + ", " + more + "}", "the test");
}

TEST(KapaoSpec, ThresholdsHaveSetsByName) {
    const auto options = [](const std::string& more) {
        return kapao::options_of(spec_with(R"("form": "decoded")" + more));
    };
    const auto four = [](const kapao::Options& o) {
        return std::vector<double>{o.conf_kp, o.iou_kp, o.conf_kp_person, o.overwrite_tol};
    };
    const std::vector<double> evaluation{0.2, 0.25, 0.3, 50};
    EXPECT_EQ(four(options("")), evaluation);
    EXPECT_EQ(four(options(R"(, "thresholds": "evaluation")")), evaluation);
    EXPECT_EQ(four(options(R"(, "thresholds": "demo")")), (std::vector<double>{0.5, 0.45, 0.2, 25}));
    EXPECT_EQ(four(options(R"(, "thresholds": "video")")), (std::vector<double>{0.5, 0.45, 0.2, 50}));
    EXPECT_EQ(four(options(R"(, "thresholds": "demo", "iou_kp": 0.5, "overwrite_tol": 7.5)")),
              (std::vector<double>{0.5, 0.5, 0.2, 7.5}));
}

TEST(KapaoSpec, WhatDoesNotFitIsRefusedWithTheKey) {
    const std::string decoded = R"("form": "decoded")";
    const std::pair<std::string, const char*> wrong[] = {
        {R"("name": "x")", "the model spec lacks form"},
        {R"("form": "raw")", "form is 'raw', expected heads, heads5d, decoded, sigmoid or undecoded"},
        {R"("form": "heads")", "anchors has 0 levels for 2 strides"},
        {R"("form": "sigmoid", "anchors": [[[1, 2]], [[1, 2], [3, 4]]])", "as many pairs for each stride"},
        {decoded + R"(, "thresholds": "best")", "expected evaluation, demo or video"},
        {decoded + R"(, "conf_kp": 1.5)", "conf_kp is 1.5, expected a number from 0 to 1"},
        {decoded + R"(, "overwrite_tol": -1)", "overwrite_tol is -1"},
        {decoded + R"(, "max_objects": 0)", "max_objects holds 0"},
        {R"("placement": "top_left", )" + decoded, "from the middle of the input"},
        {decoded + R"(, "fusion": 1)", "fusion is 1, expected true or false"},
    };
    for (const auto& [more, why] : wrong) TRTPOSE_EXPECT_ERROR(spec_with(more), ErrorCode::model, why);
    const std::string rest = R"({"trtpose": 1, "family": "kapao", "imgsz": [64, 64], "strides": [64], )" + decoded;
    TRTPOSE_EXPECT_ERROR(ModelSpec::from_json(rest + R"(, "names": ["person"], "kpt_shape": [2, 2]})", "the test"),
                         ErrorCode::model, "names has 1 classes for 2 keypoints");
    TRTPOSE_EXPECT_ERROR(
        ModelSpec::from_json(rest + R"(, "names": ["person", "a", "b"], "kpt_shape": [2, 3]})", "the test"),
        ErrorCode::model, "kpt_shape is [2, 3]");
}

}  // namespace
}  // namespace trtpose::test
