// SPDX-License-Identifier: Apache-2.0
// The fields of a spec that say how grids of anchors are laid out.
#include <algorithm>
#include <iterator>

#include "core/check.hpp"
#include "families/anchor_grid/detections.hpp"
#include "families/anchor_grid/family.hpp"
#include "families/anchor_grid/layout.hpp"
#include "model/literal.hpp"
#include "model/outputs_by_name.hpp"
#include "model/spec_reader.hpp"

namespace trtpose {

namespace {
constexpr const char* kLayouts[] = {"heads", "heads5d", "decoded", "channels_first", "final"};
}

const char* to_string(Layout layout) { return kLayouts[static_cast<int>(layout)]; }

namespace anchor_grid {

void AnchorGrid::read_fields(const SpecReader& json, ModelSpec& spec) const {
    const std::string layout = json.string(json.need("layout"), "layout");
    const auto* found = std::find(std::begin(kLayouts), std::end(kLayouts), layout);
    if (found == std::end(kLayouts))
        json.fail("layout is '", layout, "', expected heads, heads5d, decoded, channels_first or final");
    spec.layout = static_cast<Layout>(found - std::begin(kLayouts));
    if (const Literal* anchors = json.find("anchors")) spec.anchors = json.pairs(*anchors, "anchors");
}

void AnchorGrid::check_fields(const SpecReader& json, const ModelSpec& spec) const {
    json.need("strides");
    if (spec.strides.empty()) json.fail("strides is empty");
    if (!is_raw(spec.layout)) return;
    if (spec.anchors.size() != spec.strides.size())
        json.fail("anchors has ", spec.anchors.size(), " levels for ", spec.strides.size(), " strides");
    for (const auto& level : spec.anchors) {
        if (level.empty() || level.size() != spec.anchors.front().size())
            json.fail("anchors needs as many pairs for each stride");
    }
}

std::vector<std::pair<std::string, std::string>> AnchorGrid::write_fields(const ModelSpec& spec) const {
    const auto pair = [](const auto& side) {
        return "[" + json_number(side.first) + ", " + json_number(side.second) + "]";
    };
    return {{"layout", quote_json(to_string(spec.layout))},
            {"anchors", json_list(spec.anchors, [&](const auto& level) { return json_list(level, pair); })}};
}

std::string AnchorGrid::misfit(const ModelSpec& spec, const ModelFile& file) const {
    const size_t expected = output_count(spec);
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    // Beside one list of anchors a network may give more, which is not read.
    if (is_raw(spec.layout) ? got != expected : got < expected)
        return text("layout ", to_string(spec.layout), " needs ", expected, " outputs, it has ", got);
    const size_t dimensions = output_shape(spec).size();
    const auto named = outputs_by_name(file);
    for (size_t i = 0; i < expected; ++i) {
        const TensorInfo* output = &file.outputs[std::min(i, file.outputs.size() - 1)];
        if (const auto found = spec.outputs.empty() ? named.end() : named.find(spec.outputs[i]); found != named.end())
            output = found->second;
        if (output->shape.empty() || output->shape.size() == dimensions) continue;
        if (are_detections(*output)) return detections_text(*output) + "; " + kExportWithoutNms;
        return text("layout ", to_string(spec.layout), " needs outputs of ", dimensions, " dimensions, '", output->name,
                    "' is ", shape_text(output->shape));
    }
    return {};
}

}  // namespace anchor_grid
}  // namespace trtpose
