// SPDX-License-Identifier: Apache-2.0
// What public YOLO-Pose networks of COCO's keypoints share; the only place where these numbers stand. Used for files
// that carry no model spec.
#pragma once

#include <utility>
#include <vector>

namespace trtpose::coco {

inline constexpr int kKeypoints = 17;

/// OKS sigmas of COCO's keypoints (cocodataset.org, "Keypoint Evaluation"): nose, eyes, ears, shoulders, elbows,
/// wrists, hips, knees, ankles.
inline constexpr float kSigmas[kKeypoints] = {.026f, .025f, .025f, .035f, .035f, .079f, .079f, .072f, .072f,
                                              .062f, .062f, .107f, .107f, .087f, .087f, .089f, .089f};

/// Strides and anchors (width, height in pixels) of YOLO-Pose (Maji et al., 2022) and YOLOv7-w6-pose.
inline const std::vector<int> kStrides = {8, 16, 32, 64};
inline const std::vector<std::vector<std::pair<float, float>>> kAnchors = {
    {{19, 27}, {44, 40}, {38, 94}},
    {{96, 68}, {86, 152}, {180, 137}},
    {{140, 301}, {303, 264}, {238, 542}},
    {{436, 615}, {739, 380}, {925, 792}},
};

}  // namespace trtpose::coco
