// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <functional>
#include <memory>

#include "core/fork.hpp"
#include "trtpose/export.hpp"

namespace trtpose {

/// A fixed set of threads that share the indices of a loop with the thread that asks. In a process forked from the one
/// that made them there are none, and the thread that asks does it all.
class TRTPOSE_API ThreadPool {
public:
    /// `threads` counts the calling thread too; 0 takes what the process may use.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const;

    /// Call body(i) for every i below count, in any order and thread; returns when all are done. The body must not
    /// throw and must not call run() itself.
    void run(int count, const std::function<void(int)>& body);

    /// Threads this process may use.
    static int available();

private:
    struct State;

    Birth birth_;
    std::unique_ptr<State> state_;
};

/// body(i) for i below count, by `pool` or, without one, in order by the caller. Takes no memory.
template <typename Body>
void parallel_for(ThreadPool* pool, int count, Body&& body) {
    if (pool && count > 1) {
        pool->run(count, std::ref(body));
    } else {
        for (int i = 0; i < count; ++i) body(i);
    }
}

}  // namespace trtpose
