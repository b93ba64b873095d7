// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: two calls in flight, what the GPU is given when, what a failing call of CUDA does to the
// other.
#include "pipeline_test.hpp"

namespace trtpose::test {
namespace {

class PipelineFlights : public PipelineTest {};

TEST_F(PipelineFlights, TheSecondIsGivenToTheGpuBeforeTheFirstIsRead) {
    const Frame frame(2, 96, 64);
    Engine engine = make();
    for (int i = 0; i < 2; ++i) engine.infer({&frame.view, 1});
    emulation::listen();
    const Ticket first = engine.submit({&frame.view, 1});
    const auto after_first = emulation::heard();
    EXPECT_EQ(count_of(after_first, "cudaGraphLaunch"), 1u);
    EXPECT_EQ(count_of(after_first, "cudaMemcpyAsync"), 2u) << "a copy up and one down";
    emulation::listen();
    const Ticket second = engine.submit({&frame.view, 1});
    const auto after_second = emulation::heard();
    EXPECT_EQ(count_of(after_second, "cudaGraphLaunch"), 1u);
    EXPECT_EQ(count_of(after_second, "cudaStreamSynchronize"), 0u);
    EXPECT_EQ(count_of(after_second, "cudaEventElapsedTime"), 0u);
    expect_equal(engine.collect(first), engine.collect(second));
}

TEST_F(PipelineFlights, EqualTheCpuWhateverTheOrderOfTheStreams) {
    const auto frames = mixed(7);
    const OnGpu pixels(frames[1].bytes.data(), frames[1].bytes.size());
    const auto wanted = expected(views(frames));
    auto mine = views(frames);
    mine[1].data = static_cast<const uint8_t*>(pixels.data());
    mine[1].device = {DeviceType::cuda, 0};
    for (const uint64_t seed : {0, 1, 2, 3}) {
        SCOPED_TRACE(seed);
        emulation::set_schedule(seed);
        for (const int batch : {1, 4}) {
            Engine engine = make(batch_of(batch));
            Thresholds few = engine.thresholds();
            few.max_det = 1;
            for (int round = 0; round < 2; ++round) {
                const Ticket first = engine.submit(mine);
                const Ticket second = engine.submit({mine.data(), 1}, few);  // other memory: the first is read before
                const DevicePoses between = engine.infer_device(mine, engine.thresholds());
                expect_equal(engine.collect(first), wanted);
                const auto one = engine.collect(second);
                EXPECT_EQ(one[0].count, std::min(wanted[0].count, 1));
                between.synchronize();
                EXPECT_EQ(download(between.counts, 7)[3], wanted[3].count);
            }
        }
    }
}

TEST_F(PipelineFlights, FramesOnTheGpuAreTheCallersAgainWhenSubmitReturns) {
    const Frame frame(2, 96, 64), other(3, 96, 64);
    const OnGpu pixels(frame.bytes.data(), frame.bytes.size());
    Engine engine = make();
    ImageView view = frame.view;
    view.data = static_cast<const uint8_t*>(pixels.data());
    view.device = {DeviceType::cuda, 0};
    for (int call = 0; call < 3; ++call) {
        emulation::enqueue(static_cast<cudaStream_t>(engine.input_stream()), [] {});
        const Ticket ticket = engine.submit({&view, 1});
        // Straight to the memory: a copy would wait.
        std::copy(other.bytes.begin(), other.bytes.end(), static_cast<uint8_t*>(pixels.data()));
        EXPECT_EQ(engine.collect(ticket)[0].count, 2);
        std::copy(frame.bytes.begin(), frame.bytes.end(), static_cast<uint8_t*>(pixels.data()));
    }
}

TEST_F(PipelineFlights, EveryFailingCallIsOfOneOfTheTwoAndTheOtherIsRight) {
    const auto frames = mixed(3);
    const auto wanted = expected(views(frames));
    int thrown = 0;
    for (uint64_t number = 1;; ++number) {
        SCOPED_TRACE(number);
        ASSERT_LT(number, 500u);
        Engine engine = make(batch_of(2));
        const Ticket first = engine.submit({&frames[0].view, 1});
        emulation::fail_call_number(number, cudaErrorInvalidValue);
        int failed = 0;
        const auto attempt = [&](auto&& call) {
            try {
                call();
            } catch (const Error& error) {
                ++failed;
                EXPECT_EQ(error.code(), ErrorCode::device) << error.what();
            }
        };
        attempt([&] { expect_equal(engine.collect(engine.submit(views(frames))), wanted); });
        attempt([&] { expect_equal(engine.collect(first), {wanted[0]}); });
        const bool reached = emulation::failed_a_call();
        emulation::fail_call_number(0, 0);
        EXPECT_LE(failed, 1);
        expect_equal(engine.infer(views(frames)), wanted);
        thrown += failed;
        if (!reached) break;
    }
    EXPECT_GT(thrown, 10);
}

TEST_F(PipelineFlights, AGpuThatStoppedIsSaidOfEveryCall) {
    const Frame frame(2, 96, 64);
    Engine engine = make();
    const Ticket first = engine.submit({&frame.view, 1});
    behaviour_->also = [](cudaStream_t stream) {
        // Half of the threads wait for the others, which are gone.
        emulation::launch_closure("broken kernel", dim3(1), dim3(64), 0, stream, [] {
            if (threadIdx.x < 32) __syncthreads();
        });
    };
    TRTPOSE_EXPECT_ERROR(engine.infer({&frame.view, 1}), ErrorCode::device, "broken kernel");
    behaviour_->also = nullptr;
    TRTPOSE_EXPECT_ERROR(engine.collect(first), ErrorCode::device, "restart the program");
    TRTPOSE_EXPECT_ERROR(engine.submit({&frame.view, 1}), ErrorCode::device, "restart the program");
    emulation::reset();
}

}  // namespace
}  // namespace trtpose::test
