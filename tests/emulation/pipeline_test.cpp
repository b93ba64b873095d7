// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path around a network made of a function: streams, staging, graphs, memory, errors, device arrays.
#include "engine/pipeline.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>

#include "core/cuda_resources.hpp"
#include "emulated_session.hpp"
#include "support/files.hpp"
#include "support/people.hpp"
#include "support/reference.hpp"

namespace trtpose::test {
namespace {

constexpr Size kSize{64, 96};

/// Bytes in the memory of a GPU.
class OnGpu {
public:
    explicit OnGpu(const void* bytes, size_t count) {
        EXPECT_EQ((cudaMalloc)(&data_, count), cudaSuccess);
        EXPECT_EQ(cudaMemcpy(data_, bytes, count, cudaMemcpyHostToDevice), cudaSuccess);
    }
    ~OnGpu() { EXPECT_EQ((cudaFree)(data_), cudaSuccess); }
    OnGpu(const OnGpu&) = delete;
    OnGpu& operator=(const OnGpu&) = delete;
    void* data() const { return data_; }

private:
    void* data_ = nullptr;
};

template <typename T>
std::vector<T> download(const T* data, size_t count) {
    std::vector<T> out(count);
    EXPECT_EQ(cudaMemcpy(out.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return out;
}

class PipelineTest : public testing::Test {
protected:
    void SetUp() override {
        emulation::reset();
        emulation::set_devices(2);
    }
    void TearDown() override {
        emulation::fail_call_number(0, 0);
        emulation::heard();
        emulation::reset();
        emulation::set_schedule(0);
        EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
        EXPECT_EQ(emulation::device_bytes(), 0u) << "memory of the GPU was not given back";
    }

    Engine make(EngineOptions options = {}, int device = 0) {
        options.threads = 1;
        return Engine(std::make_unique<EmulatedSession>(network_, behaviour_, device), spec_, options);
    }
    static EngineOptions batch_of(int batch) {
        EngineOptions options;
        options.batch = batch;
        return options;
    }
    /// What the CPU finds.
    std::vector<Poses> expected(const std::vector<ImageView>& views, EngineOptions options = {}) {
        options.threads = 1;
        options.vram_budget = 0;
        Engine engine(std::make_unique<FakeSession>(network_), spec_, options);
        auto out = engine.infer(views);
        network_->taken_runs();
        network_->runs = 0;
        return out;
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
    static void expect_equal(const std::vector<Poses>& got, const std::vector<Poses>& wanted) {
        ASSERT_EQ(got.size(), wanted.size());
        for (size_t i = 0; i < got.size(); ++i) {
            SCOPED_TRACE(i);
            expect_same(got[i], wanted[i]);
        }
    }
    static size_t count_of(const std::vector<std::string>& calls, const std::string& name) {
        return static_cast<size_t>(std::count(calls.begin(), calls.end(), name));
    }
    /// Position of the n-th call of that name, counted from 0.
    static size_t place_of(const std::vector<std::string>& calls, const std::string& name, int n) {
        for (size_t i = 0; i < calls.size(); ++i) {
            if (calls[i] == name && n-- == 0) return i;
        }
        ADD_FAILURE() << "no such " << name;
        return 0;
    }
    static int current_device() {
        int device = -1;
        EXPECT_EQ((cudaGetDevice)(&device), cudaSuccess);
        return device;
    }

    std::shared_ptr<FakeNetwork> network_ = people_network();
    std::shared_ptr<CudaBehaviour> behaviour_ = std::make_shared<CudaBehaviour>();
    ModelSpec spec_ = people_spec();
};

TEST_F(PipelineTest, EqualsTheCpuWhateverTheOrderOfTheStreams) {
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

TEST_F(PipelineTest, HostFramesOfEveryKindArePacked) {
    // Padded rows, rows upside down, the other order, video.
    std::mt19937 random(seed());
    std::vector<uint8_t> bytes(64 * 1024);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    // The fake network's answer depends on the centre pixel alone.
    std::vector<ImageView> all;
    ImageView view;
    view.width = 61;
    view.height = 47;
    view.data = bytes.data();
    all.push_back(view);
    view.stride = 200;
    all.push_back(view);
    view.data = bytes.data() + 46 * 200;
    view.stride = -200;
    view.format = PixelFormat::rgb;
    all.push_back(view);
    ImageView video;
    video.format = PixelFormat::nv12;
    video.width = 61;
    video.height = 47;
    video.data = bytes.data();
    video.yuv = YuvColor::bt709_full;
    all.push_back(video);
    video.stride = 80;
    all.push_back(video);
    video.chroma = bytes.data() + 10000;
    video.chroma_stride = 70;
    all.push_back(video);
    video.chroma = bytes.data() + 10000 + 23 * 70;
    video.chroma_stride = -70;
    all.push_back(video);
    // Every pixel counts: the answer is the sum of all of them.
    network_->answer = [](const float* image, Size size, const std::vector<float*>& outputs) {
        const auto cells = static_cast<size_t>((size.height / 8) * (size.width / 8));
        std::fill_n(outputs[0], kFields * cells, 0.0f);
        const float row[] = {40, 30, 8, 16, 0.5f};
        for (size_t f = 0; f < 5; ++f) outputs[0][f * cells] = row[f];
        const size_t numbers = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        for (size_t i = 0; i < numbers; ++i) outputs[0][(5 + i % 6) * cells] += image[i] * static_cast<float>(i % 13);
    };
    const auto wanted = expected(all);
    Engine engine = make(batch_of(3));
    expect_equal(engine.infer(all), wanted);
    // By several threads, as soon as there is enough to copy.
    EngineOptions options = batch_of(7);
    options.threads = 3;
    std::vector<uint8_t> many(8 << 20);
    for (auto& byte : many) byte = static_cast<uint8_t>(random());
    std::vector<ImageView> large = all;
    for (ImageView& one : large) {
        one.data = many.data() + (one.stride < 0 ? 700 * 3100 : 0);
        one.width = 1001;
        one.height = 701;
        one.stride = one.stride < 0 ? -3100 : one.stride > 0 ? 3100 : 0;
        if (!one.chroma) continue;
        one.chroma = many.data() + (4 << 20) + (one.chroma_stride < 0 ? 350 * 1010 : 0);
        one.chroma_stride = one.chroma_stride < 0 ? -1010 : 1010;
    }
    const auto wanted_large = expected(large);
    Engine threaded(std::make_unique<EmulatedSession>(network_, behaviour_), spec_, options);
    for (int call = 0; call < 2; ++call) expect_equal(threaded.infer(large), wanted_large);
    std::set<float> different;
    for (const auto& p : wanted) different.insert(p.keypoints.at(0));
    EXPECT_EQ(different.size(), all.size()) << "the answers tell the frames apart";
}

TEST_F(PipelineTest, AFixedBatchIsFilledUp) {
    const auto frames = mixed(7);
    const auto wanted = expected(views(frames));
    network_->input.shape = {3, 3, 64, 96};
    Engine engine = make();
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
    const std::vector<std::pair<int, Size>> runs(9, {3, kSize});
    EXPECT_EQ(network_->taken_runs(), runs);
    // A graph of one frame in a batch of three is not that of three.
    Engine other = make();
    for (int call = 0; call < 3; ++call) expect_same(other.infer({&frames[2].view, 1})[0], wanted[2]);
    for (int call = 0; call < 3; ++call) expect_equal(other.infer(views(frames)), wanted);
}

TEST_F(PipelineTest, ShapesInTurnKeepTheirGraphsAndTheMemory) {
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

TEST_F(PipelineTest, NothingIsTakenAfterTheFirstCall) {
    const auto frames = mixed(9);
    Engine engine = make(batch_of(4));
    engine.infer(views(frames));
    emulation::listen();
    for (int call = 0; call < 4; ++call) engine.infer(views(frames));
    const auto calls = emulation::heard();
    for (const char* name : {"cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaStreamCreateWithFlags",
                             "cudaEventCreateWithFlags"})
        EXPECT_EQ(count_of(calls, name), 0u) << name;
    EXPECT_GT(count_of(calls, "cudaMemcpyAsync"), 0u);
}

TEST_F(PipelineTest, AGraphIsMadeAtTheSecondRunAndLaunchedFromThenOn) {
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

TEST_F(PipelineTest, TheGraphUsedLongestAgoGoes) {
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

TEST_F(PipelineTest, WhatCannotBeCapturedRunsPlainlyAndIsNotTriedAgain) {
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

TEST_F(PipelineTest, TheNextBatchIsUploadedWhileThisOneIsComputed) {
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

TEST_F(PipelineTest, ABatchThatExceedsTheStagingGoesInPieces) {
    const auto frames = mixed(8);
    const auto wanted = expected(views(frames));
    const size_t enough = make(batch_of(8)).memory().total();
    EngineOptions options = batch_of(8);
    options.vram_budget = enough;
    EXPECT_EQ(make(options).memory().total(), enough);
    // The staging gives way to the budget, down to one frame.
    const MemoryPlan plan = make(options).memory();
    EXPECT_EQ(plan.total(), plan.weights + plan.activations + plan.io + plan.staging + plan.workspace);
    options.vram_budget = enough - plan.staging + (80 << 10);
    Engine small = make(options);
    EXPECT_LE(small.memory().total(), options.vram_budget);
    emulation::listen();
    for (const uint64_t seed : {0, 5, 6, 7}) {
        emulation::set_schedule(seed);
        expect_equal(small.infer(views(frames)), wanted);
    }
    const auto calls = emulation::heard();
    EXPECT_GT(count_of(calls, "cudaMemcpyAsync"), 4u * 3) << "several uploads each";
    EXPECT_EQ(count_of(calls, "cudaMalloc"), 0u);

    // No room for one frame: the numbers are said.
    options.vram_budget = enough - plan.staging;
    try {
        make(options);
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::budget);
        for (const char* part : {"people", "batch 8", "64×96", "weights", "activations", "staging", "MiB", "budget"})
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
}

TEST_F(PipelineTest, TheSessionBorrowsItsScratchFromTheArena) {
    behaviour_->scratch = [](int batch, Size size) {
        return static_cast<size_t>(batch) * static_cast<size_t>(size.height) * 1000 + 3;
    };
    const auto up = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
    EngineOptions options = batch_of(2);
    options.rect = true;
    options.imgsz = {128, 128};
    std::vector<Frame> frames;
    frames.emplace_back(1, 256, 128);  // 64 × 128
    frames.emplace_back(2, 300, 300);  // 128 × 128
    frames.emplace_back(3, 200, 200);
    const auto wanted = expected(views(frames), options);
    Engine engine = make(options);
    const MemoryPlan plan = engine.memory();
    EXPECT_EQ(plan.activations, 2u * 2000 + up(2 * 128 * 1000 + 3)) << "what it has of its own, and the loan once";
    {
        const DevicePoses one = engine.infer_device({&frames[0].view, 1}, engine.thresholds());
        const std::vector<ImageView> two(2, frames[0].view);
        const DevicePoses left = engine.infer_device(two, engine.thresholds());
        const DevicePoses more = engine.infer_device(two, engine.thresholds());
        const size_t results = emulation::device_bytes();
        EXPECT_GT(engine.memory().total(), plan.total()) << "three results at the same time";
        EXPECT_EQ(results, engine.memory().total() - plan.weights - 2 * 2000) << "all of the plan is there";
    }
    for (int call = 0; call < 4; ++call) expect_equal(engine.infer(views(frames)), wanted);
    EXPECT_EQ(behaviour_->moves, 1u) << "one block for all shapes";
    EXPECT_EQ(engine.memory().activations, plan.activations);
    const int before = behaviour_->enqueued;
    expect_equal(engine.infer(views(frames)), wanted);
    EXPECT_EQ(behaviour_->enqueued, before) << "from the graphs";

    // The block moves: nothing that was captured with the old address is launched again.
    const Frame huge(3, 3000, 3000);
    const std::vector<ImageView> large = {huge.view};
    const auto wanted_large = expected(large, options);
    expect_equal(engine.infer(large), wanted_large);
    EXPECT_EQ(behaviour_->moves, 2u);
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
    EXPECT_EQ(behaviour_->enqueued, before + 1 + 4) << "the large one, then two shapes twice";
}

TEST_F(PipelineTest, ShapesThatDoNotFitTogetherGetTheirScratchInTurn) {
    // The wide shape wants much scratch, the high one many buffers; both at once are more than the budget.
    behaviour_->scratch = [](int, Size size) { return size_t{size.width > size.height ? 900u << 10 : 1u << 10}; };
    const auto shapes = network_->shapes;
    const auto answer = network_->answer;
    network_->shapes = [=](Size size) {
        auto out = shapes(size);
        if (size.height > size.width) out[0][1] += 40000;
        return out;
    };
    network_->answer = [=](const float* image, Size size, const std::vector<float*>& outputs) {
        const size_t cells = static_cast<size_t>((size.height / 8) * (size.width / 8));
        const size_t all = cells + (size.height > size.width ? 40000 : 0);
        std::vector<float> narrow(kFields * cells);
        answer(image, size, {narrow.data()});
        std::fill_n(outputs[0], kFields * all, 0.0f);
        for (size_t f = 0; f < kFields; ++f) std::copy_n(narrow.data() + f * cells, cells, outputs[0] + f * all);
    };
    EngineOptions options;
    options.rect = true;
    options.imgsz = {128, 128};
    const Frame wide(1, 256, 128), high(2, 128, 256);
    const auto wanted = expected({wide.view, high.view}, options);
    size_t largest = 0;
    for (const Frame* frame : {&wide, &high}) {
        Engine one = make(options);
        one.infer({&frame->view, 1});
        const MemoryPlan plan = one.memory();
        largest = std::max(largest, plan.total() - plan.staging);
    }
    options.vram_budget = largest + (600 << 10);
    Engine engine = make(options);
    for (int call = 0; call < 3; ++call) {
        expect_same(engine.infer({&wide.view, 1})[0], wanted[0]);
        EXPECT_LE(emulation::device_bytes(), options.vram_budget);
        expect_same(engine.infer({&high.view, 1})[0], wanted[1]);
        EXPECT_LE(emulation::device_bytes(), options.vram_budget);
    }
    EXPECT_LE(engine.memory().total(), options.vram_budget);
    EXPECT_GT(behaviour_->moves, 1u);
}

TEST_F(PipelineTest, TheBudgetChoosesTheBatch) {
    behaviour_->scratch = [](int batch, Size) { return static_cast<size_t>(batch) << 20; };
    // What a frame more takes, and what there is without any; staging for usual frames, half a frame over.
    const auto bare = [&](int batch) {
        const MemoryPlan plan = make(batch_of(batch)).memory();
        return plan.total() - plan.staging;
    };
    const size_t each = bare(9) - bare(8);
    const size_t fixed = bare(8) - 8 * each + 2 * engine::kUsualFrame + each / 2;
    const auto batch_for = [&](size_t budget) {
        EngineOptions options;
        options.vram_budget = budget;
        behaviour_->prepared = 0;
        Engine engine = make(options);
        EXPECT_LE(engine.memory().total(), budget);
        EXPECT_LE(emulation::device_bytes(), budget);
        EXPECT_LT(behaviour_->prepared, 13) << "not every batch is tried";
        return engine.batch();
    };
    EXPECT_EQ(make().batch(), 1) << "without a budget";
    EXPECT_EQ(batch_for(fixed + 40 * each), 32) << "where nothing bounds it";
    for (const int wanted : {1, 2, 5, 17, 31}) EXPECT_EQ(batch_for(fixed + static_cast<size_t>(wanted) * each), wanted);
    network_->profiles = {{{4, 3, 64, 96}, {8, 3, 64, 96}, {100, 3, 64, 96}}};
    EXPECT_EQ(make().batch(), 8);
    EXPECT_EQ(batch_for(fixed + 110 * each), 100) << "the profile's own bound";
    EXPECT_EQ(batch_for(fixed + 66 * each), 66);
    EXPECT_EQ(batch_for(fixed + 4 * each), 4);

    // Room for large frames on their way goes last.
    EXPECT_EQ(batch_for(size_t{5} << 20), 4);
    EngineOptions options;
    options.vram_budget = size_t{4} << 20;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "batch 4 and 64×96 needs");

    // Larger calls are split, a clone does as its original.
    options.vram_budget = fixed + 5 * each;
    const auto frames = mixed(12);
    network_->profiles.clear();
    const auto wanted = expected(views(frames));
    Engine engine = make(options);
    EXPECT_EQ(engine.batch(), 5);
    behaviour_->prepared = 0;
    Engine copy = engine.clone();
    EXPECT_EQ(copy.batch(), 5);
    EXPECT_EQ(behaviour_->prepared, 1);
    for (int call = 0; call < 3; ++call) expect_equal(copy.infer(views(frames)), wanted);
    expect_equal(engine.infer(views(frames)), wanted);
}

TEST_F(PipelineTest, WeightsAreStreamedWhereTheBudgetNeedsIt) {
    network_->weight_bytes = 8 << 20;
    behaviour_->streamable = 6 << 20;
    const Frame frame(3, 96, 64);
    const auto wanted = expected({frame.view});
    EngineOptions options;
    options.vram_budget = make().memory().total();
    {
        Engine engine = make(options);
        EXPECT_EQ(engine.memory().weights, size_t{8} << 20) << "all of it fits";
    }
    for (const size_t budget : {size_t{8} << 20, size_t{5} << 20}) {
        behaviour_->kept_away = 0;
        behaviour_->enqueued = 0;
        options.vram_budget = budget;
        Engine engine = make(options);
        const MemoryPlan plan = engine.memory();
        EXPECT_LE(plan.total(), budget);
        EXPECT_LT(plan.weights, size_t{8} << 20);
        EXPECT_GT(plan.total(), budget - (size_t{1} << 20)) << "no more than needed is kept away";
        Engine copy = engine.clone();  // streams as well, and must not say so to the weights again
        EXPECT_EQ(copy.memory().weights, plan.weights);
        for (int call = 0; call < 3; ++call) expect_same(copy.infer({&frame.view, 1})[0], wanted[0]);
        for (int call = 0; call < 3; ++call) expect_same(engine.infer({&frame.view, 1})[0], wanted[0]);
    }
    behaviour_->kept_away = 0;
    behaviour_->enqueued = 0;
    options.vram_budget = 2 << 20;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "weights 2");
    options.batch = 4;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "batch 1 needs");
    // An engine that cannot: it could have been built to.
    behaviour_->streamable = 0;
    options.batch = 0;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "take a smaller batch or size, or a larger budget");
    network_->profiles = {{{1, 3, 64, 96}, {1, 3, 64, 96}, {8, 3, 64, 96}}};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "build the engine with --weight-streaming");
    behaviour_->streamable = 6 << 20;
    network_->profiles.clear();
    // A batch that was asked for is not worth it.
    behaviour_->kept_away = 0;
    network_->activation_bytes = 1 << 20;
    options.batch = 2;
    const MemoryPlan two = make(batch_of(2)).memory();
    options.vram_budget = two.total() - two.staging + (1 << 19);
    options.batch = 6;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "batch 2 fits");
    EXPECT_EQ(behaviour_->kept_away, 0u);
}

TEST_F(PipelineTest, AFrameLargerThanTheStagingGetsItOrABudgetError) {
    const Frame usual(2, 96, 64), huge(3, 2500, 1500);
    const auto wanted = expected({usual.view, huge.view});
    Engine engine = make();
    const size_t before = engine.memory().total();
    for (int i = 0; i < 3; ++i) expect_same(engine.infer({&usual.view, 1})[0], wanted[0]);
    const int enqueued = behaviour_->enqueued;
    expect_same(engine.infer({&huge.view, 1})[0], wanted[1]);
    EXPECT_EQ(behaviour_->enqueued, enqueued + 1) << "the graph of the memory before is not launched";
    for (int i = 0; i < 3; ++i) {
        const ImageView both[] = {usual.view, huge.view};
        expect_equal(engine.infer({both, 2}), wanted);
    }
    EXPECT_GT(engine.memory().total(), before);

    EngineOptions options;
    options.vram_budget = before;
    Engine limited = make(options);
    expect_same(limited.infer({&usual.view, 1})[0], wanted[0]);
    TRTPOSE_EXPECT_ERROR(limited.infer({&huge.view, 1}), ErrorCode::budget, "staging");
    for (int i = 0; i < 3; ++i) expect_same(limited.infer({&usual.view, 1})[0], wanted[0]);
}

TEST_F(PipelineTest, MemoryThatTheGpuHasNotIsABudgetError) {
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

TEST_F(PipelineTest, EveryFailingCallIsATypedErrorAndTheEngineGoesOn) {
    const auto frames = mixed(3);
    const auto wanted = expected(views(frames));
    const OnGpu pixels(frames[0].bytes.data(), frames[0].bytes.size());
    auto mine = views(frames);
    mine[0].data = static_cast<const uint8_t*>(pixels.data());
    mine[0].device = {DeviceType::cuda, 0};
    const size_t held = emulation::device_bytes();
    int thrown = 0, survived = 0;
    for (const cudaError_t code : {cudaErrorInvalidValue, cudaErrorMemoryAllocation}) {
        for (uint64_t number = 1;; ++number) {
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

TEST_F(PipelineTest, AGpuThatStoppedIsSaidAtEveryCall) {
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

TEST_F(PipelineTest, FramesOnTheGpuAreReadWhereTheyAre) {
    const auto frames = mixed(5);
    const auto wanted = expected(views(frames));
    std::vector<std::unique_ptr<OnGpu>> memory;
    std::vector<ImageView> mine;
    for (const auto& frame : frames) {
        // Rows 13 bytes longer than the pixels.
        const auto row = static_cast<size_t>(3 * frame.view.width);
        std::vector<uint8_t> padded((row + 13) * static_cast<size_t>(frame.view.height), 200);
        for (size_t y = 0; y < static_cast<size_t>(frame.view.height); ++y)
            std::copy_n(frame.bytes.begin() + static_cast<ptrdiff_t>(y * row), row,
                        padded.begin() + static_cast<ptrdiff_t>(y * (row + 13)));
        memory.push_back(std::make_unique<OnGpu>(padded.data(), padded.size()));
        mine.push_back(frame.view);
        mine.back().data = static_cast<const uint8_t*>(memory.back()->data());
        mine.back().stride = static_cast<ptrdiff_t>(row) + 13;
        mine.back().device = {DeviceType::cuda, 0};
    }
    Engine engine = make(batch_of(2));
    for (const uint64_t seed : {0, 3, 4}) {
        emulation::set_schedule(seed);
        expect_equal(engine.infer(mine), wanted);
        auto both = mine;
        both[1] = frames[1].view;  // the host's among them
        both[4] = frames[4].view;
        expect_equal(engine.infer(both), wanted);
    }

    auto wrong = mine;
    wrong[3].data = frames[3].bytes.data();
    const int before = behaviour_->enqueued;
    TRTPOSE_EXPECT_ERROR(engine.infer(wrong), ErrorCode::input, "frame 3");
    wrong = mine;
    wrong[2].device.index = 1;
    TRTPOSE_EXPECT_ERROR(engine.infer(wrong), ErrorCode::input, "frame 2");
    EXPECT_EQ(behaviour_->enqueued, before) << "none was run";
    expect_equal(engine.infer(mine), wanted);
}

TEST_F(PipelineTest, VideoOnTheGpuIsReadWhereItIs) {
    std::mt19937 random(seed());
    std::vector<uint8_t> bytes(100 * 80);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    ImageView one;  // both planes in one, rows padded
    one.format = PixelFormat::nv12;
    one.width = 62;
    one.height = 46;
    one.data = bytes.data();
    one.stride = 70;
    ImageView two = one;  // odd sides, the planes apart
    two.width = 61;
    two.height = 45;
    two.chroma = bytes.data() + 5000;
    two.chroma_stride = 64;
    two.yuv = YuvColor::bt709_full;
    network_->answer = [](const float* image, Size size, const std::vector<float*>& outputs) {
        const auto cells = static_cast<size_t>((size.height / 8) * (size.width / 8));
        std::fill_n(outputs[0], kFields * cells, 0.0f);
        const float row[] = {40, 30, 8, 16, 0.5f};
        for (size_t f = 0; f < 5; ++f) outputs[0][f * cells] = row[f];
        const size_t numbers = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        for (size_t i = 0; i < numbers; ++i) outputs[0][(5 + i % 6) * cells] += image[i] * static_cast<float>(i % 13);
    };
    const auto wanted = expected({one, two});
    ASSERT_NE(wanted[0].keypoints, wanted[1].keypoints);
    const OnGpu memory(bytes.data(), bytes.size());
    const auto* const there = static_cast<const uint8_t*>(memory.data());
    std::vector<ImageView> mine = {one, two};
    mine[0].data = mine[1].data = there;
    mine[1].chroma = there + 5000;
    mine[0].device = mine[1].device = {DeviceType::cuda, 0};
    Engine engine = make(batch_of(2));
    for (int call = 0; call < 3; ++call) expect_equal(engine.infer(mine), wanted);
    std::vector<ImageView> mixed_sides = {one, mine[1]};
    expect_equal(engine.infer(mixed_sides), wanted);
    mine[1].chroma = bytes.data() + 5000;
    TRTPOSE_EXPECT_ERROR(engine.infer(mine), ErrorCode::input, "frame 1: its memory is not a GPU's");
}

TEST_F(PipelineTest, AnEngineKeepsToItsGpuAndLeavesTheCallersAlone) {
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

TEST_F(PipelineTest, AFrameIsReadWhenItsStreamHasWrittenIt) {
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

TEST_F(PipelineTest, LetterboxedInputsComeFromEitherSide) {
    const size_t one = 3 * 64 * 96;
    std::vector<float> input(3 * one);
    for (size_t n = 0; n < 3; ++n)
        std::fill_n(input.begin() + static_cast<ptrdiff_t>(n * one), one, static_cast<float>(n + 1) / 255.0f);
    std::vector<__half> halves(input.size());
    std::transform(input.begin(), input.end(), halves.begin(), [](float x) { return __float2half_rn(x); });
    const OnGpu numbers(input.data(), input.size() * sizeof(float)), half(halves.data(), halves.size() * 2);
    InputView host;
    host.data = input.data();
    host.batch = 3;
    host.height = 64;
    host.width = 96;
    InputView device = host;
    device.data = numbers.data();
    device.device = {DeviceType::cuda, 0};
    InputView half_device = device;
    half_device.data = half.data();
    half_device.dtype = DType::f16;
    InputView half_host = host;
    half_host.data = halves.data();
    half_host.dtype = DType::f16;

    const auto good = [&](Engine& engine, const InputView& view) {
        for (int call = 0; call < 3; ++call) {
            const auto result = engine.infer_tensor(view, engine.thresholds());
            ASSERT_EQ(result.size(), 3u);
            for (size_t n = 0; n < 3; ++n) {
                EXPECT_EQ(result[n].count, static_cast<int>(n) + 1);
                EXPECT_EQ(result[n].frame, kSize);
                EXPECT_EQ(result[n].keypoints.at(0), people(static_cast<int>(n) + 1, kSize)[0].x0);
            }
        }
    };
    for (const int batch : {1, 2}) {
        Engine engine = make(batch_of(batch));
        good(engine, host);
        good(engine, device);
        TRTPOSE_EXPECT_ERROR(engine.infer_tensor(half_device, {}), ErrorCode::input, "float16");
        TRTPOSE_EXPECT_ERROR(engine.infer_tensor(half_host, {}), ErrorCode::input, "float16");
    }
    behaviour_->input = DType::f16;
    Engine engine = make(batch_of(2));
    good(engine, host);
    good(engine, half_host);
    good(engine, half_device);
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(device, {}), ErrorCode::input, "convert it on the GPU");
    InputView wrong = half_device;
    wrong.data = halves.data();
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(wrong, {}), ErrorCode::input, "not a GPU's");
    wrong = half_device;
    wrong.device.index = 1;
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(wrong, {}), ErrorCode::input, "cuda:1");
    wrong = host;
    wrong.data = nullptr;
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(wrong, {}), ErrorCode::input, "no data");
}

TEST_F(PipelineTest, LargeInputsAreCopiedByThreads) {
    const Size size{512, 512};
    const size_t one = 3 * 512 * 512;
    std::vector<float> input(2 * one);
    std::mt19937 random(seed());
    for (float& number : input) number = static_cast<float>(random() % 1000) / 1000.0f;
    network_->answer = [](const float* image, Size s, const std::vector<float*>& outputs) {
        const auto cells = static_cast<size_t>((s.height / 8) * (s.width / 8));
        std::fill_n(outputs[0], kFields * cells, 0.0f);
        const float row[] = {40, 30, 8, 16, 0.5f};
        for (size_t f = 0; f < 5; ++f) outputs[0][f * cells] = row[f];
        for (size_t i = 0; i < 3 * 512 * 512; ++i)
            outputs[0][(5 + i % 6) * cells] += image[i] * static_cast<float>(i % 13);
    };
    InputView view;
    view.data = input.data();
    view.batch = 2;
    view.height = size.height;
    view.width = size.width;
    for (const DType dtype : {DType::f32, DType::f16}) {
        behaviour_->input = dtype;
        std::vector<std::vector<Poses>> results;
        for (const int threads : {1, 3}) {
            EngineOptions options = batch_of(2);
            options.threads = threads;
            Engine engine(std::make_unique<EmulatedSession>(network_, behaviour_), spec_, options);
            results.push_back(engine.infer_tensor(view, engine.thresholds()));
        }
        EXPECT_NE(results[0][0].keypoints, results[0][1].keypoints);
        expect_equal(results[1], results[0]);
    }
}

TEST_F(PipelineTest, HalfPrecisionInputsAndOutputs) {
    const auto frames = mixed(6);
    // The same numbers for the CPU: rounded by the network itself.
    const auto round = [](float x) { return __half2float(__float2half_rn(x)); };
    const auto answer = network_->answer;
    network_->answer = [=](const float* image, Size size, const std::vector<float*>& outputs) {
        answer(image, size, outputs);
        const size_t count = kFields * static_cast<size_t>((size.height / 8) * (size.width / 8));
        std::transform(outputs[0], outputs[0] + count, outputs[0], round);
    };
    const auto wanted = expected(views(frames));
    for (const DType input : {DType::f32, DType::f16}) {
        for (const DType outputs : {DType::f32, DType::f16}) {
            behaviour_->input = input;
            behaviour_->outputs = outputs;
            Engine engine = make(batch_of(4));
            for (int call = 0; call < 3; ++call) expect_equal(engine.infer(views(frames)), wanted);
        }
    }
    behaviour_->outputs = DType::i64;
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::model, "output");
    behaviour_->outputs = DType::f32;
    behaviour_->input = DType::u8;
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::model, "its input is uint8");
}

void expect_device_poses(const DevicePoses& got, const std::vector<Poses>& wanted, int max_det) {
    got.synchronize();
    ASSERT_EQ(got.frames, static_cast<int>(wanted.size()));
    ASSERT_EQ(got.max_det, max_det);
    const size_t n = wanted.size(), slots = n * static_cast<size_t>(max_det);
    const auto k = static_cast<size_t>(got.keypoints_per_pose);
    const auto counts = download(got.counts, n);
    const auto boxes = download(got.boxes, 4 * slots), scores = download(got.scores, slots);
    const auto ids = download(got.class_ids, slots);
    const auto keypoints = download(got.keypoints, 3 * k * slots);
    for (size_t i = 0; i < n; ++i) {
        SCOPED_TRACE(i);
        const Poses p = wanted[i];
        ASSERT_EQ(counts[i], p.count);
        EXPECT_EQ(got.frame_sizes[i], p.frame);
        const size_t first = i * static_cast<size_t>(max_det);
        EXPECT_TRUE(std::equal(p.boxes.begin(), p.boxes.end(), boxes.begin() + static_cast<ptrdiff_t>(4 * first)));
        EXPECT_TRUE(std::equal(p.scores.begin(), p.scores.end(), scores.begin() + static_cast<ptrdiff_t>(first)));
        EXPECT_TRUE(std::equal(p.class_ids.begin(), p.class_ids.end(), ids.begin() + static_cast<ptrdiff_t>(first)));
        EXPECT_TRUE(std::equal(p.keypoints.begin(), p.keypoints.end(),
                               keypoints.begin() + static_cast<ptrdiff_t>(3 * k * first)));
    }
}

TEST_F(PipelineTest, ResultsOnTheDeviceOutliveTheEngine) {
    const auto frames = mixed(7), others = mixed(9);
    const auto wanted = expected(views(frames)), wanted_others = expected(views(others));
    for (const uint64_t seed : {0, 8, 9}) {
        emulation::set_schedule(seed);
        auto engine = std::make_unique<Engine>(make(batch_of(3)));
        const DevicePoses first = engine->infer_device(views(frames), engine->thresholds());
        Thresholds t;
        t.max_det = 5;
        const DevicePoses second = engine->infer_device(views(others), t);
        expect_equal(engine->infer(views(frames)), wanted);
        EXPECT_NE(first.stream, nullptr);
        expect_device_poses(second, wanted_others, 5);
        DevicePoses copy = first;
        engine.reset();
        expect_device_poses(first, wanted, 300);
        EXPECT_EQ(copy.boxes, first.boxes);
        // Its stream is there still.
        EXPECT_EQ((cudaStreamSynchronize)(static_cast<cudaStream_t>(first.stream)), cudaSuccess);
    }
    Engine engine = make();
    const DevicePoses none = engine.infer_device(Span<const ImageView>(), engine.thresholds());
    EXPECT_EQ(none.frames, 0);
    none.wait(nullptr);
    none.synchronize();
}

TEST_F(PipelineTest, ResultsOnTheDeviceUseTheMemoryOfThoseThatAreGone) {
    const Frame frame(3, 96, 64), other(2, 96, 64);
    std::vector<ImageView> many(7, frame.view);
    Engine engine = make();
    const size_t before = emulation::device_bytes();
    DevicePoses poses = engine.infer_device({&frame.view, 1}, engine.thresholds());
    poses = engine.infer_device({&other.view, 1}, engine.thresholds());
    emulation::listen();
    for (int call = 0; call < 8; ++call) {
        // Two blocks in turn, the one before gone when the next is there, as in a loop of Python's.
        const Frame& shown = call % 2 ? other : frame;
        poses = engine.infer_device({&shown.view, 1}, engine.thresholds());
        poses.synchronize();
        EXPECT_EQ(download(poses.counts, 1)[0], call % 2 ? 2 : 3);
    }
    EXPECT_EQ(count_of(emulation::heard(), "cudaMalloc"), 0u);

    // A result that is held keeps its memory; what is larger gets more, and a few are kept for later.
    std::vector<DevicePoses> held;
    for (int i = 0; i < 9; ++i) held.push_back(engine.infer_device(many, engine.thresholds()));
    for (const DevicePoses& one : held) {
        one.synchronize();
        EXPECT_EQ(download(one.counts, 7), std::vector<int32_t>(7, 3));
    }
    const size_t all = emulation::device_bytes();
    EXPECT_GE(engine.memory().io, all - before) << "all of it in the plan";
    held.clear();
    EXPECT_LT(emulation::device_bytes(), all);
    emulation::listen();
    for (int i = 0; i < 4; ++i) held.push_back(engine.infer_device(many, engine.thresholds()));
    EXPECT_EQ(count_of(emulation::heard(), "cudaMalloc"), 0u);
}

TEST_F(PipelineTest, MemoryOfResultsIsWrittenAgainWhenItsReadersAreDone) {
    const Frame frame(3, 96, 64), other(2, 96, 64);
    void* counts = nullptr;
    ASSERT_EQ((cudaHostAlloc)(&counts, sizeof(int32_t), 0), cudaSuccess);
    auto* const count = static_cast<int32_t*>(counts);
    const CudaStream mine;
    cudaStream_t blocking = nullptr;
    ASSERT_EQ((cudaStreamCreate)(&blocking), cudaSuccess);
    enum Way { waits, waits_by_default_stream, shares };
    for (const Way way : {waits, waits_by_default_stream, shares}) {
        for (const bool engine_goes : {false, true}) {
            SCOPED_TRACE(testing::Message() << way << engine_goes);
            auto engine = std::make_unique<Engine>(make());
            auto first = std::make_unique<DevicePoses>(engine->infer_device({&frame.view, 1}, engine->thresholds()));
            const auto stream = way == waits_by_default_stream ? blocking : mine.get();
            first->wait(way == waits_by_default_stream ? reinterpret_cast<void*>(2) : stream);
            if (way == shares) first->share();
            *count = -7;
            const void* const from = first->counts;
            EXPECT_EQ(cudaMemcpyAsync(counts, from, sizeof(int32_t), cudaMemcpyDeviceToHost, stream), cudaSuccess);
            EXPECT_EQ(*count, -7) << "not read yet";
            if (engine_goes) engine.reset();
            const size_t held = emulation::device_bytes();
            first.reset();
            EXPECT_EQ(emulation::device_bytes() < held, way == shares || engine_goes) << "given back, or kept";
            if (!engine_goes) {
                const DevicePoses second = engine->infer_device({&other.view, 1}, engine->thresholds());
                EXPECT_TRUE(way == shares || second.counts == from) << "the same memory";
                second.synchronize();
                EXPECT_EQ(download(second.counts, 1)[0], 2);
            }
            EXPECT_EQ((cudaStreamSynchronize)(stream), cudaSuccess);
            EXPECT_EQ(*count, 3) << "what was read is of the first call";
        }
    }
    // How far a reader is cannot be noted: then the memory is given back, which waits for it.
    for (const char* call : {"cudaEventRecord", "cudaEventCreateWithFlags"}) {
        Engine engine = make();
        auto first = std::make_unique<DevicePoses>(engine.infer_device({&frame.view, 1}, engine.thresholds()));
        first->wait(mine.get());
        *count = -7;
        EXPECT_EQ(cudaMemcpyAsync(counts, first->counts, sizeof(int32_t), cudaMemcpyDeviceToHost, mine.get()),
                  cudaSuccess);
        emulation::fail_call_named(call, cudaErrorInvalidValue);
        const size_t held = emulation::device_bytes();
        first.reset();
        EXPECT_TRUE(emulation::failed_a_call());
        EXPECT_LT(emulation::device_bytes(), held);
        EXPECT_EQ(*count, 3);
        const DevicePoses next = engine.infer_device({&other.view, 1}, engine.thresholds());
        next.synchronize();
        EXPECT_EQ(download(next.counts, 1)[0], 2);
    }
    EXPECT_EQ((cudaStreamDestroy)(blocking), cudaSuccess);
    EXPECT_EQ((cudaFreeHost)(counts), cudaSuccess);
}

TEST_F(PipelineTest, ResultsThatAreHeldCountForTheBudget) {
    const Frame frame(3, 96, 64);
    EngineOptions options;
    const MemoryPlan free_plan = make().memory();
    options.batch = 1;
    options.vram_budget = free_plan.total() - free_plan.staging + (300 << 10);
    Engine engine = make(options);
    std::vector<DevicePoses> held;
    const auto hold = [&] {
        for (int i = 0; i < 1000; ++i) {
            held.push_back(engine.infer_device({&frame.view, 1}, engine.thresholds()));
            EXPECT_LE(emulation::device_bytes(), options.vram_budget);
        }
    };
    TRTPOSE_EXPECT_ERROR(hold(), ErrorCode::budget, "let go of earlier results");
    EXPECT_GE(held.size(), 2u) << "for which there is room in the plan";
    EXPECT_LE(engine.memory().total(), options.vram_budget);
    for (const DevicePoses& one : held) {
        one.synchronize();
        EXPECT_EQ(download(one.counts, 1)[0], 3);
    }
    held.clear();
    held.push_back(engine.infer_device({&frame.view, 1}, engine.thresholds()));
    // What is kept for later gives way to what is needed now.
    held.clear();
    const std::vector<ImageView> two(2, frame.view);
    held.push_back(engine.infer_device(two, engine.thresholds()));
    EXPECT_LE(emulation::device_bytes(), options.vram_budget);
    EXPECT_EQ(engine.infer({&frame.view, 1})[0].count, 3);
    held.clear();

    // Also to a frame that needs all there is.
    Thresholds few, many;
    few.max_det = 10;
    many.max_det = 600;
    const auto fits = [&](Engine& used, int rows) {
        const Frame high(3, 96, rows);
        try {
            return used.infer({&high.view, 1}, few).size() == 1;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::budget) << error.what();
            return false;
        }
    };
    int most = 64;
    Engine fresh = make(options);
    while (fits(fresh, most + 8)) most += 8;
    EXPECT_GT(most, 64);
    Engine kept = make(options);
    for (int i = 0; i < 2; ++i) held.push_back(kept.infer_device({&frame.view, 1}, many));
    EXPECT_FALSE(fits(kept, most)) << "they are held";
    held.clear();
    EXPECT_TRUE(fits(kept, most));
    EXPECT_LE(emulation::device_bytes(), 3 * options.vram_budget) << "of three engines";
}

TEST_F(PipelineTest, AnotherStreamWaitsForTheResults) {
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

TEST_F(PipelineTest, FramesOnTheGpuAreTheCallersAgainWhenTheCallReturns) {
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

TEST_F(PipelineTest, ClonesRunInThreadsOfTheirOwn) {
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

TEST_F(PipelineTest, ClonesOnTwoGpusRunAtTheSameTime) {
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

TEST_F(PipelineTest, TheClockOfTheGpuIsReported) {
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

TEST_F(PipelineTest, StagesAreClockedInsideOfTheGraph) {
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
