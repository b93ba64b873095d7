// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/thread_pool.hpp"
#include "families/rows/select.hpp"

namespace trtpose::rows {
namespace {

const float* keypoints_of(const View& view, int image, int row) {
    const size_t at = static_cast<size_t>(image) * static_cast<size_t>(view.rows) + static_cast<size_t>(row);
    return static_cast<const float*>(view.keypoints) + at * static_cast<size_t>(view.keypoint_count) * kPointNumbers;
}

void read_point(const float* from, float* to) {
    std::copy_n(from, kPointNumbers, to);
    keep_finite(to);
}

}  // namespace

void candidates_cpu(const View& view, const ops::Candidates& out, ThreadPool* threads) {
    parallel_for(threads, view.count, [&](int image) {
        const size_t first = static_cast<size_t>(image) * static_cast<size_t>(view.rows);
        const float* row = static_cast<const float*>(view.boxes) + first * kBoxNumbers;
        int found = 0;
        for (int r = 0; r < view.rows; ++r, row += kBoxNumbers) {
            if (!passes({row[0], row[1], row[2], row[3]}, row[4], view.conf)) continue;
            const size_t at = first + static_cast<size_t>(found++);
            std::copy_n(row, 4, out.boxes + 4 * at);
            out.scores[at] = row[4];
            out.classes[at] = 0;
            out.anchors[at] = r;
        }
        out.counts[image] = found;
    });
}

void keypoints_cpu(const View& view, const ops::Candidates& candidates, float* keypoints, ThreadPool* threads) {
    parallel_for(threads, view.count, [&](int image) {
        const size_t first = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity);
        const auto pose = static_cast<size_t>(view.keypoint_count) * kPointNumbers;
        for (int i = 0; i < candidates.counts[image]; ++i) {
            const size_t at = first + static_cast<size_t>(i);
            const float* from = keypoints_of(view, image, candidates.anchors[at]);
            for (size_t k = 0; k < pose; k += kPointNumbers) read_point(from + k, keypoints + at * pose + k);
        }
    });
}

void poses_cpu(const View& view, const ops::Candidates& candidates, const ops::Detections& kept,
               const math::Letterbox* placements, const ops::PoseArrays& out, ThreadPool* threads) {
    parallel_for(threads, view.count, [&](int image) {
        const WayBack back(placements[image]);
        const auto pose = static_cast<size_t>(view.keypoint_count) * kPointNumbers;
        for (int i = 0; i < kept.counts[image]; ++i) {
            const size_t to = static_cast<size_t>(image) * static_cast<size_t>(kept.max_det) + static_cast<size_t>(i);
            const size_t from = static_cast<size_t>(image) * static_cast<size_t>(candidates.capacity) +
                                static_cast<size_t>(kept.indices[to]);
            back.box(candidates.boxes + 4 * from, out.boxes + 4 * to);
            out.scores[to] = candidates.scores[from];
            out.class_ids[to] = candidates.classes[from];
            const float* points = keypoints_of(view, image, candidates.anchors[from]);
            for (size_t k = 0; k < pose; k += kPointNumbers) {
                float* point = out.keypoints + to * pose + k;
                read_point(points + k, point);
                back.point(point);
            }
        }
    });
}

}  // namespace trtpose::rows
