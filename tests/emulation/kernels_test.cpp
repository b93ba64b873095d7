// SPDX-License-Identifier: Apache-2.0
// CUDA against its CPU twins, bit for bit. The tests of tests/cpp/ops say what is right; these, that there is no
// difference at all, float16 and frames of video included.
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>

#include "trtpose/error.hpp"
#include "trtpose/ops/letterbox.hpp"
#include "twins.hpp"

namespace trtpose::test {
namespace {

class TwinsTest : public OnDevice {
protected:
    bool on_cpu() { return context().device.type == DeviceType::cpu; }

    void expect_twins(const Scene& scene) {
        const auto cpu = open_device("cpu");
        expect_same(run_scene(device(), scene, scene.half && !on_cpu()), run_scene(*cpu, scene, false));
    }
};
TRTPOSE_ON_EVERY_DEVICE(TwinsTest);

TEST_P(TwinsTest, RandomScenes) {
    std::mt19937 random(seed());
    for (int i = 0; i < 60 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed()));
        expect_twins(random_scene(random, false));
    }
}

TEST_P(TwinsTest, RandomScenesOfHalfPrecision) {
    std::mt19937 random(seed() + 1);
    for (int i = 0; i < 60 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed() + 1));
        expect_twins(random_scene(random, true));
    }
}

/// One image of `count` anchors, decoded layout, one class, no keypoints.
Scene dense_scene(int count, const std::function<std::array<float, 6>(int)>& anchor) {
    Scene scene;
    scene.spec = make_spec(Layout::decoded, 1, 1, 1, 0, 3);
    scene.input = {64, 64};
    scene.shapes = {{1, count, 6}};
    auto& values = scene.outputs.emplace_back();
    for (int i = 0; i < count; ++i) {
        const auto a = anchor(i);
        values.insert(values.end(), a.begin(), a.end());
    }
    scene.conf = 0.001f;
    scene.placements = {math::letterbox(64, 64, 64, 64)};
    return scene;
}

TEST_P(TwinsTest, EvaluationKeepsThousandsApart) {
    // As many candidates as a 960×960 input has at confidence 0.001 in the worst case, and more than max_nms.
    std::mt19937 random(seed());
    std::uniform_real_distribution<float> place(0.0f, 960.0f), side(5.0f, 200.0f), score(0.002f, 1.0f);
    for (const int max_det : {300, 5000}) {
        Scene scene = dense_scene(12000, [&](int) {
            return std::array<float, 6>{place(random), place(random), side(random), side(random), score(random), 1.0f};
        });
        scene.nms.max_nms = 9000;
        scene.nms.max_det = max_det;
        expect_twins(scene);
    }
}

TEST_P(TwinsTest, EqualScoresBeyondOneChunk) {
    // All scores equal: the anchors alone divide them.
    Scene scene = dense_scene(7001, [](int i) {
        return std::array<float, 6>{static_cast<float>(i % 83) * 10, static_cast<float>(i / 83) * 10, 12, 12, 0.5f, 1};
    });
    scene.nms.max_det = 1000;
    scene.nms.threshold = 0.05f;
    expect_twins(scene);
}

TEST_P(TwinsTest, OneScoreAboveACrowdOfNeighbours) {
    // Nearly all keys in one range, which is divided again and again.
    Scene scene = dense_scene(6000, [](int i) {
        float x = 0.25f;
        if (i > 0) {
            uint32_t bits;
            std::memcpy(&bits, &x, 4);
            bits += static_cast<uint32_t>(i % 7);
            std::memcpy(&x, &bits, 4);
        } else {
            x = 1.0f;
        }
        return std::array<float, 6>{static_cast<float>(i % 100), static_cast<float>(i % 89), 3, 3, x, 1};
    });
    scene.nms.max_det = 6000;
    expect_twins(scene);
}

TEST_P(TwinsTest, SortedAndCutBeyondOneChunk) {
    std::mt19937 random(seed());
    std::uniform_real_distribution<float> score(0.002f, 1.0f);
    Scene scene = dense_scene(
        5000, [&](int i) { return std::array<float, 6>{static_cast<float>(i), 5, 3, 3, score(random), 1}; });
    scene.nms.suppress = false;
    scene.nms.max_det = 4500;
    scene.nms.max_nms = 4400;
    expect_twins(scene);
}

