// SPDX-License-Identifier: Apache-2.0
// What numbers in descriptions of models are taken for damage.
#pragma once

#include "core/limits.hpp"

namespace trtpose {

inline constexpr int kMaxKeypoints = 4096;

}  // namespace trtpose
