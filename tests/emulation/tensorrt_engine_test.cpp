// SPDX-License-Identifier: Apache-2.0
// Frames to poses through the TensorRT backend on the double: batching, graphs, memory, clones.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "support/reference.hpp"
#include "tensorrt/support.hpp"
#include "trtpose/engine.hpp"

namespace trtpose::test {
namespace {

using tensorrt_double::Fault;

class TensorRtEngineTest : public TensorRtTest {
protected:
    Engine make(EngineOptions options = {}, const std::string& device = "cuda:0") {
        options.threads = 1;
        return Engine(open(write(), device), spec_, options);
    }
    static EngineOptions batch_of(int batch) {
        EngineOptions options;
        options.batch = batch;
        return options;
    }
    static std::vector<Frame> mixed(int count) {
        std::vector<Frame> frames;
        for (int i = 0; i < count; ++i) frames.emplace_back(i * 3 + 1, 40 + 17 * (i % 5), 30 + 23 * (i % 4));
        return frames;
    }
    static std::vector<ImageView> views(const std::vector<Frame>& frames) {
        std::vector<ImageView> out;
        for (const auto& frame : frames) out.push_back(frame.view);
        return out;
    }
    /// What the CPU finds.
    std::vector<Poses> expected(const std::vector<ImageView>& frames, EngineOptions options = {}) {
        options.threads = 1;
        Engine engine(std::make_unique<FakeSession>(people_), spec_, options);
        return engine.infer(frames);
    }
    static void expect_equal(const std::vector<Poses>& got, const std::vector<Poses>& wanted) {
        ASSERT_EQ(got.size(), wanted.size());
        for (size_t i = 0; i < got.size(); ++i) {
            SCOPED_TRACE(i);
            expect_same(got[i], wanted[i]);
        }
    }
    ModelSpec spec_ = people_spec();
};

TEST_F(TensorRtEngineTest, EqualsTheCpuInBatchesOfEverySize) {
    const auto frames = mixed(7);
    const auto wanted = expected(views(frames));
    for (const uint64_t seed : {0, 3}) {
        SCOPED_TRACE(seed);
        emulation::set_schedule(seed);
        for (const int batch : {1, 4}) {
            Engine engine = make(batch_of(batch));
            for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
        }
    }
}

TEST_F(TensorRtEngineTest, AFixedBatchIsFilledUp) {
    const auto frames = mixed(7);
    network_ = double_of(people_, {3, 3, 64, 96});
    Engine engine = make();
    EXPECT_EQ(engine.batch(), 3);
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), expected(views(frames)));
    EXPECT_EQ(network_->contexts_made, 1);
}

TEST_F(TensorRtEngineTest, HalvesComeOutAsCloseAsTheyAre) {
    const auto frames = mixed(5);
    network_ = double_of(people_, {-1, 3, -1, -1}, nvinfer1::DataType::kHALF);
    Engine engine = make(batch_of(2));
    const auto wanted = expected(views(frames));
    for (int call = 0; call < 3; ++call) {
        const auto got = engine.infer(views(frames));
        ASSERT_EQ(got.size(), wanted.size());
        for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(got[i].count, wanted[i].count);
            for (size_t k = 0; k < got[i].keypoints.size(); ++k)
                EXPECT_NEAR(got[i].keypoints[k], wanted[i].keypoints[k], 0.5);  // spacing of halves near 256 is 0.25
        }
    }
}

TEST_F(TensorRtEngineTest, GraphsAreCapturedOnceAndLaunchedFromThenOn) {
    const auto frames = mixed(4);
    const auto wanted = expected(views(frames));
    Engine engine = make(batch_of(4));
    const auto enqueued = [&] {
        const int before = network_->enqueued;
        expect_equal(engine.infer(views(frames)), wanted);
        return network_->enqueued - before;
    };
    EXPECT_EQ(enqueued(), 1) << "warms up";
    EXPECT_EQ(enqueued(), 1) << "is captured";
    for (int call = 0; call < 4; ++call) EXPECT_EQ(enqueued(), 0);
}

TEST_F(TensorRtEngineTest, GraphsOfManyShapesComeAndGo) {
    // More sizes than contexts are kept, in turn and in flight together.
    EngineOptions options = batch_of(2);
    options.rect = true;
    options.imgsz = {256, 256};
    std::vector<Frame> frames;
    for (int i = 0; i < 24; ++i) frames.emplace_back(i + 1, 256, 48 + 16 * (i % 12));
    const auto wanted = expected(views(frames), options);
    for (const uint64_t seed : {0, 7}) {
        emulation::set_schedule(seed);
        Engine engine = make(options);
        for (int call = 0; call < 2; ++call) expect_equal(engine.infer(views(frames)), wanted);
        // Few enough to stay: then all is in graphs.
        const std::vector<ImageView> few(4, frames[0].view);
        for (int call = 0; call < 2; ++call) engine.infer(few);
        const int before = network_->enqueued;
        engine.infer(few);
        EXPECT_EQ(network_->enqueued, before);
    }
}

