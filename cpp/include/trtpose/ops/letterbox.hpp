// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/context.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::ops {

/// Largest side of a frame in pixels; beyond it the float coordinates of the resize lose their fraction.
inline constexpr int kMaxFrameSide = 1 << 20;

/// Scales frames into the network's input as its spec says, pads, reorders and normalises them in one pass over each
/// frame.
///
/// The bytes before normalisation equal cv2.resize(INTER_LINEAR) followed by cv2.copyMakeBorder(BORDER_CONSTANT, pad).
class TRTPOSE_API Letterbox {
public:
    /// Takes the form, colour order, mean, std and pad of `spec`.
    Letterbox(const ModelSpec& spec, Size size);

    Size size() const { return size_; }

    /// Throws Error(input) for a frame that is empty, larger than kMaxFrameSide, whose rows are closer than they are
    /// long, or that lies on another device than `device`; `what` names the frame in the message.
    static void check(const ImageView& frame, Device device, const std::string& what);

    /// Bytes of scratch for `frames` frames of at most `max_frame`.
    size_t workspace_bytes(size_t frames, Device device) const;

    /// Frame k goes to output + k·3·height·width (float32, planar, the spec's colour order) and its placement to
    /// placements[k]. `output` holds frames.size() inputs. Does not allocate, does not synchronise.
    void operator()(Span<const ImageView> frames, float* output, math::Letterbox* placements, Workspace workspace,
                    const Context& context) const;

    /// The same with outputs of type `dtype`: f32, or on CUDA also f16, the float32 number rounded to the nearest.
    void operator()(Span<const ImageView> frames, void* output, DType dtype, math::Letterbox* placements,
                    Workspace workspace, const Context& context) const;

    /// For CUDA graphs, whose arguments are frozen: what is to be done with `frames`, written to `host` in the form
    /// that run() expects on the device (workspace_bytes(frames.size(), device) bytes).
    void describe(Span<const ImageView> frames, void* host) const;
    /// Do what `count` descriptions say; they, output and placements lie on the device.
    void run(const void* descriptions, int count, void* output, DType dtype, math::Letterbox* placements,
             const Context& context) const;

private:
    Size size_;
    math::LetterboxForm form_;
    PixelFormat color_;
    float mean_[3], std_[3];
    int pad_;
};

}  // namespace trtpose::ops
