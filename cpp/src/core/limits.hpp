// SPDX-License-Identifier: Apache-2.0
// What is no picture any more.
#pragma once

namespace trtpose {

inline constexpr int kMaxSide = 1 << 16;  ///< pixels

}  // namespace trtpose
