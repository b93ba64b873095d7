// SPDX-License-Identifier: Apache-2.0
// How well a field joins two keypoints, and which pairs are taken.
#pragma once

#include <cmath>

#include "families/openpose/peaks.hpp"

namespace trtpose::openpose {

/// Points looked at between two keypoints, both ends included, and how many of them must go the limb's way.
inline constexpr int kPoints = 10, kEnough = 9;
inline constexpr float kLeastAlong = 0.05f;
inline constexpr float kTiny = 1e-6f;
/// The score of what is no limb.
inline constexpr float kNoLimb = -1.0f;

/// The straight line from `a` to `b`, at whose points fields are looked at.
struct Line {
    float x, y, step_x, step_y;  ///< enlarged pixels
    float ux, uy;                ///< its direction, of length 1

    TRTPOSE_HD Line(const Peak& a, const Peak& b) : x(a.x), y(a.y) {
        const float vx = b.x - a.x, vy = b.y - a.y;
        const float length = sqrtf(vx * vx + vy * vy) + kTiny;
        ux = vx / length;
        uy = vy / length;
        step_x = (1.0f / (kPoints - 1)) * vx;
        step_y = (1.0f / (kPoints - 1)) * vy;
    }
    /// Point i along one axis, of so many pixels.
    TRTPOSE_HD static int nearest(float first, int i, float step, int count) {
        return clamp_to(static_cast<int>(rintf(first + static_cast<float>(i) * step)), count - 1);
    }
    TRTPOSE_HD int column(const Grid& grid, int i) const { return nearest(x, i, step_x, grid.columns()); }
    TRTPOSE_HD int row(const Grid& grid, int i) const { return nearest(y, i, step_y, grid.rows()); }
    /// What of a field's value goes the line's way.
    TRTPOSE_HD float along(float field_x, float field_y) const { return field_x * ux + field_y * uy; }
};

/// A limb's score, of `count` points that go its way and the sum of what does.
TRTPOSE_HD float mean_along(float sum, int count) {
    const float score = sum / (static_cast<float>(count) + kTiny);
    return count >= kEnough && score > 0.0f && math::is_finite(score) ? score : kNoLimb;
}

/// The field along the straight line from `a` to `b`: mean over the points where it goes that way, or kNoLimb.
/// `x_plane` and `y_plane` are the field's two maps.
template <typename T>
TRTPOSE_HD float limb_score(const Grid& grid, const T* x_plane, const T* y_plane, const Peak& a, const Peak& b) {
    const Line line(a, b);
    float sum = 0.0f;
    int count = 0;
    // Most pairs are none: they are left as soon as too few points can be enough.
    for (int i = 0; i < kPoints && count + kPoints - i >= kEnough; ++i) {
        const int x = line.column(grid, i), y = line.row(grid, i);
        const float along = line.along(enlarged(grid, x_plane, x, y), enlarged(grid, y_plane, x, y));
        if (!(along > kLeastAlong)) continue;
        sum += along;
        ++count;
    }
    return mean_along(sum, count);
}

/// A pair of peaks, by their numbers in their keypoints' lists.
struct Joint {
    int16_t from, to;
    float score;
};

/// The first of two pairs: the better one, of equal ones that of the later `to`, then of the later `from`.
TRTPOSE_HD bool better(float score, int to, int from, float other_score, int other_to, int other_from) {
    if (score != other_score) return score > other_score;
    return to != other_to ? to > other_to : from > other_from;
}

}  // namespace trtpose::openpose
