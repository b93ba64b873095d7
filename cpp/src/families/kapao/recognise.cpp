// SPDX-License-Identifier: Apache-2.0
// Which files without a spec are KAPAO's. Shapes tell nothing: its rows are as wide as YOLO-Pose's for every number of
// keypoints, and its heads have the same channels and anchors. One run of the network tells decoded rows from those of
// one class; from those of as many classes, with two numbers for a keypoint, tells only the number of keypoints that
// KAPAO was published for. Raw heads are left to a spec.
#include <algorithm>
#include <filesystem>
#include <iterator>

#include "core/check.hpp"
#include "families/kapao/family.hpp"
#include "families/kapao/options.hpp"
#include "model/coco.hpp"
#include "model/literal.hpp"
#include "model/row_kind.hpp"
#include "model/ultralytics.hpp"

namespace trtpose::kapao {
namespace {

using families::Recognition;

/// The grids that public networks and their forks have, with so many anchors in each cell.
const std::vector<std::vector<int>> kPyramids = {{8, 16, 32, 64}, {8, 16, 32}};
constexpr int64_t kAnchorsPerCell = 3;

/// Of people on COCO and on CrowdPose: nobody else has a class for each of them beside the person.
constexpr int kPublishedKeypoints[] = {coco::kKeypoints, 14};

bool is_published(int keypoints) {
    return std::find(std::begin(kPublishedKeypoints), std::end(kPublishedKeypoints), keypoints) !=
           std::end(kPublishedKeypoints);
}

std::vector<int> strides_for(Size size, int64_t rows) {
    for (const auto& strides : kPyramids) {
        int64_t cells = 0;
        for (const int s : strides) cells += static_cast<int64_t>(size.height / s) * (size.width / s);
        if (size.height % strides.back() == 0 && size.width % strides.back() == 0 && rows == kAnchorsPerCell * cells)
            return strides;
    }
    return {};
}

ModelSpec spec_of(const ModelFile& file, Size size, const std::vector<int>& strides, int keypoints) {
    ModelSpec spec;
    spec.family = "kapao";
    spec.name = std::filesystem::path(file.path).stem().string();
    spec.imgsz = size;
    spec.strides = strides;
    spec.outputs = {file.outputs.front().name};
    spec.keypoints = keypoints;
    spec.keypoint_dims = 2;
    const bool coco = keypoints == coco::kKeypoints;
    std::vector<std::string> names;
    for (int k = 0; k < keypoints; ++k)
        names.push_back(coco ? coco::kKeypointNames[static_cast<size_t>(k)] : text("keypoint ", k));
    spec.names = {"person"};
    spec.names.insert(spec.names.end(), names.begin(), names.end());
    if (coco) spec.sigmas.assign(std::begin(coco::kSigmas), std::end(coco::kSigmas));
    spec.extra.emplace_back("form", quote_json(to_string(Form::decoded)));
    spec.extra.emplace_back("kpt_names", json_list(names, [](const auto& name) { return quote_json(name); }));
    return spec;
}

std::string remedy_of(Form form) {
    return text("say so in a model spec: --spec FILE.json with \"family\": \"kapao\", \"form\": \"", to_string(form),
                "\" and the strides and anchors it was trained with (docs/conventions.md shows one)");
}

Recognition decoded_rows(ModelSpec spec, const std::string& shown) {
    if (is_published(spec.keypoints)) return {{std::move(spec)}, {}, {}};
    const int keypoints = spec.keypoints, classes = spec.classes();
    return {{std::move(spec)},
            text(shown, ", which may be KAPAO's with ", keypoints, " keypoints, or a pose network's with ", classes,
                 " classes and ", keypoints, " keypoints of two numbers, which mean other things in the same shape"),
            text("trtpose export FILE tells by the graph where it holds KAPAO's decoding; else say so in a model spec, "
                 "--spec FILE.json with \"family\": \"kapao\", \"form\": \"decoded\", or with \"layout\": "
                 "\"decoded\", \"kpt_shape\": [",
                 keypoints, ", 2] and the names of the ", classes, " classes (docs/conventions.md shows one)")};
}

}  // namespace

Recognition Kapao::recognise(const ModelFile& file, const UltralyticsMetadata& metadata, NetworkProbe* probe) const {
    const auto& input = file.inputs.front().shape;
    const TensorInfo& output = file.outputs.front();
    if (metadata.present || output.shape.size() != 3) return {};
    if (input.size() != 4 || input[2] <= 0 || input[3] <= 0) return {};
    const Size size{static_cast<int>(input[2]), static_cast<int>(input[3])};
    const int64_t rows = output.shape[1], width = output.shape[2];
    const std::vector<int> strides = strides_for(size, rows);
    constexpr int64_t kMostKeypoints = 1 << 12;
    const int64_t keypoints = width / 3 - 2;
    if (strides.empty() || keypoints < 1 || keypoints > kMostKeypoints ||
        fields_of(static_cast<int>(keypoints)) != width)
        return {};
    const std::string shown = "its output '" + output.name + "' is " + shape_text(output.shape);
    const RowVerdict verdict = kind_of_rows(static_cast<int>(keypoints), size, probe);
    switch (verdict.kind) {
        case RowKind::kapao: return decoded_rows(spec_of(file, size, strides, static_cast<int>(keypoints)), shown);
        case RowKind::kapao_sigmoid:
            return {{},
                    shown +
                        ", but all its numbers lie between 0 and 1: nothing in it is decoded, as ports of KAPAO "
                        "export it, and its anchors are not known",
                    remedy_of(Form::sigmoid)};
        case RowKind::kapao_undecoded:
            return {{},
                    text(shown, ", which may be a detector's with ", 3 * keypoints + 1,
                         " classes and no keypoints, which trtpose does not run, or KAPAO's with ", keypoints + 1,
                         " class probabilities, but its keypoints are not decoded, and its anchors are not known"),
                    remedy_of(Form::undecoded)};
        case RowKind::not_run:
            if (keypoints == coco::kKeypoints) return {};  // a width that anchor_grid speaks of
            return {{},
                    text(shown, ", which may be KAPAO's with ", keypoints,
                         " keypoints, and running it once, which tells, was not possible (", verdict.problem, ")")};
        default: return {};
    }
}

}  // namespace trtpose::kapao
