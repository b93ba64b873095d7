// SPDX-License-Identifier: Apache-2.0
// Batches and sizes that an engine runs, and the memory it plans for them.
#include <algorithm>
#include <set>

#include "core/buffer.hpp"
#include "engine/network_shapes.hpp"
#include "engine_test.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::test {
namespace {

class EngineShapesTest : public EngineTest {};

TEST_F(EngineShapesTest, SlotKOfABatchEqualsTheFrameAlone) {
    Engine alone = make();
    EngineOptions options;
    options.batch = 4;
    Engine batched = make(options);
    const auto frames = mixed(11);
    network_->taken_runs();
    const auto together = infer(batched, frames);
    ASSERT_EQ(together.size(), frames.size());
    const std::vector<std::pair<int, Size>> expected = {{4, {64, 96}}, {4, {64, 96}}, {2, {64, 96}}, {1, {64, 96}}};
    EXPECT_EQ(network_->taken_runs(), expected);
    int poses = 0;
    for (size_t i = 0; i < frames.size(); ++i) {
        SCOPED_TRACE(i);
        expect_same(together[i], infer(alone, {frames[i]})[0]);
        poses += together[i].count;
    }
    EXPECT_GT(poses, 10);
}

TEST_F(EngineShapesTest, BatchesThatAreNotFullTakeFewSizes) {
    EngineOptions options;
    options.batch = 11;
    Engine engine = make(options);
    std::set<int> sizes;
    for (int count = 1; count <= 25; ++count) {
        network_->taken_runs();
        EXPECT_EQ(infer(engine, mixed(count)).size(), static_cast<size_t>(count));
        int frames = 0;
        for (const auto& [batch, size] : network_->taken_runs()) {
            sizes.insert(batch);
            frames += batch;
        }
        EXPECT_EQ(frames, count);
    }
    EXPECT_EQ(sizes, (std::set<int>{1, 2, 4, 11}));
}

TEST_F(EngineShapesTest, AFixedBatchIsFilledUp) {
    Engine alone = make();
    network_ = people_network();
    network_->input.shape = {3, 3, 64, 96};
    Engine engine = make();
    EXPECT_EQ(engine.batch(), 3);
    const auto frames = mixed(7);
    const auto together = infer(engine, frames);
    const std::vector<std::pair<int, Size>> expected(3, {3, {64, 96}});
    EXPECT_EQ(network_->taken_runs(), expected);
    ASSERT_EQ(together.size(), 7u);
    for (size_t i = 0; i < frames.size(); ++i) expect_same(together[i], infer(alone, {frames[i]})[0]);
    EXPECT_EQ(infer(engine, {frames[2]}).size(), 1u);

    EngineOptions options;
    options.batch = 2;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "batch 2");
}

TEST_F(EngineShapesTest, RectTakesTheSmallestInputAndRunsEqualSizesTogether) {
    EngineOptions options;
    options.rect = true;
    options.batch = 8;
    options.imgsz = {128, 128};
    Engine engine = make(options);
    network_->taken_runs();
    std::vector<Frame> frames;
    frames.emplace_back(1, 256, 128);  // 64 × 128
    frames.emplace_back(2, 512, 256);
    frames.emplace_back(3, 250, 120);  // 61.4 rows, the same multiple of 16
    frames.emplace_back(5, 100, 200);  // 128 × 64
    frames.emplace_back(6, 256, 128);
    frames.emplace_back(7, 300, 300);
    const auto result = infer(engine, frames);
    const std::vector<std::pair<int, Size>> expected = {
        {2, {64, 128}}, {1, {64, 128}}, {1, {128, 64}}, {1, {64, 128}}, {1, {128, 128}}};
    EXPECT_EQ(network_->taken_runs(), expected);
    for (size_t i = 0; i < frames.size(); ++i) {
        EXPECT_EQ(result[i].count, std::vector<int>({1, 2, 3, 1, 2, 3})[i]) << i;
        expect_same(result[i], infer(engine, {frames[i]})[0]);
    }
    Size size;
    EXPECT_EQ(engine.letterbox(frames[3].view, &size).size(), size_t{3 * 128 * 64});
    EXPECT_EQ(size, (Size{128, 64}));

    network_->input.shape = {-1, 3, 128, 128};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "rect");
}

