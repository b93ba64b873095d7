// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are OpenPose's, how they are fed, and what only looks like them.
#include <gtest/gtest.h>

#include <algorithm>

#include "families/openpose/networks.hpp"
#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

using Tensors = std::vector<std::pair<std::string, Dims>>;

const Dims kInput = {1, 3, 64, 96}, kHeatmaps = {1, 19, 8, 12}, kFields = {1, 38, 8, 12};

class OpenPoseRecognition : public WithModelFiles {
protected:
    /// A file whose picture goes into an operation of this kind.
    ModelFile file(const Tensors& outputs, const char* first, const Dims& input = kInput) {
        OnnxModel model;
        model.inputs = {{"data", input}};
        model.outputs = outputs;
        model.nodes = {Proto().bytes(1, "data").bytes(2, outputs.front().first).bytes(4, first)};
        return read(model.text());
    }

    std::string refusal(const Tensors& outputs, const char* first = "Conv", const Dims& input = kInput) {
        try {
            find_spec(file(outputs, first, input));
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::model);
            return error.what();
        }
        ADD_FAILURE() << "it was taken";
        return {};
    }
};

const Tensors kScript = {{"stage_0_output_1_heatmaps", kHeatmaps},
                         {"stage_0_output_0_pafs", kFields},
                         {"stage_1_output_1_heatmaps", kHeatmaps},
                         {"stage_1_output_0_pafs", kFields}};
const Tensors kModelZoo = {{"Mconv7_stage2_L1", kFields}, {"Mconv7_stage2_L2", kHeatmaps}};

TEST_F(OpenPoseRecognition, TheScriptsFilesAreFedNormalised) {
    Tensors shuffled(kScript.rbegin(), kScript.rend());
    for (const Tensors& outputs : {kScript, shuffled}) {
        const FoundSpec found = find_spec(file(outputs, "Conv"));
        EXPECT_EQ(found.spec.family, "openpose");
        EXPECT_EQ(found.spec.outputs, (std::vector<std::string>{"stage_1_output_1_heatmaps", "stage_1_output_0_pafs"}));
        EXPECT_EQ(found.spec.color, PixelFormat::bgr);
        EXPECT_EQ(found.spec.mean[0], 128);
        EXPECT_EQ(found.spec.std[2], 256);
        EXPECT_EQ(found.spec.pad, 128);
        EXPECT_EQ(found.spec.letterbox.sizing, math::Sizing::height);
        EXPECT_EQ(found.spec.keypoints, 17);
        EXPECT_EQ(found.spec.imgsz, (Size{64, 96}));
        // What it says of itself is a spec again.
        const std::string json = found.spec.to_json();
        EXPECT_EQ(ModelSpec::from_json(json, "the test").to_json(), json);
    }
}

TEST_F(OpenPoseRecognition, TheHighestStageCountsByItsNumber) {
    Tensors many;
    for (const char* stage : {"10", "2"}) {
        many.emplace_back("stage_" + std::string(stage) + "_output_0_pafs", kFields);
        many.emplace_back("stage_" + std::string(stage) + "_output_1_heatmaps", kHeatmaps);
    }
    EXPECT_EQ(find_spec(file(many, "Conv")).spec.outputs,
              (std::vector<std::string>{"stage_10_output_1_heatmaps", "stage_10_output_0_pafs"}));
}

TEST_F(OpenPoseRecognition, ModelZoosFilesAreFedBytes) {
    for (const Dims& input : {kInput, Dims{1, 3, -1, -1}}) {
        Tensors outputs = kModelZoo;
        for (auto& [name, shape] : outputs) {
            if (input[2] < 0) shape = {1, shape[1], -1, -1};
        }
        const FoundSpec found = find_spec(file(outputs, "Mul", input));
        EXPECT_EQ(found.spec.outputs, (std::vector<std::string>{"Mconv7_stage2_L2", "Mconv7_stage2_L1"}));
        EXPECT_EQ(found.spec.mean[1], 0);
        EXPECT_EQ(found.spec.std[1], 1);
        EXPECT_EQ(found.spec.imgsz, input[2] < 0 ? (Size{256, 256}) : (Size{64, 96}));
    }
}

