// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "support/model_files.hpp"

namespace trtpose::test {
namespace {

class FindSpecTest : public WithModelFiles {};

TEST_F(FindSpecTest, OwnMetadataComesBeforeANeighbour) {
    folder_.write("net.json", "{");
    const FoundSpec found = find(head_model());
    EXPECT_EQ(found.origin, "metadata of trtpose");
    EXPECT_EQ(found.spec.layout, Layout::heads);
    EXPECT_EQ(found.spec.name, "net");
}

TEST_F(FindSpecTest, WhatTheCallerGivesComesFirst) {
    const std::string json = R"({"layout": "heads", "name": "given", "imgsz": [64, 64], "strides": [8, 16],
        "names": ["a"], "anchors": [[[4, 5]], [[1, 2]]], "kpt_shape": [3, 2]})";
    EXPECT_EQ(find(head_model(), json).origin, "the caller");
    EXPECT_EQ(find(head_model(), json).spec.keypoints, 3);
    const std::string path = folder_.write("mine.json", json);
    EXPECT_EQ(find(head_model(), path).origin, "file " + path);
    TRTPOSE_EXPECT_ERROR(find(head_model(), folder_ / "missing.json"), ErrorCode::model, "missing.json");
    TRTPOSE_EXPECT_ERROR(find(head_model(), folder_ / ""), ErrorCode::model, "cannot read the model spec");
}

TEST_F(FindSpecTest, ANeighbourIsFoundByItself) {
    OnnxModel model = head_model();
    const std::string json = model.metadata[0].second;
    model.metadata.clear();
    const std::string path = folder_.write("net.json", json);
    EXPECT_EQ(find(model).origin, "file " + path);
    folder_.write("net.json", "not json");
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "net.json");
}

TEST_F(FindSpecTest, ANeighbourThatCannotBeReadIsNotPassedOver) {
    OnnxModel model = head_model();
    model.metadata.clear();
    const std::string path = folder_ / "net.json";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model,
                         "net.json: cannot read the model spec beside the model, it is not a regular file but a pipe; "
                         "write its content into one, or put a file of JSON there, take it away, or name");
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "beside the model, it is not a regular file but a folder; put");
    std::filesystem::remove(path);
    std::filesystem::create_symlink("nowhere", path);
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model,
                         "net.json: cannot read the model spec beside the model (No such");
    // It is not looked at where the model has its own.
    EXPECT_EQ(find(head_model()).origin, "metadata of trtpose");
}

TEST_F(FindSpecTest, TheTimeGrowsAsTheOutputsDo) {
    const auto seconds = [&](int count) {
        OnnxModel model;
        std::string strides, anchors, names;
        for (int i = 0; i < count; ++i) {
            const std::string name = "o" + std::to_string(i), comma = i ? ", " : "";
            model.outputs.push_back({name, {1, 12, 8, 8}});
            strides += comma + "8";
            anchors += comma + "[[4, 5]]";
            names += comma + '"' + name + '"';
        }
        model.metadata = {{"trtpose", R"({"layout": "heads", "imgsz": [64, 64], "names": ["a"], "kpt_shape": [2, 3],
            "strides": [)" + strides + R"(], "anchors": [)" +
                                          anchors + R"(], "outputs": [)" + names + "]}"}};
        const ModelFile file = read(model.text());
        const std::clock_t begin = std::clock();
        EXPECT_EQ(find_spec(file).spec.outputs.size(), static_cast<size_t>(count));
        return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    };
    // 16 times as many: 16 times as long, and 256 where each looks through all.
    double few = seconds(2500);
    for (int again = 0; again < 4; ++again) few = std::min(few, seconds(2500));
    EXPECT_LT(seconds(40000), 64 * few);
}

TEST_F(FindSpecTest, ASpecThatDoesNotFitIsRefused) {
    OnnxModel model = head_model();
    model.outputs[1].first = "other";
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "no output 'p4'");
    model = head_model();
    model.inputs[0].second = {1, 3, 72, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "largest stride 16");
    model.inputs[0].second = {1, 1, 64, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "expected N×3×H×W");
    model.inputs[0].second = {3, 64, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "expected N×3×H×W");
    model = head_model();
    model.inputs.push_back({"more", {1}});
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "2 inputs");
    model = head_model();
    model.outputs[0].second = {1, 300, 57};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "layout heads needs outputs of 4 dimensions, 'p3' is 1×300×57");
    const std::string final_rows = R"({"layout": "final", "imgsz": [64, 64], "strides": [32], "names": ["a"],
        "kpt_shape": [17, 3]})";
    for (const int64_t rows : {3, -1}) {
        model.outputs = {{"detections", {rows, 57}}};
        TRTPOSE_EXPECT_ERROR(find(model, final_rows), ErrorCode::model, "export the network without its own NMS");
    }
    model = head_model();
    const std::string three = R"({"layout": "heads", "imgsz": [64, 64], "strides": [8, 16, 32], "names": ["a"],
        "anchors": [[[4, 5]], [[1, 2]], [[1, 2]]], "kpt_shape": [17, 3]})";
    TRTPOSE_EXPECT_ERROR(find(head_model(), three), ErrorCode::model, "needs 3 outputs");
    model = head_model();
    model.outputs = {{"num_dets", {1, 1}},
                     {"boxes", {1, 300, 4}},
                     {"scores", {1, 300}},
                     {"classes", {1, 300}},
                     {"keypoints", {1, 300, 17, 3}}};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "decode and NMS are inside of it");
}

