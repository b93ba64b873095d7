// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "trtpose/model_spec.hpp"

namespace trtpose::rows {

inline constexpr int kBoxNumbers = 5;    ///< x1, y1, x2, y2 in input pixels, score
inline constexpr int kPointNumbers = 3;  ///< x, y in input pixels, confidence

/// Boxes and keypoints; -1 where it is free: the batch, and the number of rows, which is the same in both.
std::vector<std::vector<int64_t>> output_shapes(int keypoints);

/// Whether NMS follows; not by a spec that says `"suppress": false`.
bool suppresses(const ModelSpec& spec);

/// Whether a shape of a file, -1 or empty where it is open, may be the one expected.
inline bool fits(const std::vector<int64_t>& shape, const std::vector<int64_t>& expected) {
    if (shape.empty()) return true;
    if (shape.size() != expected.size()) return false;
    for (size_t i = 1; i < shape.size(); ++i) {
        if (shape[i] >= 0 && expected[i] >= 0 && shape[i] != expected[i]) return false;
    }
    return true;
}

}  // namespace trtpose::rows