/// A profile for batches and square sizes, the optimum in the middle.
ShapeRange profile(std::vector<int64_t> batches, std::vector<int64_t> heights, std::vector<int64_t> widths) {
    return {{batches[0], 3, heights[0], widths[0]},
            {batches[1], 3, heights[1], widths[1]},
            {batches[2], 3, heights[2], widths[2]}};
}

ModelSpec people_by_height() {
    ModelSpec spec = people_spec();
    spec.letterbox.sizing = math::Sizing::height;
    return spec;
}

TEST_F(EngineShapesTest, AWidthThatFollowsTheFrame) {
    EngineOptions options;
    options.batch = 8;
    options.imgsz = {64, 96};
    Engine engine = make(people_by_height(), options);
    network_->taken_runs();
    std::vector<Frame> frames;
    frames.emplace_back(1, 200, 100);  // 128 wide at a height of 64
    frames.emplace_back(2, 250, 128);  // 125, the same multiple of 16
    frames.emplace_back(3, 100, 100);  // 64, and 96 are the least
    frames.emplace_back(5, 900, 60);   // 960
    const auto result = infer(engine, frames);
    const std::vector<std::pair<int, Size>> expected = {{2, {64, 128}}, {1, {64, 96}}, {1, {64, 960}}};
    EXPECT_EQ(network_->taken_runs(), expected);
    for (size_t i = 0; i < frames.size(); ++i) expect_same(result[i], infer(engine, {frames[i]})[0]);
    Size size;
    const auto input = engine.letterbox(frames[1].view, &size);
    EXPECT_EQ(size, (Size{64, 128}));
    const ops::Letterbox op(people_by_height(), size);
    std::vector<float> wanted(size_t{3 * 64 * 128});
    math::Letterbox place{};
    const HostBuffer scratch(op.workspace_bytes(1, {}));
    op(Span<const ImageView>(&frames[1].view, 1), wanted.data(), &place, {scratch.data(), scratch.size()}, {});
    EXPECT_EQ(input, wanted);
    EXPECT_EQ(place.width, 125);
    EXPECT_EQ(place.left, 1);

    // Without a least width, where only what is needed is to be filled.
    options.rect = true;
    Engine tight = make(people_by_height(), options);
    network_->taken_runs();
    infer(tight, frames);
    const std::vector<std::pair<int, Size>> tightly = {{2, {64, 128}}, {1, {64, 64}}, {1, {64, 960}}};
    EXPECT_EQ(network_->taken_runs(), tightly);
}

TEST_F(EngineShapesTest, AWidthThatFollowsIsOneThatTheNetworkTakes) {
    std::vector<Frame> frames;
    frames.emplace_back(1, 200, 100);
    frames.emplace_back(5, 900, 60);
    network_->profiles = {profile({1, 1, 4}, {64, 64, 64}, {96, 96, 200})};
    Engine engine = make(people_by_height());
    network_->taken_runs();
    infer(engine, frames);
    const std::vector<std::pair<int, Size>> profiled = {{1, {64, 128}}, {1, {64, 192}}};
    EXPECT_EQ(network_->taken_runs(), profiled);

    network_ = people_network();
    network_->input.shape = {-1, 3, 64, 96};
    Engine fixed = make(people_by_height());
    network_->taken_runs();
    infer(fixed, frames);
    const std::vector<std::pair<int, Size>> alone(2, {1, {64, 96}});
    EXPECT_EQ(network_->taken_runs(), alone);
}

TEST_F(EngineShapesTest, AnNmsOfItsOwnBoundsTheBatch) {
    const Size size{64, 96};
    SessionInfo info;
    info.input = {"images", DType::f32, {-1, 3, 64, 96}};
    const ModelSpec spec = make().spec();
    EXPECT_TRUE(engine::NetworkShapes(info, spec).any_batch());
    const engine::NetworkShapes open(info, spec, 4);
    EXPECT_FALSE(open.any_batch());
    EXPECT_EQ(open.largest_batch(size), 4);
    EXPECT_EQ(open.usual_batch(size), 1);
    open.check_batch(4, size);
    TRTPOSE_EXPECT_ERROR(open.check_batch(5, size), ErrorCode::input,
                         "takes 1 to 4, as many as its own NMS was exported for; export it with batch=5");

    info.profiles = {profile({2, 4, 8}, {64, 64, 64}, {96, 96, 96})};
    const engine::NetworkShapes built(info, spec, 3);
    EXPECT_EQ(built.usual_batch(size), 3);
    EXPECT_EQ(built.largest_batch(size), 3);
    EXPECT_EQ(built.padded(1, size), 2);
    TRTPOSE_EXPECT_ERROR(engine::NetworkShapes(info, spec, 1), ErrorCode::model, "its own NMS looks at 1");

    info.profiles.clear();
    info.input.shape[0] = 4;
    EXPECT_EQ(engine::NetworkShapes(info, spec, 4).usual_batch(size), 4);
}

