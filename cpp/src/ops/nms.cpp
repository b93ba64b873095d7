// SPDX-License-Identifier: Apache-2.0
#include "trtpose/ops/nms.hpp"

#include "ops/dispatch.hpp"
#include "ops/nms_kernels.hpp"

namespace trtpose::ops {

Nms::Nms(const NmsParams& params, std::vector<float> sigmas) : sigmas_(std::move(sigmas)) { set(params); }

void Nms::set(const NmsParams& params) {
    require(
        params.similarity == Similarity::iou || !sigmas_.empty(), ErrorCode::input,
        "NMS by OKS needs a sigma for every keypoint and the model spec has none; add `sigmas` to the spec or use IoU");
    require(params.max_det > 0 && params.max_nms > 0, ErrorCode::input, "NMS: max_det ", params.max_det,
            " and max_nms ", params.max_nms, " must be positive");
    params_ = params;
}

size_t Nms::workspace_bytes(int batch, int capacity, Device device) const {
    if (device.type == DeviceType::cuda) return 0;
    return kernels::nms_cpu_scratch(batch, capacity, params_.max_det);
}

void Nms::operator()(const Candidates& candidates, int batch, const float* keypoints, const Detections& kept,
                     Workspace workspace, const Context& context) const {
    check_workspace(workspace, workspace_bytes(batch, candidates.capacity, context.device), "NMS");
    require(kept.max_det == params_.max_det, ErrorCode::input, "NMS: room for ", kept.max_det, " detections where ",
            params_.max_det, " are asked for");
    require(keypoints || params_.similarity == Similarity::iou, ErrorCode::input,
            "NMS by OKS needs the candidates' keypoints");
    const int sigmas = static_cast<int>(sigmas_.size());
    dispatch(
        context, "NMS",
        [&] {
            kernels::nms_cpu(params_, candidates, batch, keypoints, sigmas_.data(), sigmas, kept, workspace.data,
                             context.threads);
        },
        [&](auto* stream) {
            kernels::nms_cuda(params_, candidates, batch, keypoints, sigmas_.data(), sigmas, kept, stream);
        });
}

}  // namespace trtpose::ops
