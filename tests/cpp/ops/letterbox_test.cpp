// SPDX-License-Identifier: Apache-2.0
// That the bytes are OpenCV's is tested against OpenCV itself in tests/python/test_letterbox.py; here every device and
// both paths of the CPU meet the same bytes, and stay inside the memory they are given.
#include "trtpose/ops/letterbox.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/letterbox_kernels.hpp"
#include "support/goldens.hpp"
#include "support/reference.hpp"
#include "support/test_device.hpp"
#include "trtpose/error.hpp"

namespace trtpose::test {
namespace {

/// Bytes in the order of the frame to what the network is given.
std::vector<float> normalised(const std::vector<uint8_t>& bytes, Size size, const ModelSpec& spec, PixelFormat format) {
    const auto plane = static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
    std::vector<float> out(3 * plane);
    for (size_t c = 0; c < 3; ++c) {
        const size_t from = format == spec.color ? c : 2 - c;
        for (size_t i = 0; i < plane; ++i)
            out[c * plane + i] = (static_cast<float>(bytes[3 * i + from]) - spec.mean[c]) / spec.std[c];
    }
    return out;
}

/// A form as the goldens say it.
math::LetterboxForm form_of(const std::vector<int32_t>& at) {
    return {static_cast<math::Placement>(at[0]), static_cast<math::Rounding>(at[1]), static_cast<math::Sizing>(at[2])};
}

math::LetterboxForm random_form(std::mt19937& random) {
    const auto either = [&] { return static_cast<int32_t>(random() % 2); };
    return form_of({either(), either(), static_cast<int32_t>(random() % 3)});
}

class LetterboxTest : public OnDevice {
protected:
    struct Result {
        std::vector<std::vector<float>> inputs;
        std::vector<math::Letterbox> placements;
    };

    Result run(const std::vector<ReferenceFrame>& frames, Size size, const ModelSpec& spec = {}) {
        std::vector<DeviceArray<uint8_t>> bytes;
        std::vector<ImageView> views;
        for (const auto& frame : frames) {
            bytes.push_back(array(frame.bytes));
            views.push_back({bytes.back().data() + frame.first(), frame.width, frame.height, frame.stride, frame.format,
                             context().device});
            ops::Letterbox::check(views.back(), context().device, "frame");
        }
        const ops::Letterbox op(spec, size);
        const size_t one = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        const auto output = array<float>(one * frames.size());
        const auto placements = array<math::Letterbox>(frames.size());
        op(views, output.data(), placements.data(), workspace(op.workspace_bytes(frames.size(), context().device)),
           context());
        Result result;
        const auto all = output.get();
        for (size_t i = 0; i < frames.size(); ++i)
            result.inputs.emplace_back(all.begin() + static_cast<ptrdiff_t>(i * one),
                                       all.begin() + static_cast<ptrdiff_t>((i + 1) * one));
        result.placements = placements.get();
        return result;
    }

    void expect_reference(const ReferenceFrame& frame, Size size, const ModelSpec& spec = {}) {
        const auto expected =
            normalised(letterbox_reference(frame, size, spec.pad, spec.letterbox), size, spec, frame.format);
        const auto got = run({frame}, size, spec).inputs.front();
        ASSERT_EQ(got, expected) << frame.width << "×" << frame.height << " in " << size.width << "×" << size.height
                                 << " stride " << frame.stride << " seed " << seed();
    }
};
TRTPOSE_ON_EVERY_DEVICE(LetterboxTest);

TEST_P(LetterboxTest, EqualsOpenCv) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "letterbox");
    const size_t cases = goldens.size() / 2;
    ASSERT_GE(cases, 10u);
    for (size_t i = 0; i < cases; ++i) {
        SCOPED_TRACE(i);
        const auto& source = goldens.at(std::to_string(i) + "/frame");
        const auto& expected = goldens.at(std::to_string(i) + "/input");
        ReferenceFrame frame;
        frame.bytes = source.bytes;
        frame.height = static_cast<int>(source.shape[0]);
        frame.width = static_cast<int>(source.shape[1]);
        frame.stride = 3 * frame.width;
        const Size size{static_cast<int>(expected.shape[0]), static_cast<int>(expected.shape[1])};
        EXPECT_EQ(run({frame}, size).inputs.front(), normalised(expected.bytes, size, {}, PixelFormat::bgr));
    }
}

