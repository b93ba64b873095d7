// SPDX-License-Identifier: Apache-2.0
// The steps from outputs to poses, on each device. NMS between them sorts.
#pragma once

#include "families/movenet/formulas.hpp"

namespace trtpose {
class ThreadPool;
}

namespace trtpose::movenet {

/// The cells of the centres: of one person the one that is high and near the middle, chosen at once; of several all
/// peaks above `conf` (or, with `people`, all).
void centers_cpu(const Outputs& all, float conf, const People& people, ThreadPool* threads);
/// The cell of each keypoint of those chosen.
void keypoints_cpu(const Outputs& all, const People& people, ThreadPool* threads);
/// People above `conf` in input pixels, of those chosen or of a decoded output's rows.
void people_cpu(const Outputs& all, float conf, const People& people, ThreadPool* threads);
/// Those kept, as poses of their frames.
void poses_cpu(const Outputs& all, const People& people, const ops::Detections& kept, const math::Letterbox* placements,
               const ops::PoseArrays& out, ThreadPool* threads);

/// The same on the GPU, where outputs may be f16.
void centers_cuda(const Outputs& all, float conf, const People& people, void* stream);
void keypoints_cuda(const Outputs& all, const People& people, void* stream);
void people_cuda(const Outputs& all, float conf, const People& people, void* stream);
void poses_cuda(const Outputs& all, const People& people, const ops::Detections& kept,
                const math::Letterbox* placements, const ops::PoseArrays& out, void* stream);

}  // namespace trtpose::movenet
