// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/export.hpp"

namespace trtpose {

/// "1.2.3".
TRTPOSE_API const char* version();

/// The CUDA version of this build, 13000 for 13.0; 0: built without.
TRTPOSE_API int cuda_version();

}  // namespace trtpose