TEST_F(TensorRtEngineTest, WhatIsTakenOfTheGpuIsWhatWasPlanned) {
    network_->weights = 123456;
    for (const int batch : {1, 3, 8}) {
        Engine engine = make(batch_of(batch));
        const std::vector<Frame> frames = mixed(batch);
        for (int call = 0; call < 3; ++call) engine.infer(views(frames));
        const MemoryPlan plan = engine.memory();
        EXPECT_EQ(plan.weights, network_->weights);
        const tensorrt_double::Shape shape = {NV_TENSORRT_MAJOR >= 10 ? batch : 8, 3,
                                              NV_TENSORRT_MAJOR >= 10 ? 64 : 256, NV_TENSORRT_MAJOR >= 10 ? 96 : 256};
        EXPECT_GE(plan.activations, network_->scratch(shape));
        EXPECT_LT(plan.activations, network_->scratch(shape) + 1024);
        EXPECT_LE(emulation::device_bytes(), plan.total()) << "batch " << batch;
        EXPECT_GT(emulation::device_bytes(), plan.total() / 100 * 98) << "batch " << batch;
    }
}

TEST_F(TensorRtEngineTest, ABudgetStreamsTheWeightsWhereTheVersionCan) {
    network_->weights = size_t{64} << 20;
    network_->streamable = size_t{60} << 20;
    const auto frames = mixed(3);
    const auto wanted = expected(views(frames));
    EngineOptions options = batch_of(1);
    options.vram_budget = size_t{32} << 20;
    if (NV_TENSORRT_VERSION < 100100) {
        TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "MiB");
        return;
    }
    Engine engine = make(options);
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
    EXPECT_LE(emulation::device_bytes(), options.vram_budget);
    EXPECT_LT(network_->streamed_budget, static_cast<int64_t>(network_->streamable));
    EXPECT_EQ(network_->enqueued, 9) << "never captured";
}

TEST_F(TensorRtEngineTest, FailuresInTheMiddleAreErrorsAndTheNextCallWorks) {
    const auto frames = mixed(6);
    const auto wanted = expected(views(frames));
    for (const Fault fault : {Fault::enqueue, Fault::address}) {
        Engine engine = make(batch_of(2));
        network_->fault = fault;
        TRTPOSE_EXPECT_ERROR(engine.infer(views(frames)),
                             fault == Fault::enqueue ? ErrorCode::device : ErrorCode::model, "asked to fail");
        expect_equal(engine.infer(views(frames)), wanted);
    }
    // During a capture: the run goes on without a graph.
    Engine fresh = make(batch_of(6));
    expect_equal(fresh.infer(views(frames)), wanted);
    network_->fault = Fault::enqueue;
    for (int call = 0; call < 3; ++call) expect_equal(fresh.infer(views(frames)), wanted);
}

TEST_F(TensorRtEngineTest, ShapesOutOfRangeAreRefused) {
    EngineOptions options;
    options.imgsz = {512, 512};
    EXPECT_THROW(make(options), Error);
    EXPECT_THROW(make(batch_of(9)), Error);
    Engine engine = make();
    EXPECT_EQ(network_->engines, 1);
}

TEST_F(TensorRtEngineTest, ClonesShareTheWeightsAndRunInParallel) {
    const auto frames = mixed(5);
    const auto wanted = expected(views(frames));
    Engine engine = make(batch_of(2));
    std::vector<Engine> clones;
    for (int i = 0; i < 3; ++i) clones.push_back(engine.clone());
    EXPECT_EQ(network_->engines, 1);
    std::vector<std::thread> threads;
    std::vector<std::vector<Poses>> found(clones.size());
    for (size_t i = 0; i < clones.size(); ++i) {
        threads.emplace_back([&, i] {
            for (int call = 0; call < 3; ++call) found[i] = clones[i].infer(views(frames));
        });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& poses : found) expect_equal(poses, wanted);
    expect_equal(engine.infer(views(frames)), wanted);
}

TEST_F(TensorRtEngineTest, RunsOnTheGpuAskedFor) {
    const auto frames = mixed(3);
    Engine engine = make(batch_of(2), "cuda:1");
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), expected(views(frames)));
    int current = -1;
    EXPECT_EQ((cudaGetDevice)(&current), cudaSuccess);
    EXPECT_EQ(current, 0);
}

TEST_F(TensorRtEngineTest, EveryCudaCallMayFail) {
    // The same promise as for the pipeline alone: an Error, nothing left behind, the next engine works.
    const auto frames = mixed(1);
    const auto wanted = expected(views(frames));
    const std::string path = write();
    int failed = 0;
    for (uint64_t number = 1;; ++number) {
        SCOPED_TRACE(number);
        emulation::fail_call_number(number, cudaErrorMemoryAllocation);
        try {
            Engine engine(open(path), spec_, batch_of(1));
            for (int call = 0; call < 2; ++call) engine.infer(views(frames));
        } catch (const Error& error) {
            ++failed;
            EXPECT_TRUE(error.code() == ErrorCode::device || error.code() == ErrorCode::budget) << error.what();
        }
        const bool reached = emulation::failed_a_call();
        emulation::fail_call_number(0, 0);
        emulation::reset();
        EXPECT_EQ(network_->contexts, 0);
        EXPECT_EQ(network_->engines, 0);
        if (!reached || HasFailure()) break;
    }
    EXPECT_GT(failed, 20);
    Engine engine(open(path), spec_, batch_of(2));
    expect_equal(engine.infer(views(frames)), wanted);
}

}  // namespace
}  // namespace trtpose::test
