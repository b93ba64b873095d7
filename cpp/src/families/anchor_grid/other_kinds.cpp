// SPDX-License-Identifier: Apache-2.0
// Networks that people bring and that are neither heads of anchors nor lists of people, told by the shapes alone. To
// ask for a spec would send them looking for what cannot be.
#include "families/anchor_grid/other_kinds.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "core/check.hpp"
#include "families/anchor_grid/layout.hpp"

namespace trtpose::anchor_grid {
namespace {

using families::Recognition;
using Shape = std::vector<int64_t>;

constexpr const char* kOneList = "export the network with its own decode, as one list of people";

bool all_of_rank(const std::vector<TensorInfo>& outputs, size_t rank) {
    return std::all_of(outputs.begin(), outputs.end(), [&](const auto& o) { return o.shape.size() == rank; });
}

/// "its 3 outputs, the first 1×80×8×8, "
std::string shown(const std::vector<TensorInfo>& outputs) {
    return text("its ", outputs.size(), " outputs, the first ", shape_text(outputs.front().shape), ", ");
}

constexpr int64_t kBoxBins = 4 * 16;

/// Four sides of a box as probabilities over 16 distances each, then a score per class, then the keypoints.
std::optional<Recognition> box_distributions(const std::vector<TensorInfo>& outputs,
                                             const UltralyticsMetadata& metadata, const ModelSpec& spec) {
    constexpr int64_t kAnchors = 3;
    const int64_t channels = outputs.front().shape[1];
    const bool alike =
        std::all_of(outputs.begin(), outputs.end(), [&](const auto& o) { return o.shape[1] == channels; });
    if (outputs.size() < 2 || !alike || channels <= 0) return {};
    int64_t rest = channels - kBoxBins - 1;
    // Three anchors in each cell are what most networks have.
    if (metadata.present && channels - kBoxBins - spec.classes() == int64_t{spec.keypoints} * spec.keypoint_dims) {
        rest = channels - kBoxBins - spec.classes();
    } else if (channels % Fields(spec).numbers == 0 || channels % kAnchors == 0 || !may_hold_box_bins(channels)) {
        return {};
    }
    const std::string scores = metadata.present && spec.classes() > 1 ? text(spec.classes(), " scores") : "a score";
    return Recognition{
        {},
        text(shown(outputs), "are raw heads with box distributions (DFL: 64 box bins, ", scores, ", ", rest,
             " keypoint numbers), as face forks of YOLOv8 export them; they have no anchors, and "
             "trtpose does not decode them"),
        kOneList};
}

/// Several maps that cannot be raw heads, as those have the same channels at every stride.
std::optional<Recognition> maps(const std::vector<TensorInfo>& outputs) {
    std::set<int64_t> channels;
    std::set<std::pair<int64_t, int64_t>> sizes;
    for (const auto& output : outputs) {
        channels.insert(output.shape[1]);
        sizes.insert({output.shape[2], output.shape[3]});
    }
    if (outputs.size() < 2 || channels.size() < 2) return {};
    // Heads may stand beside other outputs, and a spec may name them.
    if (sizes.size() > 1 && channels.size() < outputs.size()) return {};
    const char* size = sizes.size() == 1 ? "maps of one size" : "maps of unlike channels";
    return Recognition{{},
                       shown(outputs) + "are " + size +
                           ", as bottom-up networks give them, not heads of "
                           "anchors",
                       kOneList};
}

/// One map: a raw head of a single stride, or what top-down networks give for the one person in the picture.
std::optional<Recognition> one_map(const TensorInfo& output, const ModelSpec& spec) {
    const int64_t channels = output.shape[1];
    if (channels <= 0 || channels % Fields(spec).numbers == 0) return {};
    return Recognition{{},
                       "its output '" + output.name + "' is " + shape_text(output.shape) +
                           ": heatmaps of one person (a top-down network), which trtpose does not run, or a raw head "
                           "whose anchors are not known",
                       std::string("if it is a raw head, ") + families::kGiveASpec};
}

/// For each keypoint the bins of its x and those of its y: some to each pixel of the input's sides (SimCC).
std::optional<Recognition> coordinate_bins(const std::vector<TensorInfo>& outputs, const Shape& input) {
    if (outputs.size() != 2 || !all_of_rank(outputs, 3)) return {};
    const int64_t height = input[2], width = input[3];
    const auto& x = outputs[0].shape;
    const auto& y = outputs[1].shape;
    const bool bins =
        height > 0 && width > 0 && x[1] == y[1] && x[2] >= width && x[2] % width == 0 && y[2] == x[2] / width * height;
    if (!bins) return {};
    return Recognition{{},
                       text(shown(outputs), "are coordinate bins of ", x[1],
                            " keypoints of one person (SimCC, as RTMPose gives them): a top-down network"),
                       "trtpose finds all people in a picture by itself; take a network that does"};
}

/// A list with too few numbers for a box, a score and a keypoint.
std::optional<Recognition> narrow_list(const std::vector<TensorInfo>& outputs) {
    const TensorInfo& first = outputs.front();
    const auto& shape = first.shape;
    // cx, cy, w, h, score, x, y; in rows there is a class as well.
    constexpr int64_t kLeastChannels = 7, kLeastColumns = 8;
    if (shape.size() != 3 || shape[1] <= 0 || shape[2] <= 0) return {};
    const bool narrow_rows = shape[2] < kLeastColumns;
    const bool narrow_channels = shape[1] < kLeastChannels && shape[2] > 64 * shape[1];  // no list of so few people
    if (!narrow_rows && !narrow_channels) return {};
    const std::string what = "its output '" + first.name + "' is " + shape_text(shape);
    for (size_t i = 1; i < outputs.size() && narrow_rows; ++i) {
        if (outputs[i].shape.size() >= 3 && outputs[i].shape[1] == shape[1])
            return Recognition{{},
                               what + " and '" + outputs[i].name + "' " + shape_text(outputs[i].shape) +
                                   ": boxes, scores and keypoints apart from each other",
                               "export the network with one list of people, box, score and keypoints in one row"};
    }
    return Recognition{{},
                       what + ", too few numbers for a box, a score and keypoints",
                       "take a network that finds people with their keypoints, all in one list"};
}

}  // namespace

bool may_hold_box_bins(int64_t channels) {
    const int64_t keypoints = channels - kBoxBins - 1;
    return keypoints >= 2 && (keypoints % 3 == 0 || keypoints % 2 == 0);
}

std::optional<Recognition> other_kind(const ModelFile& file, const UltralyticsMetadata& metadata,
                                      const ModelSpec& spec) {
    const auto& outputs = file.outputs;
    if (all_of_rank(outputs, 4)) {
        if (auto found = maps(outputs)) return found;
        if (auto found = box_distributions(outputs, metadata, spec)) return found;
        return outputs.size() == 1 ? one_map(outputs.front(), spec) : std::nullopt;
    }
    if (auto found = coordinate_bins(outputs, file.inputs.front().shape)) return found;
    return narrow_list(outputs);
}

}  // namespace trtpose::anchor_grid