TEST_F(EngineShapesTest, AProfileBoundsTheBatchAndItsLeastIsFilledUp) {
    Engine alone = make();
    const auto frames = mixed(9);
    const auto wanted = infer(alone, frames);
    network_->profiles = {profile({2, 4, 8}, {64, 64, 64}, {96, 96, 96})};
    Engine engine = make();
    EXPECT_EQ(engine.batch(), 4) << "what it is fastest at";
    network_->taken_runs();
    const auto got = infer(engine, frames);
    const std::vector<std::pair<int, Size>> runs = {{4, {64, 96}}, {4, {64, 96}}, {2, {64, 96}}};
    EXPECT_EQ(network_->taken_runs(), runs);
    for (size_t i = 0; i < frames.size(); ++i) expect_same(got[i], wanted[i]);

    EngineOptions options;
    options.batch = 3;
    Engine three = make(options);
    EXPECT_EQ(three.batch(), 3);
    for (size_t i = 0; i < frames.size(); ++i) expect_same(infer(three, frames)[i], wanted[i]);
    options.batch = 8;
    EXPECT_EQ(make(options).batch(), 8);
    for (const int batch : {1, 9}) {
        options.batch = batch;
        try {
            make(options);
            ADD_FAILURE() << batch;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::input);
            const std::string rebuild = "trtpose build MODEL.onnx --batch " + std::to_string(batch);
            for (const std::string& part :
                 {"batch " + std::to_string(batch) + ":", std::string("takes 2 to 8 at 64×96"),
                  std::string("2×3×64×96 to 8×3×64×96"), rebuild})
                EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    }
}

TEST_F(EngineShapesTest, AProfileBoundsTheSize) {
    network_->profiles = {profile({1, 1, 4}, {64, 96, 128}, {96, 128, 192})};
    EXPECT_EQ(make().imgsz(), (Size{64, 96})) << "the spec's";
    EngineOptions options;
    options.imgsz = {128, 192};
    EXPECT_EQ(make(options).imgsz(), options.imgsz);
    options.imgsz = {256, 192};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "takes 64×96 to 128×192");
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "trtpose build MODEL.onnx --imgsz 256x192");
    options.imgsz = {48, 96};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "imgsz 48×96");
    options.imgsz = {256, 256};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "--imgsz 256 ");
    ModelSpec spec = people_spec();
    spec.imgsz = {512, 512};
    EXPECT_EQ(make(spec).imgsz(), (Size{96, 128})) << "the spec's is not in it";

    Engine engine = make();
    const std::vector<float> input(3 * 256 * 256);
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(input.data(), 1, {256, 256}, {}), ErrorCode::input, "imgsz 256×256");
    EXPECT_EQ(engine.infer_tensor(input.data(), 1, {128, 160}, {}).size(), 1u);

    network_->profiles = {profile({1, 1, 4}, {64, 64, 64}, {96, 96, 96})};
    options.imgsz = {64, 64};
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "takes 64×96 alone; build it again");
    options.imgsz = {};
    options.rect = true;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "rect");
}

