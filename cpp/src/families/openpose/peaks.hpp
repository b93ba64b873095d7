// SPDX-License-Identifier: Apache-2.0
// Which points of an enlarged heatmap are keypoints.
#pragma once

#include "families/openpose/maps.hpp"
#include "trtpose/math/box.hpp"

namespace trtpose::openpose {

/// Enlarged pixels, where a peak is and how high.
struct Peak {
    float x, y, score;
};

inline constexpr float kLeastScore = 0.1f;
/// Keypoints of one kind that are considered in an image, the highest ones.
inline constexpr int kMostPeaks = 256;
/// Peaks of one keypoint are at least so far apart, enlarged pixels.
inline constexpr float kApart = 6.0f;

enum class Peakness : uint8_t { none, level, strict };

/// A point among its four neighbours; those outside the map are 0. `level`: none is higher, some are equal.
TRTPOSE_HD Peakness judge(float v, float left, float right, float up, float down) {
    if (!(v >= kLeastScore) || !math::is_finite(v)) return Peakness::none;
    if (v > left && v > right && v > up && v > down) return Peakness::strict;
    return v >= left && v >= right && v >= up && v >= down ? Peakness::level : Peakness::none;
}

// A plateau is looked at this far around a point, which makes a square of bits, column by column.
inline constexpr int kReach = 3, kSide = 2 * kReach + 1;
inline constexpr uint64_t kFirstOfColumns = 0x0000040810204081ull;  // every kSide-th bit
static_assert(kFirstOfColumns >> (kSide * kSide) == 0 && (kFirstOfColumns >> kSide & 1) == 1, "a bit in each column");

/// The square's bits one step to each side.
TRTPOSE_HD uint64_t neighbours(uint64_t bits) {
    constexpr uint64_t all = (uint64_t{1} << (kSide * kSide)) - 1;
    constexpr uint64_t last = kFirstOfColumns << (kSide - 1);
    return (bits << kSide | bits >> kSide | (bits & ~last) << 1 | (bits & ~kFirstOfColumns) >> 1) & all;
}

/// Whether a point that is level with neighbours stands for a peak: the plateau it is on has no higher neighbour, and
/// it is the plateau's first point, column by column. The peak is in the plateau's middle.
template <typename T>
TRTPOSE_HD bool plateau(const Grid& grid, const T* plane, int x, int y, Peak* peak) {
    const float v = enlarged(grid, plane, x, y);
    uint64_t equal = 0, above = 0;
    for (int bit = 0; bit < kSide * kSide; ++bit) {
        const int px = x + bit / kSide - kReach, py = y + bit % kSide - kReach;
        if (px < 0 || py < 0 || px >= grid.columns() || py >= grid.rows()) continue;
        const float other = enlarged(grid, plane, px, py);
        if (other == v) {
            equal |= uint64_t{1} << bit;
        } else if (!(other < v)) {
            above |= uint64_t{1} << bit;
        }
    }
    constexpr int middle = kReach * kSide + kReach;
    uint64_t reached = uint64_t{1} << middle, before = 0;
    while (reached != before) {
        before = reached;
        reached |= neighbours(reached) & equal;
    }
    if ((neighbours(reached) & above) != 0 || (reached & ((uint64_t{1} << middle) - 1)) != 0) return false;
    int count = 0, sum_x = 0, sum_y = 0;
    for (int bit = middle; bit < kSide * kSide; ++bit) {
        if ((reached >> bit & 1) == 0) continue;
        ++count;
        sum_x += bit / kSide - kReach;
        sum_y += bit % kSide - kReach;
    }
    *peak = {static_cast<float>(x) + static_cast<float>(sum_x) / static_cast<float>(count),
             static_cast<float>(y) + static_cast<float>(sum_y) / static_cast<float>(count), v};
    return true;
}

/// The peak that (x, y) stands for, if it does.
template <typename T>
TRTPOSE_HD bool find_peak(const Grid& grid, const T* plane, int x, int y, bool reference, Peak* peak) {
    const auto at = [&](int px, int py) {
        return px < 0 || py < 0 || px >= grid.columns() || py >= grid.rows() ? 0.0f : enlarged(grid, plane, px, py);
    };
    const float v = at(x, y);
    const Peakness found = judge(v, at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1));
    if (found == Peakness::level && !reference) return plateau(grid, plane, x, y, peak);
    *peak = {static_cast<float>(x), static_cast<float>(y), v};
    return found == Peakness::strict;
}

TRTPOSE_HD bool too_near(const Peak& a, const Peak& b) {
    const float dx = a.x - b.x, dy = a.y - b.y;
    return dx * dx + dy * dy < kApart * kApart;
}

/// Whether `a` goes before `b` where there is no room for both: the higher one, or the earlier of equal ones.
TRTPOSE_HD bool outranks(const Peak& a, int index_a, const Peak& b, int index_b) {
    return a.score > b.score || (a.score == b.score && index_a < index_b);
}

}  // namespace trtpose::openpose
