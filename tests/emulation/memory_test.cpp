// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: what it takes of the GPU, lends, gives back, and how that keeps to a budget.
#include <algorithm>

#include "core/cuda_resources.hpp"
#include "engine/pipeline.hpp"
#include "pipeline_test.hpp"

namespace trtpose::test {
namespace {

class PipelineMemory : public PipelineTest {};

TEST_F(PipelineMemory, NothingIsTakenAfterTheFirstCall) {
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

TEST_F(PipelineMemory, ABatchThatExceedsTheStagingGoesInPieces) {
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

TEST_F(PipelineMemory, TheSessionBorrowsItsScratchFromTheArena) {
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

TEST_F(PipelineMemory, EveryTensorLiesAsTensorRtWantsIt) {
    // 24 cells and 6 of 12 numbers: the first head ends in the middle of 256 bytes. The session looks where they lie.
    spec_.layout = Layout::heads;
    spec_.strides = {16, 32};
    spec_.anchors = {{{8, 16}}, {{16, 32}}};
    const int fields = spec_.fields();
    network_->output_names = {"head_16", "head_32"};
    network_->shapes = [=](Size size) {
        std::vector<FakeNetwork::Shape> out;
        for (const int stride : {16, 32}) out.push_back({fields, size.height / stride, size.width / stride});
        return out;
    };
    network_->answer = [=](const float*, Size size, const std::vector<float*>& outputs) {
        for (size_t i = 0; i < 2; ++i) {
            const int stride = i == 0 ? 16 : 32;
            std::fill_n(outputs[i], fields * (size.height / stride) * (size.width / stride), -20.0f);
        }
    };
    Engine engine = make();
    const Frame frame(1, kSize.width, kSize.height);
    for (int call = 0; call < 3; ++call) EXPECT_TRUE(engine.infer({&frame.view, 1})[0].boxes.empty());
    EXPECT_EQ(behaviour_->enqueued, 2);
}

TEST_F(PipelineMemory, ShapesThatDoNotFitTogetherGetTheirScratchInTurn) {
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

TEST_F(PipelineMemory, TheBudgetChoosesTheBatch) {
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

TEST_F(PipelineMemory, WeightsAreStreamedWhereTheBudgetNeedsIt) {
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

TEST_F(PipelineMemory, AFrameLargerThanTheStagingGetsItOrABudgetError) {
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

TEST_F(PipelineMemory, ResultsOnTheDeviceUseTheMemoryOfThoseThatAreGone) {
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

TEST_F(PipelineMemory, MemoryOfResultsIsWrittenAgainWhenItsReadersAreDone) {
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

TEST_F(PipelineMemory, ResultsThatAreHeldCountForTheBudget) {
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

}  // namespace
}  // namespace trtpose::test
