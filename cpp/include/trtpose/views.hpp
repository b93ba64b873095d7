// SPDX-License-Identifier: Apache-2.0
// What the operations and their kernels pass each other: plain structures of pointers and sizes, owning nothing.
#pragma once

#include <cstdint>

#include "trtpose/model_spec.hpp"
#include "trtpose/options.hpp"

namespace trtpose::ops {

/// The anchors of a batch that passed the confidence threshold, in no particular order. Image n's part of each array
/// begins at n·capacity.
struct Candidates {
    int32_t* counts = nullptr;   ///< N: how many passed; more than `capacity` means that the rest was left out
    float* boxes = nullptr;      ///< N × capacity × 4: x1, y1, x2, y2 in input pixels
    float* scores = nullptr;     ///< N × capacity
    int32_t* classes = nullptr;  ///< N × capacity
    int32_t* anchors = nullptr;  ///< N × capacity: which anchor, counted stride by stride, anchor by anchor, row by row
    int capacity = 0;
};

/// The poses NMS kept. Image n's part of each array begins at n·max_det.
struct Detections {
    int32_t* counts = nullptr;   ///< N
    int32_t* indices = nullptr;  ///< N × max_det: positions in the image's candidates, best score first
    int max_det = 0;
};

/// Final results. Image n's part of each array begins at n·max_det; beyond the image's count they are unspecified.
struct PoseArrays {
    float* boxes = nullptr;        ///< N × max_det × 4, frame pixels, clipped to the frame
    float* scores = nullptr;       ///< N × max_det
    int32_t* class_ids = nullptr;  ///< N × max_det
    float* keypoints = nullptr;    ///< N × max_det × K × 3, frame pixels
};

/// How the numbers of one level are reached: value(n, a, f, cell) = data[n·image + a·anchor + f·field + cell·cell].
struct HeadLevel {
    const void* data = nullptr;                                              ///< of HeadView::dtype
    int64_t image_step = 0, anchor_step = 0, field_step = 0, cell_step = 0;  ///< in elements
    int anchors = 1;
    int height = 1, width = 0;  ///< cells
    int first_anchor = 0;       ///< running number of the level's first anchor
    float stride = 1;
    static constexpr int kMaxAnchors = 8;
    float anchor_width[kMaxAnchors] = {}, anchor_height[kMaxAnchors] = {};
};

/// All outputs of a network for one batch, whatever the layout.
struct HeadView {
    static constexpr int kMaxLevels = 8;
    Layout layout = Layout::heads;
    DType dtype = DType::f32;  ///< of all levels: f32, or on CUDA also f16
    int batch = 0;
    int levels = 0;
    int classes = 0;
    int keypoints = 0;
    int keypoint_dims = 3;
    int class_field = 0;     ///< first class score (for final: the score)
    int keypoint_field = 0;  ///< first keypoint number
    int total_anchors = 0;   ///< per image
    HeadLevel level[kMaxLevels];
};

/// What makes two candidates the same person.
enum class Similarity : uint8_t { iou, oks };

struct NmsParams {
    float threshold = 0.65f;  ///< suppressed where the similarity is strictly above
    int max_nms = 30000;      ///< best candidates considered
    int max_det = 300;        ///< kept at most
    bool agnostic = false;    ///< suppress across classes
    bool suppress = true;     ///< false: only sort and cut, for networks that did it themselves
    Similarity similarity = Similarity::iou;

    /// What thresholds say of them.
    void set(const Thresholds& t) {
        threshold = t.iou;
        max_det = t.max_det;
        agnostic = t.agnostic;
        similarity = t.oks ? Similarity::oks : Similarity::iou;
    }
};

}  // namespace trtpose::ops
