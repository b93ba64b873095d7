// SPDX-License-Identifier: Apache-2.0
// What public YOLO-Pose networks of COCO's keypoints share; the only place where these numbers stand. Used for files
// that carry no model spec.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/coco.hpp"

namespace trtpose::coco {

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
