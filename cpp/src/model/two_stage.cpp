// SPDX-License-Identifier: Apache-2.0
// BlazePose, by the shapes of its outputs; docs/blazepose.md says what they hold.
#include "model/two_stage.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace trtpose {
namespace {

bool has_output(const ModelFile& file, const std::vector<int64_t>& behind_batch) {
    return std::any_of(file.outputs.begin(), file.outputs.end(), [&](const TensorInfo& output) {
        const auto& shape = output.shape;
        return shape.size() == behind_batch.size() + 1 &&
               std::equal(behind_batch.begin(), behind_batch.end(), shape.begin() + 1);
    });
}

}  // namespace

void check_one_stage(const ModelFile& file) {
    // 39 points of five numbers each, the same in metres, and whether there is anybody.
    constexpr int64_t kPoints = 39;
    const bool landmarks = has_output(file, {kPoints * 5}) && has_output(file, {kPoints * 3}) && has_output(file, {1});
    // Boxes with four points and scores, for anchors at strides 8, 16 and 32 of 224 pixels.
    constexpr int64_t kAnchors = 2254;
    const bool detector = has_output(file, {kAnchors, 12}) && has_output(file, {kAnchors, 1});
    require(!landmarks && !detector, ErrorCode::model, file.path, ": is the ", landmarks ? "landmark" : "detection",
            " network of BlazePose, which finds a person with one network and the keypoints of the turned cut-out with "
            "another; trtpose runs networks that do both in one pass, take one of those (docs/models.md lists them, "
            "docs/blazepose.md says what BlazePose would need)");
}

}  // namespace trtpose
