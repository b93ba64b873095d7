// SPDX-License-Identifier: Apache-2.0
// Reads single values out of a HeadView; shared by the CPU and the CUDA kernels.
#pragma once

#include "trtpose/math/box.hpp"
#include "trtpose/math/head.hpp"
#include "trtpose/views.hpp"

namespace trtpose::kernels {

// Places of the fields every layout begins with.
enum Field { kX = 0, kY = 1, kWidth = 2, kHeight = 3, kObjectness = 4 };

TRTPOSE_HD float to_float(float x) { return x; }

/// One anchor of one image: where its fields begin and which cell it belongs to. T is the type of the network's
/// outputs.
template <typename T>
struct AnchorReader {
    const T* data;
    int64_t field_step;
    float column, row;  ///< of the cell
    float stride, anchor_width, anchor_height;

    TRTPOSE_HD float operator()(int field) const { return to_float(data[field * field_step]); }
};

template <typename T = float>
TRTPOSE_HD AnchorReader<T> read_anchor(const ops::HeadLevel& level, int image, int anchor, int cell) {
    return {static_cast<const T*>(level.data) + image * level.image_step + anchor * level.anchor_step +
                cell * level.cell_step,
            level.field_step,
            static_cast<float>(cell % level.width),
            static_cast<float>(cell / level.width),
            level.stride,
            level.anchor_width[anchor],
            level.anchor_height[anchor]};
}

/// The anchor with this running number.
template <typename T = float>
TRTPOSE_HD AnchorReader<T> read_anchor(const ops::HeadView& heads, int image, int number) {
    int l = 0;
    while (l + 1 < heads.levels && number >= heads.level[l + 1].first_anchor) ++l;
    const ops::HeadLevel& level = heads.level[l];
    const int cells = level.height * level.width;
    const int local = number - level.first_anchor;
    return read_anchor<T>(level, image, local / cells, local % cells);
}

TRTPOSE_HD bool is_raw(const ops::HeadView& heads) {
    return heads.layout == Layout::heads || heads.layout == Layout::heads5d;
}

TRTPOSE_HD bool has_objectness(const ops::HeadView& heads) { return is_raw(heads) || heads.layout == Layout::decoded; }

/// The raw number below which no objectness can pass (no score, without one), with room for the rounding of sigmoid.
inline float gate_of(const ops::HeadView& heads, float conf) { return is_raw(heads) ? math::logit_below(conf) : conf; }

/// Corners in input pixels.
template <typename T>
TRTPOSE_HD math::Box read_box(const ops::HeadView& heads, const AnchorReader<T>& a) {
    if (heads.layout == Layout::final) return {a(0), a(1), a(2), a(3)};
    float cx = a(kX), cy = a(kY), w = a(kWidth), h = a(kHeight);
    if (is_raw(heads)) {
        cx = math::head_center(cx, a.column, a.stride);
        cy = math::head_center(cy, a.row, a.stride);
        w = math::head_side(w, a.anchor_width);
        h = math::head_side(h, a.anchor_height);
    }
    return {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2};
}

/// Score and class of an anchor: objectness × best class, the lower class on a tie. NaN never wins.
struct Scored {
    float score;
    int class_id;
};

/// From here on a number is no class but damage.
inline constexpr float kNoClass = 65536.0f;

template <typename T>
TRTPOSE_HD Scored read_score(const ops::HeadView& heads, const AnchorReader<T>& a) {
    if (heads.layout == Layout::final) {
        const float id = a(heads.class_field + 1);
        // One that the spec has no name for is kept: it is for the caller to say so, not to be nobody.
        return {a(heads.class_field), id >= 0 && id < kNoClass ? static_cast<int>(id) : -1};
    }
    Scored best{-1.0f, 0};
    for (int c = 0; c < heads.classes; ++c) {
        const float raw = a(heads.class_field + c);
        const float score = is_raw(heads) ? math::sigmoid(raw) : raw;
        if (score > best.score) best = {score, c};
    }
    if (has_objectness(heads)) {
        const float raw = a(kObjectness);
        best.score *= is_raw(heads) ? math::sigmoid(raw) : raw;
    }
    return best;
}

/// Keypoint k in input pixels to out[0..2]; all zero ("not there") if a number is not finite.
template <typename T>
TRTPOSE_HD void read_keypoint(const ops::HeadView& heads, const AnchorReader<T>& a, int k, float* out) {
    const int field = heads.keypoint_field + k * heads.keypoint_dims;
    float x = a(field), y = a(field + 1), confidence = heads.keypoint_dims == 3 ? a(field + 2) : 1.0f;
    if (is_raw(heads)) {
        x = math::head_keypoint(x, a.column, a.stride);
        y = math::head_keypoint(y, a.row, a.stride);
        if (heads.keypoint_dims == 3) confidence = math::sigmoid(confidence);
    }
    const bool ok = math::is_finite(x) && math::is_finite(y) && math::is_finite(confidence);
    out[0] = ok ? x : 0.0f;
    out[1] = ok ? y : 0.0f;
    out[2] = ok ? confidence : 0.0f;
}

}  // namespace trtpose::kernels
