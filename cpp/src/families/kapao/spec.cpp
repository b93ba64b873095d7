// SPDX-License-Identifier: Apache-2.0
// The fields of a spec that are KAPAO's own. All but the anchors stand in the spec's `extra`.
#include <algorithm>
#include <iterator>

#include "families/kapao/family.hpp"
#include "families/kapao/options.hpp"
#include "model/outputs_by_name.hpp"
#include "trtpose/views.hpp"

namespace trtpose::kapao {
namespace {

constexpr const char* kForms[] = {"heads", "heads5d", "decoded", "sigmoid", "undecoded"};

struct NamedSet {
    const char* name;
    double conf_kp, iou_kp, conf_kp_person, overwrite_tol;
};

/// What the reference's programs run with beside a call's conf and iou.
constexpr NamedSet kSets[] = {
    {"evaluation", 0.2, 0.25, 0.3, 50},
    {"demo", 0.5, 0.45, 0.2, 25},
    {"video", 0.5, 0.45, 0.2, 50},
};

constexpr double kFarthest = 1 << 20;  ///< frame pixels

Form read_form(const SpecReader& json) {
    const std::string form = json.string(json.need("form"), "form");
    const auto* found = std::find(std::begin(kForms), std::end(kForms), form);
    if (found == std::end(kForms))
        json.fail("form is '", form, "', expected heads, heads5d, decoded, sigmoid or undecoded");
    return static_cast<Form>(found - std::begin(kForms));
}

void read_set(const SpecReader& json, Options& options) {
    const Literal* value = json.find("thresholds");
    if (!value) return;
    const std::string name = json.string(*value, "thresholds");
    const auto* set =
        std::find_if(std::begin(kSets), std::end(kSets), [&](const NamedSet& one) { return one.name == name; });
    if (set == std::end(kSets)) json.fail("thresholds is '", name, "', expected evaluation, demo or video");
    options.conf_kp = set->conf_kp;
    options.iou_kp = set->iou_kp;
    options.conf_kp_person = set->conf_kp_person;
    options.overwrite_tol = set->overwrite_tol;
}

void read_number(const SpecReader& json, const char* key, double most, double& out) {
    const Literal* value = json.find(key);
    if (!value) return;
    out = json.number(*value, key);
    if (!(out >= 0 && out <= most)) json.fail(key, " is ", value->source, ", expected a number from 0 to ", most);
}

void read_flag(const SpecReader& json, const char* key, bool& out) {
    const Literal* value = json.find(key);
    if (!value) return;
    if (!value->boolean()) json.fail(key, " is ", value->source, ", expected true or false");
    out = *value->boolean();
}

void check_anchors(const SpecReader& json, const ModelSpec& spec) {
    if (spec.anchors.size() != spec.strides.size())
        json.fail("anchors has ", spec.anchors.size(), " levels for ", spec.strides.size(), " strides");
    for (const auto& level : spec.anchors) {
        if (level.empty() || level.size() != spec.anchors.front().size())
            json.fail("anchors needs as many pairs for each stride");
    }
    if (spec.anchors_per_cell() > ops::HeadLevel::kMaxAnchors)
        json.fail("anchors has ", spec.anchors_per_cell(), " pairs for a stride, at most ", ops::HeadLevel::kMaxAnchors,
                  " are supported");
}

}  // namespace

const char* to_string(Form form) { return kForms[static_cast<int>(form)]; }

Options read_options(const SpecReader& json) {
    Options out;
    out.form = read_form(json);
    read_set(json, out);
    read_number(json, "conf_kp", 1, out.conf_kp);
    read_number(json, "iou_kp", 1, out.iou_kp);
    read_number(json, "conf_kp_person", 1, out.conf_kp_person);
    read_number(json, "overwrite_tol", kFarthest, out.overwrite_tol);
    if (const Literal* value = json.find("max_objects"))
        out.max_objects = json.whole(*value, "max_objects", 1, EngineOptions::kMaxMaxDet);
    read_flag(json, "fusion", out.fusion);
    read_flag(json, "round_boxes", out.round_boxes);
    read_flag(json, "zero_unreplaced", out.zero_unreplaced);
    return out;
}

Options options_of(const ModelSpec& spec) {
    std::string json;
    for (const auto& [key, value] : spec.extra) json += (json.empty() ? "" : ", ") + quote_json(key) + ": " + value;
    json = "{" + json + "}";
    const Literal root = parse_literal(json);
    return read_options(SpecReader(root, "model spec " + spec.name));
}

std::vector<int64_t> output_shape(const ModelSpec& spec, Form form) {
    const int64_t fields = fields_of(spec.keypoints), anchors = spec.anchors_per_cell();
    if (form == Form::heads) return {-1, anchors * fields, -1, -1};
    if (form == Form::heads5d) return {-1, anchors, -1, -1, fields};
    return {-1, -1, fields};
}

void Kapao::read_fields(const SpecReader& json, ModelSpec& spec) const {
    if (const Literal* anchors = json.find("anchors")) spec.anchors = json.pairs(*anchors, "anchors");
}

void Kapao::check_fields(const SpecReader& json, const ModelSpec& spec) const {
    const Options options = read_options(json);
    json.need("strides");
    if (spec.strides.empty()) json.fail("strides is empty");
    if (spec.strides.size() > ops::HeadView::kMaxLevels)
        json.fail(spec.strides.size(), " strides, at most ", ops::HeadView::kMaxLevels, " are supported");
    if (spec.keypoint_dims != 2)
        json.fail("kpt_shape is [", spec.keypoints, ", ", spec.keypoint_dims,
                  "], and networks of the family kapao give two coordinates for a keypoint: [", spec.keypoints, ", 2]");
    if (spec.classes() != spec.keypoints + 1)
        json.fail("names has ", spec.classes(), " classes for ", spec.keypoints,
                  " keypoints, and the family kapao has a class for the person and behind it one for each keypoint");
    if (options.form != Form::decoded) check_anchors(json, spec);
    if (spec.letterbox != math::LetterboxForm{})
        json.fail(
            "placement, rounding and sizing are not the usual ones, and the family kapao maps its poses back to "
            "the frame from the middle of the input");
}

std::vector<std::pair<std::string, std::string>> Kapao::write_fields(const ModelSpec& spec) const {
    const auto pair = [](const auto& side) {
        return "[" + json_number(side.first) + ", " + json_number(side.second) + "]";
    };
    return {{"anchors", json_list(spec.anchors, [&](const auto& level) { return json_list(level, pair); })}};
}

std::string Kapao::misfit(const ModelSpec& spec, const ModelFile& file) const {
    const Form form = options_of(spec).form;
    const size_t expected = output_count(spec, form);
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    // Beside one list of anchors the reference's exporter leaves the heads.
    if (is_raw(form) ? got != expected : got < expected)
        return text("form ", to_string(form), " needs ", expected, " outputs, it has ", got);
    const std::vector<int64_t> shape = output_shape(spec, form);
    const auto named = outputs_by_name(file);
    for (size_t i = 0; i < expected; ++i) {
        const TensorInfo* output = &file.outputs[std::min(i, file.outputs.size() - 1)];
        if (const auto found = spec.outputs.empty() ? named.end() : named.find(spec.outputs[i]); found != named.end())
            output = found->second;
        if (output->shape.empty()) continue;
        bool fits = output->shape.size() == shape.size();
        for (size_t d = 0; fits && d < shape.size(); ++d)
            fits = shape[d] < 0 || output->shape[d] < 0 || shape[d] == output->shape[d];
        if (!fits)
            return text("form ", to_string(form), " with ", spec.keypoints, " keypoints needs outputs ",
                        shape_text(shape), ", '", output->name, "' is ", shape_text(output->shape));
    }
    return {};
}

}  // namespace trtpose::kapao
