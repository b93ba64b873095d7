// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: what is recorded in graphs, when they are launched, and the clocks in them.
#include <atomic>
#include <chrono>
#include <thread>

#include "pipeline_test.hpp"

namespace trtpose::test {
namespace {

class PipelineGraphs : public PipelineTest {};

TEST_F(PipelineGraphs, ShapesInTurnKeepTheirGraphsAndTheMemory) {
    EngineOptions options = batch_of(4);
    options.rect = true;
    options.imgsz = {128, 128};
    std::vector<Frame> frames;
    frames.emplace_back(1, 256, 128);
    frames.emplace_back(2, 100, 200);
    frames.emplace_back(3, 300, 300);
    frames.emplace_back(5, 256, 128);
    frames.emplace_back(6, 256, 128);
    const auto wanted = expected(views(frames), options);
    Engine engine = make(options);
    for (int call = 0; call < 2; ++call) expect_equal(engine.infer(views(frames)), wanted);
    const int before = behaviour_->enqueued;
    emulation::listen();
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
    const auto calls = emulation::heard();
    EXPECT_EQ(behaviour_->enqueued, before) << "the network is in the graphs";
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 3u * 4);
}

TEST_F(PipelineGraphs, AGraphIsMadeAtTheSecondRunAndLaunchedFromThenOn) {
    const Frame frame(2, 96, 64);
    Engine engine = make();
    const auto enqueued = [&](auto&& call) {
        const int before = behaviour_->enqueued;
        call();
        return behaviour_->enqueued - before;
    };
    const auto infer = [&] { EXPECT_EQ(engine.infer({&frame.view, 1})[0].count, 2); };
    EXPECT_EQ(enqueued(infer), 1) << "warms up";
    emulation::listen();
    EXPECT_EQ(enqueued(infer), 1) << "is captured";
    auto calls = emulation::heard();
    EXPECT_EQ(count_of(calls, "cudaStreamBeginCapture"), 1u);
    EXPECT_EQ(count_of(calls, "cudaGraphUpload"), 1u);
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 1u);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(enqueued(infer), 0);
    EXPECT_EQ(network_->runs, 7);

    // Other thresholds are another graph; the results say so.
    Thresholds t;
    t.conf = 0.85f;
    for (int i = 0; i < 4; ++i) EXPECT_EQ(engine.infer({&frame.view, 1}, t)[0].count, 1);
    infer();
    // The session made its context anew: the old graph must not be launched.
    behaviour_->capture_id = 2;
    EXPECT_EQ(enqueued(infer), 1);
    EXPECT_EQ(enqueued(infer), 1);
    EXPECT_EQ(enqueued(infer), 0);
}

TEST_F(PipelineGraphs, TheGraphUsedLongestAgoGoes) {
    const Frame frame(3, 96, 64);
    Engine engine = make();
    const auto infer = [&](int i) {
        Thresholds t;
        t.iou = 0.1f + 0.01f * static_cast<float>(i);
        const int before = behaviour_->enqueued;
        EXPECT_EQ(engine.infer({&frame.view, 1}, t)[0].count, 3);
        return behaviour_->enqueued - before;
    };
    constexpr int kKept = 8;
    for (int i = 0; i < kKept; ++i) {
        for (int call = 0; call < 2; ++call) EXPECT_EQ(infer(i), 1);
    }
    for (int i = 0; i < kKept; ++i) EXPECT_EQ(infer(i), 0) << i;
    EXPECT_EQ(infer(kKept), 1);
    EXPECT_EQ(infer(1), 0) << "used lately";
    EXPECT_EQ(infer(0), 1) << "gone";
}

