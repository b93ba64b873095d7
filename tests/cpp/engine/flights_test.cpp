// SPDX-License-Identifier: Apache-2.0
// Calls in flight: what submit and collect give, what goes wrong with one of two, how they end.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine_test.hpp"
#include "support/child.hpp"
#include "trtpose/between_runs.hpp"

namespace trtpose::test {
namespace {

using namespace std::chrono_literals;

struct Enough : std::runtime_error {
    Enough() : std::runtime_error("enough") {}
};

class EngineFlights : public EngineTest {
protected:
    static EngineOptions batch_of(int batch) {
        EngineOptions options;
        options.batch = batch;
        return options;
    }
    /// Some that no call has had: what the network is given then is no captured graph, and it can be asked to fail.
    Thresholds others() {
        Thresholds t;
        t.conf = 0.25f + 0.001f * static_cast<float>(++changes_);
        return t;
    }
    /// What is found, or nothing where the call fails as the network does when it is asked to, now or later.
    std::optional<std::vector<Poses>> found(Engine& engine, const std::vector<Frame>& frames) {
        try {
            return engine.collect(engine.submit(views(frames), others()));
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::model);
            EXPECT_STREQ(error.what(), "fake network: asked to fail");
            return std::nullopt;
        }
    }

    int changes_ = 0;
};

TEST_F(EngineFlights, EqualInferInWhateverOrderTheyAreCollected) {
    for (const bool in_threads : {true, false}) {
        network_->in_threads = in_threads;
        for (const int batch : {1, 3}) {
            Engine engine = make(batch_of(batch));
            std::vector<std::vector<Frame>> calls;
            for (const int count : {1, 4, 0, 7, 2, 3}) calls.push_back(mixed(count));
            for (const bool turned : {false, true}) {
                for (size_t i = 0; i < calls.size(); i += 2) {
                    Ticket tickets[2];
                    for (size_t k = 0; k < 2; ++k) tickets[k] = engine.submit(views(calls[i + k]));
                    std::vector<Poses> got[2];
                    for (const size_t k : {size_t{turned}, size_t{!turned}}) got[k] = engine.collect(tickets[k]);
                    for (size_t k = 0; k < 2; ++k) EXPECT_TRUE(same(got[k], infer(engine, calls[i + k])));
                }
            }
        }
    }
}

TEST_F(EngineFlights, RollOnForever) {
    Engine engine = make(batch_of(2));
    std::deque<std::pair<Ticket, std::vector<Poses>>> open;
    for (int i = 0; i < 40; ++i) {
        const auto frames = mixed(1 + i % 5);
        if (static_cast<int>(open.size()) == engine.max_in_flight()) {
            EXPECT_TRUE(same(engine.collect(open.front().first), open.front().second));
            open.pop_front();
        }
        const auto wanted = infer(engine, frames);  // between those that are in flight
        open.emplace_back(engine.submit(views(frames)), wanted);
    }
    for (auto& [ticket, wanted] : open) EXPECT_TRUE(same(engine.collect(ticket), wanted));
}

TEST_F(EngineFlights, FramesAreTheCallersAgain) {
    Engine engine = make();
    auto frames = mixed(3);
    const auto wanted = infer(engine, frames);
    const Ticket ticket = engine.submit(views(frames));
    for (auto& frame : frames) std::fill(frame.bytes.begin(), frame.bytes.end(), uint8_t{0});
    frames.clear();
    EXPECT_TRUE(same(engine.collect(ticket), wanted));
}

TEST_F(EngineFlights, LetterboxedInputsAndThresholdsOfTheirOwn) {
    Engine engine = make(batch_of(2));
    const Frame frame(3, 96, 64);
    Size size;
    const auto one = engine.letterbox(frame.view, &size);
    std::vector<float> three;
    for (int i = 0; i < 3; ++i) three.insert(three.end(), one.begin(), one.end());
    Thresholds strict;
    strict.conf = 0.75f;
    const auto wanted = engine.infer_tensor(three.data(), 3, size, strict);
    InputView view;
    view.data = three.data();
    view.batch = 3;
    view.height = size.height;
    view.width = size.width;
    const Ticket ticket = engine.submit_tensor(view, strict), other = engine.submit(views({frame}));
    std::fill(three.begin(), three.end(), 0.0f);
    EXPECT_TRUE(same(engine.collect(ticket), wanted));
    EXPECT_EQ(engine.collect(other)[0].count, 3);
    EXPECT_EQ(wanted[0].count, 2);
}

TEST_F(EngineFlights, OneTooManyIsRefusedAndTheOthersGoOn) {
    for (const int streams : {1, 3}) {
        EngineOptions options;
        options.streams = streams;
        Engine engine = make(options);
        const auto frames = mixed(2);
        const auto wanted = infer(engine, frames);
        std::vector<Ticket> tickets;
        for (int i = 0; i < engine.max_in_flight(); ++i) tickets.push_back(engine.submit(views(frames)));
        EXPECT_GE(tickets.size(), 2u);
        TRTPOSE_EXPECT_ERROR(engine.submit(views(frames)), ErrorCode::input, "collect one before the next submit");
        for (const Ticket ticket : tickets) EXPECT_TRUE(same(engine.collect(ticket), wanted));
        EXPECT_TRUE(same(engine.collect(engine.submit(views(frames))), wanted));
    }
}

TEST_F(EngineFlights, ATicketIsGoodOnceAndForItsEngine) {
    Engine engine = make(), other = engine.clone();
    const auto frames = mixed(2);
    const auto wanted = infer(engine, frames);
    const Ticket mine = engine.submit(views(frames)), theirs = other.submit(views(frames));
    TRTPOSE_EXPECT_ERROR(engine.collect(theirs), ErrorCode::input, "by the engine that gave it");
    TRTPOSE_EXPECT_ERROR(engine.collect(Ticket{}), ErrorCode::input, "no call of ticket 0");
    EXPECT_TRUE(same(engine.collect(mine), wanted));
    TRTPOSE_EXPECT_ERROR(engine.collect(mine), ErrorCode::input, "collected once");
    Engine moved = std::move(other);
    EXPECT_TRUE(same(moved.collect(theirs), wanted));
}

TEST_F(EngineFlights, WhatIsWrongWithOneIsNotTheOthers) {
    Engine engine = make(batch_of(2));
    const auto frames = mixed(5);
    const auto wanted = infer(engine, frames);
    auto bad = mixed(3);
    bad[2].view.data = nullptr;
    Ticket ticket = engine.submit(views(frames));
    TRTPOSE_EXPECT_ERROR(engine.submit(views(bad)), ErrorCode::input, "frame 2");
    Thresholds nonsense;
    nonsense.conf = 2;
    TRTPOSE_EXPECT_ERROR(engine.submit(views(frames), nonsense), ErrorCode::input, "conf");
    EXPECT_TRUE(same(engine.collect(ticket), wanted));

    // The network fails: the second of two, and the first.
    infer(engine, frames);
    ticket = engine.submit(views(mixed(2)));
    const auto two = infer(engine, mixed(2));  // takes the place of that one, which therefore has run
    network_->fail_next = true;
    EXPECT_FALSE(found(engine, frames));
    EXPECT_TRUE(same(engine.collect(ticket), two));
    network_->fail_next = true;
    std::optional<Ticket> first;
    try {
        first = engine.submit(views(mixed(2)), others());  // one run, which nobody waits for here
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "fake network: asked to fail");
    }
    while (network_->fail_next) std::this_thread::sleep_for(1ms);
    ticket = engine.submit(views(frames));
    const auto between = infer(engine, frames);  // takes the place of the one that failed
    EXPECT_TRUE(same(between, wanted));
    if (first) {
        TRTPOSE_EXPECT_ERROR(engine.collect(*first), ErrorCode::model, "asked to fail");
    }
    EXPECT_TRUE(same(engine.collect(ticket), wanted));
    EXPECT_TRUE(same(infer(engine, frames), wanted));
}

