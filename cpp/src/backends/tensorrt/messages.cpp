// SPDX-License-Identifier: Apache-2.0
#include "backends/tensorrt/messages.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "backends/tensorrt/vendor.hpp"

namespace trtpose::tensorrt {
namespace {

constexpr size_t kMaxReason = 400;

thread_local std::string errors;

std::string reason() {
    if (errors.empty()) return "it gives no reason";
    std::string out = errors.substr(0, kMaxReason);
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
}

}  // namespace

void note_error(const std::string& message) {
    if (errors.size() < kMaxReason) errors += (errors.empty() ? "" : "; ") + message;
}

void print_message(const char* message) {
    static const bool loud = std::getenv("TRTPOSE_TENSORRT_LOG") != nullptr;
    if (loud) std::fprintf(stderr, "TensorRT: %s\n", message);
}

void forget_messages() { errors.clear(); }

void throw_with_messages(ErrorCode code, const std::string& what) {
    const std::string why = reason();
    static constexpr const char* kNoMemory[] = {"out of memory", "OutOfMemory", "Insufficient memory"};
    const bool memory = std::any_of(std::begin(kNoMemory), std::end(kNoMemory),
                                    [&](const char* phrase) { return why.find(phrase) != std::string::npos; });
    throw Error(memory ? ErrorCode::budget : code, text(what, " (", why, ")"));
}

}  // namespace trtpose::tensorrt