TEST_F(EngineShapesTest, RectKeepsToTheProfiles) {
    EngineOptions options;
    options.rect = true;
    options.batch = 4;
    options.imgsz = {192, 192};
    std::vector<Frame> frames;
    frames.emplace_back(1, 400, 100);  // would be 48 × 192
    frames.emplace_back(2, 384, 120);
    frames.emplace_back(3, 100, 400);
    frames.emplace_back(5, 300, 300);
    Engine free = make(options);
    const auto wanted = infer(free, frames);
    network_->profiles = {profile({1, 1, 4}, {90, 160, 192}, {90, 160, 192})};
    Engine engine = make(options);
    network_->taken_runs();
    const auto got = infer(engine, frames);
    // 96 is the first multiple of 16 in the profile.
    const std::vector<std::pair<int, Size>> runs = {{2, {96, 192}}, {1, {192, 96}}, {1, {192, 192}}};
    EXPECT_EQ(network_->taken_runs(), runs);
    for (size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(got[i].count, wanted[i].count);

    // Another profile of small pictures, one at a time.
    network_->profiles.push_back(profile({1, 1, 1}, {32, 48, 64}, {192, 192, 192}));
    Engine both = make(options);
    network_->taken_runs();
    infer(both, frames);
    const std::vector<std::pair<int, Size>> small = {{1, {48, 192}}, {1, {64, 192}}, {1, {192, 96}}, {1, {192, 192}}};
    EXPECT_EQ(network_->taken_runs(), small);
}

TEST_F(EngineShapesTest, SeveralProfilesLeaveGapsBetweenBatches) {
    network_->profiles = {profile({1, 1, 1}, {64, 64, 64}, {96, 96, 96}),
                          profile({4, 6, 8}, {64, 64, 64}, {96, 96, 96})};
    EngineOptions options;
    options.batch = 2;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "takes 1 alone, or 4 to 8");
    options.batch = 8;
    Engine engine = make(options);
    network_->taken_runs();
    infer(engine, mixed(10));
    infer(engine, mixed(1));
    const std::vector<std::pair<int, Size>> runs = {{8, {64, 96}}, {4, {64, 96}}, {1, {64, 96}}};
    EXPECT_EQ(network_->taken_runs(), runs);

    network_->profiles = {{{1, 3, 64}, {1, 3, 64, 96}, {1, 3, 64, 96}}};
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::model, "a profile for inputs of 1×3×64");
}

TEST_F(EngineShapesTest, ABatchThatExceedsTheBudgetIsToldWhatFits) {
    network_->activation_bytes = 4 << 20;
    EngineOptions options;
    options.batch = 3;
    const MemoryPlan plan = make(options).memory();
    options.vram_budget = plan.total() - plan.staging + (1 << 20);  // staging gives way
    options.batch = 8;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "batch 3 fits; or take a larger budget");
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "people at batch 8 and 64×96 needs");
    options.vram_budget = 1 << 20;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "batch 1 needs");
    options.batch = 1;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "take a smaller batch or size");
}

TEST_F(EngineShapesTest, MemoryIsPlannedBeforeTheFirstFrame) {
    if (fake_sessions_are_on_cuda())
        GTEST_SKIP() << "on CUDA the staging gives way first, see tests/emulation/memory_test.cpp";
    EngineOptions options;
    options.batch = 2;
    Engine engine = make(options);
    const MemoryPlan plan = engine.memory();
    EXPECT_EQ(plan.weights, 1000u);
    EXPECT_EQ(plan.activations, 4000u);
    EXPECT_GE(plan.io, sizeof(float) * 2 * (3 * 64 * 96 + kFields * 96));
    EXPECT_GT(plan.workspace, 0u);
    EXPECT_EQ(plan.total(), plan.weights + plan.activations + plan.io + plan.staging + plan.workspace);
    EXPECT_EQ(network_->runs, 0);

    options.vram_budget = plan.total();
    EXPECT_EQ(make(options).memory().total(), plan.total());
    options.vram_budget = plan.total() - 1;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::budget, "more than the budget");
    try {
        make(options);
    } catch (const Error& error) {
        for (const char* part : {"people", "batch 2", "64×96", "weights", "activations", "MiB"})
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
}

TEST_F(EngineShapesTest, MemoryThatCannotBeHadIsABudgetError) {
    // A thousand images of 2^30 anchors with 305 numbers each: more than a process can address.
    ModelSpec spec = people_spec();
    spec.keypoints = 100;
    network_->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{305, 1 << 30}}; };
    EngineOptions options;
    options.batch = 1024;
    TRTPOSE_EXPECT_ERROR(make(spec, options), ErrorCode::budget, "no memory for");
}

TEST_F(EngineShapesTest, ACallThatGoesOverTheBudgetFailsAloneAndTheEngineGoesOn) {
    if (fake_sessions_are_on_cuda())
        GTEST_SKIP() << "on CUDA the staging gives way first, see tests/emulation/memory_test.cpp";
    EngineOptions options;
    options.vram_budget = make().memory().total();
    Engine engine = make(options);
    const Frame frame(3, 96, 64);
    const auto before = engine.infer(views({frame}));
    Thresholds t;
    t.max_det = 30000;
    TRTPOSE_EXPECT_ERROR(engine.infer(views({frame}), t), ErrorCode::budget, "budget");
    expect_same(engine.infer(views({frame}))[0], before[0]);
}

}  // namespace
}  // namespace trtpose::test
