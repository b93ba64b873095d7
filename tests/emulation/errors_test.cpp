// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: calls of CUDA that fail, memory that is not there, a GPU that stops.
#include "pipeline_test.hpp"
#include "support/sanitized.hpp"

namespace trtpose::test {
namespace {

class PipelineErrors : public PipelineTest {};

TEST_F(PipelineErrors, MemoryThatTheGpuHasNotIsABudgetError) {
    emulation::set_devices(1, 1 << 20);
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::budget, "no memory for");
    emulation::set_devices(1, 64 << 20);
    Engine engine = make();
    const Frame frame(2, 96, 64);
    const auto before = engine.infer({&frame.view, 1});
    Thresholds t;
    t.max_det = 30000;
    emulation::set_devices(1, 2 << 20);
    std::vector<ImageView> many(200, frame.view);
    TRTPOSE_EXPECT_ERROR(engine.infer_device(many, t), ErrorCode::budget, "200 frames");
    emulation::set_devices(1, 64 << 20);
    expect_same(engine.infer({&frame.view, 1})[0], before[0]);
}

TEST_F(PipelineErrors, EveryFailingCallIsATypedErrorAndTheEngineGoesOn) {
    const auto frames = mixed(3);
    const auto wanted = expected(views(frames));
    const OnGpu pixels(frames[0].bytes.data(), frames[0].bytes.size());
    auto mine = views(frames);
    mine[0].data = static_cast<const uint8_t*>(pixels.data());
    mine[0].device = {DeviceType::cuda, 0};
    const size_t held = emulation::device_bytes();
    int thrown = 0, survived = 0;
    uint64_t first = 0;
    for (const cudaError_t code : {cudaErrorInvalidValue, cudaErrorMemoryAllocation}) {
        // Under a sanitizer every call fails once, in turn with the one and the other.
        ++first;
        for (uint64_t number = kAddressSanitizer ? first : 1;; number += kAddressSanitizer ? 2 : 1) {
            SCOPED_TRACE(number);
            ASSERT_LT(number, 2000u);
            emulation::fail_call_number(number, code);
            {
                std::unique_ptr<Engine> engine;
                const auto attempt = [&](auto&& call) {
                    try {
                        call();
                        ++survived;
                    } catch (const Error& error) {
                        ++thrown;
                        EXPECT_TRUE(emulation::failed_a_call()) << error.what();
                        EXPECT_TRUE(error.code() == ErrorCode::device || error.code() == ErrorCode::budget)
                            << error.what();
                        EXPECT_GT(std::string(error.what()).size(), 20u);
                    }
                };
                attempt([&] { engine = std::make_unique<Engine>(make()); });
                for (int call = 0; engine && call < 2; ++call)
                    attempt([&] { expect_equal(engine->infer(mine), wanted); });
                if (engine) {
                    attempt([&] {
                        const DevicePoses poses = engine->infer_device(mine, engine->thresholds());
                        poses.synchronize();
                        EXPECT_EQ(download(poses.counts, 3)[1], wanted[1].count);
                    });
                    emulation::set_schedule(number);
                    attempt([&] { expect_equal(engine->infer(mine), wanted); });
                    emulation::set_schedule(0);
                    if (emulation::failed_a_call()) expect_equal(engine->infer(mine), wanted);
                }
            }
            ASSERT_EQ(emulation::device_bytes(), held);
            ASSERT_EQ(current_device(), 0);
            if (!emulation::failed_a_call()) break;
        }
    }
    emulation::fail_call_number(0, 0);
    EXPECT_GT(thrown, 100);
    EXPECT_GT(survived, 100);
}

TEST_F(PipelineErrors, AGpuThatStoppedIsSaidAtEveryCall) {
    const Frame frame(2, 96, 64);
    Engine engine = make();
    const DevicePoses held = engine.infer_device({&frame.view, 1}, engine.thresholds());
    held.synchronize();
    behaviour_->also = [](cudaStream_t stream) {
        // Half of the threads wait for the others, which are gone.
        emulation::launch_closure("broken kernel", dim3(1), dim3(64), 0, stream, [] {
            if (threadIdx.x < 32) __syncthreads();
        });
    };
    TRTPOSE_EXPECT_ERROR(engine.infer({&frame.view, 1}), ErrorCode::device, "broken kernel");
    behaviour_->also = nullptr;
    TRTPOSE_EXPECT_ERROR(engine.infer({&frame.view, 1}), ErrorCode::device, "restart the program");
    TRTPOSE_EXPECT_ERROR(engine.infer_device({&frame.view, 1}, engine.thresholds()), ErrorCode::device, "people");
    TRTPOSE_EXPECT_ERROR(held.synchronize(), ErrorCode::device, "find the poses");
    TRTPOSE_EXPECT_ERROR(engine.clone(), ErrorCode::device, "");
    emulation::reset();
}

}  // namespace
}  // namespace trtpose::test
