// SPDX-License-Identifier: Apache-2.0
// The specification is in formulas.hpp: of every cell there is a number, and the greatest counts. Here cells are left
// out that cannot be the greatest, which the kernels, looking at all of them, show.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/thread_pool.hpp"
#include "families/movenet/select_kernels.hpp"

namespace trtpose::movenet {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr float kRoom = 1e-5f;  // for rounding, much more than that of a few operations

/// The greatest of `count` numbers; -infinity where there are none.
float greatest(const float* values, int count) {
    constexpr int kLanes = 8;
    float best[kLanes];
    std::fill_n(best, kLanes, kNothing);
    int i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (int l = 0; l < kLanes; ++l) best[l] = values[i + l] > best[l] ? values[i + l] : best[l];
    }
    for (; i < count; ++i) best[0] = values[i] > best[0] ? values[i] : best[0];
    return *std::max_element(best, best + kLanes);
}

bool any_from(const float* values, int count, float gate) {
    int any = 0;
    for (int i = 0; i < count; ++i) any |= values[i] >= gate;
    return any != 0;
}

/// A raw number below which no score is `least`.
float gate_of(const Settings& s, float least) {
    const double c = static_cast<double>(least) * (1 - static_cast<double>(kRoom));
    if (s.activated) return static_cast<float>(c);
    if (!(c > 0 && c < 1)) return kNothing;
    return static_cast<float>(std::log(c / (1 - c)) - (1e-4 + 1e-6 / (c * (1 - c))));
}

/// The cell from `low` to before `high` that is nearest to a number.
int nearest_cell(float v, int low, int high) {
    return static_cast<int>(std::clamp(v + 0.5f, static_cast<float>(low), static_cast<float>(high - 1)));
}

/// Tell the processor that the cells around a place will be read.
void fetch_around(const float* map, Pair from, int height, int width) {
    if (!math::is_finite(from.y) || !math::is_finite(from.x)) return;
    const int row = nearest_cell(from.y, 0, height), column = nearest_cell(from.x, 0, width);
    constexpr int kRows = 2;
    for (int r = std::max(row - kRows, 0); r < std::min(row + kRows + 1, height); ++r)
        __builtin_prefetch(map + r * width + column);
}

/// near_search() where the best so far does not tell how far away a better one can be.
void search_all(const Settings& s, float floor, Pair from, const float* map, int height, int width, Best& best) {
    constexpr int kKept = 512;  // rows whose greatest number is not looked for a second time
    float tops[kKept];
    const auto top_of = [&](int row) { return greatest(map + row * width, width); };
    float gate = kNothing;
    if (math::is_finite(from.y) && math::is_finite(from.x)) {
        int highest = 0;
        float top = kNothing;
        for (int row = 0; row < height; ++row) {
            const float here = top_of(row);
            if (row < kKept) tops[row] = here;
            if (here > top) {
                top = here;
                highest = row;
            }
        }
        if (math::is_finite(top)) {
            // Beside the nearest the highest is hard to beat, most of all by cells both lower and farther away.
            const float* const line = map + highest * width;
            const int column = static_cast<int>(std::find(line, line + width, top) - line);
            best.take(near_value(s, floor, from, highest, column, top), highest * width + column);
            if (best.value > 0) gate = gate_of(s, best.value * s.softening);
        }
    }
    for (int row = 0; row < height; ++row) {
        const float* const line = map + row * width;
        if (gate > kNothing) {
            const float top = row < kKept ? tops[row] : top_of(row);
            const float nearest = std::fabs(static_cast<float>(row) - from.y) + s.softening;
            if (top < gate || score_of(s, top) * (1 + kRoom) / nearest < best.value) continue;
        }
        for (int column = 0; column < width; ++column) {
            if (!(line[column] < gate))
                best.take(near_value(s, floor, from, row, column, line[column]), row * width + column);
        }
    }
}

