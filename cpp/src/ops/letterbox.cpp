// SPDX-License-Identifier: Apache-2.0
#include "trtpose/ops/letterbox.hpp"

#include <algorithm>
#include <new>

#include "core/limits.hpp"
#include "ops/dispatch.hpp"
#include "ops/letterbox_kernels.hpp"

namespace trtpose::ops {
namespace {

// Frames handed to the kernel at a time, so that their descriptions fit the stack.
constexpr size_t kGroup = 64;

}  // namespace

Letterbox::Letterbox(const ModelSpec& spec, Size size)
    : size_(size), form_(spec.letterbox), color_(spec.color), pad_(spec.pad) {
    require(size.height > 0 && size.width > 0 && size.height <= kMaxSide && size.width <= kMaxSide, ErrorCode::input,
            "letterbox: size ", size.height, "×", size.width, ", both sides must lie between 1 and ", kMaxSide);
    for (int c = 0; c < 3; ++c) {
        mean_[c] = spec.mean[c];
        std_[c] = spec.std[c];
    }
}

void Letterbox::check(const ImageView& frame, Device device, const std::string& what) {
    require(frame.data != nullptr, ErrorCode::input, what, ": no pixels; pass a height×width×3 uint8 picture");
    require(frame.width > 0 && frame.height > 0, ErrorCode::input, what, ": the picture is ", frame.height, "×",
            frame.width, "; both sides must be at least 1 pixel");
    require(frame.width <= kMaxFrameSide && frame.height <= kMaxFrameSide, ErrorCode::input, what, ": the picture is ",
            frame.height, "×", frame.width, "; sides up to ", kMaxFrameSide, " pixels are supported, cut or scale it");
    const bool nv12 = frame.format == PixelFormat::nv12;
    const ptrdiff_t row = static_cast<ptrdiff_t>(frame.width) * (nv12 ? 1 : 3);
    require(frame.stride == 0 || frame.stride >= row || frame.stride <= -row, ErrorCode::input, what, ": rows are ",
            frame.stride, " bytes apart, shorter than the ", row, " bytes of a row");
    const ptrdiff_t pairs = (static_cast<ptrdiff_t>(frame.width) + 1) / 2 * 2;
    require(!nv12 || frame.chroma_stride == 0 || frame.chroma_stride >= pairs || frame.chroma_stride <= -pairs,
            ErrorCode::input, what, ": chroma rows are ", frame.chroma_stride, " bytes apart, shorter than the ", pairs,
            " bytes of a row");
    require(!nv12 || frame.chroma || frame.stride >= 0, ErrorCode::input, what,
            ": an NV12 picture with its rows upside down needs a pointer to its chroma plane");
    require(frame.device == device, ErrorCode::input, what, ": the picture is on ", to_string(frame.device),
            ", the engine on ", to_string(device));
}

size_t Letterbox::workspace_bytes(size_t frames, Device device) const {
    if (device.type == DeviceType::cuda) return frames * sizeof(kernels::LetterboxJob);
    return (frames < kGroup ? frames : kGroup) * kernels::letterbox_cpu_scratch(size_.width);
}

namespace {

math::YuvMatrix matrix_of(YuvColor color) {
    switch (color) {
        case YuvColor::bt601_limited: break;
        case YuvColor::bt601_full: return math::kBt601Full;
        case YuvColor::bt709_limited: return math::kBt709Limited;
        case YuvColor::bt709_full: return math::kBt709Full;
    }
    return math::kBt601Limited;
}

/// Where the frame is and where it goes; without what is the network's alone.
kernels::LetterboxJob job_of(const ImageView& frame, Size size, math::LetterboxForm form, PixelFormat color) {
    kernels::LetterboxJob job{};
    const bool nv12 = frame.format == PixelFormat::nv12;
    job.src = frame.data;
    job.src_stride = frame.stride ? frame.stride : static_cast<ptrdiff_t>(frame.width) * (nv12 ? 1 : 3);
    job.place = math::letterbox(frame.width, frame.height, size.width, size.height, form);
    job.swap = (nv12 ? PixelFormat::rgb : frame.format) != color;
    if (nv12) {
        job.chroma = frame.chroma ? frame.chroma : frame.data + job.src_stride * frame.height;
        const ptrdiff_t pairs = (static_cast<ptrdiff_t>(frame.width) + 1) / 2 * 2;
        job.chroma_stride = frame.chroma_stride ? frame.chroma_stride : std::max(job.src_stride, pairs);
        job.yuv = matrix_of(frame.yuv);
    }
    job.scale_x = math::column_scale(job.place);
    job.scale_y = math::row_scale(job.place);
    return job;
}

}  // namespace

void Letterbox::describe(Span<const ImageView> frames, void* host) const {
    auto* jobs = static_cast<kernels::LetterboxJob*>(host);
    for (size_t i = 0; i < frames.size(); ++i) {
        auto& job = *new (jobs + i) kernels::LetterboxJob(job_of(frames[i], size_, form_, color_));
        job.pad = pad_;
        for (int c = 0; c < 3; ++c) {
            job.mean[c] = mean_[c];
            job.std[c] = std_[c];
        }
    }
}

void Letterbox::run(const void* descriptions, int count, void* output, DType dtype, math::Letterbox* placements,
                    const Context& context) const {
    require(dtype == DType::f32 || dtype == DType::f16, ErrorCode::input, "letterbox: inputs of type ",
            to_string(dtype), " cannot be made, float32 and float16 can");
    const auto* jobs = static_cast<const kernels::LetterboxJob*>(descriptions);
    dispatch(
        context, "letterbox", [&] { throw Error(ErrorCode::device, "letterbox: descriptions are for CUDA"); },
        [&](auto* stream) { kernels::letterbox_cuda(jobs, count, size_, output, dtype, placements, stream); });
}

void Letterbox::operator()(Span<const ImageView> frames, float* output, math::Letterbox* placements,
                           Workspace workspace, const Context& context) const {
    (*this)(frames, output, DType::f32, placements, workspace, context);
}

void Letterbox::operator()(Span<const ImageView> frames, void* output, DType dtype, math::Letterbox* placements,
                           Workspace workspace, const Context& context) const {
    check_workspace(workspace, workspace_bytes(frames.size(), context.device), "letterbox");
    const size_t plane = static_cast<size_t>(size_.height) * static_cast<size_t>(size_.width);
    kernels::LetterboxJob jobs[kGroup];
    for (size_t first = 0; first < frames.size(); first += kGroup) {
        const size_t count = frames.size() - first < kGroup ? frames.size() - first : kGroup;
        describe(frames.subspan(first, count), jobs);
        dispatch(
            context, "letterbox",
            [&] {
                require(dtype == DType::f32, ErrorCode::input, "letterbox: on the CPU inputs are float32, not ",
                        to_string(dtype));
                for (size_t i = 0; i < count; ++i) {
                    jobs[i].dst = static_cast<float*>(output) + (first + i) * 3 * plane;
                    placements[first + i] = jobs[i].place;
                }
                kernels::letterbox_cpu(jobs, static_cast<int>(count), workspace.data, context.threads);
            },
            [&](auto* stream) {
                auto* uploaded = static_cast<kernels::LetterboxJob*>(workspace.data) + first;
                kernels::letterbox_upload_cuda(jobs, static_cast<int>(count), uploaded, stream);
            });
    }
    if (context.device.type == DeviceType::cuda && !frames.empty())
        run(workspace.data, static_cast<int>(frames.size()), output, dtype, placements, context);
}

}  // namespace trtpose::ops
