// SPDX-License-Identifier: Apache-2.0
// What readers of several families ask of heads that are maps, N × channels × rows × columns.
#pragma once

#include <string>

#include "core/check.hpp"
#include "trtpose/types.hpp"

namespace trtpose::families {

/// The input that a head belongs to whose cells are `stride` pixels. Throws Error(model), in the name of model `name`,
/// where no input has that size.
inline Size input_of_head(const std::string& name, int64_t rows, int64_t columns, int64_t stride) {
    constexpr int64_t kMost = 1 << 20;
    const int64_t height = rows * stride, width = columns * stride;
    require(height > 0 && height <= kMost && width > 0 && width <= kMost, ErrorCode::model, "model ", name,
            ": an input of ", height, "×", width, " pixels");
    return {static_cast<int>(height), static_cast<int>(width)};
}

}  // namespace trtpose::families
