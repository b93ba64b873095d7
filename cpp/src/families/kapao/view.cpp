// SPDX-License-Identifier: Apache-2.0
#include "families/kapao/view.hpp"

#include "core/check.hpp"

namespace trtpose::kapao {
namespace {

void place_on_grid(const ModelSpec& spec, Form form, size_t l, Size input, ops::HeadLevel& level) {
    const int stride = spec.strides[l];
    const int64_t fields = fields_of(spec.keypoints);
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
    const bool fields_apart = form == Form::heads;
    level.cell_step = fields_apart ? 1 : fields;
    level.field_step = fields_apart ? cells : 1;
    level.anchor_step = fields * cells;
    level.image_step = level.anchors * fields * cells;
}

void require_shape(const ModelSpec& spec, Form form, size_t output, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& expected) {
    require(shape == expected, ErrorCode::model, "model ", spec.name, ": output ", output, " has shape ",
            shape_text(shape), ", form ", to_string(form), " with ", spec.keypoints, " keypoints expects ",
            shape_text(expected), "; check the model spec");
}

}  // namespace

Predictions view_of(const ModelSpec& spec, Form form, const families::OutputShapes& outputs) {
    const auto& shapes = outputs.shapes;
    const int64_t batch = outputs.batch, fields = fields_of(spec.keypoints);
    require(outputs.dtype == DType::f32 || outputs.dtype == DType::f16, ErrorCode::model, "model ", spec.name,
            ": outputs of type ", trtpose::to_string(outputs.dtype), " cannot be read, float32 and float16 can");
    require(shapes.size() >= output_count(spec, form), ErrorCode::model, "model ", spec.name, ": ", shapes.size(),
            " outputs where form ", to_string(form), " has ", output_count(spec, form));
    Predictions all;
    all.batch = outputs.batch;
    all.keypoints = spec.keypoints;
    all.dtype = outputs.dtype;
    all.logits = is_raw(form);
    all.boxes_decoded = form == Form::decoded || form == Form::undecoded;
    all.keypoints_decoded = form == Form::decoded;
    int64_t total = 0;
    if (form == Form::decoded) {
        require(shapes[0].size() == 3, ErrorCode::model, "model ", spec.name, ": output 0 has shape ",
                shape_text(shapes[0]), ", form decoded expects ", shape_text(output_shape(spec, form)),
                "; check the model spec");
        total = shapes[0][1];
        all.levels = 1;
        all.level[0].width = static_cast<int>(total);
        all.level[0].cell_step = fields;
        all.level[0].field_step = 1;
    } else {
        all.levels = static_cast<int>(spec.strides.size());
        for (size_t l = 0; l < spec.strides.size(); ++l) {
            ops::HeadLevel& level = all.level[l];
            place_on_grid(spec, form, l, outputs.input, level);
            level.first_anchor = static_cast<int>(total);
            total += static_cast<int64_t>(level.anchors) * level.height * level.width;
            if (form == Form::heads)
                require_shape(spec, form, l, shapes[l], {batch, level.anchors * fields, level.height, level.width});
            if (form == Form::heads5d)
                require_shape(spec, form, l, shapes[l], {batch, level.anchors, level.height, level.width, fields});
        }
    }
    require(total > 0 && total <= (1 << 24), ErrorCode::model, "model ", spec.name, ": ", total, " anchors per image");
    all.total_anchors = static_cast<int>(total);
    if (is_raw(form)) return all;
    require_shape(spec, form, 0, shapes[0], {batch, total, fields});
    for (int l = 0; l < all.levels; ++l) all.level[l].image_step = total * fields;
    return all;
}

void place_data(Form form, Span<const void* const> outputs, Predictions& all) {
    for (int l = 0; l < all.levels; ++l) {
        ops::HeadLevel& level = all.level[l];
        if (is_raw(form)) {
            level.data = outputs[static_cast<size_t>(l)];
            continue;
        }
        const int64_t first = level.first_anchor * level.cell_step;
        const auto bytes = first * static_cast<int64_t>(size_of(all.dtype));
        level.data = static_cast<const char*>(outputs[0]) + bytes;
    }
}

}  // namespace trtpose::kapao