TEST_P(LetterboxTest, EveryFormEqualsOpenCv) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "forms");
    const size_t cases = goldens.size() / 3;
    ASSERT_GE(cases, 60u);
    for (size_t i = 0; i < cases; ++i) {
        SCOPED_TRACE(i);
        const auto& source = goldens.at(std::to_string(i) + "/frame");
        const auto& expected = goldens.at(std::to_string(i) + "/input");
        ReferenceFrame frame;
        frame.bytes = source.bytes;
        frame.height = static_cast<int>(source.shape[0]);
        frame.width = static_cast<int>(source.shape[1]);
        frame.stride = 3 * frame.width;
        const Size size{static_cast<int>(expected.shape[0]), static_cast<int>(expected.shape[1])};
        ModelSpec spec;
        spec.letterbox = form_of(goldens.at(std::to_string(i) + "/form").ints);
        EXPECT_EQ(run({frame}, size, spec).inputs.front(), normalised(expected.bytes, size, {}, PixelFormat::bgr));
    }
}

TEST_P(LetterboxTest, VideoFramesEqualOpenCv) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "nv12");
    const size_t cases = goldens.size() / 4;
    ASSERT_GE(cases, 10u);
    for (size_t i = 0; i < cases; ++i) {
        const auto& luma = goldens.at(std::to_string(i) + "/luma");
        const auto& chroma = goldens.at(std::to_string(i) + "/chroma");
        const auto& expected = goldens.at(std::to_string(i) + "/input");
        const Size size{static_cast<int>(expected.shape[0]), static_cast<int>(expected.shape[1])};
        const auto wanted = normalised(expected.bytes, size, {}, PixelFormat::bgr);
        const auto width = static_cast<int>(luma.shape[1]), height = static_cast<int>(luma.shape[0]);
        ModelSpec spec;
        spec.letterbox = form_of(goldens.at(std::to_string(i) + "/form").ints);
        const ops::Letterbox op(spec, size);
        const auto run_on = [&](const ImageView& frame) {
            const auto output = array<float>(3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width));
            const auto placement = array<math::Letterbox>(1);
            ops::Letterbox::check(frame, context().device, "frame");
            op(Span<const ImageView>(&frame, 1), output.data(), placement.data(),
               workspace(op.workspace_bytes(1, context().device)), context());
            return output.get();
        };
        const auto d_luma = array(luma.bytes), d_chroma = array(chroma.bytes);
        ImageView frame{d_luma.data(), width, height, 0, PixelFormat::nv12, context().device};
        frame.chroma = d_chroma.data();
        EXPECT_EQ(run_on(frame), wanted) << "planes apart, case " << i;

        // One block as decoders give it, rows longer than the picture, the chroma right behind the luma.
        const int stride = width + 14;
        std::vector<uint8_t> block;
        for (const auto* plane : {&luma.bytes, &chroma.bytes}) {
            for (size_t row = 0; row < plane->size(); row += static_cast<size_t>(width)) {
                const auto begin = plane->begin() + static_cast<ptrdiff_t>(row);
                block.insert(block.end(), begin, begin + width);
                block.insert(block.end(), 14, uint8_t{200});
            }
        }
        block.resize(block.size() - 14);
        const auto d_block = array(block);
        frame.data = d_block.data();
        frame.stride = frame.chroma_stride = stride;
        frame.chroma = nullptr;
        EXPECT_EQ(run_on(frame), wanted) << "one block, case " << i;
    }
}

TEST_P(LetterboxTest, RandomFramesOfAllKinds) {
    std::mt19937 random(seed());
    const auto side = [&](int limit) { return 1 + static_cast<int>(random() % static_cast<unsigned>(limit)); };
    for (int i = 0; i < 400; ++i) {
        const int limit = i % 5 == 0 ? 300 : 60;
        auto frame = random_frame(random, side(i % 7 == 0 ? 4 : limit), side(i % 11 == 0 ? 4 : limit),
                                  i % 2 ? side(40) : 0, i % 3 == 0);
        frame.format = i % 4 == 0 ? PixelFormat::rgb : PixelFormat::bgr;
        ModelSpec spec;
        if (i % 6 == 0) spec.color = PixelFormat::bgr;
        if (i % 5 == 0) spec.pad = side(256) - 1;
        if (i % 2) spec.letterbox = random_form(random);
        expect_reference(frame, {side(120), side(120)}, spec);
        if (HasFatalFailure()) return;
    }
}

