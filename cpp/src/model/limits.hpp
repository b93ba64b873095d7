// SPDX-License-Identifier: Apache-2.0
// What numbers in descriptions of models are taken for damage.
#pragma once

#include <cstdint>

#include "core/limits.hpp"

namespace trtpose {

inline constexpr int kMaxKeypoints = 4096;

/// Bytes of a spec or of what an engine file says of itself: names, shapes and the record of an export, kilobytes.
inline constexpr uint32_t kMaxDescription = uint32_t{16} << 20;

}  // namespace trtpose
