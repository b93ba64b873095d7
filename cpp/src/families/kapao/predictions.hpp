// SPDX-License-Identifier: Apache-2.0
// What both twins read of a network's outputs, and their formulas.
#pragma once

#include "trtpose/math/box.hpp"
#include "trtpose/math/head.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose::kapao {

/// All outputs of a network for one batch. Of lists that are not decoded, each level is the part of the list that
/// belongs to a stride.
struct Predictions {
    ops::HeadLevel level[ops::HeadView::kMaxLevels];
    int levels = 0;
    int batch = 0;
    int keypoints = 0;      ///< K
    int total_anchors = 0;  ///< of an image
    DType dtype = DType::f32;
    bool logits = false;  ///< before the sigmoid
    bool boxes_decoded = false, keypoints_decoded = false;
};

// Places of an anchor's fields: x, y, width, height, objectness, K + 1 classes, K pairs of coordinates.
inline constexpr int kObjectness = 4;
inline constexpr int kClasses = 5;
TRTPOSE_HD int coordinates_of(int keypoints) { return kClasses + 1 + keypoints; }

/// A class's boxes are compared this far away from those of the class before: the reference's way of telling classes
/// apart, whose rounding decides overlaps near the threshold.
inline constexpr float kClassOffset = 4096.0f;

/// A number of a network's output as float.
template <typename T>
struct Stored {
    TRTPOSE_HD static float number(T x) { return x; }
};

/// One anchor of one image.
template <typename T>
struct Row {
    const T* data;
    int64_t field_step;
    float column, row;  ///< of the cell
    float stride, anchor_width, anchor_height;
    bool logits;

    TRTPOSE_HD float operator()(int field) const {
        const float value = Stored<T>::number(data[field * field_step]);
        return logits ? math::sigmoid(value) : value;
    }
};

template <typename T = float>
TRTPOSE_HD Row<T> read_row(const Predictions& all, const ops::HeadLevel& level, int image, int anchor, int cell) {
    return {static_cast<const T*>(level.data) + image * level.image_step + anchor * level.anchor_step +
                cell * level.cell_step,
            level.field_step,
            static_cast<float>(cell % level.width),
            static_cast<float>(cell / level.width),
            level.stride,
            level.anchor_width[anchor],
            level.anchor_height[anchor],
            all.logits};
}

/// The anchor with this running number.
template <typename T = float>
TRTPOSE_HD Row<T> read_row(const Predictions& all, int image, int number) {
    int l = 0;
    while (l + 1 < all.levels && number >= all.level[l + 1].first_anchor) ++l;
    const ops::HeadLevel& level = all.level[l];
    const int cells = level.height * level.width;
    const int local = number - level.first_anchor;
    return read_row<T>(all, level, image, local / cells, local % cells);
}

struct Scored {
    float score;
    int class_id;
};

/// The largest product of objectness and class, of the first class on a tie. NaN never wins.
template <typename T>
TRTPOSE_HD Scored read_score(const Row<T>& row, float objectness, int keypoints) {
    Scored best{-1.0f, 0};
    for (int c = 0; c <= keypoints; ++c) {
        const float score = row(kClasses + c) * objectness;
        if (score > best.score) best = {score, c};
    }
    return best;
}

/// Corners in input pixels.
template <typename T>
TRTPOSE_HD math::Box read_box(const Predictions& all, const Row<T>& row) {
    float x = row(0), y = row(1), w = row(2), h = row(3);
    if (!all.boxes_decoded) {
        x = (2.0f * x - 0.5f + row.column) * row.stride;
        y = (2.0f * y - 0.5f + row.row) * row.stride;
        w = 4.0f * w * w * row.anchor_width;
        h = 4.0f * h * h * row.anchor_height;
    }
    return {x - w / 2, y - h / 2, x + w / 2, y + h / 2};
}

TRTPOSE_HD bool is_finite(const math::Box& b) {
    return math::is_finite(b.x1) && math::is_finite(b.y1) && math::is_finite(b.x2) && math::is_finite(b.y2);
}

/// As it is compared with others.
TRTPOSE_HD math::Box shifted(const math::Box& b, int class_id) {
    const float by = static_cast<float>(class_id) * kClassOffset;
    return {b.x1 + by, b.y1 + by, b.x2 + by, b.y2 + by};
}

