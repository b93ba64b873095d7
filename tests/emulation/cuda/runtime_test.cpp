// SPDX-License-Identifier: Apache-2.0
// Streams, events, copies and graphs of the model, and what trtpose::core makes of CUDA's errors.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <vector>

#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "cuda/emulation.hpp"

namespace {

void add(int* value, int amount) { *value += amount; }
void scale(int* value, int factor) { *value *= factor; }

class Runtime : public testing::Test {
protected:
    void SetUp() override {
        emulation::reset();
        emulation::set_devices(1);
        emulation::set_schedule(7);
        ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
        ASSERT_EQ(cudaStreamCreateWithFlags(&other_, cudaStreamNonBlocking), cudaSuccess);
        ASSERT_EQ(cudaMalloc(&value_, sizeof(int)), cudaSuccess);
        ASSERT_EQ(cudaHostAlloc(&pinned_, sizeof(int), cudaHostAllocDefault), cudaSuccess);
        ASSERT_EQ(cudaMemset(value_, 0, sizeof(int)), cudaSuccess);
    }
    void TearDown() override {
        emulation::reset();
        emulation::set_devices(1);
        emulation::set_schedule(0);
        EXPECT_EQ(cudaFree(value_), cudaSuccess);
        EXPECT_EQ(cudaFreeHost(pinned_), cudaSuccess);
        EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
        EXPECT_EQ(cudaStreamDestroy(other_), cudaSuccess);
        EXPECT_EQ(emulation::device_bytes(), 0u);
    }
    int value() {
        int host = -1;
        EXPECT_EQ(cudaMemcpy(&host, value_, sizeof(int), cudaMemcpyDeviceToHost), cudaSuccess);
        return host;
    }

    cudaStream_t stream_ = nullptr, other_ = nullptr;
    int *value_ = nullptr, *pinned_ = nullptr;
};

TEST_F(Runtime, AStreamKeepsItsOrderAndWaits) {
    *pinned_ = -1;
    for (int i = 0; i < 10; ++i) {
        TRTPOSE_LAUNCH(add, 1, 1, 0, stream_, value_, 1);
        TRTPOSE_LAUNCH(scale, 1, 1, 0, stream_, value_, 2);
    }
    ASSERT_EQ(cudaMemcpyAsync(pinned_, value_, sizeof(int), cudaMemcpyDeviceToHost, stream_), cudaSuccess);
    EXPECT_EQ(*pinned_, -1) << "nothing ran before somebody waited";
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(*pinned_, 2046);
}

TEST_F(Runtime, PinnedMemoryIsReadLateAndPageableAtOnce) {
    int pageable = 5;
    ASSERT_EQ(cudaMemcpyAsync(value_, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream_), cudaSuccess);
    pageable = 6;
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(value(), 5);
    *pinned_ = 5;
    ASSERT_EQ(cudaMemcpyAsync(value_, pinned_, sizeof(int), cudaMemcpyHostToDevice, stream_), cudaSuccess);
    *pinned_ = 6;  // too early: the copy has not happened yet
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(value(), 6);
}

TEST_F(Runtime, EventsOrderStreams) {
    cudaEvent_t event = nullptr;
    ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    for (uint64_t seed = 1; seed < 30; ++seed) {
        emulation::set_schedule(seed);
        ASSERT_EQ(cudaMemset(value_, 0, sizeof(int)), cudaSuccess);
        TRTPOSE_LAUNCH(add, 1, 1, 0, stream_, value_, 3);
        ASSERT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
        ASSERT_EQ(cudaStreamWaitEvent(other_, event), cudaSuccess);
        TRTPOSE_LAUNCH(scale, 1, 1, 0, other_, value_, 10);
        ASSERT_EQ(cudaStreamSynchronize(other_), cudaSuccess);
        ASSERT_EQ(value(), 30);
    }
    EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(Runtime, ACapturedGraphRunsAgainAndAgain) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(value_, pinned_, sizeof(int), cudaMemcpyHostToDevice, stream_), cudaSuccess);
    TRTPOSE_LAUNCH(scale, 1, 1, 0, stream_, value_, 2);
    ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
    EXPECT_EQ(value(), 0) << "recorded, not run";
    for (int i = 1; i < 4; ++i) {
        *pinned_ = i;
        ASSERT_EQ(cudaGraphLaunch(exec, stream_), cudaSuccess);
        ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
        EXPECT_EQ(value(), 2 * i);
    }
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(Runtime, EventsInAGraphAreReachedAtEveryLaunch) {
    const trtpose::CudaEvent before(true), after(true), unused(true), no_clock;
    float ms = -1;
    EXPECT_EQ(cudaEventRecordWithFlags(before.get(), stream_, cudaEventRecordExternal), cudaErrorInvalidValue)
        << "only in a recording";
    trtpose::CudaGraph graph = trtpose::CudaGraph::record(stream_, [&] {
        before.record_in_graph(stream_);
        TRTPOSE_LAUNCH(add, 1, 1, 0, stream_, value_, 1);
        after.record_in_graph(stream_);
    });
    EXPECT_EQ(cudaEventElapsedTime(&ms, before.get(), after.get()), cudaErrorInvalidResourceHandle) << "never reached";
    for (int i = 0; i < 3; ++i) {
        graph.launch(stream_);
        EXPECT_EQ(cudaEventElapsedTime(&ms, before.get(), after.get()), cudaErrorNotReady);
        ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
        EXPECT_GE(trtpose::elapsed_ms(before, after), 0);
    }
    EXPECT_EQ(cudaEventElapsedTime(&ms, before.get(), unused.get()), cudaErrorInvalidResourceHandle);
    no_clock.record(stream_);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&ms, before.get(), no_clock.get()), cudaErrorInvalidResourceHandle);
    // What record() leaves in a recording only orders it.
    const trtpose::CudaEvent ordering(true);
    graph = trtpose::CudaGraph::record(stream_, [&] { ordering.record(stream_); });
    graph.launch(stream_);
    ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&ms, ordering.get(), after.get()), cudaErrorInvalidValue);
    EXPECT_EQ(cudaEventSynchronize(ordering.get()), cudaErrorCapturedEvent);
    static_cast<void>(cudaGetLastError());
    {
        const trtpose::CudaEvent gone(true);
        graph = trtpose::CudaGraph::record(stream_, [&] { gone.record_in_graph(stream_); });
    }
    EXPECT_EQ(cudaGraphLaunch(nullptr, stream_), cudaErrorInvalidValue);
    EXPECT_THROW(graph.launch(stream_), trtpose::Error);
    EXPECT_NE(emulation::fault().find("an event that is gone"), std::string::npos);
    emulation::reset();
}

