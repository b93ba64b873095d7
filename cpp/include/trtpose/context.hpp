// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "trtpose/types.hpp"

namespace trtpose {

class ThreadPool;

/// Where an operation runs: the device, its stream (a cudaStream_t behind void*, null on the CPU) and, on the CPU, the
/// threads to use (null: the calling thread alone).
struct Context {
    Device device;
    void* stream = nullptr;
    ThreadPool* threads = nullptr;
};

/// Scratch memory of at least the size the operation asked for, aligned to kAlignment, on the context's device.
struct Workspace {
    void* data = nullptr;
    size_t bytes = 0;
};

/// Alignment of every block the engine plans: a cache line, and what CUDA's widest loads need.
inline constexpr size_t kAlignment = 64;

inline constexpr size_t align_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace trtpose