TEST_P(LetterboxTest, ExtremeShapes) {
    std::mt19937 random(seed());
    for (const auto& [width, height] : std::vector<std::pair<int, int>>{{1, 1},
                                                                        {1, 2},
                                                                        {2, 1},
                                                                        {1, 4000},
                                                                        {4000, 1},
                                                                        {2, 3000},
                                                                        {3000, 2},
                                                                        {5000, 7},
                                                                        {7, 5000},
                                                                        {ops::kMaxFrameSide, 1},
                                                                        {1, ops::kMaxFrameSide}}) {
        for (const Size size : {Size{32, 32}, Size{1, 1}, Size{64, 1}, Size{1, 64}, Size{33, 95}}) {
            expect_reference(random_frame(random, width, height, 5), size);
            if (HasFatalFailure()) return;
        }
    }
}

TEST_P(LetterboxTest, NormalisesByTheSpec) {
    std::mt19937 random(seed());
    ModelSpec spec;
    const float mean[] = {123.675f, 116.28f, 103.53f}, std[] = {58.395f, 57.12f, 57.375f};
    std::copy_n(mean, 3, spec.mean);
    std::copy_n(std, 3, spec.std);
    spec.pad = 0;
    for (const PixelFormat color : {PixelFormat::rgb, PixelFormat::bgr}) {
        for (const PixelFormat format : {PixelFormat::rgb, PixelFormat::bgr}) {
            spec.color = color;
            auto frame = random_frame(random, 37, 53);
            frame.format = format;
            expect_reference(frame, {64, 96}, spec);
        }
    }
}

TEST_P(LetterboxTest, PlacementsTellWhereTheFrameLies) {
    std::mt19937 random(seed());
    const auto result = run({random_frame(random, 1920, 1080), random_frame(random, 33, 100)}, {640, 640});
    const auto& wide = result.placements[0];
    EXPECT_EQ(wide.width, 640);
    EXPECT_EQ(wide.height, 360);
    EXPECT_EQ(wide.left, 0);
    EXPECT_EQ(wide.top, 140);
    EXPECT_EQ(wide.src_width, 1920);
    EXPECT_EQ(wide.src_height, 1080);
    EXPECT_EQ(wide.dst_width, 640);
    EXPECT_EQ(wide.dst_height, 640);
    const auto& tall = result.placements[1];
    EXPECT_EQ(tall.width, 211);  // 33 · 6.4 = 211.2
    EXPECT_EQ(tall.height, 640);
    EXPECT_EQ(tall.left, 214);  // 429 to share: the odd pixel goes to the right
}

TEST_P(LetterboxTest, FormsScaleAndPlace) {
    std::mt19937 random(seed());
    const auto placed = [&](int width, int height, Size size, math::LetterboxForm form) {
        ModelSpec spec;
        spec.letterbox = form;
        const math::Letterbox place = run({random_frame(random, width, height)}, size, spec).placements[0];
        return std::vector<int>{place.width, place.height, place.left, place.top};
    };
    using math::Placement;
    using math::Rounding;
    using math::Sizing;
    // 33 · 6.4 = 211.2; 101 · 64 / 180 = 35.91.
    EXPECT_EQ(placed(33, 100, {640, 640}, {Placement::top_left}), (std::vector<int>{211, 640, 0, 0}));
    EXPECT_EQ(placed(180, 101, {64, 64}, {}), (std::vector<int>{64, 36, 0, 14}));
    EXPECT_EQ(placed(180, 101, {64, 64}, {Placement::center, Rounding::down}), (std::vector<int>{64, 35, 0, 14}));
    EXPECT_EQ(placed(180, 101, {64, 64}, {Placement::top_left, Rounding::down}), (std::vector<int>{64, 35, 0, 0}));
    // 180 · 64 / 101 = 114.06: there is room for it, for less than it, and for none of the fraction.
    const math::LetterboxForm by_height{Placement::center, Rounding::nearest, Sizing::height};
    EXPECT_EQ(placed(180, 101, {64, 120}, by_height), (std::vector<int>{114, 64, 3, 0}));
    EXPECT_EQ(placed(180, 101, {64, 112}, by_height), (std::vector<int>{112, 63, 0, 0}));
    EXPECT_EQ(placed(180, 101, {64, 114}, by_height), (std::vector<int>{114, 64, 0, 0}));
    EXPECT_EQ(placed(10, 1000, {64, 8}, by_height), (std::vector<int>{1, 64, 3, 0}));
    EXPECT_EQ(placed(180, 101, {64, 32}, {Placement::center, Rounding::nearest, Sizing::stretch}),
              (std::vector<int>{32, 64, 0, 0}));
}

