// SPDX-License-Identifier: Apache-2.0
// What TensorRT says of a call that failed, as part of our errors.
#pragma once

#include <string>

#include "core/check.hpp"

namespace trtpose::tensorrt {

/// Forget what was said in this thread.
void forget_messages();

/// Throw with what TensorRT said in this thread since the last reset; budget instead of `code` where memory lacks.
[[noreturn]] void throw_with_messages(ErrorCode code, const std::string& what);

template <typename... Args>
[[noreturn]] void fail(ErrorCode code, const Args&... args) {
    throw_with_messages(code, text(args...));
}

}  // namespace trtpose::tensorrt
