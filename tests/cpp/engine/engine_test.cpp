// SPDX-License-Identifier: Apache-2.0
// A call: what is made of frames and tensors, thresholds, what is refused, clones and threads.
#include "engine_test.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

namespace trtpose::test {
namespace {

TEST_F(EngineTest, MapsWhatTheNetworkSaysToTheFrame) {
    Engine engine = make();
    // 192 × 64 in 96 × 64: scaled by one half, 16 rows above.
    const auto result = infer(engine, {Frame(1, 192, 64)});
    ASSERT_EQ(result.size(), 1u);
    const Poses& p = result[0];
    ASSERT_EQ(p.count, 1);
    EXPECT_EQ(p.frame, (Size{64, 192}));
    EXPECT_EQ(p.keypoints_per_pose, 2);
    const Row row = people(1, {64, 96})[0];
    const auto x = [](float v) { return v * 2; };
    const auto y = [](float v) { return (v - 16) * 2; };
    EXPECT_EQ(p.boxes, (std::vector<float>{x(row.cx - 4), y(row.cy - 8), x(row.cx + 4), y(row.cy + 8)}));
    EXPECT_EQ(p.scores, std::vector<float>{row.score});
    EXPECT_EQ(p.class_ids, std::vector<int32_t>{0});
    EXPECT_EQ(p.keypoints, (std::vector<float>{x(row.x0), y(row.y0), 0.75f, x(row.x1), y(row.y1), 0.25f}));
}

TEST_F(EngineTest, TheInverseIsExactForEveryFrameSize) {
    // An input pixel and the frame pixel it came from: each axis by its own rounded factor, no common scale.
    Engine engine = make();
    for (const auto& [width, height] : std::vector<std::pair<int, int>>{
             {96, 64}, {97, 64}, {1920, 1080}, {33, 500}, {500, 33}, {1, 1}, {101, 77}, {4000, 3000}}) {
        SCOPED_TRACE(testing::Message() << width << "×" << height);
        const auto result = infer(engine, {Frame(1, width, height)});
        ASSERT_EQ(result[0].count, 1);
        const double r = std::min(64.0 / height, 96.0 / width);
        const double w = std::max(1.0, std::nearbyint(width * r)), h = std::max(1.0, std::nearbyint(height * r));
        const double left = std::nearbyint((96 - w) / 2 - 0.1), top = std::nearbyint((64 - h) / 2 - 0.1);
        const Row row = people(1, {64, 96})[0];
        // Float32 rounds twice on the way: 2e-7 of the number.
        const double x0 = (static_cast<double>(row.x0) - left) * width / w;
        const double y0 = (static_cast<double>(row.y0) - top) * height / h;
        EXPECT_NEAR(result[0].keypoints[0], x0, 1e-6 * (1 + std::abs(x0)));
        EXPECT_NEAR(result[0].keypoints[1], y0, 1e-6 * (1 + std::abs(y0)));
    }
}

TEST_F(EngineTest, NoFramesAreNoWork) {
    Engine engine = make();
    EXPECT_TRUE(infer(engine, {}).empty());
    EXPECT_EQ(network_->runs, 0);
}

TEST_F(EngineTest, AWrongFrameIsNamedAndNothingRuns) {
    EngineOptions options;
    options.batch = 2;
    Engine engine = make(options);
    auto frames = mixed(5);
    frames[3].view.data = nullptr;
    TRTPOSE_EXPECT_ERROR(infer(engine, frames), ErrorCode::input, "frame 3");
    frames = mixed(5);
    frames[0].view.width = 0;
    TRTPOSE_EXPECT_ERROR(infer(engine, frames), ErrorCode::input, "frame 0");
    frames = mixed(5);
    frames[4].view.stride = 5;
    TRTPOSE_EXPECT_ERROR(infer(engine, frames), ErrorCode::input, "frame 4");
    frames = mixed(5);
    frames[1].view.device = {DeviceType::cuda, 0};
    TRTPOSE_EXPECT_ERROR(infer(engine, frames), ErrorCode::input, "frame 1");
    EXPECT_EQ(network_->runs, 0);
    EXPECT_EQ(infer(engine, mixed(2)).size(), 2u);
}

TEST_F(EngineTest, ThresholdsBelongToTheCall) {
    Engine engine = make();
    const Frame three(3, 96, 64);
    const auto count = [&](const Thresholds& t) { return engine.infer(views({three}), t)[0].count; };
    Thresholds t;
    EXPECT_EQ(count(t), 3);
    t.conf = 0.75f;
    EXPECT_EQ(count(t), 2);
    t.conf = 0.25f;
    t.iou = 1.0f;  // nothing overlaps by more
    EXPECT_EQ(count(t), 6);
    t.max_det = 4;
    EXPECT_EQ(count(t), 4);
    t.max_det = 30000;
    EXPECT_EQ(count(t), 6);
    EXPECT_EQ(engine.infer(views({three}))[0].count, 3) << "the engine's own stay as they were";

    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& change : std::vector<void (*)(Thresholds&)>{
             [](auto& v) { v.conf = -0.1f; }, [](auto& v) { v.conf = 1.1f; }, [](auto& v) { v.conf = kNan; },
             [](auto& v) { v.iou = -0.1f; }, [](auto& v) { v.iou = kNan; }, [](auto& v) { v.iou = 2; },
             [](auto& v) { v.max_det = 0; }, [](auto& v) { v.max_det = -1; }, [](auto& v) { v.max_det = 30001; }}) {
        Thresholds bad;
        change(bad);
        TRTPOSE_EXPECT_ERROR(engine.infer(views({three}), bad), ErrorCode::input, "must lie between");
    }
}

TEST_F(EngineTest, OksNeedsSigmas) {
    Engine engine = make();
    const Frame frame(2, 96, 64);
    const auto before = engine.infer(views({frame}));
    Thresholds t;
    t.oks = true;
    TRTPOSE_EXPECT_ERROR(engine.infer(views({frame}), t), ErrorCode::input, "sigma");
    expect_same(engine.infer(views({frame}))[0], before[0]);  // the refusal left the engine as it was

    ModelSpec spec = people_spec();
    spec.sigmas = {0.1f, 0.1f};
    Engine with = make(spec);
    EXPECT_EQ(with.infer(views({frame}), t)[0].count, 4) << "the weaker pose has other keypoints";
    t.iou = 0.0f;
    EXPECT_LT(with.infer(views({frame}), t)[0].count, 4);
    EXPECT_EQ(with.infer(views({frame}))[0].count, 2);

    EngineOptions options;
    options.oks = true;
    TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, "sigma");
}