TEST_P(LetterboxTest, ManyFramesInOneCallEqualEachAlone) {
    std::mt19937 random(seed());
    std::vector<ReferenceFrame> frames;
    for (int i = 0; i < 130; ++i)  // more than are described to a kernel at a time
        frames.push_back(random_frame(random, 1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 40),
                                      static_cast<int>(random() % 9), i % 3 == 0));
    const Size size{32, 48};
    const auto together = run(frames, size);
    for (size_t i = 0; i < frames.size(); ++i) {
        ASSERT_EQ(together.inputs[i], normalised(letterbox_reference(frames[i], size, 114), size, {}, PixelFormat::bgr))
            << "frame " << i << " seed " << seed();
        ASSERT_EQ(together.placements[i].src_width, frames[i].width);
    }
}

TEST_P(LetterboxTest, NoFramesAreNoWork) { EXPECT_TRUE(run({}, {32, 32}).inputs.empty()); }

#if defined(__x86_64__)
TEST(LetterboxPaths, SimdEqualsScalar) {
    std::mt19937 random(seed());
    ModelSpec spec;
    for (int i = 0; i < 1500; ++i) {
        const int width = 1 + static_cast<int>(random() % 90), height = 1 + static_cast<int>(random() % 40);
        const Size size{1 + static_cast<int>(random() % 50), 1 + static_cast<int>(random() % 120)};
        const auto frame = random_frame(random, width, height, i % 3 ? 0 : 7, i % 2 == 0);
        // A block of exactly the frame's bytes: a vector may hold more than it says.
        const std::unique_ptr<uint8_t[]> exact(new uint8_t[frame.bytes.size()]);
        std::copy(frame.bytes.begin(), frame.bytes.end(), exact.get());
        kernels::LetterboxJob job{};
        job.src = exact.get() + frame.first();
        job.src_stride = frame.stride;
        job.place = math::letterbox(width, height, size.width, size.height);
        job.swap = i % 2 == 1;
        job.pad = 114;
        std::copy_n(spec.mean, 3, job.mean);
        std::copy_n(spec.std, 3, job.std);
        const size_t count = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        std::vector<float> outputs[2];
        for (const bool simd : {false, true}) {
            auto& out = outputs[simd ? 1 : 0];
            out.assign(count, -1.0f);
            const size_t bytes = kernels::letterbox_cpu_scratch(size.width);
            const std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(kAlignment, align_up(bytes)),
                                                                 std::free);
            job.dst = out.data();
            kernels::letterbox_cpu(&job, 1, scratch.get(), nullptr, simd);
        }
        ASSERT_EQ(outputs[0], outputs[1])
            << width << "×" << height << " in " << size.width << "×" << size.height << " seed " << seed();
    }
}
#endif

TEST(LetterboxArguments, AreChecked) {
    const std::vector<uint8_t> pixels(48);
    const ImageView good{pixels.data(), 4, 4, 12, PixelFormat::bgr, {}};
    const auto refuses = [](const ImageView& frame) {
        try {
            ops::Letterbox::check(frame, {}, "frame 3");
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::input);
            EXPECT_EQ(std::string(error.what()).rfind("frame 3: ", 0), 0u) << error.what();
            return true;
        }
        return false;
    };
    EXPECT_FALSE(refuses(good));
    const auto with = [&](auto&& change) {
        ImageView frame = good;
        change(frame);
        return frame;
    };
    EXPECT_FALSE(refuses(with([](auto& f) { f.stride = 0; })));
    EXPECT_FALSE(refuses(with([](auto& f) { f.stride = -12; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.data = nullptr; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.width = 0; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.height = 0; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.width = -4; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.stride = 11; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.stride = -11; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.width = ops::kMaxFrameSide + 1, f.stride = 0; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.height = ops::kMaxFrameSide + 1; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.width = 2147483647, f.stride = 0; })));
    EXPECT_TRUE(refuses(with([](auto& f) { f.device = {DeviceType::cuda, 0}; })));

    for (const Size bad : {Size{0, 32}, Size{32, 0}, Size{-1, 32}})
        EXPECT_THROW(ops::Letterbox(ModelSpec{}, bad), Error);
    const ops::Letterbox op(ModelSpec{}, {8, 8});
    std::vector<float> out(192);
    math::Letterbox placement;
    EXPECT_THROW(op(Span<const ImageView>(&good, 1), out.data(), &placement, {nullptr, 0}, {}), Error);
}

