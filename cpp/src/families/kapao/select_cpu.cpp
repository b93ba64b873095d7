// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "core/thread_pool.hpp"
#include "families/kapao/kernels.hpp"

namespace trtpose::kapao {
namespace {

constexpr int kChunk = 4096;  // cells a task looks at
constexpr int kBlock = 64;    // cells tested together

size_t at(int image, int capacity, int i) {
    return static_cast<size_t>(image) * static_cast<size_t>(capacity) + static_cast<size_t>(i);
}

void put(const ops::Candidates& out, int image, const math::Box& box, const Scored& scored, int anchor) {
    // Few anchors pass, so one atomic each costs nothing next to reading their scattered fields.
    const int slot = __atomic_fetch_add(&out.counts[image], 1, __ATOMIC_RELAXED);
    if (slot >= out.capacity) return;
    const size_t to = at(image, out.capacity, slot);
    const math::Box moved = shifted(box, scored.class_id);
    out.boxes[4 * to] = moved.x1;
    out.boxes[4 * to + 1] = moved.y1;
    out.boxes[4 * to + 2] = moved.x2;
    out.boxes[4 * to + 3] = moved.y2;
    out.scores[to] = scored.score;
    out.classes[to] = scored.class_id;
    out.anchors[to] = anchor;
}

void consider(const Predictions& all, const Gates& gates, const ops::HeadLevel& level, int image, int anchor, int cell,
              const CandidateLists& out) {
    const Row<float> row = read_row(all, level, image, anchor, cell);
    const Scored scored = read_score(row, row(kObjectness), all.keypoints);
    const bool object = scored.class_id > 0 && !gates.together;
    if (!(scored.score > (object ? gates.conf_objects : gates.conf)) || !math::is_finite(scored.score)) return;
    const math::Box box = read_box(all, row);
    if (!is_finite(box)) return;
    put(object ? out.objects : out.people, image, box, scored,
        level.first_anchor + anchor * level.height * level.width + cell);
}

void scan(const Predictions& all, const Gates& gates, const ops::HeadLevel& level, int image, int anchor, int begin,
          int end, const CandidateLists& out) {
    const float* objectness = static_cast<const float*>(level.data) + image * level.image_step +
                              anchor * level.anchor_step + kObjectness * level.field_step;
    for (int cell = begin; cell < end; cell += kBlock) {
        const int last = std::min(cell + kBlock, end);
        int any = 0;
        for (int i = cell; i < last; ++i) any |= objectness[i * level.cell_step] > gates.gate;
        for (int i = cell; any && i < last; ++i) {
            if (objectness[i * level.cell_step] > gates.gate) consider(all, gates, level, image, anchor, i, out);
        }
    }
}

/// The people's keypoint k in the frame.
void read_points(const Predictions& all, const Chosen& people, const WayBack& back, int image, int k,
                 const Points& points, size_t first) {
    for (int p = 0; p < people.kept.counts[image]; ++p) {
        const size_t from =
            at(image, people.candidates.capacity, people.kept.indices[at(image, people.kept.max_det, p)]);
        const Point read = read_keypoint(all, read_row(all, image, people.candidates.anchors[from]), k);
        const Point point = back.keypoint(read, k);
        const bool ok = is_finite(read) && is_finite(point);
        const size_t to = first + static_cast<size_t>(p);
        points.x[to] = ok ? point.x : 0.0f;
        points.y[to] = ok ? point.y : 0.0f;
        points.confidence[to] = ok ? 0.0f : kMissing;
    }
}

/// Each keypoint object of class k + 1, best first, replaces the nearest person's keypoint k if it is near enough and
/// surer than what stands there.
void fuse_keypoint(const Predictions& all, const Chosen& objects, const WayBack& back, const Fusion& fusion, int image,
                   int k, int eligible, const Points& points, size_t first) {
    const float reach = reach_of(fusion.tolerance);
    for (int o = 0; o < objects.kept.counts[image]; ++o) {
        const size_t from =
            at(image, objects.candidates.capacity, objects.kept.indices[at(image, objects.kept.max_det, o)]);
        if (objects.candidates.classes[from] != k + 1) continue;
        const math::Box box = back.box(read_box(all, read_row(all, image, objects.candidates.anchors[from])));
        const float x = (box.x1 + box.x2) / 2, y = (box.y1 + box.y2) / 2, score = objects.candidates.scores[from];
        double nearest = fusion.tolerance;
        size_t best = first;
        for (size_t p = first; p < first + static_cast<size_t>(eligible); ++p) {
            if (points.confidence[p] < 0.0f) continue;
            const double distance = distance_below(nearest, reach, points.x[p], points.y[p], x, y);
            if (distance < nearest) {
                nearest = distance;
                best = p;
            }
        }
        if (!(nearest < fusion.tolerance) || !(score > points.confidence[best])) continue;
        points.x[best] = x;
        points.y[best] = y;
        points.confidence[best] = score;
    }
}

void write_boxes(const Predictions& all, const Chosen& people, const WayBack& back, const Fusion& fusion, int image,
                 const PosesOut& out) {
    const int count = std::min(people.kept.counts[image], out.max_det);
    out.counts[image] = count;
    for (int p = 0; p < count; ++p) {
        const size_t from =
            at(image, people.candidates.capacity, people.kept.indices[at(image, people.kept.max_det, p)]);
        const math::Box box = back.box(read_box(all, read_row(all, image, people.candidates.anchors[from])));
        const float corners[] = {box.x1, box.y1, box.x2, box.y2};
        const size_t to = at(image, out.max_det, p);
        for (size_t i = 0; i < 4; ++i)
            out.arrays.boxes[4 * to + i] = fusion.round_boxes ? rintf(corners[i]) : corners[i];
        out.arrays.scores[to] = people.candidates.scores[from];
        out.arrays.class_ids[to] = 0;
    }
}

}  // namespace

void candidates_cpu(const Predictions& all, const Gates& gates, const CandidateLists& out, ThreadPool* threads) {
    std::fill_n(out.people.counts, all.batch, 0);
    std::fill_n(out.objects.counts, all.batch, 0);
    const auto chunks_of = [](const ops::HeadLevel& level) {
        return (level.height * level.width + kChunk - 1) / kChunk;
    };
    int per_image = 0;
    for (int l = 0; l < all.levels; ++l) per_image += all.level[l].anchors * chunks_of(all.level[l]);
    parallel_for(threads, per_image * all.batch, [&](int task) {
        int rest = task % per_image, l = 0;
        while (rest >= all.level[l].anchors * chunks_of(all.level[l])) {
            rest -= all.level[l].anchors * chunks_of(all.level[l]);
            ++l;
        }
        const ops::HeadLevel& level = all.level[l];
        const int begin = rest % chunks_of(level) * kChunk;
        scan(all, gates, level, task / per_image, rest / chunks_of(level), begin,
             std::min(begin + kChunk, level.height * level.width), out);
    });
}

void candidate_keypoints_cpu(const Predictions& all, const ops::Candidates& candidates, float* keypoints,
                             ThreadPool* threads) {
    for (int image = 0; image < all.batch; ++image) {
        parallel_for(threads, std::min(candidates.counts[image], candidates.capacity), [&](int i) {
            const size_t from = at(image, candidates.capacity, i);
            const Row<float> row = read_row(all, image, candidates.anchors[from]);
            for (int k = 0; k < all.keypoints; ++k) {
                const Point point = read_keypoint(all, row, k);
                float* to = keypoints + (from * static_cast<size_t>(all.keypoints) + static_cast<size_t>(k)) * 3;
                to[0] = point.x;
                to[1] = point.y;
                to[2] = 1.0f;
            }
        });
    }
}

void divide_cpu(const Gates& gates, const ops::Candidates& candidates, int batch, const ops::Detections& kept,
                const ops::Detections& people, const ops::Detections& objects) {
    for (int image = 0; image < batch; ++image) {
        int n_people = 0, n_objects = 0;
        for (int i = 0; i < kept.counts[image]; ++i) {
            const int32_t index = kept.indices[at(image, kept.max_det, i)];
            const size_t from = at(image, candidates.capacity, index);
            if (candidates.classes[from] == 0) {
                people.indices[at(image, people.max_det, n_people++)] = index;
            } else if (candidates.scores[from] >= gates.conf_objects) {
                objects.indices[at(image, objects.max_det, n_objects++)] = index;
            }
        }
        people.counts[image] = n_people;
        objects.counts[image] = n_objects;
    }
}

void fuse_cpu(const Predictions& all, const Chosen& people, const Chosen& objects, const math::Letterbox* placements,
              const Fusion& fusion, const Points& points, const PosesOut& out, ThreadPool* threads) {
    parallel_for(threads, all.batch * all.keypoints, [&](int task) {
        const int image = task / all.keypoints, k = task % all.keypoints, count = people.kept.counts[image];
        const WayBack back(placements[image]);
        const size_t first = static_cast<size_t>(task) * static_cast<size_t>(points.people);
        if (k == 0) write_boxes(all, people, back, fusion, image, out);
        read_points(all, people, back, image, k, points, first);
        const auto score_of = [&](int p) {
            return people.candidates
                .scores[at(image, people.candidates.capacity, people.kept.indices[at(image, people.kept.max_det, p)])];
        };
        int eligible = 0;  // the best ones, as they come by falling score
        while (fusion.on && eligible < count && score_of(eligible) > fusion.person_conf) ++eligible;
        if (eligible > 0) fuse_keypoint(all, objects, back, fusion, image, k, eligible, points, first);
        for (int p = 0; p < std::min(count, out.max_det); ++p) {
            const size_t from = first + static_cast<size_t>(p);
            float* to = out.arrays.keypoints +
                        (at(image, out.max_det, p) * static_cast<size_t>(all.keypoints) + static_cast<size_t>(k)) * 3;
            to[0] = points.x[from];
            to[1] = points.y[from];
            to[2] = confidence_of(points.confidence[from], score_of(p), fusion.zero_unreplaced);
        }
    });
}

}  // namespace trtpose::kapao
