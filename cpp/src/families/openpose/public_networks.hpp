// SPDX-License-Identifier: Apache-2.0
// What the public networks of Lightweight OpenPose (Osokin, 2018) share, the only place where these numbers stand; used
// for files that carry no model spec.
#pragma once

#include <array>
#include <vector>

namespace trtpose::openpose::lightweight {

/// Nose, neck, right shoulder, elbow, wrist, left the same, right hip, knee, ankle, left the same, right eye, left eye,
/// right ear, left ear.
inline constexpr int kMaps = 18, kStride = 8;

/// From, to, channel of the field's x. The last kFilling join ears and shoulders.
inline const std::vector<std::array<int, 3>> kLimbs = {
    {1, 2, 12},   {1, 5, 20},  {2, 3, 14},   {3, 4, 16},  {5, 6, 22},   {6, 7, 24}, {1, 8, 0},
    {8, 9, 2},    {9, 10, 4},  {1, 11, 6},   {11, 12, 8}, {12, 13, 10}, {1, 0, 28}, {0, 14, 30},
    {14, 16, 34}, {0, 15, 32}, {15, 17, 36}, {2, 16, 18}, {5, 17, 26},
};
inline constexpr int kFilling = 2;

/// The map of each of COCO's keypoints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, left before
/// right. Without the neck.
inline const std::vector<int> kCocoMaps = {0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10};

/// The height its demo scales pictures to, which is the least width too.
inline constexpr int kSide = 256;

}  // namespace trtpose::openpose::lightweight
