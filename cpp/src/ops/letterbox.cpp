// SPDX-License-Identifier: Apache-2.0
#include "trtpose/ops/letterbox.hpp"

#include "kernels/letterbox.hpp"
#include "ops/dispatch.hpp"

namespace trtpose::ops {
namespace {

// Frames handed to the kernel at a time, so that their descriptions fit the stack.
constexpr size_t kGroup = 64;

}  // namespace

Letterbox::Letterbox(const ModelSpec& spec, Size size) : size_(size), color_(spec.color), pad_(spec.pad) {
    require(size.height > 0 && size.width > 0, ErrorCode::input, "letterbox: size ", size.height, "×", size.width,
            " must be positive");
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
    const ptrdiff_t row = static_cast<ptrdiff_t>(frame.width) * 3;
    require(frame.stride == 0 || frame.stride >= row || frame.stride <= -row, ErrorCode::input, what, ": rows are ",
            frame.stride, " bytes apart, shorter than the ", row, " bytes of a row");
    require(frame.device == device, ErrorCode::input, what, ": the picture is on ", to_string(frame.device),
            ", the engine on ", to_string(device));
}

size_t Letterbox::workspace_bytes(size_t frames, Device) const {
    return (frames < kGroup ? frames : kGroup) * kernels::letterbox_cpu_scratch(size_.width);
}

void Letterbox::operator()(Span<const ImageView> frames, float* output, math::Letterbox* placements,
                           Workspace workspace, const Context& context) const {
    check_workspace(workspace, workspace_bytes(frames.size(), context.device), "letterbox");
    const size_t plane = static_cast<size_t>(size_.height) * static_cast<size_t>(size_.width);
    for (size_t first = 0; first < frames.size(); first += kGroup) {
        const size_t count = frames.size() - first < kGroup ? frames.size() - first : kGroup;
        kernels::LetterboxJob jobs[kGroup];
        for (size_t i = 0; i < count; ++i) {
            const ImageView& frame = frames[first + i];
            auto& job = jobs[i];
            placements[first + i] = math::letterbox(frame.width, frame.height, size_.width, size_.height);
            job.src = frame.data;
            job.src_stride = frame.stride ? frame.stride : static_cast<ptrdiff_t>(frame.width) * 3;
            job.place = placements[first + i];
            job.swap = frame.format != color_;
            job.pad = pad_;
            job.dst = output + (first + i) * 3 * plane;
            for (int c = 0; c < 3; ++c) {
                job.mean[c] = mean_[c];
                job.std[c] = std_[c];
            }
        }
        dispatch(context, "letterbox",
                 [&] { kernels::letterbox_cpu(jobs, static_cast<int>(count), workspace.data, context.threads); });
    }
}

}  // namespace trtpose::ops
