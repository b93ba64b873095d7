// SPDX-License-Identifier: Apache-2.0
// The engine's CUDA path: frames and inputs of every kind from either side, results on the device.
#include <algorithm>
#include <random>
#include <set>

#include "pipeline_test.hpp"

namespace trtpose::test {
namespace {

class PipelineArrays : public PipelineTest {};

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

/// Views of `bytes`, 64 KiB of them: padded rows, rows upside down, the other order, video in one and in two planes.
std::vector<ImageView> frames_of_every_kind(const uint8_t* bytes) {
    std::vector<ImageView> all;
    ImageView view;
    view.width = 61;
    view.height = 47;
    view.data = bytes;
    all.push_back(view);
    view.stride = 200;
    all.push_back(view);
    view.data = bytes + 46 * 200;
    view.stride = -200;
    view.format = PixelFormat::rgb;
    all.push_back(view);
    ImageView video;
    video.format = PixelFormat::nv12;
    video.width = 61;
    video.height = 47;
    video.data = bytes;
    video.yuv = YuvColor::bt709_full;
    all.push_back(video);
    video.stride = 80;
    all.push_back(video);
    video.chroma = bytes + 10000;
    video.chroma_stride = 70;
    all.push_back(video);
    video.chroma = bytes + 10000 + 23 * 70;
    video.chroma_stride = -70;
    all.push_back(video);
    return all;
}

/// The same kinds in 8 MiB, large enough for several threads to copy them.
std::vector<ImageView> enlarged(std::vector<ImageView> frames, const uint8_t* bytes) {
    for (ImageView& one : frames) {
        one.data = bytes + (one.stride < 0 ? 700 * 3100 : 0);
        one.width = 1001;
        one.height = 701;
        one.stride = one.stride < 0 ? -3100 : one.stride > 0 ? 3100 : 0;
        if (!one.chroma) continue;
        one.chroma = bytes + (4 << 20) + (one.chroma_stride < 0 ? 350 * 1010 : 0);
        one.chroma_stride = one.chroma_stride < 0 ? -1010 : 1010;
    }
    return frames;
}

TEST_F(PipelineArrays, HostFramesOfEveryKindArePacked) {
    std::mt19937 random(seed());
    std::vector<uint8_t> bytes(64 * 1024);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    const auto all = frames_of_every_kind(bytes.data());
    let_every_pixel_count();
    const auto wanted = expected(all);
    Engine engine = make(batch_of(3));
    expect_equal(engine.infer(all), wanted);
    // By several threads, as soon as there is enough to copy.
    EngineOptions options = batch_of(7);
    options.threads = 3;
    std::vector<uint8_t> many(8 << 20);
    for (auto& byte : many) byte = static_cast<uint8_t>(random());
    const auto large = enlarged(all, many.data());
    const auto wanted_large = expected(large);
    Engine threaded(std::make_unique<EmulatedSession>(network_, behaviour_), spec_, options);
    for (int call = 0; call < 2; ++call) expect_equal(threaded.infer(large), wanted_large);
    std::set<float> different;
    for (const auto& p : wanted) different.insert(p.keypoints.at(0));
    EXPECT_EQ(different.size(), all.size()) << "the answers tell the frames apart";
}

TEST_F(PipelineArrays, AFixedBatchIsFilledUp) {
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

TEST_F(PipelineArrays, FramesOnTheGpuAreReadWhereTheyAre) {
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

TEST_F(PipelineArrays, VideoOnTheGpuIsReadWhereItIs) {
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
    let_every_pixel_count();
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

TEST_F(PipelineArrays, LetterboxedInputsComeFromEitherSide) {
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

TEST_F(PipelineArrays, LargeInputsAreCopiedByThreads) {
    const Size size{512, 512};
    const size_t one = 3 * 512 * 512;
    std::vector<float> input(2 * one);
    std::mt19937 random(seed());
    for (float& number : input) number = static_cast<float>(random() % 1000) / 1000.0f;
    let_every_pixel_count();
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

TEST_F(PipelineArrays, HalfPrecisionInputsAndOutputs) {
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

TEST_F(PipelineArrays, ResultsOnTheDeviceOutliveTheEngine) {
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

}  // namespace
}  // namespace trtpose::test
