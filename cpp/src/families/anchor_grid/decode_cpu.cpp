// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "core/thread_pool.hpp"
#include "families/anchor_grid/decode_kernels.hpp"
#include "families/anchor_grid/head_reader.hpp"

namespace trtpose::kernels {
namespace {

constexpr int kChunk = 4096;  // cells a task looks at
constexpr int kBlock = 64;    // cells tested together

/// gate[i] for `count` cells from `cell` on: the objectness or, without one, the best class score.
void read_gate(const ops::HeadView& heads, const ops::HeadLevel& level, const float* first, int count, float* gate) {
    if (has_objectness(heads) || heads.layout == Layout::final || heads.classes == 1) {
        const float* p = first + (has_objectness(heads) ? kObjectness : heads.class_field) * level.field_step;
        for (int i = 0; i < count; ++i) gate[i] = p[i * level.cell_step];
        return;
    }
    std::fill_n(gate, count, -std::numeric_limits<float>::infinity());
    for (int c = 0; c < heads.classes; ++c) {
        const float* p = first + (heads.class_field + c) * level.field_step;
        for (int i = 0; i < count; ++i) gate[i] = p[i * level.cell_step] > gate[i] ? p[i * level.cell_step] : gate[i];
    }
}

bool any_above(const float* values, int count, float threshold) {
    int any = 0;
    for (int i = 0; i < count; ++i) any |= values[i] > threshold;
    return any != 0;
}

void emit(const ops::HeadView& heads, const ops::HeadLevel& level, int image, int anchor, int cell, float conf,
          const ops::Candidates& out) {
    const AnchorReader<float> a = read_anchor(level, image, anchor, cell);
    if (is_raw(heads) && !(math::sigmoid(a(kObjectness)) > conf)) return;
    const Scored scored = read_score(heads, a);
    if (!(scored.score > conf) || !math::is_finite(scored.score) || scored.class_id < 0) return;
    const math::Box box = read_box(heads, a);
    if (!math::is_finite(box.x1) || !math::is_finite(box.y1) || !math::is_finite(box.x2) || !math::is_finite(box.y2))
        return;
    // Few anchors pass, so one atomic each costs nothing next to reading their scattered fields.
    const int slot = __atomic_fetch_add(&out.counts[image], 1, __ATOMIC_RELAXED);
    if (slot >= out.capacity) return;
    const size_t at = static_cast<size_t>(image) * static_cast<size_t>(out.capacity) + static_cast<size_t>(slot);
    out.boxes[4 * at] = box.x1;
    out.boxes[4 * at + 1] = box.y1;
    out.boxes[4 * at + 2] = box.x2;
    out.boxes[4 * at + 3] = box.y2;
    out.scores[at] = scored.score;
    out.classes[at] = scored.class_id;
    out.anchors[at] = level.first_anchor + anchor * level.height * level.width + cell;
}

}  // namespace

void decode_cpu(const ops::HeadView& heads, float conf, const ops::Candidates& out, ThreadPool* threads) {
    std::fill_n(out.counts, heads.batch, 0);
    const float threshold = gate_of(heads, conf);
    const auto chunks_of = [](const ops::HeadLevel& level) {
        return (level.height * level.width + kChunk - 1) / kChunk;
    };
    int per_image = 0;
    for (int l = 0; l < heads.levels; ++l) per_image += heads.level[l].anchors * chunks_of(heads.level[l]);

    parallel_for(threads, per_image * heads.batch, [&](int task) {
        const int image = task / per_image;
        int rest = task % per_image, l = 0;
        while (rest >= heads.level[l].anchors * chunks_of(heads.level[l])) {
            rest -= heads.level[l].anchors * chunks_of(heads.level[l]);
            ++l;
        }
        const ops::HeadLevel& level = heads.level[l];
        const int anchor = rest / chunks_of(level);
        const int begin = rest % chunks_of(level) * kChunk;
        const int end = std::min(begin + kChunk, level.height * level.width);
        const float* base =
            static_cast<const float*>(level.data) + image * level.image_step + anchor * level.anchor_step;
        float gate[kBlock];
        for (int cell = begin; cell < end; cell += kBlock) {
            const int count = std::min(kBlock, end - cell);
            read_gate(heads, level, base + cell * level.cell_step, count, gate);
            if (!any_above(gate, count, threshold)) continue;
            for (int i = 0; i < count; ++i) {
                if (gate[i] > threshold) emit(heads, level, image, anchor, cell + i, conf, out);
            }
        }
    });
}

void keypoints_cpu(const ops::HeadView& heads, const ops::Candidates& candidates, float* keypoints,
                   ThreadPool* threads) {
    for (int image = 0; image < heads.batch; ++image) {
        const size_t first = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity);
        parallel_for(threads, std::min(candidates.counts[image], candidates.capacity), [&](int i) {
            const size_t at = first + static_cast<size_t>(i);
            const AnchorReader<float> a = read_anchor(heads, image, candidates.anchors[at]);
            float* out = keypoints + at * static_cast<size_t>(heads.keypoints) * 3;
            for (int k = 0; k < heads.keypoints; ++k) read_keypoint(heads, a, k, out + 3 * k);
        });
    }
}

void poses_cpu(const ops::HeadView& heads, const ops::Candidates& candidates, const ops::Detections& kept,
               const math::Letterbox* placements, const ops::PoseArrays& out, ThreadPool* threads) {
    const int max_det = kept.max_det;
    parallel_for(threads, heads.batch, [&](int image) {
        const math::Letterbox& place = placements[image];
        const float sx = place.scale_x(), sy = place.scale_y();
        const float left = static_cast<float>(place.left), top = static_cast<float>(place.top);
        const float right = static_cast<float>(place.src_width), bottom = static_cast<float>(place.src_height);
        for (int i = 0; i < kept.counts[image]; ++i) {
            const size_t to = static_cast<size_t>(image) * static_cast<size_t>(max_det) + static_cast<size_t>(i);
            const size_t from = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) +
                                static_cast<size_t>(kept.indices[to]);
            const float* box = candidates.boxes + 4 * from;
            out.boxes[4 * to] = std::clamp((box[0] - left) * sx, 0.0f, right);
            out.boxes[4 * to + 1] = std::clamp((box[1] - top) * sy, 0.0f, bottom);
            out.boxes[4 * to + 2] = std::clamp((box[2] - left) * sx, 0.0f, right);
            out.boxes[4 * to + 3] = std::clamp((box[3] - top) * sy, 0.0f, bottom);
            out.scores[to] = candidates.scores[from];
            out.class_ids[to] = candidates.classes[from];
            const AnchorReader<float> a = read_anchor(heads, image, candidates.anchors[from]);
            float* points = out.keypoints + to * static_cast<size_t>(heads.keypoints) * 3;
            for (int k = 0; k < heads.keypoints; ++k) {
                float* point = points + 3 * k;
                read_keypoint(heads, a, k, point);
                if (point[0] == 0.0f && point[1] == 0.0f && point[2] == 0.0f)
                    continue;  // "not there" stays where it is
                point[0] = (point[0] - left) * sx;
                point[1] = (point[1] - top) * sy;
            }
        }
    });
}

}  // namespace trtpose::kernels