TEST_F(EngineFlights, ASubmitOfSeveralRunsCanBeEndedBetweenThem) {
    Engine engine = make(batch_of(2));
    const auto frames = mixed(7);
    const auto wanted = infer(engine, frames);
    const Ticket ticket = engine.submit(views(frames));
    {
        const BetweenRuns between(+[] { throw Enough(); });
        EXPECT_THROW(engine.submit(views(frames)), Enough);
    }
    const Ticket next = engine.submit(views(frames));
    EXPECT_TRUE(same(engine.collect(next), wanted));
    EXPECT_TRUE(same(engine.collect(ticket), wanted));
}

TEST_F(EngineFlights, AnEngineIsDeletedAndAssignedToWithCallsInFlight) {
    const auto frames = mixed(5);
    for (int i = 0; i < 5; ++i) {
        Engine engine = make(batch_of(2));
        engine.submit(views(frames));
        engine.submit(views(frames));
        if (i % 2) engine = make();
    }
}

TEST_F(EngineFlights, AreForThreadsThatTakeTurns) {
    Engine engine = make(batch_of(2));
    const auto frames = mixed(5);
    const auto wanted = infer(engine, frames);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < engine.max_in_flight(); ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 20; ++round)
                wrong += !same(engine.collect(engine.submit(views(frames))), wanted);
        });
    }
    for (int round = 0; round < 10; ++round) {
        wrong += !same(infer(engine, frames), wanted);
        wrong += engine.infer_device(views(frames), engine.thresholds()).frames != 5;
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(EngineFlights, TheirMemoryIsPlannedAndABudgetLeavesNoneForMore) {
    if (fake_sessions_are_on_cuda()) GTEST_SKIP() << "a GPU computes one run after the other in the same memory";
    const auto frames = mixed(2);
    Engine engine = make(batch_of(2));
    const MemoryPlan one = engine.memory();
    const Ticket first = engine.submit(views(frames)), second = engine.submit(views(frames));
    EXPECT_EQ(engine.memory().weights, one.weights);
    EXPECT_EQ(engine.memory().total(), 2 * one.total() - one.weights);
    const auto wanted = engine.collect(first);
    EXPECT_TRUE(same(engine.collect(second), wanted));

    EngineOptions options = batch_of(2);
    options.vram_budget = one.total();
    Engine tight = make(options);
    network_->clones = 0;
    const Ticket third = tight.submit(views(frames)), fourth = tight.submit(views(frames));
    EXPECT_TRUE(same(tight.collect(fourth), wanted));
    EXPECT_TRUE(same(tight.collect(third), wanted));
    EXPECT_EQ(network_->clones, 0);
    EXPECT_EQ(tight.memory().total(), one.total());
}

TEST_F(EngineFlights, TheNetworkIsAtWorkWhenSubmitReturns) {
    if (fake_sessions_are_on_cuda()) GTEST_SKIP() << "PipelineFlights has it";
    std::mutex mutex;
    std::condition_variable changed;
    int inside = 0;
    bool go_on = false;
    const auto answer = network_->answer;
    network_->answer = [&](const float* image, Size size, const std::vector<float*>& outputs) {
        std::unique_lock lock(mutex);
        ++inside;
        changed.notify_all();
        changed.wait(lock, [&] { return go_on; });
        lock.unlock();
        answer(image, size, outputs);
    };
    Engine engine = make();
    const auto frames = mixed(1);
    const Ticket first = engine.submit(views(frames)), second = engine.submit(views(frames));
    {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return inside == 2; });  // both at the same time
        go_on = true;
    }
    changed.notify_all();
    EXPECT_TRUE(same(engine.collect(first), engine.collect(second)));
}

