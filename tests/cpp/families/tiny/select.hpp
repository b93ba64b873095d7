// SPDX-License-Identifier: Apache-2.0
// What both twins do for an image.
#pragma once

#include "trtpose/math/box.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose::test {

/// Rows of one network's output: N × rows × (1 + 3·keypoints).
struct TinyRows {
    const float* data;
    int rows, keypoints;
    float conf;
    int max_det;
};

TRTPOSE_HD bool usable(const float* row, const TinyRows& all) {
    bool finite = true;
    for (int i = 0; i < 1 + 3 * all.keypoints; ++i) finite = finite && math::is_finite(row[i]);
    return finite && row[0] > all.conf;
}

/// The best max_det rows of an image, the earlier one on a tie. `taken` holds a number for each row.
TRTPOSE_HD void select_image(const TinyRows& all, int image, const math::Letterbox& place, int32_t* taken,
                             int32_t* counts, const ops::PoseArrays& out) {
    const int fields = 1 + 3 * all.keypoints;
    const float* const first = all.data + static_cast<int64_t>(image) * all.rows * fields;
    taken += static_cast<int64_t>(image) * all.rows;
    for (int r = 0; r < all.rows; ++r) taken[r] = usable(first + r * fields, all) ? 0 : 1;
    int count = 0;
    for (; count < all.max_det; ++count) {
        int best = -1;
        for (int r = 0; r < all.rows; ++r) {
            if (!taken[r] && (best < 0 || first[r * fields] > first[best * fields])) best = r;
        }
        if (best < 0) break;
        taken[best] = 1;
        const float* const row = first + best * fields;
        const int64_t to = static_cast<int64_t>(image) * all.max_det + count;
        float box[4] = {1e9f, 1e9f, -1e9f, -1e9f};
        for (int k = 0; k < all.keypoints; ++k) {
            float* const point = out.keypoints + (to * all.keypoints + k) * 3;
            point[0] = (row[1 + 3 * k] - static_cast<float>(place.left)) * place.scale_x();
            point[1] = (row[2 + 3 * k] - static_cast<float>(place.top)) * place.scale_y();
            point[2] = row[3 + 3 * k];
            for (int i = 0; i < 2; ++i) {
                box[i] = point[i] < box[i] ? point[i] : box[i];
                box[2 + i] = point[i] > box[2 + i] ? point[i] : box[2 + i];
            }
        }
        for (int i = 0; i < 4; ++i) {
            const float most = static_cast<float>(i % 2 == 0 ? place.src_width : place.src_height);
            out.boxes[to * 4 + i] = box[i] < 0 ? 0.0f : box[i] > most ? most : box[i];
        }
        out.scores[to] = row[0];
        out.class_ids[to] = 0;
    }
    counts[image] = count;
}

/// The CUDA twin, a thread for each image.
void select_cuda(const TinyRows& all, int images, const math::Letterbox* placements, int32_t* taken, int32_t* counts,
                 const ops::PoseArrays& out, void* stream);

}  // namespace trtpose::test
