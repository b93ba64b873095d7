// SPDX-License-Identifier: Apache-2.0
#include "trtpose/ops/decode.hpp"

#include "families/anchor_grid/decode_kernels.hpp"
#include "ops/dispatch.hpp"

namespace trtpose::ops {
namespace {

void check_cpu_dtype(const HeadView& heads) {
    require(heads.dtype == DType::f32, ErrorCode::input, "decode: on the CPU outputs are float32, not ",
            to_string(heads.dtype));
}

}  // namespace

Decode::Decode(const ModelSpec& spec) : spec_(spec) {
    require(spec.strides.size() <= HeadView::kMaxLevels, ErrorCode::model, "model spec ", spec.name, ": ",
            spec.strides.size(), " strides, at most ", HeadView::kMaxLevels, " are supported");
    require(spec.anchors_per_cell() <= HeadLevel::kMaxAnchors, ErrorCode::model, "model spec ", spec.name, ": ",
            spec.anchors_per_cell(), " anchors per cell, at most ", HeadLevel::kMaxAnchors, " are supported");
    if (spec.layout != Layout::heads && spec.layout != Layout::heads5d) return;
    bool complete = !spec.strides.empty() && spec.anchors.size() == spec.strides.size();
    for (const auto& level : spec.anchors) complete = complete && level.size() == spec.anchors.front().size();
    require(complete, ErrorCode::model, "model spec ", spec.name, ": layout ", to_string(spec.layout),
            " needs as many anchors for each of its strides");
}

HeadView Decode::view(Span<const std::vector<int64_t>> shapes, Span<const float* const> data, Size input) const {
    const std::vector<const void*> pointers(data.begin(), data.end());
    return view(shapes, pointers, DType::f32, input);
}

HeadView Decode::view(Span<const std::vector<int64_t>> shapes, Span<const void* const> data, DType dtype,
                      Size input) const {
    require(dtype == DType::f32 || dtype == DType::f16, ErrorCode::model, "model ", spec_.name, ": outputs of type ",
            to_string(dtype), " cannot be read, float32 and float16 can");
    HeadView view;
    view.dtype = dtype;
    view.layout = spec_.layout;
    view.classes = spec_.classes();
    view.keypoints = spec_.keypoints;
    view.keypoint_dims = spec_.keypoint_dims;
    const bool raw = spec_.layout == Layout::heads || spec_.layout == Layout::heads5d;
    const bool objectness = raw || spec_.layout == Layout::decoded;
    view.class_field = objectness ? 5 : 4;
    view.keypoint_field = spec_.layout == Layout::final ? 6 : view.class_field + view.classes;
    view.levels = raw ? static_cast<int>(spec_.strides.size()) : 1;
    const int64_t fields = view.keypoint_field + static_cast<int64_t>(view.keypoints) * view.keypoint_dims;
    require(shapes.size() >= static_cast<size_t>(view.levels) && data.size() == shapes.size(), ErrorCode::model,
            "model ", spec_.name, ": ", shapes.size(), " outputs where layout ", to_string(spec_.layout), " has ",
            view.levels);
    require(!shapes[0].empty() && shapes[0][0] > 0 && shapes[0][0] <= (1 << 20), ErrorCode::model, "model ", spec_.name,
            ": output shape ", shape_text(shapes[0]), " has no batch");
    view.batch = static_cast<int>(shapes[0][0]);

    int64_t total = 0;
    for (int l = 0; l < view.levels; ++l) {
        const auto& shape = shapes[static_cast<size_t>(l)];
        HeadLevel& level = view.level[l];
        level.data = data[static_cast<size_t>(l)];
        level.first_anchor = static_cast<int>(total);
        std::vector<int64_t> expected;
        if (raw) {
            const int stride = spec_.strides[static_cast<size_t>(l)];
            level.stride = static_cast<float>(stride);
            level.anchors = spec_.anchors_per_cell();
            level.height = input.height / stride;
            level.width = input.width / stride;
            const int64_t cells = static_cast<int64_t>(level.height) * level.width;
            for (int a = 0; a < level.anchors; ++a) {
                const auto& side = spec_.anchors[static_cast<size_t>(l)][static_cast<size_t>(a)];
                level.anchor_width[a] = side.first;
                level.anchor_height[a] = side.second;
            }
            if (spec_.layout == Layout::heads) {
                expected = {view.batch, level.anchors * fields, level.height, level.width};
                level.cell_step = 1;
                level.field_step = cells;
            } else {
                expected = {view.batch, level.anchors, level.height, level.width, fields};
                level.cell_step = fields;
                level.field_step = 1;
            }
            level.anchor_step = fields * cells;
            level.image_step = level.anchors * fields * cells;
            total += level.anchors * cells;
        } else {
            const bool channels_first = spec_.layout == Layout::channels_first;
            const int64_t count = shape.size() == 3 ? shape[channels_first ? 2 : 1] : 0;
            expected = channels_first ? std::vector<int64_t>{view.batch, fields, count}
                                      : std::vector<int64_t>{view.batch, count, fields};
            require(count <= (1 << 30), ErrorCode::model, "model ", spec_.name, ": output shape ", shape_text(shape),
                    " is too large");
            level.width = static_cast<int>(count);
            level.cell_step = channels_first ? 1 : fields;
            level.field_step = channels_first ? count : 1;
            level.image_step = fields * count;
            total += count;
        }
        require(shape == expected, ErrorCode::model, "model ", spec_.name, ": output ", l, " has shape ",
                shape_text(shape), ", layout ", to_string(spec_.layout), " with ", view.classes, " class(es) and ",
                view.keypoints, " keypoints expects ", shape_text(expected), "; check the model spec");
    }
    require(total > 0 && total <= (1 << 30), ErrorCode::model, "model ", spec_.name, ": ", total, " anchors per image");
    view.total_anchors = static_cast<int>(total);
    return view;
}

size_t Decode::workspace_bytes(const HeadView&, Device) const { return 0; }

void Decode::operator()(const HeadView& heads, float conf, const Candidates& out, Workspace workspace,
                        const Context& context) const {
    check_workspace(workspace, workspace_bytes(heads, context.device), "decode");
    dispatch(
        context, "decode",
        [&] {
            check_cpu_dtype(heads);
            kernels::decode_cpu(heads, conf, out, context.threads);
        },
        [&](auto* stream) { kernels::decode_cuda(heads, conf, out, stream); });
}

void Decode::keypoints(const HeadView& heads, const Candidates& candidates, float* keypoints,
                       const Context& context) const {
    dispatch(
        context, "decode",
        [&] {
            check_cpu_dtype(heads);
            kernels::keypoints_cpu(heads, candidates, keypoints, context.threads);
        },
        [&](auto* stream) { kernels::keypoints_cuda(heads, candidates, keypoints, stream); });
}

void Decode::poses(const HeadView& heads, const Candidates& candidates, const Detections& kept,
                   const math::Letterbox* placements, const PoseArrays& out, const Context& context) const {
    dispatch(
        context, "decode",
        [&] {
            check_cpu_dtype(heads);
            kernels::poses_cpu(heads, candidates, kept, placements, out, context.threads);
        },
        [&](auto* stream) { kernels::poses_cuda(heads, candidates, kept, placements, out, stream); });
}

}  // namespace trtpose::ops
