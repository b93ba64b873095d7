// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include <cmath>

#include "core/check.hpp"

namespace trtpose {

DevicePoses::Memory::~Memory() = default;

namespace engine {

ops::Nms make_nms(const ModelSpec& spec, const Thresholds& thresholds) {
    ops::NmsParams params;
    params.threshold = thresholds.iou;
    params.max_det = thresholds.max_det;
    params.agnostic = thresholds.agnostic;
    params.suppress = spec.layout != Layout::final;
    params.similarity = thresholds.oks ? ops::Similarity::oks : ops::Similarity::iou;
    return ops::Nms(params, spec.sigmas);
}

ops::HeadView make_heads(const Setup& setup, const SessionShape& shape, const std::vector<void*>& data, DType dtype,
                         int batch, Size size) {
    std::vector<std::vector<int64_t>> shapes;
    std::vector<const void*> pointers;
    for (const int o : setup.output_order) {
        shapes.push_back(shape.outputs[static_cast<size_t>(o)]);
        pointers.push_back(data.empty() ? nullptr : data[static_cast<size_t>(o)]);
    }
    const ops::HeadView heads = ops::Decode(setup.spec).view(shapes, pointers, dtype, size);
    require(heads.batch == batch, ErrorCode::model, "model ", setup.spec.name, ": a batch of ", batch,
            " gives outputs for ", heads.batch);
    return heads;
}

std::string mebibytes(size_t bytes) {
    return text(std::ceil(static_cast<double>(bytes) / (1 << 20) * 10) / 10, " MiB");
}

std::string shape_name(const Setup& setup, int batch, Size size) {
    return text("model ", setup.spec.name, " at batch ", batch, " and ", size.height, "×", size.width);
}

void check_budget(const Setup& setup, const MemoryPlan& plan, int batch, Size size, const std::string& remedy) {
    require(setup.budget == 0 || plan.total() <= setup.budget, ErrorCode::budget, shape_name(setup, batch, size),
            " needs ", mebibytes(plan.total()), " (weights ", mebibytes(plan.weights), ", activations ",
            mebibytes(plan.activations), ", inputs and outputs ", mebibytes(plan.io),
            plan.staging ? ", staging " + mebibytes(plan.staging) : std::string(), ", workspace ",
            mebibytes(plan.workspace), "), more than the budget of ", mebibytes(setup.budget), "; ",
            remedy.empty() ? "take a smaller batch or size, or a larger budget" : remedy + "; or take a larger budget");
}

size_t product(const std::vector<int64_t>& shape) {
    size_t count = 1;
    for (const int64_t d : shape) count *= static_cast<size_t>(d);
    return count;
}

Poses take_poses(const ResultArrays& results, size_t i, int max_det, int keypoints, Size size) {
    const auto n = static_cast<size_t>(results.counts[i]), first = i * static_cast<size_t>(max_det);
    const size_t pose = static_cast<size_t>(keypoints) * 3;
    const auto part = [](const auto* values, size_t begin, size_t count) {
        return std::vector(values + begin, values + begin + count);
    };
    Poses p;
    p.count = static_cast<int>(n);
    p.keypoints_per_pose = keypoints;
    p.frame = size;
    p.boxes = part(results.poses.boxes, 4 * first, 4 * n);
    p.scores = part(results.poses.scores, first, n);
    p.class_ids = part(results.poses.class_ids, first, n);
    p.keypoints = part(results.poses.keypoints, pose * first, pose * n);
    return p;
}

}  // namespace engine
}  // namespace trtpose
