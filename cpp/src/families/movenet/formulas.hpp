// SPDX-License-Identifier: Apache-2.0
// What both twins compute of a cell, a person and a pose, and the memory they do it in.
#pragma once

#include <cmath>
#include <cstdint>

#include "families/movenet/settings.hpp"
#include "trtpose/math/box.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose::movenet {

/// A batch of outputs, raw or decoded, and how to read them. One image's numbers follow the other's.
struct Outputs {
    enum Tensor { kHeatmap, kCenter, kRegress, kOffset, kBoxScale, kBoxOffset, kTensors };
    const void* tensor[kTensors] = {};  ///< of form single and multi the first alone
    DType dtype = DType::f32;           ///< of all: f32, or on CUDA also f16
    int batch = 0, keypoints = 0;
    int height = 0, width = 0;  ///< cells of raw heads
    int rows = 0;               ///< people of decoded outputs
    float input_height = 0, input_width = 0;
    float stride = 1;  ///< pixels per cell, of boxes
    float cell = 1;    ///< the same of keypoints
    Settings settings;

    TRTPOSE_HD int cells() const { return height * width; }
};

/// People between the steps; image n's part of each array begins at n·capacity.
struct People {
    ops::Candidates centers;   ///< of raw heads: cells with somebody in the middle of them; `anchors` are cells
    ops::Detections chosen;    ///< of them those that are read
    int32_t* cells = nullptr;  ///< N × capacity × K: each keypoint's, -1 where there is none
    float* values = nullptr;   ///< N × capacity × K: what was greatest there
    ops::Candidates found;     ///< people above conf, in input pixels
    float* points = nullptr;   ///< N × capacity × K × 3 of `found.anchors`: x, y in input pixels, score
    int capacity = 0;          ///< of `found` and `chosen`
};

/// The cell with the greatest number, the first of equal ones.
struct Best {
    float value = -1.0f;
    int cell = -1;

    TRTPOSE_HD void take(float v, int at) {
        if (v > value || (v == value && at < cell)) {
            value = v;
            cell = at;
        }
    }
};

TRTPOSE_HD float number(float x) { return x; }

/// Channels of one image of a raw head.
template <typename T>
struct Planes {
    const T* data;
    int64_t cells;

    TRTPOSE_HD float operator()(int channel, int cell) const { return number(data[channel * cells + cell]); }
};

template <typename T>
TRTPOSE_HD Planes<T> planes(const Outputs& all, Outputs::Tensor which, int channels, int image) {
    const int64_t cells = all.cells();
    return {static_cast<const T*>(all.tensor[which]) + image * channels * cells, cells};
}

/// y and x of pair `index` in a cell.
struct Pair {
    float y, x;
};
template <typename T>
TRTPOSE_HD Pair pair_of(const Outputs& all, const Planes<T>& from, int index, int cell) {
    const int y = all.settings.xy ? 1 : 0;
    return {from(2 * index + y, cell), from(2 * index + 1 - y, cell)};
}

/// At most 1.
TRTPOSE_HD float score_of(const Settings& s, float raw) {
    return !s.activated ? math::sigmoid(raw) : raw > 1.0f ? 1.0f : raw;
}

/// As int(v + 0.5), which cuts towards zero; what is no cell of any grid stays as it is.
TRTPOSE_HD float to_cell(float v) {
    constexpr float kFar = 1e6f;
    return v > -kFar && v < kFar ? static_cast<float>(static_cast<int>(v + 0.5f)) : v;
}

/// Where the centre in `cell` expects keypoint k, in cells.
template <typename T>
TRTPOSE_HD Pair expected_place(const Outputs& all, int image, int k, int cell) {
    Pair p = pair_of(all, planes<T>(all, Outputs::kRegress, 2 * all.keypoints, image), k, cell);
    if (all.settings.rounded) p = {to_cell(p.y), to_cell(p.x)};
    const int row = cell / all.width;
    return {static_cast<float>(row) + p.y, static_cast<float>(cell - row * all.width) + p.x};
}

/// Where a person's centre is looked for first: the middle of the grid.
TRTPOSE_HD Pair middle(const Outputs& all) {
    return {static_cast<float>(all.height) / 2, static_cast<float>(all.width) / 2};
}

// ---- One person: a heatmap divided by the distance -----------------------------------------------------------------

TRTPOSE_HD float softened_distance(const Settings& s, Pair from, float row, float column) {
    const float dy = row - from.y, dx = column - from.x;
    return sqrtf(dy * dy + dx * dx) + s.softening;
}

/// What is greatest at the keypoint: the score, 0 below `floor`, by the distance.
TRTPOSE_HD float near_value(const Settings& s, float floor, Pair from, int row, int column, float raw) {
    const float score = score_of(s, raw);
    return (score < floor ? 0.0f : score) /
           softened_distance(s, from, static_cast<float>(row), static_cast<float>(column));
}

// ---- Several people: a heatmap times a bell within the person's box ------------------------------------------------

/// A person's box in cells, clipped to the grid, and the first and the last but one cell of each axis in it.
struct Area {
    math::Box box;
    int left, top, right, bottom;