/// A description of its own does not change what trtpose can feed.
TEST_F(FindSpecTest, ASizeOtherThanTheInputsIsRefused) {
    OnnxModel model;
    model.outputs = {{"rows", {1, 5, 12}}};
    const auto with = [&](int64_t height, int64_t width, const std::string& imgsz) {
        model.inputs = {{"images", {1, 3, height, width}}};
        const ModelFile file = read(model.text());
        return find_spec(file, R"({"layout": "final", "imgsz": )" + imgsz +
                                   R"(, "strides": [32], "names": ["a"], "kpt_shape": [2, 3]})")
            .spec.imgsz;
    };
    EXPECT_EQ(with(64, 96, "[64, 96]"), (Size{64, 96}));
    EXPECT_EQ(with(-1, -1, "[64, 96]"), (Size{64, 96}));
    EXPECT_EQ(with(64, -1, "[64, 96]"), (Size{64, 96}));
    TRTPOSE_EXPECT_ERROR(with(64, 96, "[96, 64]"), ErrorCode::model,
                         "its input is 1×3×64×96, and the model spec's imgsz is [96, 64], [height, width]");
    TRTPOSE_EXPECT_ERROR(with(-1, 96, "[64, 64]"), ErrorCode::model,
                         "imgsz is [64, 64], [height, width]: write [64, 96] there; the model spec does not fit");
    // Within the file it was right once: another tool has fixed the size since.
    model.metadata = {{"trtpose", R"({"layout": "final", "imgsz": [64, 64], "strides": [32], "names": ["a"],
        "kpt_shape": [2, 3]})"}};
    model.inputs = {{"images", {1, 3, -1, 96}}};
    EXPECT_EQ(find_spec(read(model.text())).spec.imgsz, (Size{64, 96}));
}

TEST_F(FindSpecTest, AnInputThatCannotBeFedIsNamed) {
    const auto refused = [&](const Dims& input, const char* why, int64_t type = 1) {
        for (const bool described : {true, false}) {
            OnnxModel model = head_model();
            if (!described) model.metadata = ultralytics();
            model.inputs[0] = {"picture", input};
            model.input_type = type;
            TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, why);
        }
    };
    refused({1, 64, 64, 3}, "its input 'picture' is 1×64×64×3, channels last (NHWC)");
    refused({1, 64, 64, 1}, "channels last");
    refused({-1, -1, -1, 3}, "is ?×?×?×3, channels last (NHWC)");
    refused({1, 1, 64, 64}, "one channel (grey)");
    refused({1, 6, 64, 64}, "three colours");
    refused({1, 4, 64, 64}, "three colours");
    refused({1, 3, 64, 64}, "is of type uint8", 2);
    refused({1, 3, 64, 64}, "is of type int32", 6);
    refused({1, 3, 64, 64}, "is of type int64", 7);
    refused({1, 3, 64, 64}, "export the network with a float32 input", 11);
}

TEST_F(FindSpecTest, ArithmeticOnThePictureNeedsASpec) {
    const auto node = [](const char* from, const char* to, const char* kind) {
        return Proto().bytes(1, from).bytes(2, to).bytes(4, kind);
    };
    const auto model = [&](std::vector<Proto> nodes) {
        OnnxModel out;
        out.outputs = {{"output0", {1, 56, 84}}};
        out.nodes = std::move(nodes);
        return out;
    };
    for (const char* kind : {"Div", "Mul", "Sub", "Add"}) {
        for (const auto& nodes :
             {std::vector{node("images", "a", kind)}, std::vector{node("images", "c", "Cast"), node("c", "a", kind)}}) {
            TRTPOSE_EXPECT_ERROR(find(model(nodes)), ErrorCode::model, "begins with arithmetic on the picture");
            const std::string spec = R"({"layout": "channels_first", "imgsz": [64, 64], "strides": [8, 16, 32],
                "names": ["a"], "kpt_shape": [17, 3], "std": [1, 1, 1]})";
            EXPECT_EQ(find(model(nodes), spec).spec.std[0], 1);
        }
    }
    // Behind the first layer, or beside the picture, it says nothing.
    EXPECT_EQ(find(model({node("images", "a", "Conv"), node("a", "b", "Mul")})).spec.keypoints, 17);
    EXPECT_EQ(find(model({node("w", "a", "Mul"), node("images", "b", "Cast"), node("b", "c", "Conv")})).spec.keypoints,
              17);
}

}  // namespace
}  // namespace trtpose::test
