// SPDX-License-Identifier: Apache-2.0
// Lists of one picture's detections, which exporters that put an NMS of their own into the graph leave without a batch.
#pragma once

#include <string>

#include "core/check.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::anchor_grid {

inline constexpr const char* kExportWithoutNms =
    "export the network without its own NMS (leave --export-nms out); trtpose does decode and NMS behind the network";

/// P × (x1, y1, x2, y2, score, class, keypoints). One row is rather a batch of one answer of another kind.
inline bool are_detections(const TensorInfo& output) {
    constexpr int64_t kBeforeKeypoints = 6;
    if (output.shape.size() != 2 || output.shape[0] == 1) return false;
    const int64_t numbers = output.shape[1] - kBeforeKeypoints;
    return numbers >= 2 && (numbers % 3 == 0 || numbers % 2 == 0);
}

inline std::string detections_text(const TensorInfo& output) {
    return "its output '" + output.name + "' is " + shape_text(output.shape) +
           ", the detections of an NMS inside the network, without a batch";
}

}  // namespace trtpose::anchor_grid
