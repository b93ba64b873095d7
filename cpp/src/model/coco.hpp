// SPDX-License-Identifier: Apache-2.0
// COCO's keypoints; the only place where these numbers and names stand.
#pragma once

#include <string>
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

}  // namespace trtpose::coco
