// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/export.hpp"

namespace trtpose {

/// "1.2.3".
TRTPOSE_API const char* version();

}  // namespace trtpose