TEST_F(EngineTest, AFailingNetworkFailsTheCallAlone) {
    Engine engine = make();
    const Frame frame(2, 96, 64);
    network_->fail_next = true;
    TRTPOSE_EXPECT_ERROR(engine.infer(views({frame})), ErrorCode::model, "asked to fail");
    EXPECT_EQ(engine.infer(views({frame}))[0].count, 2);
}

TEST_F(EngineTest, ClonesShareTheNetworkAndNothingElse) {
    EngineOptions options;
    options.batch = 3;
    options.conf = 0.5f;
    auto engine = std::make_unique<Engine>(make(options));
    Engine copy = engine->clone();
    EXPECT_EQ(network_->clones, 1);
    EXPECT_EQ(copy.batch(), 3);
    EXPECT_EQ(copy.thresholds().conf, 0.5f);
    EXPECT_EQ(copy.imgsz(), engine->imgsz());
    EXPECT_EQ(copy.spec().to_json(), engine->spec().to_json());
    EXPECT_EQ(copy.spec_origin(), engine->spec_origin());
    EXPECT_EQ(copy.memory().total(), engine->memory().total());
    const auto frames = mixed(5);
    const auto expected = infer(*engine, frames);
    engine.reset();
    const auto got = infer(copy, frames);
    for (size_t i = 0; i < frames.size(); ++i) expect_same(got[i], expected[i]);
}

TEST_F(EngineTest, SeveralThreadsCallOneEngineAndItsClones) {
    EngineOptions options;
    options.batch = 2;
    options.rect = true;
    options.threads = 2;
    Engine engine = make(options);
    const auto frames = mixed(9);
    const auto expected = infer(engine, frames);
    constexpr int kThreads = 4, kRounds = 12;
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
            Engine copy = engine.clone();  // cloning while others run is allowed
            for (int round = 0; round < kRounds; ++round) {
                Engine& used = (round + i) % 2 ? engine : copy;
                Thresholds t;
                t.max_det = round % 3 ? 300 : 5;  // buffers change under way
                const auto got = used.infer(views(frames), t);
                for (size_t k = 0; k < frames.size(); ++k) {
                    if (got[k].boxes != expected[k].boxes || got[k].keypoints != expected[k].keypoints) ++wrong;
                }
                used.memory();
                used.times();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(EngineTest, TensorsAreTakenAsTheyAre) {
    EngineOptions options;
    options.batch = 2;
    Engine engine = make(options);
    const Size size{64, 96};
    const size_t one = 3 * 64 * 96;
    std::vector<float> input(3 * one);
    for (size_t n = 0; n < 3; ++n)
        std::fill_n(input.begin() + static_cast<ptrdiff_t>(n * one), one, static_cast<float>(n + 1) / 255.0f);
    const auto result = engine.infer_tensor(input.data(), 3, size, engine.thresholds());
    ASSERT_EQ(result.size(), 3u);
    for (int n = 0; n < 3; ++n) {
        const Poses& p = result[static_cast<size_t>(n)];
        EXPECT_EQ(p.frame, size);
        ASSERT_EQ(p.count, n + 1);
        const Row row = people(n + 1, size)[0];
        EXPECT_EQ(p.keypoints[0], row.x0) << "input pixels are the result's pixels";
        EXPECT_EQ(p.keypoints[1], row.y0);
    }
    const std::vector<std::pair<int, Size>> expected = {{2, size}, {1, size}};
    EXPECT_EQ(network_->taken_runs(), expected);
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(input.data(), 0, size, {}), ErrorCode::input, "batch of 0");
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(input.data(), -1, size, {}), ErrorCode::input, "batch of -1");
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(input.data(), 1, {60, 96}, {}), ErrorCode::input, "multiple");
    TRTPOSE_EXPECT_ERROR(engine.infer_tensor(input.data(), 1, {0, 96}, {}), ErrorCode::input, "imgsz 0×96");
}