TEST_F(EngineFlights, WithSeveralStreamsTheRunsOfOneCallAreComputedTogether) {
    if (fake_sessions_are_on_cuda()) GTEST_SKIP() << "streams are of the CPU";
    const auto frames = mixed(7);
    Engine one = make(batch_of(2));
    const auto wanted = infer(one, frames);
    EngineOptions options = batch_of(2);
    options.streams = 2;
    Engine engine = make(options);
    std::mutex mutex;
    std::condition_variable changed;
    int inside = 0;
    const auto answer = network_->answer;
    network_->answer = [&](const float* image, Size size, const std::vector<float*>& outputs) {
        std::unique_lock lock(mutex);
        ++inside;
        changed.notify_all();
        changed.wait(lock, [&] { return inside > 1; });  // the first waits for another
        lock.unlock();
        answer(image, size, outputs);
    };
    EXPECT_TRUE(same(infer(engine, frames), wanted));
    const StageTimes times = engine.times();
    EXPECT_GT(times.network, 0);
    EXPECT_LE(times.letterbox + times.network + times.decode + times.nms, times.total);
    network_->answer = answer;
    network_->fail_next = true;
    EXPECT_THROW(engine.infer(views(frames), others()), Error);
    EXPECT_TRUE(same(infer(engine, frames), wanted));
}

TEST_F(EngineFlights, AForkedProcessSaysThatANewEngineIsNeeded) {
    Engine engine = make();
    const auto frames = mixed(2);
    const auto wanted = infer(engine, frames);
    const Ticket ticket = engine.submit(views(frames)), other = engine.submit(views(frames));
    EXPECT_EQ(in_child([&] {
                  int told = 0;
                  const auto tell = [&](auto&& work) {
                      try {
                          work();
                      } catch (const Error& error) {
                          told += error.code() == ErrorCode::device;
                      }
                  };
                  tell([&] { engine.collect(ticket); });
                  tell([&] { engine.submit(views(frames)); });
                  {
                      const Engine gone = std::move(engine);
                  }
                  return told;
              }),
              2);
    EXPECT_TRUE(same(engine.collect(ticket), wanted));
    EXPECT_TRUE(same(engine.collect(other), wanted));
}

}  // namespace
}  // namespace trtpose::test