    TRTPOSE_HD bool holds(int row, int column) const {
        return row >= top && row < bottom && column >= left && column < right;
    }
};

TRTPOSE_HD float clipped(float v, float most) { return v < 0.0f ? 0.0f : most < v ? most : v; }

/// The first whole number that is not below, for 0 to the sides of a grid.
TRTPOSE_HD int first_cell(float v) {
    const int whole = static_cast<int>(v);
    return static_cast<float>(whole) < v ? whole + 1 : whole;
}

/// Of the person whose centre is in `cell`: that cell and its offset, and half the sides around it. A box that is no
/// number holds no cell.
template <typename T>
TRTPOSE_HD Area area_of(const Outputs& all, int image, int cell) {
    const Pair side = pair_of(all, planes<T>(all, Outputs::kBoxScale, 2, image), 0, cell);
    const Pair shift = pair_of(all, planes<T>(all, Outputs::kBoxOffset, 2, image), 0, cell);
    const int row = cell / all.width;
    const float y = static_cast<float>(row) + shift.y, x = static_cast<float>(cell - row * all.width) + shift.x;
    const float half_y = (side.y < 0 ? 0.0f : side.y) / 2, half_x = (side.x < 0 ? 0.0f : side.x) / 2;
    const float h = static_cast<float>(all.height), w = static_cast<float>(all.width);
    const math::Box box{clipped(x - half_x, w), clipped(y - half_y, h), clipped(x + half_x, w), clipped(y + half_y, h)};
    const bool ok =
        math::is_finite(box.x1) && math::is_finite(box.y1) && math::is_finite(box.x2) && math::is_finite(box.y2);
    if (!ok) return {box, 0, 0, 0, 0};
    return {box, first_cell(box.x1), first_cell(box.y1), first_cell(box.x2), first_cell(box.y2)};
}

/// Twice the square of the bell's width, in cells.
TRTPOSE_HD float bell_width(const Outputs& all) {
    return all.settings.spread * static_cast<float>(all.height < all.width ? all.height : all.width);
}

/// One axis of the bell.
TRTPOSE_HD float bell(float from, int at, float width) {
    const float d = static_cast<float>(at) - from;
    return math::exp_fast(-(d * d) / width);
}

TRTPOSE_HD float bell_value(const Settings& s, float raw, float by_column, float by_row) {
    return score_of(s, raw) * by_column * by_row;
}

/// What the person whose centre is in `center` has at `cell` of keypoint k; 0 outside the person's box.
template <typename T>
TRTPOSE_HD float value_at(const Outputs& all, int image, int center, int k, int cell) {
    const int row = cell / all.width, column = cell - row * all.width;
    if (!area_of<T>(all, image, center).holds(row, column)) return 0.0f;
    const Pair from = expected_place<T>(all, image, k, center);
    const float width = bell_width(all);
    return bell_value(all.settings, planes<T>(all, Outputs::kHeatmap, all.keypoints, image)(k, cell),
                      bell(from.x, column, width), bell(from.y, row, width));
}

// ---- Centres of several people -------------------------------------------------------------------------------------

constexpr int kReach = 2;                  // a peak is the greatest of five by five cells
constexpr float kSamePeak = 1e-6f;         // the network's own decoding takes nearly equal neighbours for peaks
constexpr int kBetweenPeaks = kReach + 1;  // cells from one peak to the next at least, where the first of equals counts

/// The most peaks there are on a grid.
inline int most_peaks(int height, int width) {
    return ((height + kBetweenPeaks - 1) / kBetweenPeaks) * ((width + kBetweenPeaks - 1) / kBetweenPeaks);
}

/// Whether a cell is the greatest of those around it: of equal ones the first, but where the network's own people are
/// asked for (`people`), all that are nearly equal.
template <typename T>
TRTPOSE_HD bool is_peak(const Settings& s, const T* map, int height, int width, int row, int column) {
    const float here = number(map[row * width + column]);
    for (int r = row - kReach; r <= row + kReach; ++r) {
        if (r < 0 || r >= height) continue;
        for (int c = column - kReach; c <= column + kReach; ++c) {
            if (c < 0 || c >= width) continue;
            const float other = number(map[r * width + c]);
            const bool earlier = r < row || (r == row && c < column);
            if (s.people ? other > here && !(score_of(s, other) - score_of(s, here) < kSamePeak)
                         : other > here || (other == here && earlier))
                return false;
        }
    }
    return true;
}

// ---- Poses ---------------------------------------------------------------------------------------------------------

/// A person in input pixels; the points stand elsewhere.
struct Person {
    math::Box box;
    float score;
};

TRTPOSE_HD bool finite_person(const Person& p) {
    return math::is_finite(p.score) && math::is_finite(p.box.x1) && math::is_finite(p.box.y1) &&
           math::is_finite(p.box.x2) && math::is_finite(p.box.y2);
}

