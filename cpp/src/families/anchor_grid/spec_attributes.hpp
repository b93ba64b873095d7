// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trtpose/model_spec.hpp"

namespace trtpose::anchor_grid {

/// What is read of a spec, as the plugin's nodes said it before one attribute held all of it; docs/plugin.md.
struct SpecAttributes {
    std::string layout = to_string(Layout::heads);
    std::vector<int32_t> strides;
    std::vector<float> anchors;  ///< stride by stride, anchor by anchor: width, height
    int32_t num_classes = 1;
    int32_t num_keypoints = 0;
    int32_t keypoint_dims = 3;
    std::vector<int32_t> imgsz;  ///< height, width; for layouts without a grid
    std::vector<float> sigmas;

    static SpecAttributes of(const ModelSpec& spec);

    /// Throws Error(input) beginning with `who` and naming the attribute that is wrong.
    ModelSpec spec(const std::string& who) const;
};

}  // namespace trtpose::anchor_grid
