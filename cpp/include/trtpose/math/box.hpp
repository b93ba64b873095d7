// SPDX-License-Identifier: Apache-2.0
// Overlap of boxes and likeness of poses.
#pragma once

#include "trtpose/math/head.hpp"
#include "trtpose/math/host_device.hpp"

namespace trtpose::math {

/// Corners in pixels.
struct Box {
    float x1, y1, x2, y2;
};

TRTPOSE_HD float area(const Box& b) { return (b.x2 - b.x1) * (b.y2 - b.y1); }

TRTPOSE_HD float min_of(float a, float b) { return a < b ? a : b; }
TRTPOSE_HD float max_of(float a, float b) { return a > b ? a : b; }

/// Intersection over union. 0/0 gives NaN, which no threshold is below: an empty box suppresses nothing.
TRTPOSE_HD float iou(const Box& a, float area_a, const Box& b, float area_b) {
    const float w = max_of(min_of(a.x2, b.x2) - max_of(a.x1, b.x1), 0.0f);
    const float h = max_of(min_of(a.y2, b.y2) - max_of(a.y1, b.y1), 0.0f);
    const float inter = w * h;
    return inter / (area_a + area_b - inter);
}

/// Object keypoint similarity of two predicted poses, as COCO defines it (cocodataset.org, "Keypoint Evaluation"): mean
/// over the keypoints of exp(-d² / (2·s²·k²)), k = 2σ, s² the area of the better pose's box. `a` and `b` hold `count`
/// keypoints of `step` floats beginning with x, y.
TRTPOSE_HD float oks(const float* a, const float* b, int count, int step, const float* sigmas, float scale_area) {
    float sum = 0.0f;
    for (int k = 0; k < count; ++k) {
        const float dx = a[k * step] - b[k * step];
        const float dy = a[k * step + 1] - b[k * step + 1];
        const float var = 2.0f * sigmas[k] * 2.0f * sigmas[k];
        sum += exp_fast(-(dx * dx + dy * dy) / (2.0f * (scale_area + 1e-9f) * var));
    }
    return sum / static_cast<float>(count);
}

}  // namespace trtpose::math
