// SPDX-License-Identifier: Apache-2.0
// RTMO as mmdeploy writes it: one output called dets and one called keypoints, with the same number of rows.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/check.hpp"
#include "families/rows/family.hpp"
#include "families/rows/layout.hpp"
#include "model/literal.hpp"

namespace trtpose::rows {
namespace {

constexpr const char* kBoxes = "dets";
constexpr const char* kKeypoints = "keypoints";
/// Room in a file that does not say how many rows its own NMS leaves.
constexpr int kUsualRows = 300;

const TensorInfo* find(const ModelFile& file, const char* name) {
    const auto found =
        std::find_if(file.outputs.begin(), file.outputs.end(), [&](const auto& o) { return o.name == name; });
    return found == file.outputs.end() ? nullptr : &*found;
}

/// Boxes, a logit for each class and keypoints of each query, all of them raw.
bool is_rfdetr(const TensorInfo* boxes, const TensorInfo* labels, const TensorInfo* keypoints) {
    if (!boxes || !labels || !keypoints) return false;
    const auto &b = boxes->shape, &l = labels->shape, &k = keypoints->shape;
    return b.size() == 3 && l.size() == 3 && k.size() == 4 && b[2] == 4 && k[3] == 8 && b[1] == l[1] && b[1] == k[1];
}

/// The least and the greatest score of one run; nothing where it cannot be run, or finds no row.
std::optional<std::pair<float, float>> scores_of_a_run(size_t output, bool open_rows, Size size, NetworkProbe* probe) {
    std::vector<float> numbers;
    try {
        if (probe && open_rows) probe->give_room(kUsualRows);
        if (probe) numbers = probe->numbers(output, size);
    } catch (const Error&) {
        return {};  // opening it says what is wrong
    }
    std::optional<std::pair<float, float>> out;
    for (size_t row = 0; row + kBoxNumbers <= numbers.size(); row += kBoxNumbers) {
        const float score = numbers[row + kBoxNumbers - 1];
        if (!out) out.emplace(score, score);
        out->first = std::min(out->first, score);
        out->second = std::max(out->second, score);
    }
    return out;
}

/// Why one run's scores are none, where they are not: logits pass every confidence.
std::string no_probabilities(const ModelFile& file, const TensorInfo& boxes, bool open_rows, Size size,
                             NetworkProbe* probe) {
    const auto scores = scores_of_a_run(static_cast<size_t>(&boxes - file.outputs.data()), open_rows, size, probe);
    if (!scores || (scores->first >= 0 && scores->second <= 1)) return {};
    return text("its outputs are those of RTMO, but in one run the scores in '", boxes.name, "' lie between ",
                scores->first, " and ", scores->second, ", and probabilities between 0 and 1");
}

}  // namespace

families::Recognition Rows::recognise(const ModelFile& file, const UltralyticsMetadata&, NetworkProbe* probe) const {
    const TensorInfo *boxes = find(file, kBoxes), *keypoints = find(file, kKeypoints);
    if (const TensorInfo* labels = find(file, "labels"); is_rfdetr(boxes, labels, keypoints))
        return {{}, "it is a keypoint network of RF-DETR, whose decoding trtpose export puts into the file", {}};
    if (file.outputs.size() != 2 || !boxes || !keypoints) return {};
    const auto& rows = boxes->shape;
    const auto& points = keypoints->shape;
    // mmdeploy's exporter leaves every size open but for the batch.
    const auto may_be = [](int64_t size, int64_t expected) { return size < 0 || size == expected; };
    const bool alike = rows.size() == 3 && points.size() == 4 && may_be(rows[2], kBoxNumbers) &&
                       may_be(points[3], kPointNumbers) && points[2] != 0 &&
                       (rows[1] < 0 || may_be(points[1], rows[1]));
    if (!alike) return {};
    const auto& input = file.inputs.front().shape;
    ModelSpec spec;
    spec.family = name();
    spec.name = std::filesystem::path(file.path).stem().string();
    const bool sized = input[2] > 0 && input[3] > 0;
    if (sized) spec.imgsz = {static_cast<int>(input[2]), static_cast<int>(input[3])};
    spec.outputs = {kBoxes, kKeypoints};
    spec.names = {"person"};
    spec.keypoints = static_cast<int>(points[2] > 0 ? points[2] : 0);
    spec.color = PixelFormat::bgr;
    std::fill(std::begin(spec.std), std::end(spec.std), 1.0f);
    spec.letterbox = {math::Placement::top_left, math::Rounding::down};
    spec.extra.emplace_back("form", quote_json("dets_keypoints"));
    const bool open_rows = rows[1] < 0 || points[1] < 0;
    if (open_rows) spec.extra.emplace_back("rows", std::to_string(kUsualRows));
    if (sized && spec.keypoints) {
        const std::string doubt = no_probabilities(file, *boxes, open_rows, spec.imgsz, probe);
        return {{spec}, doubt, doubt.empty() ? "" : "export the network with the sigmoid of its scores inside"};
    }
    if (sized) return {{spec}, "its outputs are those of RTMO, and its number of keypoints is open", {}};
    return {{spec}, text("its outputs are those of RTMO, and its input size is open"), {}};
}

}  // namespace trtpose::rows
