// SPDX-License-Identifier: Apache-2.0
// Rows to candidates, and what NMS kept of them to poses: what both twins do with one row, and the twins.
#pragma once

#include <cstddef>
#include <cstdint>

#include "families/rows/layout.hpp"
#include "trtpose/math/box.hpp"
#include "trtpose/math/head.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::rows {

/// A network's outputs at one shape, and how they are read.
struct View {
    const void* boxes;      ///< N × rows × 5
    const void* keypoints;  ///< N × rows × K × 3
    DType dtype;            ///< of both: f32, or on CUDA also f16
    int count;              ///< images
    int rows;
    int keypoint_count;
    float conf;
};

/// Whether a row is somebody.
TRTPOSE_HD bool passes(const math::Box& box, float score, float conf) {
    return score > conf && math::is_finite(score) && math::is_finite(box.x1) && math::is_finite(box.y1) &&
           math::is_finite(box.x2) && math::is_finite(box.y2);
}

/// A keypoint that is not finite is not there.
TRTPOSE_HD void keep_finite(float* point) {
    if (math::is_finite(point[0]) && math::is_finite(point[1]) && math::is_finite(point[2])) return;
    point[0] = point[1] = point[2] = 0.0f;
}

TRTPOSE_HD float cut(float x, float most) { return x < 0.0f ? 0.0f : most < x ? most : x; }

/// Input pixels to pixels of the frame.
struct WayBack {
    float sx, sy, left, top, right, bottom;

    TRTPOSE_HD explicit WayBack(const math::Letterbox& place)
        : sx(place.scale_x()),
          sy(place.scale_y()),
          left(static_cast<float>(place.left)),
          top(static_cast<float>(place.top)),
          right(static_cast<float>(place.src_width)),
          bottom(static_cast<float>(place.src_height)) {}

    TRTPOSE_HD void box(const float* from, float* to) const {
        to[0] = cut((from[0] - left) * sx, right);
        to[1] = cut((from[1] - top) * sy, bottom);
        to[2] = cut((from[2] - left) * sx, right);
        to[3] = cut((from[3] - top) * sy, bottom);
    }
    /// "Not there", three zeros, stays where it is.
    TRTPOSE_HD void point(float* point) const {
        if (point[0] == 0.0f && point[1] == 0.0f && point[2] == 0.0f) return;
        point[0] = (point[0] - left) * sx;
        point[1] = (point[1] - top) * sy;
    }
};

/// All rows above the confidence, in any order.
void candidates_cpu(const View& view, const ops::Candidates& out, ThreadPool* threads);
/// Keypoints of all candidates, N × capacity × K × 3 in input pixels; OKS alone needs them.
void keypoints_cpu(const View& view, const ops::Candidates& candidates, float* keypoints, ThreadPool* threads);
void poses_cpu(const View& view, const ops::Candidates& candidates, const ops::Detections& kept,
               const math::Letterbox* placements, const ops::PoseArrays& out, ThreadPool* threads);

/// The same on the GPU: one launch each, the counts read there.
void candidates_cuda(const View& view, const ops::Candidates& out, void* stream);
void keypoints_cuda(const View& view, const ops::Candidates& candidates, float* keypoints, void* stream);
void poses_cuda(const View& view, const ops::Candidates& candidates, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream);

}  // namespace trtpose::rows