/// The mean of the scores above `counted` and the box around their points; -1 where there are none.
TRTPOSE_HD Person counted_person(const float* points, int keypoints, float counted) {
    float sum = 0.0f, box[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    int count = 0;
    for (int k = 0; k < keypoints; ++k) {
        const float* const p = points + 3 * k;
        if (!(p[2] > counted)) continue;
        sum += p[2];
        ++count;
        for (int i = 0; i < 2; ++i) {
            box[i] = math::min_of(p[i], box[i]);
            box[2 + i] = math::max_of(p[i], box[2 + i]);
        }
    }
    return {{box[0], box[1], box[2], box[3]}, count ? sum / static_cast<float>(count) : -1.0f};
}

/// Whether K points are numbers, each.
TRTPOSE_HD bool finite_points(const float* points, int keypoints) {
    bool ok = true;
    for (int i = 0; i < 3 * keypoints; ++i) ok = ok && math::is_finite(points[i]);
    return ok;
}

/// Row `row` of a decoded output: its K points to `points`.
template <typename T>
TRTPOSE_HD Person read_row(const Outputs& all, int image, int row, float* points) {
    const bool single = is_single(all.settings.form);
    const int fields = 3 * all.keypoints + (single ? 0 : 5);
    const T* const from =
        static_cast<const T*>(all.tensor[0]) + (static_cast<int64_t>(image) * all.rows + row) * fields;
    for (int k = 0; k < all.keypoints; ++k) {
        points[3 * k] = number(from[3 * k + 1]) * all.input_width;
        points[3 * k + 1] = number(from[3 * k]) * all.input_height;
        points[3 * k + 2] = number(from[3 * k + 2]);
    }
    if (single) return counted_person(points, all.keypoints, all.settings.counted);
    const T* const last = from + 3 * all.keypoints;
    return {{number(last[1]) * all.input_width, number(last[0]) * all.input_height, number(last[3]) * all.input_width,
             number(last[2]) * all.input_height},
            number(last[4])};
}

/// Person `slot` of an image's chosen centres, behind the search: the points to `points`.
template <typename T>
TRTPOSE_HD Person read_center(const Outputs& all, const People& people, int image, int slot, float* points) {
    const Settings& s = all.settings;
    const int64_t own = static_cast<int64_t>(image) * people.capacity;
    const int32_t* const anchors = people.centers.anchors + static_cast<int64_t>(image) * people.centers.capacity;
    const int32_t* const chosen = people.chosen.indices + own;
    const int center = anchors[chosen[slot]];
    const Planes<T> heatmap = planes<T>(all, Outputs::kHeatmap, all.keypoints, image);
    const Planes<T> offset = planes<T>(all, Outputs::kOffset, 2 * all.keypoints, image);
    for (int k = 0; k < all.keypoints; ++k) {
        const int64_t at = (own + slot) * all.keypoints + k;
        const int cell = people.cells[at];
        if (cell < 0) return {{}, NAN};
        float score = people.values[at];
        if (is_single(s.form)) {
            score = score_of(s, heatmap(k, cell));
        } else if (s.people) {
            for (int other = 0; other < people.chosen.counts[image]; ++other) {
                if (other != slot)
                    score = math::max_of(value_at<T>(all, image, anchors[chosen[other]], k, cell), score);
            }
        }
        const Pair shift = pair_of(all, offset, k, cell);
        const int row = cell / all.width;
        const bool there = !(score < s.floor);
        points[3 * k] = there ? (static_cast<float>(cell - row * all.width) + shift.x) * all.cell : 0.0f;
        points[3 * k + 1] = there ? (static_cast<float>(row) + shift.y) * all.cell : 0.0f;
        points[3 * k + 2] = there ? score : 0.0f;
    }
    Person out = counted_person(points, all.keypoints, s.counted);
    if (is_single(s.form)) return out;
    const math::Box box = area_of<T>(all, image, center).box;
    out.box = {box.x1 * all.stride, box.y1 * all.stride, box.x2 * all.stride, box.y2 * all.stride};
    const float mean = out.score < 0 ? 0.0f : out.score;
    out.score = people.centers.scores[static_cast<int64_t>(image) * people.centers.capacity + chosen[slot]] * mean;
    return out;
}

/// What is there once of a pose: the box, clipped to the frame.
TRTPOSE_HD void write_box(const float* box, const math::Letterbox& place, float* out) {
    const float sx = place.scale_x(), sy = place.scale_y();
    const float left = static_cast<float>(place.left), top = static_cast<float>(place.top);
    const float right = static_cast<float>(place.src_width), bottom = static_cast<float>(place.src_height);
    out[0] = clipped((box[0] - left) * sx, right);
    out[1] = clipped((box[1] - top) * sy, bottom);
    out[2] = clipped((box[2] - left) * sx, right);
    out[3] = clipped((box[3] - top) * sy, bottom);
}

/// A point of a pose; one that is not there stays where it is.
TRTPOSE_HD void write_point(const float* point, const math::Letterbox& place, float* out) {
    const bool there = point[0] != 0.0f || point[1] != 0.0f || point[2] != 0.0f;
    out[0] = there ? (point[0] - static_cast<float>(place.left)) * place.scale_x() : 0.0f;
    out[1] = there ? (point[1] - static_cast<float>(place.top)) * place.scale_y() : 0.0f;
    out[2] = point[2];
}

}  // namespace trtpose::movenet
