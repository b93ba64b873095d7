// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: in which order what the streams do is carried out, on several GPUs and threads.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "core/cuda_resources.hpp"
#include "pipeline_test.hpp"

namespace trtpose::test {
namespace {

class PipelineStreams : public PipelineTest {};

TEST_F(PipelineStreams, EqualsTheCpuWhateverTheOrderOfTheStreams) {
    const auto frames = mixed(11);
    const auto wanted = expected(views(frames));
    for (const uint64_t seed : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
        SCOPED_TRACE(seed);
        emulation::set_schedule(seed);
        for (const int batch : {1, 4}) {
            Engine engine = make(batch_of(batch));
            for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
        }
    }
}

TEST_F(PipelineStreams, TheNextBatchIsUploadedWhileThisOneIsComputed) {
    const auto frames = mixed(3);
    Engine engine = make();
    for (int i = 0; i < 2; ++i) engine.infer(views(frames));
    emulation::listen();
    engine.infer(views(frames));
    const auto calls = emulation::heard();
    // Of each run: a copy up, the launch, a copy down; the clock is read when its results are taken.
    EXPECT_EQ(count_of(calls, "cudaGraphLaunch"), 3u);
    EXPECT_EQ(count_of(calls, "cudaMemcpyAsync"), 6u);
    const size_t first_taken = place_of(calls, "cudaEventElapsedTime", 0);
    EXPECT_LT(place_of(calls, "cudaMemcpyAsync", 2), first_taken) << "upload of the second before";
    EXPECT_LT(place_of(calls, "cudaGraphLaunch", 1), first_taken) << "and its start";
    const size_t second_taken = place_of(calls, "cudaEventElapsedTime", 2);
    EXPECT_LT(place_of(calls, "cudaGraphLaunch", 2), second_taken);
    EXPECT_GT(place_of(calls, "cudaGraphLaunch", 2), first_taken) << "two are on their way at most";
}

TEST_F(PipelineStreams, AnEngineKeepsToItsGpuAndLeavesTheCallersAlone) {
    const auto frames = mixed(3);
    const auto wanted = expected(views(frames));
    const OnGpu pixels(frames[0].bytes.data(), frames[0].bytes.size());  // on GPU 0
    {
        Engine engine = make({}, 1);
        EXPECT_EQ(current_device(), 0);
        for (int i = 0; i < 3; ++i) expect_equal(engine.infer(views(frames)), wanted);
        EXPECT_EQ(current_device(), 0);
        const DevicePoses poses = engine.infer_device(views(frames), engine.thresholds());
        EXPECT_EQ(poses.device, (Device{DeviceType::cuda, 1}));
        cudaPointerAttributes attributes{};
        ASSERT_EQ((cudaPointerGetAttributes)(&attributes, poses.boxes), cudaSuccess);
        EXPECT_EQ(attributes.device, 1);
        auto mine = views(frames);
        mine[0].data = static_cast<const uint8_t*>(pixels.data());
        mine[0].device = {DeviceType::cuda, 1};  // a claim that is not true
        TRTPOSE_EXPECT_ERROR(engine.infer(mine), ErrorCode::input, "cuda:0");
        Engine copy = engine.clone();
        expect_equal(copy.infer(views(frames)), wanted);
    }
    EXPECT_EQ(current_device(), 0);
    TRTPOSE_EXPECT_ERROR(make({}, 2), ErrorCode::device, "cuda:2");
    emulation::set_devices(0);
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::device, "driver");
    emulation::set_devices(2);
}

TEST_F(PipelineStreams, AFrameIsReadWhenItsStreamHasWrittenIt) {
    const Frame frame(2, 96, 64), other(3, 96, 64);
    void* pinned = nullptr;
    ASSERT_EQ((cudaHostAlloc)(&pinned, frame.bytes.size(), 0), cudaSuccess);
    std::copy(frame.bytes.begin(), frame.bytes.end(), static_cast<uint8_t*>(pinned));
    {
        const OnGpu pixels(other.bytes.data(), other.bytes.size());
        const CudaStream maker;
        Engine engine = make();
        ImageView view = frame.view;
        view.data = static_cast<const uint8_t*>(pixels.data());
        view.device = {DeviceType::cuda, 0};
        const auto count_after_copy = [&](cudaStream_t writes, void* said) {
            EXPECT_EQ(cudaMemcpy(pixels.data(), other.bytes.data(), other.bytes.size(), cudaMemcpyHostToDevice),
                      cudaSuccess);
            EXPECT_EQ(cudaMemcpyAsync(pixels.data(), pinned, frame.bytes.size(), cudaMemcpyHostToDevice, writes),
                      cudaSuccess);
            view.stream = said;
            const int count = engine.infer({&view, 1})[0].count;
            EXPECT_EQ((cudaStreamSynchronize)(maker.get()), cudaSuccess);
            return count;
        };
        EXPECT_EQ(count_after_copy(maker.get(), nullptr), 3) << "nobody said that it is still being written";
        EXPECT_EQ(count_after_copy(maker.get(), maker.get()), 2);
        auto* const input = static_cast<cudaStream_t>(engine.input_stream());
        EXPECT_EQ(count_after_copy(input, nullptr), 2) << "the engine's own stream for makers";
        EXPECT_EQ(count_after_copy(nullptr, reinterpret_cast<void*>(1)), 2) << "the default streams";
        EXPECT_EQ(count_after_copy(nullptr, reinterpret_cast<void*>(2)), 2);
    }
    EXPECT_EQ((cudaFreeHost)(pinned), cudaSuccess);
}

TEST_F(PipelineStreams, AnotherStreamWaitsForTheResults) {
    const Frame frame(3, 96, 64);
    Engine engine = make();
    const CudaStream mine;
    void* counts = nullptr;
    ASSERT_EQ((cudaHostAlloc)(&counts, sizeof(int32_t), 0), cudaSuccess);
    auto* const count = static_cast<int32_t*>(counts);
    const auto read = [&](bool waits) {
        const DevicePoses poses = engine.infer_device({&frame.view, 1}, engine.thresholds());
        *count = -7;
        if (waits) poses.wait(mine.get());
        EXPECT_EQ(cudaMemcpyAsync(counts, poses.counts, sizeof(int32_t), cudaMemcpyDeviceToHost, mine.get()),
                  cudaSuccess);
        EXPECT_EQ((cudaStreamSynchronize)(mine.get()), cudaSuccess);
        return *count;
    };
    EXPECT_NE(read(false), 3) << "too early";
    EXPECT_EQ(read(true), 3);
    EXPECT_EQ((cudaFreeHost)(counts), cudaSuccess);
}

TEST_F(PipelineStreams, FramesOnTheGpuAreTheCallersAgainWhenTheCallReturns) {
    const Frame frame(2, 96, 64), other(3, 96, 64);
    const OnGpu pixels(frame.bytes.data(), frame.bytes.size());
    Engine engine = make();
    ImageView view = frame.view;
    view.data = static_cast<const uint8_t*>(pixels.data());
    view.device = {DeviceType::cuda, 0};
    for (int call = 0; call < 3; ++call) {
        emulation::enqueue(static_cast<cudaStream_t>(engine.input_stream()), [] {});
        const DevicePoses poses = engine.infer_device({&view, 1}, engine.thresholds());
        // Straight to the memory: a copy would wait.
        std::copy(other.bytes.begin(), other.bytes.end(), static_cast<uint8_t*>(pixels.data()));
        poses.synchronize();
        EXPECT_EQ(download(poses.counts, 1)[0], 2);
        std::copy(frame.bytes.begin(), frame.bytes.end(), static_cast<uint8_t*>(pixels.data()));
    }
    std::vector<uint8_t> host = frame.bytes;
    ImageView on_host = frame.view;
    on_host.data = host.data();
    const DevicePoses poses = engine.infer_device({&on_host, 1}, engine.thresholds());
    std::fill(host.begin(), host.end(), uint8_t{0});
    poses.synchronize();
    EXPECT_EQ(download(poses.counts, 1)[0], 2);
}

TEST_F(PipelineStreams, ClonesRunInThreadsOfTheirOwn) {
    const auto frames = mixed(9);
    const auto wanted = expected(views(frames));
    Engine engine = make(batch_of(2));
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&, i] {
            Engine copy = engine.clone();  // takes memory while others may be capturing
            for (int round = 0; round < 6; ++round) {
                Engine& used = (round + i) % 2 ? engine : copy;
                const auto got = used.infer(views(frames));
                for (size_t k = 0; k < frames.size(); ++k) wrong += got[k].boxes != wanted[k].boxes;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(PipelineStreams, ClonesOnTwoGpusRunAtTheSameTime) {
    // Everything at once: capturing, moving, splitting, results that wander between the threads.
    behaviour_->scratch = [](int batch, Size) { return static_cast<size_t>(batch) * 5000; };
    const auto frames = mixed(7);
    const auto wanted = expected(views(frames));
    EngineOptions options = batch_of(3);
    options.vram_budget = size_t{200} << 20;
    const auto behaviour_there = std::make_shared<CudaBehaviour>();
    behaviour_there->scratch = behaviour_->scratch;
    std::vector<Engine> engines;
    for (const int device : {0, 1}) {
        EngineOptions one = options;
        one.threads = 2;
        engines.emplace_back(std::make_unique<EmulatedSession>(network_, device ? behaviour_there : behaviour_, device),
                             spec_, one);
    }
    std::mutex mutex;
    std::vector<DevicePoses> left;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            Engine copy = engines[static_cast<size_t>(i % 2)].clone();
            for (int round = 0; round < 4; ++round) {
                Engine& used = round % 2 ? engines[static_cast<size_t>((i + 1) % 2)] : copy;
                Thresholds t = used.thresholds();
                t.max_det = round == 2 ? 7 : 300;
                const auto got = used.infer(views(frames), t);
                for (size_t k = 0; k < frames.size(); ++k) wrong += got[k].boxes != wanted[k].boxes;
                DevicePoses poses = used.infer_device(views(frames), t);
                cudaPointerAttributes attributes{};
                wrong += (cudaPointerGetAttributes)(&attributes, poses.boxes) != cudaSuccess;
                wrong += attributes.device != used.session().device.index;
                poses.wait(reinterpret_cast<void*>(1));
                poses.synchronize();
                for (size_t k = 0; k < frames.size(); ++k) wrong += poses.counts[k] != wanted[k].count;
                const std::lock_guard lock(mutex);
                left.push_back(poses);
                if (left.size() > 3) left.erase(left.begin());  // another thread's, perhaps of the other GPU
            }
            wrong += current_device() != 0;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(emulation::fault(), "");
    engines.clear();
    left.clear();
}

}  // namespace
}  // namespace trtpose::test