/// The cell with the greatest near_value().
Best near_search(const Settings& s, float floor, Pair from, const float* map, int height, int width) {
    Best best;
    const auto look = [&](int row, int column) {
        const int cell = row * width + column;
        best.take(near_value(s, floor, from, row, column, map[cell]), cell);
    };
    if (!math::is_finite(from.y) || !math::is_finite(from.x)) {
        search_all(s, floor, from, map, height, width, best);
        return best;
    }
    const int row = nearest_cell(from.y, 0, height), column = nearest_cell(from.x, 0, width);
    for (int r = std::max(row - 1, 0); r < std::min(row + 2, height); ++r) {
        for (int c = std::max(column - 1, 0); c < std::min(column + 2, width); ++c) look(r, c);
    }
    // No score is above 1, so farther away than this none can win. Mostly that is a few cells.
    constexpr float kClose = 12;
    const float reach = best.value > 0 ? (1 + kRoom) / best.value - s.softening + 1 : INFINITY;
    if (!(reach <= kClose)) {
        search_all(s, floor, from, map, height, width, best);
        return best;
    }
    const float gate = gate_of(s, best.value * s.softening);
    const auto low = [&](float v) { return static_cast<int>(std::max(v - reach, 0.0f)); };
    const auto high = [&](float v, int most) {
        return std::min(most, static_cast<int>(std::max(v + reach, -2.0f)) + 2);
    };
    const int right = high(from.x, width), bottom = high(from.y, height);
    for (int r = low(from.y); r < bottom; ++r) {
        for (int c = low(from.x); c < right; ++c) {
            if (!(map[r * width + c] < gate)) look(r, c);
        }
    }
    return best;
}

/// The cell with the greatest bell_value() in a person's box.
Best bell_search(const Outputs& all, const Area& area, Pair from, const float* map) {
    const Settings& s = all.settings;
    const float width = bell_width(all);
    const auto value = [&](int row, int column) {
        return bell_value(s, map[row * all.width + column], bell(from.x, column, width), bell(from.y, row, width));
    };
    Best best;
    int left = area.left, top = area.top, right = area.right, bottom = area.bottom;
    if (left >= right || top >= bottom) return best;
    float gate = kNothing;
    if (math::is_finite(from.x) && math::is_finite(from.y)) {
        const int row = nearest_cell(from.y, top, bottom), column = nearest_cell(from.x, left, right);
        const float here = value(row, column);
        if (here > 1e-20f) {
            best = {here, row * all.width + column};
            gate = gate_of(s, here);
            // No score is above 1, so farther away the bell is too low.
            const float reach = std::sqrt(width * std::log((1 + kRoom) / here)) + 1;
            if (math::is_finite(reach)) {
                const auto low = [&](float v, int least) { return std::max(least, static_cast<int>(v - reach)); };
                const auto high = [&](float v, int most_of) {
                    return std::min(most_of, static_cast<int>(v + reach) + 2);
                };
                left = low(from.x, left);
                top = low(from.y, top);
                right = high(from.x, right);
                bottom = high(from.y, bottom);
            }
        }
    }
    for (int row = top; row < bottom; ++row) {
        const float* const line = map + row * all.width;
        for (int column = left; column < right; ++column) {
            if (!(line[column] < gate)) best.take(value(row, column), row * all.width + column);
        }
    }
    return best;
}

void put_center(const People& people, int image, int cell, float score) {
    const ops::Candidates& centers = people.centers;
    const int slot = centers.counts[image]++;
    if (slot >= centers.capacity) return;
    const int64_t at = static_cast<int64_t>(image) * centers.capacity + slot;
    std::fill_n(centers.boxes + 4 * at, 4, 0.0f);
    centers.scores[at] = score;
    centers.classes[at] = 0;
    centers.anchors[at] = cell;
}

void find_center(const Outputs& all, const People& people, int image) {
    const Planes<float> map = planes<float>(all, Outputs::kCenter, 1, image);
    const Best best = near_search(all.settings, 0, middle(all), map.data, all.height, all.width);
    const int64_t first = static_cast<int64_t>(image) * people.capacity;
    people.chosen.counts[image] = best.cell >= 0;
    people.chosen.indices[first] = 0;
    people.centers.anchors[first] = best.cell;
}

void find_centers(const Outputs& all, float conf, const People& people, int image) {
    const Settings& s = all.settings;
    const float* const map = planes<float>(all, Outputs::kCenter, 1, image).data;
    const float gate = s.people || conf <= 0 ? kNothing : gate_of(s, conf);
    people.centers.counts[image] = 0;
    for (int row = 0; row < all.height; ++row) {
        const float* const line = map + row * all.width;
        if (!any_from(line, all.width, gate)) continue;
        for (int column = 0; column < all.width; ++column) {
            if (!(line[column] >= gate) || !math::is_finite(line[column])) continue;
            const float score = score_of(s, line[column]);
            if (!s.people && !(score > conf)) continue;
            if (is_peak(s, map, all.height, all.width, row, column))
                put_center(people, image, row * all.width + column, score);
        }
    }
}

}  // namespace

