// SPDX-License-Identifier: Apache-2.0
// Frames of any size, stride and format into inputs of any size: within their memory, and the fast code equal to the
// scalar one, which is the specification.
#include "trtpose/ops/letterbox.hpp"

#include "model/limits.hpp"
#include "op_inputs.hpp"
#include "ops/letterbox_kernels.hpp"

namespace trtpose::fuzz {
namespace {

void check_geometry(int src_width, int src_height, Size size, math::LetterboxForm form) {
    const math::Letterbox box = math::letterbox(src_width, src_height, size.width, size.height, form);
    expect(box.width >= 1 && box.height >= 1 && box.left >= 0 && box.top >= 0, "a frame is somewhere in the input");
    expect(box.left + box.width <= size.width && box.top + box.height <= size.height, "a frame fits the input");
    for (const int x : {0, box.width / 2, box.width - 1}) {
        const math::Tap tap = math::resize_tap(x, math::column_scale(box), src_width, true);
        expect(tap.index >= 0 && tap.index < src_width, "a sample is in the frame");
        expect(tap.index + 1 < src_width || tap.c1 == 0, "its neighbour is in the frame or has no weight");
    }
}

/// One frame with memory of its own: each plane ends behind the last pixel.
struct Frame {
    ImageView view;
    Block<uint8_t> pixels, chroma;

    static size_t length(ptrdiff_t stride, int rows, ptrdiff_t row) {
        return static_cast<size_t>(std::abs(stride) * (rows - 1) + row);
    }
    static ptrdiff_t any_stride(FuzzedDataProvider& in, ptrdiff_t row) {
        const ptrdiff_t stride = row + in.ConsumeIntegralInRange(0, 9);
        return in.ConsumeBool() ? stride : -stride;
    }
    static const uint8_t* first_row(const Block<uint8_t>& block, ptrdiff_t stride, int rows) {
        return stride < 0 ? block.data() - stride * (rows - 1) : block.data();
    }

    static Frame of(FuzzedDataProvider& in) {
        ImageView view;
        view.width = in.ConsumeIntegralInRange(1, 70);
        view.height = in.ConsumeIntegralInRange(1, 40);
        view.format = in.PickValueInArray({PixelFormat::bgr, PixelFormat::rgb, PixelFormat::nv12});
        view.yuv = in.PickValueInArray(
            {YuvColor::bt601_limited, YuvColor::bt601_full, YuvColor::bt709_limited, YuvColor::bt709_full});
        const bool nv12 = view.format == PixelFormat::nv12;
        const ptrdiff_t row = static_cast<ptrdiff_t>(view.width) * (nv12 ? 1 : 3);
        const ptrdiff_t pairs = (view.width + 1) / 2 * 2;
        const int chroma_rows = (view.height + 1) / 2;
        view.stride = any_stride(in, row);
        view.chroma_stride = any_stride(in, pairs);
        Frame out{view, Block<uint8_t>(length(view.stride, view.height, row)),
                  Block<uint8_t>(nv12 ? length(view.chroma_stride, chroma_rows, pairs) : 1)};
        for (size_t i = 0; i < out.pixels.size(); ++i) out.pixels[i] = static_cast<uint8_t>(i * 37 % 251);
        for (size_t i = 0; i < out.chroma.size(); ++i) out.chroma[i] = static_cast<uint8_t>(i * 53 % 251);
        for (size_t i = 0; i < 64 && in.remaining_bytes() > 16; ++i)
            out.pixels[i * 1021 % out.pixels.size()] = in.ConsumeIntegral<uint8_t>();
        out.view.data = first_row(out.pixels, view.stride, view.height);
        if (nv12) out.view.chroma = first_row(out.chroma, view.chroma_stride, chroma_rows);
        return out;
    }
};

ModelSpec any_spec(FuzzedDataProvider& in) {
    ModelSpec spec;
    spec.letterbox = any_form(in);
    spec.color = in.PickValueInArray({PixelFormat::bgr, PixelFormat::rgb});
    spec.pad = in.ConsumeIntegralInRange(0, 255);
    for (int c = 0; c < 3; ++c) {
        spec.mean[c] = in.ConsumeFloatingPointInRange(-300.0f, 300.0f);
        spec.std[c] = in.ConsumeFloatingPointInRange(1e-3f, 300.0f);
    }
    return spec;
}

void compare(const std::vector<Frame>& frames, const ops::Letterbox& op) {
    std::vector<ImageView> views;
    for (const Frame& frame : frames) views.push_back(frame.view);
    const size_t inputs = 3 * static_cast<size_t>(op.size().height) * static_cast<size_t>(op.size().width);
    for (const ImageView& view : views) ops::Letterbox::check(view, {}, "frame");
    const Block<float> fast(views.size() * inputs), plain(views.size() * inputs);
    const Block<char> scratch(op.workspace_bytes(views.size(), {}));
    std::vector<math::Letterbox> placements(views.size());
    op(views, fast.data(), placements.data(), {scratch.data(), scratch.size()}, {});
    std::vector<kernels::LetterboxJob> jobs(views.size());
    op.describe(views, jobs.data());
    for (size_t i = 0; i < jobs.size(); ++i) jobs[i].dst = plain.data() + i * inputs;
    kernels::letterbox_cpu(jobs.data(), static_cast<int>(jobs.size()), scratch.data(), nullptr, false);
    expect(std::memcmp(fast.data(), plain.data(), fast.bytes()) == 0, "the fast letterbox equals the scalar one");
}

}  // namespace
}  // namespace trtpose::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    FuzzedDataProvider in(data, size);
    const Size input{in.ConsumeIntegralInRange(1, 40), in.ConsumeIntegralInRange(1, 70)};
    fuzz::check_geometry(
        in.ConsumeIntegralInRange(1, ops::kMaxFrameSide), in.ConsumeIntegralInRange(1, ops::kMaxFrameSide),
        {in.ConsumeIntegralInRange(1, kMaxSide), in.ConsumeIntegralInRange(1, kMaxSide)}, fuzz::any_form(in));
    const ops::Letterbox op(fuzz::any_spec(in), input);
    std::vector<fuzz::Frame> frames;
    const int count = in.ConsumeIntegralInRange(1, 3);
    for (int i = 0; i < count; ++i) frames.push_back(fuzz::Frame::of(in));
    fuzz::compare(frames, op);
    return 0;
}
