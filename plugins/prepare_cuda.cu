// SPDX-License-Identifier: Apache-2.0
#include "core/cuda_check.hpp"
#include "core/cuda_compat.hpp"
#include "plugins/prepare.hpp"

namespace trtpose::plugins {
namespace {

constexpr int kThreads = 256;

/// A thread for each slot of each image, in steps; within a slot all its numbers.
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const __grid_constant__ ops::PoseArrays poses, math::Letterbox* placements, int batch, int64_t slots,
                   int64_t numbers, int height, int width) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t i = first; i < numbers; i += step) poses.keypoints[i] = 0.0f;
    for (int64_t i = first; i < slots; i += step) {
        reinterpret_cast<float4*>(poses.boxes)[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        poses.scores[i] = 0.0f;
        poses.class_ids[i] = 0;
    }
    for (int64_t i = first; i < batch; i += step) {
        placements[i] = math::Letterbox{width, height, width, height, width, height, 0, 0, false};
    }
}

}  // namespace

void prepare_cuda(const ops::PoseArrays& poses, math::Letterbox* placements, int batch, int max_det, int keypoints,
                  int height, int width, void* stream) {
    const int64_t slots = static_cast<int64_t>(batch) * max_det, numbers = slots * keypoints * 3;
    constexpr int64_t kMostBlocks = 1024;
    const int64_t blocks = (numbers + kThreads - 1) / kThreads;
    TRTPOSE_LAUNCH(prepare_kernel, static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0,
                   stream, poses, placements, batch, slots, numbers, height, width);
    cuda_check_launch("the clearing of poses");
}

}  // namespace trtpose::plugins
