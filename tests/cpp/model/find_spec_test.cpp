// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace trtpose::test