TEST_F(OpenPoseRecognition, WhatDoesNotSayHowItIsFedNeedsASpec) {
    const Tensors unnamed = {{"a", kHeatmaps}, {"b", kFields}};
    for (const std::string& message : {refusal(unnamed), refusal(kScript, "Mul"), refusal(kModelZoo, "Conv")}) {
        EXPECT_NE(message.find("how pictures are fed"), std::string::npos) << message;
        EXPECT_NE(message.find("--spec"), std::string::npos) << message;
    }
    // With one they are read, in whichever order they come.
    ModelSpec given = lightweight_spec(4, "own");
    given.imgsz = {64, 96};
    const std::string spec = given.to_json();
    for (const Tensors& outputs : {unnamed, Tensors(unnamed.rbegin(), unnamed.rend())})
        EXPECT_EQ(find_spec(file(outputs, "Conv"), spec).spec.family, "openpose");
}

TEST_F(OpenPoseRecognition, WhatOnlyLooksAlikeIsRefusedByItsName) {
    const std::string off = refusal({{"heatmaps", {1, 19, 16, 24}}, {"pafs", {1, 38, 16, 24}}});
    EXPECT_NE(off.find("grid of stride 8"), std::string::npos) << off;
    const std::string embedding =
        refusal({{"heatmaps", {1, 17, 16, 24}}, {"embeddings", {1, 17, 16, 24}}, {"nms_heatmaps", {1, 18, 16, 24}}});
    EXPECT_NE(embedding.find("associative embedding"), std::string::npos) << embedding;
    const std::string other = refusal({{"cmap", {1, 18, 16, 24}}, {"paf", {1, 42, 16, 24}}});
    EXPECT_NE(other.find("trt_pose"), std::string::npos) << other;
    const std::string space = refusal({{"features", {1, 57, 8, 12}}, {"heatmaps", kHeatmaps}, {"pafs", kFields}});
    EXPECT_NE(space.find("beside OpenPose's maps"), std::string::npos) << space;
}

TEST_F(OpenPoseRecognition, ASpecThatDoesNotFitIsRefused) {
    const std::string spec = lightweight_spec(4, "own").to_json();
    const auto message = [&](const Tensors& outputs) {
        try {
            find_spec(file(outputs, "Conv"), spec);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_NE(message({{"a", kHeatmaps}}).find("2 outputs, it has 1"), std::string::npos);
    EXPECT_NE(message({{"a", kHeatmaps}, {"b", {1, 36, 8, 12}}}).find("19 and 38 channels, its outputs 19 and 36"),
              std::string::npos);
    EXPECT_NE(message({{"a", kHeatmaps}, {"b", {1, 38, 96}}}).find("4 dimensions"), std::string::npos);
}

TEST(OpenPoseSpec, WrongFieldsAreNamed) {
    const std::string right = lightweight_spec(4, "own").to_json();
    const auto refusal = [&](const std::string& from, const std::string& to) {
        std::string json = right;
        const size_t at = json.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        json.replace(at, from.size(), to);
        try {
            ModelSpec::from_json(json, "net.json");
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("taken");
    };
    const std::pair<std::string, std::string> changes[] = {{R"("rule": "own")", R"("rule": "best")"},
                                                           {R"("form": "maps")", R"("form": "rows")"},
                                                           {R"("maps": 18)", R"("maps": 99)"},
                                                           {R"("enlarge": 4)", R"("enlarge": 3)"},
                                                           {R"("filling": 2)", R"("filling": 19)"},
                                                           {"[1, 2, 12]", "[1, 2]"},
                                                           {"[1, 2, 12]", "[1, 18, 12]"},
                                                           {"[1, 2, 12]", "[1, 1, 12]"},
                                                           {"[1, 2, 12]", "[1, 2, 37]"},
                                                           {"[2, 3, 14]", "[2, 5, 14]"},
                                                           {"[5, 17, 26]", "[5, 16, 26]"},
                                                           {"16, 17]", "16, 18]"},
                                                           {"16, 17]", "16]"},
                                                           {R"("strides": [8])", R"("strides": [8, 16])"},
                                                           {"[18, 3]", "[18, 2]"},
                                                           {R"(["person"])", R"(["person", "dog"])"}};
    for (const auto& [from, to] : changes) {
        const std::string message = refusal(from, to);
        EXPECT_NE(message.find("net.json: "), std::string::npos) << to << ": " << message;
    }
    EXPECT_NE(refusal("[2, 3, 14]", "[2, 5, 14]").find("ends in keypoint 5, which is in one before it"),
              std::string::npos);
}

}  // namespace
}  // namespace trtpose::test
