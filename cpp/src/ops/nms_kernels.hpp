// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/context.hpp"
#include "trtpose/views.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::kernels {

size_t nms_cpu_scratch(int batch, int capacity, int max_det);

/// `sigmas` and `keypoints` (count × 3 per candidate) are read for Similarity::oks alone.
void nms_cpu(const ops::NmsParams& params, const ops::Candidates& candidates, int batch, const float* keypoints,
             const float* sigmas, int keypoint_count, const ops::Detections& kept, void* scratch, ThreadPool* threads);

/// OKS sigmas that travel as arguments of the kernel.
inline constexpr int kMaxCudaSigmas = 512;

/// The same on the GPU in one launch, a block for each image; needs no scratch. `sigmas` lie on the host, at most
/// kMaxCudaSigmas.
void nms_cuda(const ops::NmsParams& params, const ops::Candidates& candidates, int batch, const float* keypoints,
              const float* sigmas, int keypoint_count, const ops::Detections& kept, void* stream);

}  // namespace trtpose::kernels
