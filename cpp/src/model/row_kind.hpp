// SPDX-License-Identifier: Apache-2.0
// Rows of 6 + 3K numbers are written by two families: YOLO-Pose's with one class and K keypoints of three numbers,
// KAPAO's (McNally et al., 2022) with K + 1 classes and K keypoints of two. Nothing in a file tells them apart; one run
// of the network does.
#pragma once

#include <string>

#include "trtpose/model_spec.hpp"

namespace trtpose {

enum class RowKind : uint8_t {
    yolo_pose,
    kapao,            ///< boxes and keypoints in pixels
    kapao_undecoded,  ///< keypoints behind the sigmoid alone
    kapao_sigmoid,    ///< everything behind the sigmoid alone
    undecided,        ///< it was run and does not tell
    not_run
};

struct RowVerdict {
    RowKind kind;
    std::string problem;  ///< why it was not run
};

/// What the first output of a network holds, for one picture of `size`.
RowVerdict kind_of_rows(int keypoints, Size size, NetworkProbe* probe);

}  // namespace trtpose