void centers_cpu(const Outputs& all, float conf, const People& people, ThreadPool* threads) {
    parallel_for(threads, all.batch, [&](int image) {
        if (is_single(all.settings.form)) {
            find_center(all, people, image);
        } else {
            find_centers(all, conf, people, image);
        }
    });
}

void keypoints_cpu(const Outputs& all, const People& people, ThreadPool* threads) {
    const bool single = is_single(all.settings.form);
    parallel_for(threads, all.batch, [&](int image) {
        const Planes<float> heatmap = planes<float>(all, Outputs::kHeatmap, all.keypoints, image);
        const Planes<float> offset = planes<float>(all, Outputs::kOffset, 2 * all.keypoints, image);
        const int64_t first = static_cast<int64_t>(image) * people.capacity;
        const int32_t* const anchors = people.centers.anchors + static_cast<int64_t>(image) * people.centers.capacity;
        for (int slot = 0; slot < people.chosen.counts[image]; ++slot) {
            const int center = anchors[people.chosen.indices[first + slot]];
            const Area area = single ? Area{} : area_of<float>(all, image, center);
            // What the network wrote lies far away: all of it is on its way before the first is looked at.
            float* const expected = people.points + (first + slot) * all.keypoints * 3;
            for (int k = 0; k < all.keypoints; ++k) {
                const Pair from = expected_place<float>(all, image, k, center);
                expected[2 * k] = from.y;
                expected[2 * k + 1] = from.x;
                fetch_around(heatmap.data + k * heatmap.cells, from, all.height, all.width);
            }
            for (int k = 0; k < all.keypoints; ++k) {
                const Pair from{expected[2 * k], expected[2 * k + 1]};
                const float* const map = heatmap.data + k * heatmap.cells;
                const Best best = single
                                      ? near_search(all.settings, all.settings.floor, from, map, all.height, all.width)
                                      : bell_search(all, area, from, map);
                const int64_t at = (first + slot) * all.keypoints + k;
                people.cells[at] = best.cell;
                people.values[at] = best.value;
                if (best.cell < 0) continue;
                for (int i = 0; i < 2; ++i) __builtin_prefetch(offset.data + (2 * k + i) * offset.cells + best.cell);
            }
        }
    });
}

void people_cpu(const Outputs& all, float conf, const People& people, ThreadPool* threads) {
    const bool raw = is_raw(all.settings.form);
    parallel_for(threads, all.batch, [&](int image) {
        const ops::Candidates& found = people.found;
        const int64_t first = static_cast<int64_t>(image) * people.capacity;
        const int total = raw ? people.chosen.counts[image] : all.rows;
        int count = 0;
        for (int slot = 0; slot < total; ++slot) {
            float* const points = people.points + (first + slot) * all.keypoints * 3;
            const Person person =
                raw ? read_center<float>(all, people, image, slot, points) : read_row<float>(all, image, slot, points);
            if (!(person.score > conf) || !finite_person(person) || !finite_points(points, all.keypoints)) continue;
            const int64_t at = first + count++;
            float* const box = found.boxes + 4 * at;
            box[0] = person.box.x1;
            box[1] = person.box.y1;
            box[2] = person.box.x2;
            box[3] = person.box.y2;
            found.scores[at] = person.score;
            found.classes[at] = 0;
            found.anchors[at] = slot;
        }
        found.counts[image] = count;
    });
}

void poses_cpu(const Outputs& all, const People& people, const ops::Detections& kept, const math::Letterbox* placements,
               const ops::PoseArrays& out, ThreadPool* threads) {
    parallel_for(threads, all.batch, [&](int image) {
        const math::Letterbox& place = placements[image];
        const int64_t first = static_cast<int64_t>(image) * people.capacity;
        for (int i = 0; i < kept.counts[image]; ++i) {
            const int64_t to = static_cast<int64_t>(image) * kept.max_det + i, from = first + kept.indices[to];
            write_box(people.found.boxes + 4 * from, place, out.boxes + 4 * to);
            out.scores[to] = people.found.scores[from];
            out.class_ids[to] = 0;
            const float* const points = people.points + (first + people.found.anchors[from]) * all.keypoints * 3;
            for (int k = 0; k < all.keypoints; ++k)
                write_point(points + 3 * k, place, out.keypoints + (to * all.keypoints + k) * 3);
        }
    });
}

}  // namespace trtpose::movenet
