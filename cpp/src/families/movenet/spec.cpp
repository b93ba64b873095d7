// SPDX-License-Identifier: Apache-2.0
// The keys of a spec that say which form of MoveNet it is, and where a network differs from Google's.
#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "core/check.hpp"
#include "families/movenet/family.hpp"
#include "families/movenet/settings.hpp"
#include "model/literal.hpp"
#include "model/outputs_by_name.hpp"
#include "model/spec_reader.hpp"

namespace trtpose::movenet {
namespace {

constexpr const char* kForms[] = {"single", "multi", "single_heads", "multi_heads"};
constexpr int kMostPeople = 30000;
constexpr float kMultiCounted = 0.127f;

void read_truth(const SpecReader& json, const char* key, bool& value) {
    const Literal* found = json.find(key);
    if (!found) return;
    const bool* truth = found->boolean();
    if (!truth) json.fail(key, " is neither true nor false");
    value = *truth;
}

/// A number from `low` to `high`.
void read_number(const SpecReader& json, const char* key, double low, double high, float& value) {
    const Literal* found = json.find(key);
    if (!found) return;
    const double number = json.number(*found, key);
    if (!(number >= low && number <= high)) json.fail(key, " is ", number, ", expected ", low, " to ", high);
    value = static_cast<float>(number);
}

}  // namespace

const char* to_string(Form form) { return kForms[static_cast<int>(form)]; }

Settings Settings::read(const SpecReader& json) {
    Settings out;
    const std::string form = json.string(json.need("form"), "form");
    const auto* found = std::find(std::begin(kForms), std::end(kForms), form);
    if (found == std::end(kForms))
        json.fail("form is '", form, "', expected single, multi, single_heads or multi_heads");
    out.form = static_cast<Form>(found - std::begin(kForms));
    if (const Literal* value = json.find("pairs")) {
        const std::string pairs = json.string(*value, "pairs");
        if (pairs != "yx" && pairs != "xy") json.fail("pairs is '", pairs, "', expected yx or xy");
        out.xy = pairs == "xy";
    }
    read_truth(json, "activated", out.activated);
    read_truth(json, "rounded", out.rounded);
    if (!is_single(out.form)) out.counted = kMultiCounted;
    read_number(json, "floor", 0, 1, out.floor);
    read_number(json, "softening", 0.01, 1e4, out.softening);
    read_number(json, "spread", 1e-4, 1e4, out.spread);
    read_number(json, "counted", 0, 1, out.counted);
    read_number(json, "cell", 0, 1e4, out.cell);
    if (const Literal* value = json.find("people")) out.people = json.whole(*value, "people", 0, kMostPeople);
    return out;
}

Settings Settings::of(const ModelSpec& spec) {
    std::string json;
    for (const auto& [key, value] : spec.extra) json += (json.empty() ? "" : ", ") + quote_json(key) + ": " + value;
    json = "{" + json + "}";
    const std::string source = "model spec " + spec.name;
    try {
        const Literal root = parse_literal(json);
        return read(SpecReader(root, source));
    } catch (const std::invalid_argument& error) {
        throw Error(ErrorCode::model, text(source, ": not valid JSON (", error.what(), ")"));
    }
}

std::vector<std::vector<int64_t>> output_shapes(Form form, int keypoints) {
    const int64_t k = keypoints;
    const auto grid = [](int64_t channels) { return std::vector<int64_t>{-1, channels, -1, -1}; };
    switch (form) {
        case Form::single: return {{-1, 1, k, 3}};
        case Form::multi: return {{-1, -1, 3 * k + 5}};
        case Form::single_heads: return {grid(k), grid(1), grid(2 * k), grid(2 * k)};
        case Form::multi_heads: return {grid(k), grid(1), grid(2 * k), grid(2 * k), grid(2), grid(2)};
    }
    return {};
}

void MoveNet::check_fields(const SpecReader& json, const ModelSpec& spec) const {
    const Settings settings = Settings::read(json);
    if (spec.keypoint_dims != 3) json.fail("kpt_shape has ", spec.keypoint_dims, " numbers per keypoint, expected 3");
    if (is_raw(settings.form) && spec.strides.empty())
        json.fail("form ", to_string(settings.form), " needs strides, the pixels of a cell first");
    if (settings.people && settings.form != Form::multi_heads)
        json.fail("people is of form multi_heads alone, this is form ", to_string(settings.form));
}

std::string MoveNet::misfit(const ModelSpec& spec, const ModelFile& file) const {
    const Form form = Settings::of(spec).form;
    const auto expected = output_shapes(form, spec.keypoints);
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    if (got < expected.size())
        return text("form ", to_string(form), " needs ", expected.size(), " outputs, it has ", got);
    const auto named = outputs_by_name(file);
    for (size_t i = 0; i < expected.size(); ++i) {
        const TensorInfo* output = &file.outputs[std::min(i, file.outputs.size() - 1)];
        if (const auto found = spec.outputs.empty() ? named.end() : named.find(spec.outputs[i]); found != named.end())
            output = found->second;
        const auto& shape = output->shape;
        if (shape.empty()) continue;
        bool fits = shape.size() == expected[i].size();
        for (size_t axis = 1; fits && axis < shape.size(); ++axis)
            fits = shape[axis] < 0 || expected[i][axis] < 0 || shape[axis] == expected[i][axis];
        if (!fits)
            return text("form ", to_string(form), " with ", spec.keypoints, " keypoints needs ",
                        shape_text(expected[i]), " as output ", i, ", '", output->name, "' is ", shape_text(shape));
    }
    return {};
}

}  // namespace trtpose::movenet
