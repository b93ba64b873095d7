// SPDX-License-Identifier: Apache-2.0
#include "trtpose/between_runs.hpp"

namespace trtpose {
namespace {

thread_local void (*current)() = nullptr;

}  // namespace

BetweenRuns::BetweenRuns(void (*question)()) noexcept : before_(current) { current = question; }

BetweenRuns::~BetweenRuns() { current = before_; }

void BetweenRuns::ask() {
    if (current) current();
}

}  // namespace trtpose
