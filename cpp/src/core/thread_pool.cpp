// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.hpp"

#include <sched.h>

#include <system_error>

namespace trtpose {

int ThreadPool::available() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    const unsigned n = std::thread::hardware_concurrency();
    return n ? static_cast<int>(n) : 1;
}

ThreadPool::ThreadPool(int threads) {
    if (threads <= 0) threads = available();
    try {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
        // The system gives no more threads: the ones there are share the work.
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    start_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(int count, const std::function<void(int)>& body) {
    if (workers_.empty() || count <= 1) {
        for (int i = 0; i < count; ++i) body(i);
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        body_ = &body;
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
        busy_ = static_cast<int>(workers_.size());
        ++generation_;
    }
    start_.notify_all();
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    body_ = nullptr;
}

void ThreadPool::work() {
    unsigned seen = 0;
    for (;;) {
        const std::function<void(int)>* body;
        int count;
        {
            std::unique_lock lock(mutex_);
            start_.wait(lock, [&] { return stop_ || generation_ != seen; });
            if (stop_) return;
            seen = generation_;
            body = body_;
            count = count_;
        }
        for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) (*body)(i);
        bool last;
        {
            const std::lock_guard lock(mutex_);
            last = --busy_ == 0;
        }
        if (last) done_.notify_one();
    }
}

}  // namespace trtpose
