// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "trtpose/context.hpp"

namespace trtpose {

/// One block of host memory, aligned to kAlignment.
class HostBuffer {
public:
    HostBuffer() = default;
    explicit HostBuffer(size_t bytes) : bytes_(align_up(bytes)) {
        if (bytes_ == 0) return;
        data_.reset(std::aligned_alloc(kAlignment, bytes_));
        if (!data_) throw std::bad_alloc();
    }
    void* data() const { return data_.get(); }
    size_t size() const { return bytes_; }

private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    std::unique_ptr<void, Free> data_;
    size_t bytes_ = 0;
};

/// Hands out aligned parts of one block, first in measure and then for real, so that the sum is known beforehand.
class Planner {
public:
    explicit Planner(void* base = nullptr) : base_(static_cast<char*>(base)) {}

    /// `count` elements; null while only measuring.
    template <typename T>
    T* take(size_t count) {
        T* part = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
        used_ += align_up(count * sizeof(T));
        return part;
    }
    size_t used() const { return used_; }

private:
    char* base_;
    size_t used_ = 0;
};

}  // namespace trtpose
