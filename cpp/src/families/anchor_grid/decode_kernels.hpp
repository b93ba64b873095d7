// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::kernels {

void decode_cpu(const ops::HeadView& heads, float conf, const ops::Candidates& out, ThreadPool* threads);

void keypoints_cpu(const ops::HeadView& heads, const ops::Candidates& candidates, float* keypoints,
                   ThreadPool* threads);

void poses_cpu(const ops::HeadView& heads, const ops::Candidates& candidates, const ops::Detections& kept,
               const math::Letterbox* placements, const ops::PoseArrays& out, ThreadPool* threads);

/// The same on the GPU: one launch each, the counts read there. Heads of f32 or f16.
void decode_cuda(const ops::HeadView& heads, float conf, const ops::Candidates& out, void* stream);

void keypoints_cuda(const ops::HeadView& heads, const ops::Candidates& candidates, float* keypoints, void* stream);

void poses_cuda(const ops::HeadView& heads, const ops::Candidates& candidates, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream);

}  // namespace trtpose::kernels