TEST_F(EngineTest, TheLetterboxIsTheOneTheNetworkGets) {
    Engine engine = make();
    std::mt19937 random(seed());
    const auto frame = random_frame(random, 61, 47, 3, true);
    Size size;
    const auto got = engine.letterbox(
        {frame.bytes.data() + frame.first(), frame.width, frame.height, frame.stride, frame.format, {}}, &size);
    EXPECT_EQ(size, (Size{64, 96}));
    const auto bytes = letterbox_reference(frame, size, 114);
    for (size_t i = 0; i < 64 * 96; ++i) {
        for (size_t c = 0; c < 3; ++c) ASSERT_EQ(got[c * 64 * 96 + i], static_cast<float>(bytes[3 * i + 2 - c]) / 255);
    }
}

TEST_F(EngineTest, OptionsThatCannotBeAreRefused) {
    const auto refused = [&](const char* part, auto&& change) {
        EngineOptions options;
        change(options);
        TRTPOSE_EXPECT_ERROR(make(options), ErrorCode::input, part);
    };
    refused("conf", [](auto& o) { o.conf = 2; });
    refused("iou", [](auto& o) { o.iou = -1; });
    refused("max_det", [](auto& o) { o.max_det = 0; });
    refused("batch", [](auto& o) { o.batch = -1; });
    refused("batch", [](auto& o) { o.batch = 100000; });
    refused("threads", [](auto& o) { o.threads = -1; });
    refused("streams", [](auto& o) { o.streams = 0; });
    refused("imgsz", [](auto& o) { o.imgsz = {100, 96}; });
    refused("try 112×96", [](auto& o) { o.imgsz = {100, 96}; });
    refused("imgsz", [](auto& o) { o.imgsz = {-16, 96}; });
    refused("imgsz", [](auto& o) { o.imgsz = {0, 96}; });
    refused("imgsz", [](auto& o) { o.imgsz = {1 << 20, 96}; });
    network_->input.shape = {-1, 3, 64, 96};
    refused("takes 64×96 alone", [](auto& o) { o.imgsz = {64, 64}; });
    TRTPOSE_EXPECT_ERROR(Engine(nullptr, people_spec()), ErrorCode::input, "no session");
}

TEST_F(EngineTest, ANetworkThatIsNotTheSpecsIsRefusedAtOnce) {
    ModelSpec spec = people_spec();
    spec.keypoints = 3;
    TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, "check the model spec");
    spec = people_spec();
    spec.outputs = {"nothing"};
    TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, "no output 'nothing'");
    spec = people_spec();
    spec.layout = Layout::final;
    TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, "layout final");
    network_->input.shape = {3, 64, 96};
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::model, "expected N×3×H×W");
    network_ = people_network();
    network_->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{kFields, 0}}; };
    TRTPOSE_EXPECT_ERROR(make(), ErrorCode::model, "anchors per image");
    spec = make_spec(Layout::heads, 9, 1, 1, 1, 3);
    TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, "9 strides");
    spec = make_spec(Layout::heads, 1, 9, 1, 1, 3);
    TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, "9 anchors");
}

TEST_F(EngineTest, ASpecThatAProgramPutTogetherIsChecked) {
    TRTPOSE_EXPECT_ERROR(make(ModelSpec{}), ErrorCode::model, "model spec");
    const auto refused = [&](const char* part, auto&& change) {
        ModelSpec spec = people_spec();
        change(spec);
        TRTPOSE_EXPECT_ERROR(make(spec), ErrorCode::model, part);
    };
    refused("strides", [](auto& s) { s.strides.clear(); });
    refused("strides", [](auto& s) { s.strides[0] = 0; });
    refused("names", [](auto& s) { s.names.clear(); });
    refused("kpt_shape", [](auto& s) { s.keypoints = 0; });
    refused("kpt_shape", [](auto& s) { s.keypoint_dims = 4; });
    refused("std", [](auto& s) { s.std[1] = 0; });
    refused("JSON", [](auto& s) { s.mean[1] = std::numeric_limits<float>::quiet_NaN(); });
    refused("anchors", [](auto& s) { s.layout = Layout::heads, s.anchors.pop_back(); });
}

