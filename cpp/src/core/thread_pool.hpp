// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "trtpose/export.hpp"

namespace trtpose {

/// A fixed set of threads that share the indices of a loop with the thread that asks.
class TRTPOSE_API ThreadPool {
public:
    /// `threads` counts the calling thread too; 0 takes what the process may use.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return static_cast<int>(workers_.size()) + 1; }

    /// Call body(i) for every i below count, in any order and thread; returns when all are done. The body must not
    /// throw and must not call run() itself.
    void run(int count, const std::function<void(int)>& body);

    /// Threads this process may use.
    static int available();

private:
    void work();

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    const std::function<void(int)>* body_ = nullptr;
    int count_ = 0;
    std::atomic<int> next_{0};
    int busy_ = 0;
    unsigned generation_ = 0;
    bool stop_ = false;
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