TEST_F(Runtime, AKernelAndAnEventBelongToTheDeviceOfTheirStream) {
    emulation::set_devices(2);
    const trtpose::CudaEvent here;
    ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
    TRTPOSE_LAUNCH(add, 1, 1, 0, stream_, value_, 1);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
    const trtpose::CudaEvent there;
    EXPECT_EQ(cudaEventRecord(there.get(), stream_), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaEventRecord(here.get(), stream_), cudaSuccess);
    {
        const trtpose::CudaStream other;
        EXPECT_EQ(cudaStreamWaitEvent(other.get(), here.get()), cudaSuccess) << "waiting goes across";
        EXPECT_EQ(cudaStreamSynchronize(other.get()), cudaSuccess);
    }
    static_cast<void>(cudaGetLastError());
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
}

TEST_F(Runtime, TheLegacyStreamWaitsForThoseThatDoNotObject) {
    cudaStream_t blocking = nullptr;
    ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
    emulation::set_schedule(0);
    for (cudaStream_t stream : {stream_, blocking}) {
        *pinned_ = 0;
        emulation::enqueue(stream, [&] { *pinned_ = 1; });
        ASSERT_EQ(cudaMemset(value_, 0, sizeof(int)), cudaSuccess);
        EXPECT_EQ(*pinned_, stream == blocking ? 1 : 0);
        ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    }
    // It cannot be used while a stream that waits for it is recorded.
    for (cudaStream_t stream : {stream_, blocking}) {
        ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
        EXPECT_EQ(cudaMemsetAsync(value_, 0, sizeof(int)),
                  stream == blocking ? cudaErrorStreamCaptureImplicit : cudaSuccess);
        cudaGraph_t graph = nullptr;
        ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
        ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    }
    static_cast<void>(cudaGetLastError());
    EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_F(Runtime, WhatCannotBeCapturedSpoilsTheCapture) {
    cudaGraph_t graph = nullptr;
    void* block = nullptr;
    int pageable = 0;
    const std::vector<std::function<cudaError_t()>> forbidden = {
        [&] { return cudaMalloc(&block, 8); },
        [&] { return cudaStreamSynchronize(stream_); },
        [&] { return cudaMemcpyAsync(value_, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream_); },
        [&] { return cudaDeviceSynchronize(); },
    };
    for (const auto& call : forbidden) {
        ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
        EXPECT_NE(call(), cudaSuccess);
        EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
        EXPECT_EQ(graph, nullptr);
    }
    static_cast<void>(cudaGetLastError());
}

TEST_F(Runtime, CopiesAreCheckedAgainstTheMemory) {
    int host = 0;
    EXPECT_EQ(cudaMemcpy(&host, pinned_, sizeof(int), cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(value_, &host, 2 * sizeof(int), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    EXPECT_EQ(cudaMemcpy(&host, value_, sizeof(int), cudaMemcpyDefault), cudaSuccess);
    static_cast<void>(cudaGetLastError());
}

TEST_F(Runtime, MemoryEnds) {
    emulation::set_devices(1, 1 << 20);
    void* block = nullptr;
    EXPECT_EQ(cudaMalloc(&block, 2 << 20), cudaErrorMemoryAllocation);
    EXPECT_EQ(block, nullptr);
    EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
    size_t free_bytes = 0, total = 0;
    EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
    EXPECT_EQ(total, size_t{1} << 20);
    EXPECT_EQ(free_bytes, total - sizeof(int));
}

TEST_F(Runtime, ErrorsBecomeExceptionsWithTheReason) {
    void* block = nullptr;
    try {
        trtpose::cuda_check(cudaMalloc(&block, size_t{1} << 60), "take memory");
        FAIL();
    } catch (const trtpose::Error& e) {
        EXPECT_EQ(e.code(), trtpose::ErrorCode::device);
        EXPECT_STREQ(e.what(), "CUDA could not take memory: out of memory (cudaErrorMemoryAllocation)");
    }
    EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "the code is not left for the next";
    TRTPOSE_LAUNCH(add, 0, 1, 0, stream_, value_, 1);
    EXPECT_THROW(trtpose::cuda_check_launch("add"), trtpose::Error);
}

TEST_F(Runtime, ResourcesComeAndGo) {
    {
        const trtpose::CudaStream stream;
        const trtpose::DeviceBuffer buffer(sizeof(int)), nothing(0);
        const trtpose::PinnedBuffer staging(sizeof(int));
        EXPECT_EQ(nothing.data(), nullptr);
        auto* const host = static_cast<int*>(staging.data());
        auto* const value = static_cast<int*>(buffer.data());
        *host = 20;
        const trtpose::CudaGraph graph = trtpose::CudaGraph::record(stream.get(), [&] {
            trtpose::cuda_check(cudaMemcpyAsync(value, host, sizeof(int), cudaMemcpyHostToDevice, stream.get()),
                                "copy");
            TRTPOSE_LAUNCH(add, 1, 1, 0, stream.get(), value, 1);
            trtpose::cuda_check(cudaMemcpyAsync(host, value, sizeof(int), cudaMemcpyDeviceToHost, stream.get()),
                                "copy");
        });
        graph.upload(stream.get());
        for (int i = 0; i < 3; ++i) graph.launch(stream.get());
        const trtpose::CudaEvent done;
        done.record(stream.get());
        done.synchronize();
        EXPECT_EQ(*host, 23);
        // A failure in the middle of a recording leaves the stream as it was.
        EXPECT_THROW(
            trtpose::CudaGraph::record(stream.get(), [] { throw trtpose::Error(trtpose::ErrorCode::input, "no"); }),
            trtpose::Error);
        TRTPOSE_LAUNCH(add, 1, 1, 0, stream.get(), host, 1);
        stream.synchronize();
        EXPECT_EQ(*host, 24);
    }
    emulation::set_devices(1, 1 << 20);
    try {
        const trtpose::DeviceBuffer buffer(2 << 20);
        FAIL();
    } catch (const trtpose::Error& e) {
        EXPECT_EQ(e.code(), trtpose::ErrorCode::budget);
    }
}

TEST(Devices, AreCountedAndTheirAbsenceExplained) {
    emulation::reset();
    emulation::set_devices(2);
    EXPECT_EQ(trtpose::cuda_status().devices.size(), 2u);
    EXPECT_EQ(trtpose::cuda_status().problem, "");
    EXPECT_NO_THROW(trtpose::require_cuda_device(1));
    EXPECT_THROW(trtpose::require_cuda_device(2), trtpose::Error);
    {
        const trtpose::CudaDeviceGuard guard(1);
        int device = -1;
        EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
        EXPECT_EQ(device, 1);
    }
    int device = -1;
    EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
    EXPECT_EQ(device, 0);
    EXPECT_THROW(trtpose::CudaDeviceGuard(5), trtpose::Error);
    emulation::set_devices(0);
    const auto status = trtpose::cuda_status();
    EXPECT_TRUE(status.devices.empty());
    EXPECT_NE(status.problem.find("no NVIDIA driver"), std::string::npos) << status.problem;
    EXPECT_THROW(trtpose::require_cuda_device(0), trtpose::Error);
    emulation::set_devices(1);
    emulation::reset();
}

}  // namespace
