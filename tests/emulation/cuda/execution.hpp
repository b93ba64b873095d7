// SPDX-License-Identifier: Apache-2.0
// How a grid runs: blocks one after the other, the threads of a block as fibers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <string>

#include "cuda/emulation.hpp"

namespace emulation {

/// Small, fast, the same on every machine.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0x1234567) {}
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    /// 0 to below - 1.
    size_t below(size_t below) { return static_cast<size_t>((next() >> 11) % below); }

private:
    uint64_t state_;
};

/// Run all blocks. Empty, or what went wrong.
std::string run_grid(const std::string& name, dim3 grid, dim3 block, size_t dynamic_bytes,
                     const std::function<void()>& body);

uint64_t schedule();
Random& random();
Counts& mutable_counts();

}  // namespace emulation
