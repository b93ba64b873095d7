// SPDX-License-Identifier: Apache-2.0
// Specs and places that the tests of the family share.
#pragma once

#include "trtpose/model_spec.hpp"

namespace trtpose::test {

struct Cells {
    int height, width;
};

/// Lightweight OpenPose with all its keypoints, as its own programs read it.
inline ModelSpec lightweight_spec(int enlarge, const std::string& rule) {
    return ModelSpec::from_json(
        R"({"trtpose": 1, "family": "openpose", "name": "lightweight", "imgsz": [256, 256], "strides": [8],
            "names": ["person"], "kpt_shape": [18, 3], "form": "maps", "maps": 18, "filling": 2, "limbs": [[1, 2, 12],
            [1, 5, 20], [2, 3, 14], [3, 4, 16], [5, 6, 22], [6, 7, 24], [1, 8, 0], [8, 9, 2], [9, 10, 4], [1, 11, 6],
            [11, 12, 8], [12, 13, 10], [1, 0, 28], [0, 14, 30], [14, 16, 34], [0, 15, 32], [15, 17, 36], [2, 16, 18],
            [5, 17, 26]], "keypoint_maps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
            "enlarge": )" +
            std::to_string(enlarge) + R"(, "rule": ")" + rule + "\"}",
        "the test");
}

/// What a pose's sum times its count less one is at most: a one for each keypoint and each limb that counts.
inline double most_score(const ModelSpec& spec) { return (spec.keypoints + 17.0) * (spec.keypoints - 1.0); }

}  // namespace trtpose::test
