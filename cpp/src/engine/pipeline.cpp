// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include <cmath>

#include "core/check.hpp"

namespace trtpose {

DevicePoses::Memory::~Memory() = default;

namespace engine {

ShapeReader make_reader(const EngineParts& engine, const SessionShape& shape, DType dtype, int batch, Size size,
                        const Thresholds& thresholds) {
    families::OutputShapes outputs{{}, dtype, batch, size};
    for (const int o : engine.output_order) outputs.shapes.push_back(shape.outputs[static_cast<size_t>(o)]);
    ShapeReader out;
    out.reader = families::family_of(engine.spec).default_reader(engine.spec);
    out.memory = out.reader->plan(outputs, thresholds, engine.session.info().device);
    return out;
}

std::vector<const void*> in_spec_order(const EngineParts& engine, const std::vector<void*>& outputs) {
    std::vector<const void*> out;
    for (const int o : engine.output_order) out.push_back(outputs[static_cast<size_t>(o)]);
    return out;
}

std::string mebibytes(size_t bytes) {
    return text(std::ceil(static_cast<double>(bytes) / (1 << 20) * 10) / 10, " MiB");
}

std::string shape_name(const EngineParts& engine, int batch, Size size) {
    return text("model ", engine.spec.name, " at batch ", batch, " and ", size.height, "×", size.width);
}

void check_budget(const EngineParts& engine, const MemoryPlan& plan, int batch, Size size, const std::string& remedy) {
    require(engine.budget == 0 || plan.total() <= engine.budget, ErrorCode::budget, shape_name(engine, batch, size),
            " needs ", mebibytes(plan.total()), " (weights ", mebibytes(plan.weights), ", activations ",
            mebibytes(plan.activations), ", inputs and outputs ", mebibytes(plan.io),
            plan.staging ? ", staging " + mebibytes(plan.staging) : std::string(), ", workspace ",
            mebibytes(plan.workspace), "), more than the budget of ", mebibytes(engine.budget), "; ",
            remedy.empty() ? "take a smaller batch or size, or a larger budget" : remedy + "; or take a larger budget");
}

size_t product(const std::vector<int64_t>& shape) {
    size_t count = 1;
    for (const int64_t d : shape) count *= static_cast<size_t>(d);
    return count;
}

ResultArrays lay_out_results(Planner& planner, size_t images, const Thresholds& thresholds, int keypoints) {
    const size_t slots = images * static_cast<size_t>(thresholds.max_det);
    ResultArrays results;
    results.counts = planner.take<int32_t>(images);
    results.poses.boxes = planner.take<float>(slots * 4);
    results.poses.scores = planner.take<float>(slots);
    results.poses.class_ids = planner.take<int32_t>(slots);
    results.poses.keypoints = planner.take<float>(slots * static_cast<size_t>(keypoints) * 3);
    return results;
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
