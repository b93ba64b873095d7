// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.hpp"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace trtpose {

struct ThreadPool::State {
    void work();

    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable start, done;
    const std::function<void(int)>* body = nullptr;  ///< null: there is nothing left to begin
    int count = 0;
    std::atomic<int> next{0};
    int busy = 0;  ///< workers that have begun
    unsigned generation = 0;
    bool stop = false;
};

int ThreadPool::available() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    const unsigned n = std::thread::hardware_concurrency();
    return n ? static_cast<int>(n) : 1;
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
    if (threads <= 0) threads = available();
    try {
        for (int i = 1; i < threads; ++i) state_->workers.emplace_back([state = state_.get()] { state->work(); });
    } catch (const std::system_error&) {
        // The system gives no more threads: the ones there are share the work.
    }
}

ThreadPool::~ThreadPool() {
    if (birth_.here()) {
        {
            const std::lock_guard lock(state_->mutex);
            state_->stop = true;
        }
        state_->start.notify_all();
        for (auto& worker : state_->workers) worker.join();
    }
    // In the child of a fork neither the threads nor the condition that they wait for can be ended.
    give_up(birth_, state_);
}

int ThreadPool::size() const { return birth_.here() ? static_cast<int>(state_->workers.size()) + 1 : 1; }

void ThreadPool::run(int count, const std::function<void(int)>& body) {
    if (count <= 1 || size() == 1) {
        for (int i = 0; i < count; ++i) body(i);
        return;
    }
    State& s = *state_;
    {
        const std::lock_guard lock(s.mutex);
        s.body = &body;
        s.count = count;
        s.next.store(0, std::memory_order_relaxed);
        ++s.generation;
    }
    s.start.notify_all();
    for (int i; (i = s.next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
    // Who has not woken by now is not waited for: small work is done before.
    std::unique_lock lock(s.mutex);
    s.body = nullptr;
    s.done.wait(lock, [&s] { return s.busy == 0; });
}

void ThreadPool::State::work() {
    unsigned seen = 0;
    for (;;) {
        const std::function<void(int)>* current;
        int indices;
        {
            std::unique_lock lock(mutex);
            start.wait(lock, [&] { return stop || (body && generation != seen); });
            if (stop) return;
            seen = generation;
            current = body;
            indices = count;
            ++busy;
        }
        for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < indices;) (*current)(i);
        bool last;
        {
            const std::lock_guard lock(mutex);
            last = --busy == 0;
        }
        if (last) done.notify_one();
    }
}

}  // namespace trtpose