TEST_F(PipelineGraphs, WhatCannotBeCapturedRunsPlainlyAndIsNotTriedAgain) {
    const Frame frame(2, 96, 64);
    const auto launches = [&] {
        Engine engine = make();
        emulation::listen();
        for (int i = 0; i < 5; ++i) EXPECT_EQ(engine.infer({&frame.view, 1})[0].count, 2);
        return emulation::heard();
    };
    behaviour_->spoils_captures = true;
    auto calls = launches();
    EXPECT_EQ(count_of(calls, "cudaStreamBeginCapture"), 1u);
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 0u);
    behaviour_->spoils_captures = false;
    behaviour_->throws_in_capture = true;
    calls = launches();
    EXPECT_EQ(count_of(calls, "cudaStreamBeginCapture"), 1u);
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 0u);
    behaviour_->throws_in_capture = false;
    for (const char* call : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
        emulation::fail_call_named(call, cudaErrorMemoryAllocation);
        calls = launches();
        EXPECT_TRUE(emulation::failed_a_call()) << call;
        EXPECT_EQ(count_of(calls, "cudaStreamBeginCapture"), 1u) << call;
        EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 0u) << call;
    }
    emulation::fail_call_named("cudaGraphUpload", cudaErrorInvalidValue);
    EXPECT_EQ(count_of(launches(), "cudaGraphLaunch"), 4u) << "only slower";
    behaviour_->capture_id = 0;
    EXPECT_EQ(count_of(launches(), "cudaStreamBeginCapture"), 0u) << "the session forbids it";
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "nothing is left for the next to find";
}

TEST_F(PipelineGraphs, TheClockOfTheGpuIsReported) {
    const auto frames = mixed(3);
    Engine engine = make();
    engine.infer(views(frames));
    const StageTimes times = engine.times();
    EXPECT_GT(times.total, 0);
    EXPECT_GT(times.letterbox, 0);
    EXPECT_GT(times.network, 0);
    EXPECT_EQ(times.decode, 0) << "part of the graph";
    EXPECT_EQ(times.nms, 0);
    emulation::listen();
    for (int call = 0; call < 4; ++call) engine.infer(views(frames));
    EXPECT_EQ(count_of(emulation::heard(), "cudaEventRecordWithFlags"), 0u) << "nobody asked";
}

TEST_F(PipelineGraphs, StagesAreClockedInsideOfTheGraph) {
    const auto frames = mixed(5);
    const auto wanted = expected(views(frames));
    // The network takes its time, longer with every run, so that a clock of another run would show.
    std::atomic<int> run{0};
    behaviour_->also = [&](cudaStream_t stream) {
        emulation::enqueue(stream,
                           [&] { std::this_thread::sleep_for(std::chrono::milliseconds(2 + 2 * (run++ % 5))); });
    };
    EngineOptions options;
    options.stage_times = true;
    Engine engine = make(options);
    for (const uint64_t seed : {0, 1, 2, 3}) {
        SCOPED_TRACE(seed);
        emulation::set_schedule(seed);
        run = 0;
        expect_equal(engine.infer(views(frames)), wanted);
        const StageTimes times = engine.times();
        EXPECT_GE(times.network, 2 + 4 + 6 + 8 + 10) << "of five runs";
        EXPECT_GT(times.decode, 0);
        EXPECT_GT(times.nms, 0);
    }
    // From here on all of it is graphs, one for each of the two arrivals.
    const int before = behaviour_->enqueued;
    emulation::listen();
    run = 0;
    expect_equal(engine.infer(views(frames)), wanted);
    const auto calls = emulation::heard();
    EXPECT_EQ(behaviour_->enqueued, before);
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 5u);
    EXPECT_GE(engine.times().network, 30);
    EXPECT_GT(engine.times().decode, 0);

    const DevicePoses left = engine.infer_device(views(frames), engine.thresholds());
    left.synchronize();
    EXPECT_EQ(engine.times().network, 0) << "nobody waited";
    // Where nothing may be captured the same clocks run.
    behaviour_->capture_id = 0;
    Engine plain = make(options);
    run = 0;
    expect_equal(plain.infer(views(frames)), wanted);
    EXPECT_GE(plain.times().network, 30);
    EXPECT_GT(plain.times().decode, 0);
    // Nor is it the end if a recording cannot hold them.
    behaviour_->capture_id = 1;
    Engine spoilt = make(options);
    const auto both = views(frames);
    spoilt.infer({both.data(), 2});  // each arrival once
    emulation::fail_call_named("cudaEventRecordWithFlags", cudaErrorInvalidValue);
    expect_equal(spoilt.infer(views(frames)), wanted);
    EXPECT_TRUE(emulation::failed_a_call());
    EXPECT_GT(spoilt.times().decode, 0);
}

}  // namespace
}  // namespace trtpose::test
