// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <string>

#include "trtpose/error.hpp"

namespace trtpose {

/// All arguments as one text.
template <typename... Args>
std::string text(const Args&... args) {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
}

/// Throw Error(code) with the text of the remaining arguments unless `ok`.
template <typename... Args>
void require(bool ok, ErrorCode code, const Args&... args) {
    if (!ok) throw Error(code, text(args...));
}

/// "1×3×256×256", free sizes as "?".
template <typename Shape>
std::string shape_text(const Shape& shape) {
    std::string out;
    for (const auto d : shape) out += (out.empty() ? "" : "×") + (d < 0 ? std::string("?") : std::to_string(d));
    return out.empty() ? "scalar" : out;
}

}  // namespace trtpose