TEST_P(TwinsTest, CandidatesOfTheSameScoreAndAnchorEnd) {
    // Decode makes no such candidates; whoever does must get an answer all the same.
    const int count = 5000;
    CandidateArrays candidates(device(), 1, count);
    const std::vector<float> scores(count, 0.5f), boxes(4 * count, 1.0f);
    const std::vector<int32_t> zeros(count, 0), total(1, count);
    device().upload(candidates.view.counts, total.data(), sizeof(int32_t));
    device().upload(candidates.view.scores, scores.data(), scores.size() * sizeof(float));
    device().upload(candidates.view.boxes, boxes.data(), boxes.size() * sizeof(float));
    device().upload(candidates.view.classes, zeros.data(), zeros.size() * sizeof(int32_t));
    device().upload(candidates.view.anchors, zeros.data(), zeros.size() * sizeof(int32_t));
    for (const bool suppress : {true, false}) {
        ops::NmsParams params;
        params.suppress = suppress;
        const ops::Nms nms(params);
        const auto counts = array<int32_t>(1), indices = array<int32_t>(300);
        nms(candidates.view, 1, nullptr, {counts.data(), indices.data(), 300},
            workspace(nms.workspace_bytes(1, count, context().device)), context());
        EXPECT_EQ(counts.get().front(), 300);  // boxes without area overlap nothing
    }
}

TEST_P(TwinsTest, MoreCandidatesThanRoomAreCounted) {
    Scene scene =
        dense_scene(3000, [](int i) { return std::array<float, 6>{static_cast<float>(i), 5, 3, 3, 0.5f, 1}; });
    scene.capacity = 777;
    const Outcome got = run_scene(device(), scene, false);
    EXPECT_EQ(got.counts.front(), 3000);
    ASSERT_EQ(got.candidates.front().size(), 777u);
    for (size_t i = 1; i < 777; ++i) EXPECT_LT(got.candidates.front()[i - 1].anchor, got.candidates.front()[i].anchor);
    EXPECT_EQ(got.kept.front().size(), 300u);
}

TEST_P(TwinsTest, CpuRefusesHalfPrecision) {
    if (!on_cpu()) GTEST_SKIP() << "CUDA reads float16";
    std::mt19937 random(seed());
    EXPECT_THROW(run_scene(device(), random_scene(random, true), true), Error);
}

/// A letterboxed batch as numbers.
struct Letterboxed {
    std::vector<float> floats;
    std::vector<uint16_t> halves;
    std::vector<math::Letterbox> placements;
};

Letterboxed letterbox(TestDevice& device, const std::vector<ImageView>& frames,
                      const std::vector<std::vector<uint8_t>>& bytes, Size size, const ModelSpec& spec, bool half) {
    std::vector<DeviceArray<uint8_t>> uploaded;
    std::vector<ImageView> views;
    for (size_t i = 0; i < frames.size(); ++i) {
        uploaded.emplace_back(device, bytes[i]);
        views.push_back(frames[i]);
        views[i].data = uploaded[i].data() + (frames[i].data - bytes[i].data());
        if (frames[i].chroma) views[i].chroma = uploaded[i].data() + (frames[i].chroma - bytes[i].data());
        views[i].device = device.context().device;
        ops::Letterbox::check(views[i], views[i].device, "frame");
    }
    const ops::Letterbox op(spec, size);
    const size_t count = frames.size() * 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
    DeviceArray<char> scratch(device, op.workspace_bytes(frames.size(), device.context().device));
    DeviceArray<math::Letterbox> placements(device, frames.size());
    DeviceArray<float> floats(device, half ? 0 : count);
    DeviceArray<uint16_t> halves(device, half ? count : 0);
    void* const output = half ? static_cast<void*>(halves.data()) : floats.data();
    op(views, output, half ? DType::f16 : DType::f32, placements.data(), {scratch.data(), scratch.size()},
       device.context());
    Letterboxed out;
    if (half) {
        out.halves = halves.get();
    } else {
        out.floats = floats.get();
    }
    out.placements = placements.get();
    return out;
}