TEST(LetterboxGeometry, FitsAndInverts) {
    std::mt19937 random(seed());
    for (int i = 0; i < 20000; ++i) {
        const auto side = [&] { return 1 + static_cast<int>(random() % (i % 2 ? 5000u : 50u)); };
        const int width = side(), height = side(), in_width = side(), in_height = side();
        const math::Letterbox box = math::letterbox(width, height, in_width, in_height);
        ASSERT_GE(box.width, 1);
        ASSERT_GE(box.height, 1);
        ASSERT_TRUE(box.width == in_width || box.height == in_height);
        const int right = in_width - box.width - box.left, below = in_height - box.height - box.top;
        ASSERT_TRUE(right == box.left || right == box.left + 1) << right << " " << box.left;
        ASSERT_TRUE(below == box.top || below == box.top + 1);
        // The scaled frame's far corner is the frame's far corner.
        ASSERT_NEAR(static_cast<float>(box.width) * box.scale_x(), width, 1e-6 * width);
        ASSERT_NEAR(static_cast<float>(box.height) * box.scale_y(), height, 1e-6 * height);
    }
}

TEST(LetterboxGeometry, EveryFormLiesInsideAndInverts) {
    std::mt19937 random(seed());
    for (int i = 0; i < 20000; ++i) {
        const auto side = [&] { return 1 + static_cast<int>(random() % (i % 2 ? 5000u : 50u)); };
        const int width = side(), height = side(), in_width = side(), in_height = side();
        const math::LetterboxForm form = random_form(random);
        const math::Letterbox box = math::letterbox(width, height, in_width, in_height, form);
        ASSERT_GE(box.width, 1);
        ASSERT_GE(box.height, 1);
        ASSERT_GE(box.left, 0);
        ASSERT_GE(box.top, 0);
        ASSERT_LE(box.left + box.width, in_width);
        ASSERT_LE(box.top + box.height, in_height);
        if (form.placement == math::Placement::top_left) {
            ASSERT_EQ(box.left + box.top, 0);
        }
        const double by_height = static_cast<double>(in_height) / height,
                     by_width = static_cast<double>(in_width) / width;
        // A width of whose fraction nothing is left fits.
        const double widest = in_width + (form.rounding == math::Rounding::down ? 1 : 0.5);
        const bool follows = form.sizing == math::Sizing::height && width * by_height <= widest;
        const double r = follows ? by_height : std::min(by_height, by_width);
        const double upwards = 1e-6 + (form.rounding == math::Rounding::down ? 0 : 0.5);
        if (form.sizing == math::Sizing::stretch) {
            ASSERT_EQ(box.width, in_width);
            ASSERT_EQ(box.height, in_height);
        } else {
            ASSERT_LE(box.width, std::max(width * r + upwards, 1.0));
            ASSERT_LE(box.height, std::max(height * r + upwards, 1.0));
        }
        // By the height alone the scaled frame's far corner is that of the frame but for the rounding.
        const bool by_factor = box.by_height, surely = width * by_height > 0.501 && width * by_height < widest - 1e-6;
        ASSERT_TRUE(by_factor ? follows : !(follows && surely));
        const double rounded = by_factor ? std::abs(box.width - width * by_height) * box.scale_x() : 0.0;
        ASSERT_NEAR(static_cast<float>(box.width) * box.scale_x(), width, rounded + 2e-6 * width);
        if (by_factor) {
            ASSERT_EQ(box.scale_x(), box.scale_y());
        }
        const double cut = by_factor ? static_cast<double>(in_height - box.height) * height / in_height : 0.0;
        ASSERT_NEAR(static_cast<float>(box.height) * box.scale_y(), height, cut + 2e-6 * height);
    }
    const math::LetterboxForm by_height{math::Placement::center, math::Rounding::nearest, math::Sizing::height};
    EXPECT_EQ(math::letterbox(ops::kMaxFrameSide, 1, 1 << 16, 1 << 16, by_height).width, 1 << 16);
}

}  // namespace
}  // namespace trtpose::test