struct Point {
    float x, y;
};

TRTPOSE_HD bool is_finite(const Point& p) { return math::is_finite(p.x) && math::is_finite(p.y); }

/// Keypoint k in input pixels.
template <typename T>
TRTPOSE_HD Point read_keypoint(const Predictions& all, const Row<T>& row, int k) {
    const int field = coordinates_of(all.keypoints) + 2 * k;
    Point p{row(field), row(field + 1)};
    if (!all.keypoints_decoded) {
        p.x = (4.0f * p.x - 2.0f) * row.anchor_width + row.column * row.stride;
        p.y = (4.0f * p.y - 2.0f) * row.anchor_height + row.row * row.stride;
    }
    return p;
}

/// The way back to the frame as the reference goes it: by the sizes alone, without the letterbox's rounding.
struct WayBack {
    float left, top, gain;
    float width, height;  ///< of the frame

    TRTPOSE_HD explicit WayBack(const math::Letterbox& place) {
        const double by_height = static_cast<double>(place.dst_height) / place.src_height;
        const double by_width = static_cast<double>(place.dst_width) / place.src_width;
        const double scale = by_height < by_width ? by_height : by_width;
        left = static_cast<float>((place.dst_width - place.src_width * scale) / 2);
        top = static_cast<float>((place.dst_height - place.src_height * scale) / 2);
        gain = static_cast<float>(scale);
        width = static_cast<float>(place.src_width);
        height = static_cast<float>(place.src_height);
    }

    TRTPOSE_HD float x(float v) const { return (v - left) / gain; }
    TRTPOSE_HD float y(float v) const { return (v - top) / gain; }
    TRTPOSE_HD static float cut(float v, float most) { return v < 0.0f ? 0.0f : most < v ? most : v; }

    /// In the frame and clipped to it.
    TRTPOSE_HD math::Box box(const math::Box& b) const {
        return {cut(x(b.x1), width), cut(y(b.y1), height), cut(x(b.x2), width), cut(y(b.y2), height)};
    }
    /// The reference clips the first four numbers of a row: of a pose two keypoints.
    TRTPOSE_HD Point keypoint(Point p, int k) const {
        constexpr int kClipped = 2;
        p = {x(p.x), y(p.y)};
        return k < kClipped ? Point{cut(p.x, width), cut(p.y, height)} : p;
    }
};

/// What the fusion goes by.
struct Fusion {
    float person_conf;  ///< people above it get keypoint objects
    double tolerance;   ///< frame pixels
    bool on, round_boxes, zero_unreplaced;
};

/// Keypoints of an image's people while they are fused: N × K × P each.
struct Points {
    float *x, *y;
    float* confidence;  ///< 0: not replaced yet; kMissing: no number, which nothing replaces
    int people = 0;     ///< P
};
inline constexpr float kMissing = -1.0f;

/// Distance in frame pixels, where it is below `limit`; else `limit`. What is farther on one axis is not computed: a
/// difference of floats is rounded by less than 2^-23 of itself.
TRTPOSE_HD double distance_below(double limit, float reach, float ax, float ay, float bx, float by) {
    const float rough_x = ax - bx, rough_y = ay - by;
    if (rough_x > reach || rough_x < -reach || rough_y > reach || rough_y < -reach) return limit;
    const double dx = static_cast<double>(ax) - static_cast<double>(bx);
    const double dy = static_cast<double>(ay) - static_cast<double>(by);
    const double distance = sqrt(dx * dx + dy * dy);
    return distance < limit ? distance : limit;
}

/// A rough difference beyond it is beyond `tolerance` for sure.
TRTPOSE_HD float reach_of(double tolerance) { return static_cast<float>(tolerance * (1 + 1e-6) + 1e-30); }

/// Confidence of a keypoint of a person of this score.
TRTPOSE_HD float confidence_of(float fused, float score, bool zero_unreplaced) {
    if (fused > 0.0f) return fused;
    if (fused < 0.0f || zero_unreplaced) return 0.0f;
    return (1.0f + score) / 2.0f;
}

}  // namespace trtpose::kapao
