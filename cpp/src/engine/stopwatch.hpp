// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace trtpose::engine {

class Stopwatch {
public:
    /// Milliseconds since the last call.
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
        last_ = now;
        return ms;
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace trtpose::engine
