// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/context.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/views.hpp"

namespace trtpose::ops {

/// Turns network outputs into candidates, and kept candidates into poses.
class TRTPOSE_API Decode {
public:
    /// Throws Error(model) if the spec has more levels or anchors than HeadView holds.
    explicit Decode(const ModelSpec& spec);

    /// Describe the outputs of one run. `shapes[i]` and `data[i]` belong to the spec's i-th output; shapes are checked
    /// against the spec and the input size. Throws Error(model).
    HeadView view(Span<const std::vector<int64_t>> shapes, Span<const float* const> data, Size input) const;
    /// The same for outputs of type `dtype`, f32 or f16; only CUDA reads f16.
    HeadView view(Span<const std::vector<int64_t>> shapes, Span<const void* const> data, DType dtype, Size input) const;

    size_t workspace_bytes(const HeadView& heads, Device device) const;

    /// Collect the candidates: objectness > conf, objectness × best class > conf (layouts without objectness: best
    /// class > conf), box finite. For anchors that fail only the objectness is read.
    void operator()(const HeadView& heads, float conf, const Candidates& out, Workspace workspace,
                    const Context& context) const;

    /// Decode the keypoints of all candidates: keypoints gets N × capacity × K × 3 in input pixels. Only OKS needs it.
    void keypoints(const HeadView& heads, const Candidates& candidates, float* keypoints, const Context& context) const;

    /// Write the kept candidates as poses, mapped back to each image's frame.
    void poses(const HeadView& heads, const Candidates& candidates, const Detections& kept,
               const math::Letterbox* placements, const PoseArrays& out, const Context& context) const;

private:
    ModelSpec spec_;
};

}  // namespace trtpose::ops
