// SPDX-License-Identifier: Apache-2.0
#include "core/fork.hpp"

#include <pthread.h>

#include <atomic>

namespace trtpose {
namespace {

std::atomic<unsigned> generation{0};

// When the library is loaded: nobody can have made anything of it before.
[[maybe_unused]] const int watched =
    ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

unsigned fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

}  // namespace trtpose