/// Frames of one call: sizes, formats, paddings, video, rows upside down.
struct FrameSet {
    std::vector<std::vector<uint8_t>> bytes;
    std::vector<ImageView> views;
};

FrameSet random_frames(std::mt19937& random, int count) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    FrameSet set;
    for (int i = 0; i < count; ++i) {
        ImageView view;
        view.width = pick(0, 5) ? pick(1, 90) : 1;
        view.height = pick(0, 5) ? pick(1, 90) : 1;
        view.format = static_cast<PixelFormat>(pick(0, 2));
        const bool nv12 = view.format == PixelFormat::nv12;
        const int row = view.width * (nv12 ? 1 : 3);
        view.stride = pick(0, 1) ? 0 : row + pick(0, 9);
        const ptrdiff_t stride = view.stride ? view.stride : row;
        size_t total = static_cast<size_t>(stride) * static_cast<size_t>(view.height);
        ptrdiff_t chroma_at = 0;
        bool own_plane = false;
        if (nv12) {
            view.yuv = static_cast<YuvColor>(pick(0, 3));
            const ptrdiff_t pairs = (view.width + 1) / 2 * 2, rows = (view.height + 1) / 2;
            own_plane = pick(0, 1);
            view.chroma_stride = own_plane && pick(0, 1) ? pairs + pick(0, 7) : 0;
            chroma_at = static_cast<ptrdiff_t>(total) + (own_plane ? pick(0, 5) : 0);
            const ptrdiff_t step = view.chroma_stride ? view.chroma_stride : std::max(stride, pairs);
            total = static_cast<size_t>(chroma_at + step * (rows - 1) + pairs);
        }
        auto& bytes = set.bytes.emplace_back(total);
        for (auto& b : bytes) b = static_cast<uint8_t>(random());
        view.data = bytes.data();
        if (own_plane) view.chroma = bytes.data() + chroma_at;
        if (!nv12 && view.stride && pick(0, 1)) {
            view.data += view.stride * (view.height - 1);
            view.stride = -view.stride;
        }
        set.views.push_back(view);
    }
    return set;
}

ModelSpec random_normalisation(std::mt19937& random) {
    ModelSpec spec;
    std::uniform_real_distribution<float> value(1.0f, 200.0f);
    if (random() & 1) {
        for (int c = 0; c < 3; ++c) {
            spec.mean[c] = value(random);
            spec.std[c] = value(random);
        }
    }
    spec.color = random() & 1 ? PixelFormat::rgb : PixelFormat::bgr;
    spec.pad = static_cast<int>(random() & 255);
    return spec;
}

TEST_P(TwinsTest, LetterboxOfAllKindsInOneCall) {
    std::mt19937 random(seed() + 2);
    const auto cpu = open_device("cpu");
    for (int i = 0; i < 25; ++i) {
        SCOPED_TRACE("call " + std::to_string(i) + " of seed " + std::to_string(seed() + 2));
        const auto frames = random_frames(random, 1 + static_cast<int>(random() % 20));
        const Size size{1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 150)};
        const ModelSpec spec = random_normalisation(random);
        const auto expected = letterbox(*cpu, frames.views, frames.bytes, size, spec, false);
        const auto got = letterbox(device(), frames.views, frames.bytes, size, spec, false);
        ASSERT_TRUE(same_bits(got.floats, expected.floats));
        // Field by field: the bytes that pad the structure are whatever lay there.
        ASSERT_TRUE(got.placements == expected.placements);
        if (on_cpu()) continue;
        const auto halves = letterbox(device(), frames.views, frames.bytes, size, spec, true).halves;
        for (size_t k = 0; k < halves.size(); ++k) {
            const __half h = __float2half_rn(expected.floats[k]);
            uint16_t bits;
            std::memcpy(&bits, &h, sizeof(bits));
            ASSERT_EQ(halves[k], bits) << k;
        }
    }
}

TEST_P(TwinsTest, CallsWithoutWorkDoNone) {
    const ops::NmsParams params;
    const ops::Nms nms(params);
    nms({}, 0, nullptr, {nullptr, nullptr, params.max_det}, {}, context());
    const Letterboxed none = letterbox(device(), {}, {}, {8, 8}, {}, false);
    EXPECT_TRUE(none.floats.empty());
}

}  // namespace
}  // namespace trtpose::test
