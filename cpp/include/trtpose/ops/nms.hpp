// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "trtpose/context.hpp"
#include "trtpose/views.hpp"

namespace trtpose::ops {

/// Greedy suppression per image: by falling score, ties by the lower anchor; a candidate goes where a kept one of its
/// class (any class if they are not told apart) is more alike than the threshold. Deterministic whatever the
/// candidates' order.
class TRTPOSE_API Nms {
public:
    /// For Similarity::oks, `sigmas` holds one OKS sigma per keypoint; throws Error(input) if there are none.
    explicit Nms(const NmsParams& params, std::vector<float> sigmas = {});

    /// Other parameters beside the same sigmas, without allocating. Throws as the constructor.
    void set(const NmsParams& params);

    size_t workspace_bytes(int batch, int capacity, Device device) const;

    /// `keypoints` (from Decode::keypoints, K × 3 per candidate) is read only for Similarity::oks and may be null
    /// otherwise.
    void operator()(const Candidates& candidates, int batch, const float* keypoints, const Detections& kept,
                    Workspace workspace, const Context& context) const;

private:
    NmsParams params_;
    std::vector<float> sigmas_;
};

}  // namespace trtpose::ops
