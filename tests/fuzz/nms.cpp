// SPDX-License-Identifier: Apache-2.0
// Suppression of candidates whose numbers are anything: what is kept is there once and does not depend on their order.
#include "trtpose/ops/nms.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "op_inputs.hpp"

namespace trtpose::fuzz {
namespace {

/// Candidates of one image, in one order.
struct Candidates {
    Block<int32_t> counts, classes, anchors;
    Block<float> boxes, scores, keypoints;
    int points;

    Candidates(size_t count, int keypoints_each)
        : counts(1),
          classes(count),
          anchors(count),
          boxes(4 * count),
          scores(count),
          keypoints(count * static_cast<size_t>(keypoints_each) * 3),
          points(keypoints_each) {}

    ops::Candidates view() const {
        return {counts.data(),  boxes.data(),   scores.data(),
                classes.data(), anchors.data(), static_cast<int>(scores.size())};
    }
    /// The same from the last to the first.
    Candidates turned() const {
        Candidates out(scores.size(), points);
        out.counts[0] = counts[0];
        const size_t each = static_cast<size_t>(points) * 3, count = scores.size();
        for (size_t i = 0; i < count; ++i) {
            const size_t from = count - 1 - i;
            out.classes[i] = classes[from];
            out.anchors[i] = anchors[from];
            out.scores[i] = scores[from];
            std::copy_n(&boxes[4 * from], 4, &out.boxes[4 * i]);
            std::copy_n(keypoints.data() + each * from, each, out.keypoints.data() + each * i);
        }
        return out;
    }
};

/// The anchors that are kept, best first.
std::vector<int32_t> kept_of(const ops::Nms& op, const Candidates& candidates, int max_det) {
    const Block<int32_t> counts(1), indices(static_cast<size_t>(max_det));
    const Block<char> scratch(op.workspace_bytes(1, static_cast<int>(candidates.scores.size()), {}));
    op(candidates.view(), 1, candidates.keypoints.data(), {counts.data(), indices.data(), max_det},
       {scratch.data(), scratch.size()}, {});
    expect(counts[0] >= 0 && counts[0] <= max_det, "no more are kept than asked for");
    std::vector<int32_t> out;
    for (int i = 0; i < counts[0]; ++i) {
        expect(indices[i] >= 0 && static_cast<size_t>(indices[i]) < candidates.scores.size(), "what is kept is there");
        out.push_back(candidates.anchors[indices[i]]);
    }
    expect(std::set<int32_t>(out.begin(), out.end()).size() == out.size(), "nobody is kept twice");
    return out;
}

}  // namespace
}  // namespace trtpose::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace trtpose;
    FuzzedDataProvider in(data, size);
    ops::NmsParams params;
    params.threshold = in.ConsumeFloatingPointInRange(0.0f, 1.0f);
    params.max_nms = in.ConsumeIntegralInRange(1, 60);
    params.max_det = in.ConsumeIntegralInRange(1, 60);
    params.agnostic = in.ConsumeBool();
    params.suppress = in.ConsumeBool();
    params.similarity = in.PickValueInArray({ops::Similarity::iou, ops::Similarity::oks});
    const int points = in.ConsumeIntegralInRange(1, 3);
    const auto count = in.ConsumeIntegralInRange<size_t>(1, 80);
    const ops::Nms op(params,
                      std::vector<float>(static_cast<size_t>(points), in.ConsumeFloatingPointInRange(1e-3f, 1.0f)));
    fuzz::Candidates candidates(count, points);
    candidates.counts[0] = in.ConsumeBool() ? static_cast<int32_t>(count) : INT32_MAX;  // more than there is room for
    std::iota(candidates.anchors.data(), candidates.anchors.data() + count, 0);
    for (size_t i = 0; i < count; ++i) candidates.classes[i] = in.ConsumeIntegralInRange(0, 2);
    fuzz::fill(in, candidates.scores);
    for (size_t i = 0; i < count; ++i) candidates.scores[i] = std::abs(candidates.scores[i]);
    fuzz::fill(in, candidates.boxes);
    fuzz::fill(in, candidates.keypoints);
    fuzz::expect(
        fuzz::kept_of(op, candidates, params.max_det) == fuzz::kept_of(op, candidates.turned(), params.max_det),
        "what is kept does not depend on the order");
    return 0;
}
