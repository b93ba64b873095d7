// SPDX-License-Identifier: Apache-2.0
// Which files are maps of Lightweight OpenPose. Channels pair them, never their order: exporters and releases put
// fields first or last. Channels alone prove nothing, so the names of the two exporters decide, and with them how the
// picture is fed.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>

#include "core/check.hpp"
#include "families/openpose/family.hpp"
#include "families/openpose/public_networks.hpp"
#include "families/openpose/topology.hpp"
#include "model/literal.hpp"
#include "model/outputs_by_name.hpp"

namespace trtpose::openpose {
namespace {

using families::Recognition;
using lightweight::kLimbs;
using lightweight::kMaps;

const int64_t kHeatmaps = kMaps + 1, kFields = 2 * static_cast<int64_t>(kLimbs.size());

bool has(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

/// The number behind "stage" or "stage_" in a name; -1 without one.
int stage_of(const std::string& name) {
    const auto at = name.find("stage");
    if (at == std::string::npos) return -1;
    size_t digit = at + 5;
    if (digit < name.size() && name[digit] == '_') ++digit;
    int stage = -1;
    for (; digit < name.size() && name[digit] >= '0' && name[digit] <= '9' && stage < 1000; ++digit)
        stage = 10 * std::max(stage, 0) + (name[digit] - '0');
    return stage;
}

/// The heatmaps and the fields that count: those of the highest stage, else the last ones.
struct Pair {
    const TensorInfo *heatmaps = nullptr, *fields = nullptr;
};

/// Nothing where there are others, or not as many of one kind as of the other.
std::optional<Pair> pair_of(const ModelFile& file) {
    Pair pair;
    int balance = 0;
    for (const TensorInfo& output : file.outputs) {
        const int64_t channels = output.shape.size() == 4 ? output.shape[1] : 0;
        if (channels != kHeatmaps && channels != kFields) return {};
        const TensorInfo*& held = channels == kHeatmaps ? pair.heatmaps : pair.fields;
        if (!held || stage_of(output.name) >= stage_of(held->name)) held = &output;
        balance += channels == kHeatmaps ? 1 : -1;
    }
    if (balance != 0 || !pair.heatmaps) return {};
    return pair;
}

/// Whether maps lie on the grid of the input, as far as sizes are known.
bool on_grid(const TensorInfo& map, const std::vector<int64_t>& input) {
    for (size_t axis = 2; axis < 4; ++axis) {
        if (map.shape[axis] > 0 && input[axis] > 0 && map.shape[axis] * lightweight::kStride != input[axis])
            return false;
    }
    return true;
}

ModelSpec spec_of(const ModelFile& file, const Pair& pair, bool normalises) {
    ModelSpec spec;
    spec.family = "openpose";
    spec.name = std::filesystem::path(file.path).stem().string();
    const auto& input = file.inputs.front().shape;
    const auto side = [&](size_t axis) { return input[axis] > 0 ? static_cast<int>(input[axis]) : lightweight::kSide; };
    spec.imgsz = {side(2), side(3)};
    spec.strides = {lightweight::kStride};
    spec.outputs = {pair.heatmaps->name, pair.fields->name};
    spec.names = {"person"};
    spec.keypoints = static_cast<int>(lightweight::kCocoMaps.size());
    spec.color = PixelFormat::bgr;
    spec.letterbox.sizing = math::Sizing::height;
    // Grey is nothing to both: 128 less 128, or about 0 behind the arithmetic inside.
    spec.pad = 128;
    std::fill(std::begin(spec.mean), std::end(spec.mean), normalises ? 0.0f : 128.0f);
    std::fill(std::begin(spec.std), std::end(spec.std), normalises ? 1.0f : 256.0f);
    const auto whole = [](int v) { return std::to_string(v); };
    spec.extra = {{"form", quote_json("maps")},
                  {"maps", whole(kMaps)},
                  {"limbs", json_list(kLimbs,
                                      [&](const auto& limb) {
                                          return json_list(std::vector<int>(limb.begin(), limb.end()), whole);
                                      })},
                  {"filling", whole(lightweight::kFilling)},
                  {"keypoint_maps", json_list(lightweight::kCocoMaps, whole)},
                  {"enlarge", "4"},
                  {"rule", quote_json("own")}};
    return spec;
}

/// Maps that look alike and are read otherwise.
Recognition other_maps(const ModelFile& file) {
    const auto& outputs = file.outputs;
    if (outputs.size() < 2 ||
        std::any_of(outputs.begin(), outputs.end(), [](const auto& o) { return o.shape.size() < 4; }))
        return {};
    const auto named = [&](const char* part) {
        return std::any_of(outputs.begin(), outputs.end(), [&](const auto& o) { return has(o.name, part); });
    };
    const auto channels = [&](int64_t count) {
        return std::any_of(outputs.begin(), outputs.end(), [&](const auto& o) { return o.shape[1] == count; });
    };
    if (named("embedding"))
        return {{},
                "with embeddings they are those of associative embedding, whose people trtpose does not put together",
                "take a network of one list of people, or of OpenPose's fields"};
    // 18 heatmaps without a background and two channels for each of 21 limbs.
    constexpr int64_t kTrtPoseFields = 42;
    if (channels(kMaps) && channels(kTrtPoseFields))
        return {{},
                "their channels are those of NVIDIA's trt_pose, whose limbs and heatmaps trtpose does not put together",
                "take a network of Lightweight OpenPose"};
    if (channels(kHeatmaps) && channels(kFields))
        return {{},
                "beside OpenPose's maps there are others, as the network of poses in space has them",
                "export the network with its heatmaps and fields alone"};
    return {};
}

}  // namespace

Recognition OpenPose::recognise(const ModelFile& file, const UltralyticsMetadata&, NetworkProbe*) const {
    const auto pair = pair_of(file);
    const auto& input = file.inputs.front().shape;
    if (!pair || input.size() != 4) return other_maps(file);
    const auto &heatmaps = pair->heatmaps->name, &fields = pair->fields->name;
    const std::string shown =
        "its outputs '" + heatmaps + "' and '" + fields + "' have the channels of OpenPose's heatmaps and fields";
    if (!on_grid(*pair->heatmaps, input) || !on_grid(*pair->fields, input))
        return {{}, shown + text(", but they are not on the grid of stride ", lightweight::kStride), {}};
    const bool script = has(heatmaps, "heatmaps") && has(fields, "pafs");
    const bool model_zoo = has(heatmaps, "Mconv") && has(heatmaps, "_L2") && has(fields, "Mconv") && has(fields, "_L1");
    const auto& first = file.input_operators;
    const bool convolves = std::all_of(first.begin(), first.end(), [](const auto& kind) { return kind == "Conv"; });
    const bool normalises = std::all_of(first.begin(), first.end(), [](const auto& kind) { return kind == "Mul"; });
    // An engine file names no operators: it may be either.
    if (!first.empty() && script && convolves) return {{spec_of(file, *pair, false)}, {}, {}};
    if (!first.empty() && model_zoo && normalises) {
        Recognition out{{spec_of(file, *pair, true)}, {}, {}};
        out.knows_input = true;
        return out;
    }
    return {
        {spec_of(file, *pair, false)},
        shown + ", but neither its names nor its first operations say how pictures are fed and which limbs it knows",
        {}};
}

std::string OpenPose::misfit(const ModelSpec& spec, const ModelFile& file) const {
    const Topology t = topology_of(spec);
    const size_t expected = t.joined ? 1 : 2;
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    if (got < expected) return text("its maps are ", expected, " outputs, it has ", got);
    std::vector<int64_t> wanted{t.heatmap_channels(), t.field_channels()}, found;
    if (t.joined) wanted = {wanted[0] + wanted[1]};
    const auto named = outputs_by_name(file);
    for (size_t i = 0; i < expected; ++i) {
        const TensorInfo& output = spec.outputs.empty() ? file.outputs[i] : *named.at(spec.outputs[i]);
        if (output.shape.empty()) return {};
        if (output.shape.size() != 4)
            return text("maps have 4 dimensions, '", output.name, "' is ", shape_text(output.shape));
        found.push_back(output.shape[1]);
    }
    const auto fits = [&](size_t i, size_t j) { return found[i] < 0 || found[i] == wanted[j]; };
    const bool right = t.joined ? fits(0, 0) : (fits(0, 0) && fits(1, 1)) || (fits(0, 1) && fits(1, 0));
    if (right) return {};
    std::string channels;
    for (const int64_t one : found) channels += (channels.empty() ? "" : " and ") + std::to_string(one);
    return text("maps of ", t.maps, " keypoints and ", t.limbs, " limbs have ", wanted[0],
                t.joined ? "" : " and " + std::to_string(wanted.back()), " channels, its outputs ", channels);
}

}  // namespace trtpose::openpose
