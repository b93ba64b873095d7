// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/math/letterbox.hpp"
#include "trtpose/views.hpp"

namespace trtpose::plugins {

/// Before a run: no pose in any slot, so that what stays empty holds zeros, and for each image a placement that leaves
/// coordinates as they are. One launch.
void prepare_cuda(const ops::PoseArrays& poses, math::Letterbox* placements, int batch, int max_det, int keypoints,
                  int height, int width, void* stream);

}  // namespace trtpose::plugins
