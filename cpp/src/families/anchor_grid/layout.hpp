// SPDX-License-Identifier: Apache-2.0
// What the layouts of grids of anchors are, once.
#pragma once

#include <cstdint>
#include <vector>

#include "trtpose/model_spec.hpp"

namespace trtpose::anchor_grid {

/// One output per stride, before any formula.
inline bool is_raw(Layout layout) { return layout == Layout::heads || layout == Layout::heads5d; }

inline bool has_objectness(Layout layout) { return is_raw(layout) || layout == Layout::decoded; }

/// How many outputs hold what the spec describes.
inline size_t output_count(const ModelSpec& spec) { return is_raw(spec.layout) ? spec.strides.size() : 1; }

/// Where the fields of an anchor begin; behind the keypoints there is nothing.
struct Fields {
    int classes;      ///< first class score (for final: the score)
    int keypoints;    ///< first keypoint number
    int64_t numbers;  ///< of an anchor

    explicit Fields(const ModelSpec& spec)
        : classes(has_objectness(spec.layout) ? 5 : 4),
          keypoints(spec.layout == Layout::final ? 6 : classes + spec.classes()),
          numbers(keypoints + static_cast<int64_t>(spec.keypoints) * spec.keypoint_dims) {}
};

/// Shape of each output; -1 where the spec leaves it open: the batch, then height and width in cells or the number of
/// anchors.
inline std::vector<int64_t> output_shape(const ModelSpec& spec) {
    const int64_t fields = Fields(spec).numbers, anchors = spec.anchors_per_cell();
    switch (spec.layout) {
        case Layout::heads: return {-1, anchors * fields, -1, -1};
        case Layout::heads5d: return {-1, anchors, -1, -1, fields};
        case Layout::channels_first: return {-1, fields, -1};
        default: return {-1, -1, fields};
    }
}

}  // namespace trtpose::anchor_grid
