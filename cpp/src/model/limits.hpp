// SPDX-License-Identifier: Apache-2.0
// What numbers in descriptions of models are taken for damage.
#pragma once

namespace trtpose {

inline constexpr int kMaxSide = 1 << 16;  ///< pixels
inline constexpr int kMaxKeypoints = 4096;

}  // namespace trtpose