TEST_F(EngineTest, OutputsAreTakenInTheOrderOfTheSpec) {
    // The file lists the coarse head first.
    ModelSpec spec = make_spec(Layout::heads, 2, 1, 1, 1, 3);
    spec.imgsz = {16, 16};
    spec.outputs = {"fine", "coarse"};
    auto network = std::make_shared<FakeNetwork>();
    network->output_names = {"coarse", "fine"};
    network->shapes = [](Size size) {
        return std::vector<FakeNetwork::Shape>{{9, size.height / 16, size.width / 16},
                                               {9, size.height / 8, size.width / 8}};
    };
    network->answer = [](const float*, Size, const std::vector<float*>& outputs) {
        std::fill_n(outputs[0], 9, 0.0f);
        std::fill_n(outputs[1], 36, 0.0f);
        outputs[0][4] = outputs[1][4 * 4] = -20;
        for (const size_t cell : {1, 2, 3}) outputs[1][4 * 4 + cell] = -20;
        outputs[1][4 * 4 + 3] = 5;  // objectness of the fine cell (1, 1)
        outputs[1][5 * 4 + 3] = 5;
    };
    network_ = network;
    Engine engine = make(spec);
    const auto result = infer(engine, {Frame(1, 16, 16)});
    ASSERT_EQ(result[0].count, 1);
    EXPECT_EQ(result[0].keypoints[0], (1 - 0.5f) * 8) << "stride 8, cell 1";
}

TEST_F(EngineTest, FinalDetectionsAreSortedAndCutAndNeverSuppressed) {
    ModelSpec spec = people_spec();
    spec.layout = Layout::final;
    network_->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{5, 12}}; };
    network_->answer = [](const float*, Size, const std::vector<float*>& outputs) {
        const float scores[] = {0.5f, 0.9f, 0.1f, 0.7f, 0.7f};
        for (size_t i = 0; i < 5; ++i) {
            const float row[] = {10, 10, 30, 50, scores[i], 0, static_cast<float>(i), 1, 1, 2, 2, 1};
            std::copy(row, row + 12, outputs[0] + 12 * i);
        }
    };
    Engine engine = make(spec);
    const auto result = infer(engine, {Frame(1, 96, 64)});
    EXPECT_EQ(result[0].scores, (std::vector<float>{0.9f, 0.7f, 0.7f, 0.5f}));
    EXPECT_EQ(result[0].keypoints[6], 3.0f) << "of equal scores the lower row first";
    EXPECT_EQ(result[0].keypoints[12], 4.0f);
    Thresholds t;
    t.max_det = 2;
    EXPECT_EQ(engine.infer(views({Frame(1, 96, 64)}), t)[0].scores, (std::vector<float>{0.9f, 0.7f}));
}

TEST_F(EngineTest, AClassWithoutANameIsAnError) {
    ModelSpec spec = people_spec();
    spec.layout = Layout::final;
    spec.names = {"cat", "dog"};
    float class_id = 1;
    network_->shapes = [](Size) { return std::vector<FakeNetwork::Shape>{{1, 12}}; };
    network_->answer = [&](const float*, Size, const std::vector<float*>& outputs) {
        const float row[] = {10, 10, 30, 50, 0.9f, class_id, 1, 1, 1, 2, 2, 1};
        std::copy(row, row + 12, outputs[0]);
    };
    Engine engine = make(spec);
    EXPECT_EQ(infer(engine, {Frame(1, 96, 64)})[0].class_ids, (std::vector<int32_t>{1}));
    class_id = 2;
    TRTPOSE_EXPECT_ERROR(infer(engine, {Frame(1, 96, 64)}), ErrorCode::model,
                         "gives class 2, and the model spec names 2");
}

TEST_F(EngineTest, NumbersThatAreNotFiniteGiveNoPoses) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
        network_->answer = [bad](const float*, Size size, const std::vector<float*>& outputs) {
            std::fill_n(outputs[0], kFields * (size.height / 8) * (size.width / 8), bad);
        };
        Engine engine = make();
        EXPECT_EQ(infer(engine, {Frame(1, 50, 50)})[0].count, 0) << bad;
    }
}

}  // namespace
}  // namespace trtpose::test
