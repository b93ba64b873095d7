// SPDX-License-Identifier: Apache-2.0
#include "core/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "core/buffer.hpp"
#include "support/child.hpp"

namespace trtpose::test {
namespace {

TEST(ThreadPool, CallsEveryIndexOnce) {
    for (const int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.size(), threads);
        for (const int count : {0, 1, 2, 7, 1000}) {
            std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
            pool.run(count, [&](int i) { ++calls[static_cast<size_t>(i)]; });
            for (const auto& c : calls) EXPECT_EQ(c, 1);
        }
    }
}

TEST(ThreadPool, WhatTheBodyWroteIsSeenAfterwards) {
    // Plain memory on purpose: ThreadSanitizer reports if run() returns too early.
    ThreadPool pool(4);
    std::vector<int> squares(64);
    for (int round = 0; round < 2000; ++round) {
        pool.run(64, [&](int i) { squares[static_cast<size_t>(i)] += i; });
    }
    for (int i = 0; i < 64; ++i) EXPECT_EQ(squares[static_cast<size_t>(i)], 2000 * i);
}

TEST(ThreadPool, WaitsForTheSlowestThread) {
    ThreadPool pool(2);
    const auto caller = std::this_thread::get_id();
    std::atomic<bool> worker_began{false};
    std::atomic<int> ended{0};
    pool.run(2, [&](int) {
        if (std::this_thread::get_id() == caller) {
            // Leave one index to the worker; should none come, the test still ends.
            for (int i = 0; i < 2000 && !worker_began; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        } else {
            worker_began = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        ++ended;
    });
    EXPECT_TRUE(worker_began);
    EXPECT_EQ(ended, 2);
}

TEST(ThreadPool, ManyShortLivedPoolsStop) {
    for (int i = 0; i < 200; ++i) {
        ThreadPool pool(3);
        if (i % 2) pool.run(5, [](int) {});
    }
}

TEST(ThreadPool, AForkedProcessDoesTheWorkItselfAndDeletesItWithoutWaiting) {
    auto pool = std::make_unique<ThreadPool>(4);
    pool->run(8, [](int) {});
    EXPECT_EQ(in_child([&] {
                  int sum = 0;  // of the one thread there is
                  pool->run(8, [&](int i) { sum += i; });
                  const int size = pool->size();
                  pool.reset();
                  return size == 1 ? sum : 50;
              }),
              28);
    EXPECT_EQ(pool->size(), 4);
}

TEST(ThreadPool, ZeroTakesWhatTheProcessMayUse) {
    EXPECT_GE(ThreadPool::available(), 1);
    EXPECT_EQ(ThreadPool(0).size(), ThreadPool::available());
}

TEST(ThreadPool, WithoutOneTheCallerRunsInOrder) {
    std::vector<int> seen;
    parallel_for(nullptr, 5, [&](int i) { seen.push_back(i); });
    EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Buffers, PartsAreAlignedApartAndMeasuredBeforehand) {
    const auto lay_out = [](Planner& plan) {
        return std::vector<char*>{plan.take<char>(1), reinterpret_cast<char*>(plan.take<double>(9)), plan.take<char>(0),
                                  plan.take<char>(64)};
    };
    Planner measure;
    for (const char* part : lay_out(measure)) EXPECT_EQ(part, nullptr);
    const HostBuffer block(measure.used());
    EXPECT_GE(block.size(), measure.used());
    Planner plan(block.data());
    const auto parts = lay_out(plan);
    EXPECT_EQ(plan.used(), measure.used());
    for (const char* part : parts) EXPECT_EQ(reinterpret_cast<uintptr_t>(part) % kAlignment, 0u);
    EXPECT_EQ(parts[1] - parts[0], 64);
    EXPECT_EQ(parts[3] - parts[1], 128);
    EXPECT_EQ(HostBuffer(0).data(), nullptr);
    EXPECT_THROW(HostBuffer(size_t{1} << 60), std::bad_alloc);
}

}  // namespace
}  // namespace trtpose::test
