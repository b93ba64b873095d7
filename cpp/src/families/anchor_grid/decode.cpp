// SPDX-License-Identifier: Apache-2.0
#include "trtpose/ops/decode.hpp"

#include "families/anchor_grid/decode_kernels.hpp"
#include "families/anchor_grid/layout.hpp"
#include "ops/dispatch.hpp"

namespace trtpose::ops {
namespace {

void check_cpu_dtype(const HeadView& heads) {
    require(heads.dtype == DType::f32, ErrorCode::input, "decode: on the CPU outputs are float32, not ",
            to_string(heads.dtype));
}

/// Where the numbers of a raw head are, for an input of this size.
void place_on_grid(const ModelSpec& spec, size_t l, Size input, HeadLevel& level) {
    const int stride = spec.strides[l];
    const int64_t fields = anchor_grid::Fields(spec).numbers;
    level.stride = static_cast<float>(stride);
    level.anchors = spec.anchors_per_cell();
    level.height = input.height / stride;
    level.width = input.width / stride;
    const int64_t cells = static_cast<int64_t>(level.height) * level.width;
    for (int a = 0; a < level.anchors; ++a) {
        const auto& side = spec.anchors[l][static_cast<size_t>(a)];
        level.anchor_width[a] = side.first;
        level.anchor_height[a] = side.second;
    }
    const bool fields_apart = spec.layout == Layout::heads;
    level.cell_step = fields_apart ? 1 : fields;
    level.field_step = fields_apart ? cells : 1;
    level.anchor_step = fields * cells;
    level.image_step = level.anchors * fields * cells;
}

/// Where the numbers of one long list of anchors are.
void place_in_list(const ModelSpec& spec, const std::vector<int64_t>& shape, HeadLevel& level) {
    const bool fields_apart = spec.layout == Layout::channels_first;
    const int64_t count = shape.size() == 3 ? shape[fields_apart ? 2 : 1] : 0;
    const int64_t fields = anchor_grid::Fields(spec).numbers;
    require(count <= (1 << 30), ErrorCode::model, "model ", spec.name, ": output shape ", shape_text(shape),
            " is too large");
    level.width = static_cast<int>(count);
    level.cell_step = fields_apart ? 1 : fields;
    level.field_step = fields_apart ? count : 1;
    level.image_step = fields * count;
}

/// The shape of the spec's outputs with what it leaves open filled in.
std::vector<int64_t> expected_shape(const ModelSpec& spec, int batch, const HeadLevel& level) {
    std::vector<int64_t> shape = anchor_grid::output_shape(spec);
    const bool raw = anchor_grid::is_raw(spec.layout);
    const int64_t known[] = {batch, raw ? level.height : level.width, level.width};
    size_t next = 0;
    for (int64_t& size : shape) {
        if (size < 0) size = known[next++];
    }
    return shape;
}

}  // namespace

Decode::Decode(const ModelSpec& spec) : spec_(spec) {
    require(spec.strides.size() <= HeadView::kMaxLevels, ErrorCode::model, "model spec ", spec.name, ": ",
            spec.strides.size(), " strides, at most ", HeadView::kMaxLevels, " are supported");
    require(spec.anchors_per_cell() <= HeadLevel::kMaxAnchors, ErrorCode::model, "model spec ", spec.name, ": ",
            spec.anchors_per_cell(), " anchors per cell, at most ", HeadLevel::kMaxAnchors, " are supported");
    if (!anchor_grid::is_raw(spec.layout)) return;
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
    const anchor_grid::Fields fields(spec_);
    HeadView view;
    view.dtype = dtype;
    view.layout = spec_.layout;
    view.classes = spec_.classes();
    view.keypoints = spec_.keypoints;
    view.keypoint_dims = spec_.keypoint_dims;
    view.class_field = fields.classes;
    view.keypoint_field = fields.keypoints;
    view.levels = static_cast<int>(anchor_grid::output_count(spec_));
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
        if (anchor_grid::is_raw(spec_.layout)) {
            place_on_grid(spec_, static_cast<size_t>(l), input, level);
        } else {
            place_in_list(spec_, shape, level);
        }
        const std::vector<int64_t> expected = expected_shape(spec_, view.batch, level);
        require(shape == expected, ErrorCode::model, "model ", spec_.name, ": output ", l, " has shape ",
                shape_text(shape), ", layout ", to_string(spec_.layout), " with ", view.classes, " class(es) and ",
                view.keypoints, " keypoints expects ", shape_text(expected), "; check the model spec");
        total += static_cast<int64_t>(level.anchors) * level.height * level.width;
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
