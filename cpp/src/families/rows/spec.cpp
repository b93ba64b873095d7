// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <stdexcept>

#include "core/check.hpp"
#include "families/rows/family.hpp"
#include "families/rows/layout.hpp"
#include "model/literal.hpp"
#include "model/outputs_by_name.hpp"
#include "model/spec_reader.hpp"

namespace trtpose::rows {
namespace {

constexpr const char* kForm = "dets_keypoints";  ///< the only one so far
constexpr int kMostRows = 30000;

/// Rows that there shall be room for; 0: not said.
int read_rows(const SpecReader& json) {
    const Literal* rows = json.find("rows");
    return rows ? json.whole(*rows, "rows", 1, kMostRows) : 0;
}

/// Whether NMS follows, which a network that gives everybody once does not need.
bool read_suppress(const SpecReader& json) {
    const Literal* value = json.find("suppress");
    if (!value) return true;
    const bool* truth = value->boolean();
    if (!truth) json.fail("suppress is neither true nor false");
    return *truth;
}

}  // namespace

bool suppresses(const ModelSpec& spec) {
    for (const auto& [key, value] : spec.extra) {
        if (key == "suppress") return value == "true";  // it was checked
    }
    return true;
}

void Rows::check_fields(const SpecReader& json, const ModelSpec& spec) const {
    const std::string form = json.string(json.need("form"), "form");
    if (form != kForm) json.fail("form is '", form, "', expected ", kForm);
    if (spec.classes() > 1) json.fail("names has ", spec.classes(), " classes; rows say none, give one name");
    if (spec.keypoint_dims != 3) json.fail("kpt_shape has ", spec.keypoint_dims, " numbers per keypoint, expected 3");
    read_rows(json);
    read_suppress(json);
}

int64_t Rows::most_rows(const ModelSpec& spec) const {
    for (const auto& [key, value] : spec.extra) {
        if (key == "rows") return std::stoi(value);  // it was checked
    }
    return 0;
}

std::vector<std::vector<int64_t>> output_shapes(int keypoints) {
    return {{-1, -1, kBoxNumbers}, {-1, -1, keypoints, kPointNumbers}};
}

std::string Rows::misfit(const ModelSpec& spec, const ModelFile& file) const {
    const auto expected = output_shapes(spec.keypoints);
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    if (got < expected.size()) return text("rows need ", expected.size(), " outputs, it has ", got);
    const auto named = outputs_by_name(file);
    for (size_t i = 0; i < expected.size(); ++i) {
        const TensorInfo* output = &file.outputs[std::min(i, file.outputs.size() - 1)];
        if (const auto found = spec.outputs.empty() ? named.end() : named.find(spec.outputs[i]); found != named.end())
            output = found->second;
        if (!fits(output->shape, expected[i]))
            return text("rows with ", spec.keypoints, " keypoints need ", shape_text(expected[i]), " as output ", i,
                        ", '", output->name, "' is ", shape_text(output->shape));
    }
    return {};
}

}  // namespace trtpose::rows
