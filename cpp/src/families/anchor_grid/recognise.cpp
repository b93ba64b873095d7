// SPDX-License-Identifier: Apache-2.0
// Which layouts a file's shapes allow. Nothing in a file tells the anchors of raw heads, nor whether heads as wide as
// YOLO-Pose's are not KAPAO's (McNally et al., 2022), which have the same anchors: these are not guessed.
#include <algorithm>
#include <filesystem>

#include "core/check.hpp"
#include "families/anchor_grid/detections.hpp"
#include "families/anchor_grid/family.hpp"
#include "families/anchor_grid/layout.hpp"
#include "families/anchor_grid/other_kinds.hpp"
#include "families/anchor_grid/public_networks.hpp"
#include "model/literal.hpp"
#include "model/row_kind.hpp"
#include "model/ultralytics.hpp"

namespace trtpose::anchor_grid {
namespace {

using families::Recognition;

/// The grids that public networks have.
const std::vector<std::vector<int>> kPyramids = {{8, 16, 32}, {8, 16, 32, 64}};

const std::vector<int>& pyramid_of(const UltralyticsMetadata& metadata) {
    return kPyramids[metadata.stride == kPyramids[1].back() ? 1 : 0];
}

int64_t grid_cells(Size size, const std::vector<int>& strides) {
    int64_t cells = 0;
    for (const int s : strides) cells += static_cast<int64_t>(size.height / s) * (size.width / s);
    return cells;
}

/// The strides whose cells, with so many anchors in each, are `count` anchors; empty if there are none.
std::vector<int> strides_for(Size size, int64_t count, int64_t anchors_per_cell) {
    for (const auto& strides : kPyramids) {
        if (count == anchors_per_cell * grid_cells(size, strides)) return strides;
    }
    return {};
}

int64_t public_anchors_per_cell() { return static_cast<int64_t>(coco::kAnchors.front().size()); }

/// Whether keypoints are those of COCO persons: by their names, or by their number and the classes where they have
/// none.
bool are_coco(const ModelSpec& spec, const std::vector<std::string>& names) {
    if (spec.keypoints != coco::kKeypoints) return false;
    if (!names.empty()) return names == coco::kKeypointNames;
    return std::all_of(spec.names.begin(), spec.names.end(), [](std::string name) {
        for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        return std::find(coco::kPersons.begin(), coco::kPersons.end(), name) != coco::kPersons.end();
    });
}

/// What the input and the metadata say, whatever the layout is.
ModelSpec without_layout(const ModelFile& file, const UltralyticsMetadata& metadata) {
    ModelSpec spec;
    const auto& input = file.inputs.front().shape;
    spec.imgsz =
        input[2] > 0 && input[3] > 0 ? Size{static_cast<int>(input[2]), static_cast<int>(input[3])} : metadata.imgsz;
    spec.names = metadata.present ? metadata.names : std::vector<std::string>{"person"};
    spec.keypoints = metadata.present ? metadata.keypoints : coco::kKeypoints;
    spec.keypoint_dims = metadata.present ? metadata.dims : 3;
    spec.name = std::filesystem::path(file.path).stem().string();
    if (!metadata.kpt_names.empty())
        spec.extra.emplace_back("kpt_names",
                                json_list(metadata.kpt_names, [](const auto& name) { return quote_json(name); }));
    if (are_coco(spec, metadata.kpt_names)) spec.sigmas.assign(std::begin(coco::kSigmas), std::end(coco::kSigmas));
    return spec;
}

/// Whether an output is the raw head of `level` of a public network.
bool is_public_head(const std::vector<int64_t>& shape, const ModelSpec& spec, size_t level) {
    const std::vector<int64_t> expected = output_shape(spec);
    const int64_t cells[] = {spec.imgsz.height / spec.strides[level], spec.imgsz.width / spec.strides[level]};
    if (shape.size() != expected.size()) return false;
    size_t side = 0;
    for (size_t axis = 1; axis < shape.size(); ++axis) {
        if (shape[axis] != (expected[axis] < 0 ? cells[side++] : expected[axis])) return false;
    }
    return true;
}

constexpr const char* kSpecOrExport =
    "give the model spec with --spec FILE.json (docs/conventions.md shows one), or write the ONNX from the checkpoint "
    "with trtpose export, which puts the spec into it";

/// Raw heads: one 4- or 5-dimensional output per stride.
Recognition recognise_heads(const ModelFile& file, const UltralyticsMetadata& metadata, ModelSpec spec) {
    const auto& outputs = file.outputs;
    const auto& first = outputs.front().shape;
    const auto& input = file.inputs.front().shape;
    spec.layout = first.size() == 4 ? Layout::heads : Layout::heads5d;
    spec.strides = coco::kStrides;
    spec.anchors = coco::kAnchors;
    for (const auto& output : outputs) spec.outputs.push_back(output.name);
    bool known = outputs.size() == spec.strides.size() && input[2] > 0 && input[3] > 0;
    for (size_t l = 0; known && l < outputs.size(); ++l) known = is_public_head(outputs[l].shape, spec, l);
    if (known && metadata.present) return {{spec}, {}, {}};
    if (known) {
        return {{spec},
                text("its ", outputs.size(), " raw outputs, the first ", shape_text(first),
                     ", may be those of YOLO-Pose or of KAPAO, whose numbers mean other things in the same shape"),
                kSpecOrExport};
    }
    Recognition out;
    out.doubt = text("it has ", outputs.size(), " raw outputs, the first ", shape_text(first),
                     ", and its anchors are not known");
    if (first.size() == 4 && may_hold_box_bins(first[1]))
        out.doubt += " (it has none if 64 of the channels are box distributions, which trtpose does not decode)";
    const int64_t fields = Fields(spec).numbers;
    if (first.size() == 4 ? first[1] > 0 && first[1] % fields == 0 : first[4] == fields) {
        spec.strides.clear();
        spec.anchors.clear();
        out.readings.push_back(spec);
    }
    return out;
}

/// Every layout of one list of anchors or detections that the shape allows.
std::vector<ModelSpec> list_readings(const ModelFile& file, const UltralyticsMetadata& metadata, ModelSpec spec) {
    const auto& output = file.outputs.front();
    const int64_t rows = output.shape[1], columns = output.shape[2];
    const bool sized = spec.imgsz.height > 0;
    std::vector<ModelSpec> readings;
    const auto allow = [&](Layout layout, const std::vector<int>& strides) {
        if (strides.empty() && sized) return;
        spec.layout = layout;
        spec.strides = strides;
        readings.push_back(spec);
    };
    const auto numbers = [&](Layout layout) {
        spec.layout = layout;
        return Fields(spec).numbers;
    };
    const auto strides_of = [&](int64_t count, int64_t anchors) {
        return sized ? strides_for(spec.imgsz, count, anchors) : std::vector<int>{};
    };
    if (rows == numbers(Layout::channels_first) && !metadata.end2end) {
        allow(Layout::channels_first, columns > 0        ? strides_of(columns, 1)
                                      : metadata.present ? pyramid_of(metadata)
                                                         : std::vector<int>{});
    }
    if (columns == numbers(Layout::decoded) && !metadata.end2end) {
        // The reference exporter's name for it, when the count is left open.
        const bool named = rows <= 0 && !metadata.present && output.name == "output";
        allow(Layout::decoded, named      ? coco::kStrides
                               : rows > 0 ? strides_of(rows, public_anchors_per_cell())
                                          : std::vector<int>{});
    }
    if (columns == numbers(Layout::final) && metadata.present && strides_of(rows, public_anchors_per_cell()).empty())
        allow(Layout::final, pyramid_of(metadata));
    return readings;
}

/// Why decoded rows are not, or may not be, YOLO-Pose's; nothing where one run shows that they are KAPAO's, who speaks
/// for itself.
Recognition doubt_of_decoded(const ModelSpec& spec, const std::string& shown, NetworkProbe* probe) {
    const RowVerdict verdict = kind_of_rows(spec.keypoints, spec.imgsz, probe);
    switch (verdict.kind) {
        case RowKind::yolo_pose: return {{spec}, {}, {}};
        case RowKind::not_run:
            return {{spec},
                    shown +
                        ", which YOLO-Pose and KAPAO both give, and running it once, which tells, was not possible (" +
                        verdict.problem + ")",
                    kSpecOrExport};
        case RowKind::undecided:
            return {{spec},
                    shown + ", and one run does not tell whether they are YOLO-Pose's rows or KAPAO's",
                    kSpecOrExport};
        default: return {};
    }
}

/// One 3-dimensional output.
Recognition recognise_list(const ModelFile& file, const UltralyticsMetadata& metadata, ModelSpec spec,
                           NetworkProbe* probe) {
    const auto& output = file.outputs.front();
    spec.outputs = {output.name};
    Recognition out{list_readings(file, metadata, spec), {}, {}};
    auto& readings = out.readings;
    const std::string shown = "its output '" + output.name + "' is " + shape_text(output.shape);
    if (spec.imgsz.height == 0) {
        out.doubt = "its input size is open and nothing says what it was made for";
    } else if (readings.empty() && output.shape[2] == spec.fields() &&
               output.shape[2] == 6 + spec.keypoints * spec.keypoint_dims) {
        for (const Layout layout : {Layout::decoded, Layout::final}) {
            spec.layout = layout;
            readings.push_back(spec);
        }
        out.doubt = shown + ", which may be decoded anchors (layout decoded) or final detections (layout final)";
    } else if (readings.size() != 1) {
        out.doubt = text(shown,
                         readings.empty() ? ", which fits no layout of a network with "
                                          : ", which fits several layouts of a network with ",
                         spec.keypoints, " keypoints and ", spec.classes(), " class(es)");
    } else if (const int stride = readings[0].max_stride(); spec.imgsz.height % stride || spec.imgsz.width % stride) {
        out.doubt = text("its input ", spec.imgsz.height, "×", spec.imgsz.width, " is no multiple of stride ", stride);
        out.remedy = "export the network at a size whose sides are multiples of it";
    } else if (readings[0].layout == Layout::decoded && !metadata.present) {
        return doubt_of_decoded(readings[0], shown, probe);
    }
    return out;
}

constexpr const char* kOtherOutput = "trtpose reads lists of people and raw heads (docs/conventions.md)";

std::string no_layout(const TensorInfo& output) {
    return "its output '" + output.name + "' is " + shape_text(output.shape) + ", which no layout of pose networks has";
}

}  // namespace

Recognition AnchorGrid::recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                  NetworkProbe* probe) const {
    const ModelSpec spec = without_layout(file, metadata);
    const auto& output = file.outputs.front();
    if (auto other = other_kind(file, metadata, spec)) return *other;
    switch (output.shape.size()) {
        case 2:
            if (are_detections(output)) return {{}, detections_text(output), kExportWithoutNms};
            return {{}, no_layout(output), kOtherOutput};
        case 3: return recognise_list(file, metadata, spec, probe);
        case 4:
        case 5: return recognise_heads(file, metadata, spec);
        default: return {{}, no_layout(output), kOtherOutput};
    }
}

}  // namespace trtpose::anchor_grid
