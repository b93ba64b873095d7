// SPDX-License-Identifier: Apache-2.0
// What public YOLO-Pose networks of COCO's keypoints share; the only place where these numbers stand. Used for files
// that carry no model spec.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trtpose::coco {

inline constexpr int kKeypoints = 17;

/// OKS sigmas of COCO's keypoints (cocodataset.org, "Keypoint Evaluation"): nose, eyes, ears, shoulders, elbows,
/// wrists, hips, knees, ankles.
inline constexpr float kSigmas[kKeypoints] = {.026f, .025f, .025f, .035f, .035f, .079f, .079f, .072f, .072f,
                                              .062f, .062f, .107f, .107f, .087f, .087f, .089f, .089f};

/// COCO's names of them, in its order.
inline const std::vector<std::string> kKeypointNames = {
    "nose",           "left_eye",   "right_eye",   "left_ear",   "right_ear",   "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
    "right_hip",      "left_knee",  "right_knee",  "left_ankle", "right_ankle"};

/// What classes are called whose keypoints, as many as COCO's and not named otherwise, are taken for COCO's.
inline const std::vector<std::string> kPersons = {"person", "persons", "people", "human", "pedestrian"};

/// Strides and anchors (width, height in pixels) of YOLO-Pose (Maji et al., 2022) and YOLOv7-w6-pose.
inline const std::vector<int> kStrides = {8, 16, 32, 64};
inline const std::vector<std::vector<std::pair<float, float>>> kAnchors = {
    {{19, 27}, {44, 40}, {38, 94}},
    {{96, 68}, {86, 152}, {180, 137}},
    {{140, 301}, {303, 264}, {238, 542}},
    {{436, 615}, {739, 380}, {925, 792}},
};

}  // namespace trtpose::coco
