// SPDX-License-Identifier: Apache-2.0
// Grids of anchors: decode, keypoints where OKS asks for them, NMS, poses.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "families/anchor_grid/family.hpp"
#include "families/anchor_grid/layout.hpp"
#include "families/raw_heads.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose::anchor_grid {
namespace {

/// What is held from decode to the poses, as parts of one block.
struct Held {
    ops::Candidates candidates;
    float* keypoints = nullptr;  ///< of the candidates; for OKS alone
    int32_t* kept = nullptr;

    Held(Planner& planner, const ops::HeadView& heads, const Thresholds& t) {
        const auto images = static_cast<size_t>(heads.batch), capacity = static_cast<size_t>(heads.total_anchors);
        // Room for every anchor: none is dropped, and the answer does not depend on which came first.
        candidates.capacity = heads.total_anchors;
        candidates.counts = planner.take<int32_t>(images);
        candidates.boxes = planner.take<float>(images * capacity * 4);
        candidates.scores = planner.take<float>(images * capacity);
        candidates.classes = planner.take<int32_t>(images * capacity);
        candidates.anchors = planner.take<int32_t>(images * capacity);
        if (t.oks) keypoints = planner.take<float>(images * capacity * static_cast<size_t>(heads.keypoints) * 3);
        kept = planner.take<int32_t>(images * static_cast<size_t>(t.max_det));
    }
};

class Reader final : public families::PoseReader {
public:
    Reader(const ModelSpec& spec, int most_candidates)
        : spec_(spec), decode_(spec), nms_(ops::NmsParams{}, spec.sigmas) {
        params_.max_nms = most_candidates;
        params_.suppress = spec.layout != Layout::final;
    }

    std::vector<std::vector<int64_t>> outputs() const override { return {output_count(spec_), output_shape(spec_)}; }

    Size input_size(Span<const std::vector<int64_t>> shapes) const override {
        if (!is_raw(spec_.layout)) return {};
        constexpr size_t rows = 2;  // of N × (A·F) × h × w and of N × A × h × w × F
        return families::input_of_head(spec_.name, shapes[0][rows], shapes[0][rows + 1], spec_.strides[0]);
    }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds& thresholds,
                                Device device) override {
        const std::vector<const void*> no_data(outputs.shapes.size());
        heads_ = decode_.view(outputs.shapes, no_data, outputs.dtype, outputs.input);
        require(heads_.batch == outputs.batch, ErrorCode::model, "model ", spec_.name, ": a batch of ", outputs.batch,
                " gives outputs for ", heads_.batch);
        params_.set(thresholds);
        nms_.set(params_);
        Planner planner;
        static_cast<void>(Held(planner, heads_, thresholds));
        // Decode and NMS run one after the other, so one scratch serves both.
        return {planner.used(), std::max(decode_.workspace_bytes(heads_, device),
                                         nms_.workspace_bytes(heads_.batch, heads_.total_anchors, device))};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        Planner planner(buffers.held);
        const Held held(planner, heads_, thresholds);
        ops::HeadView heads = heads_;
        heads.batch = count;  // slots behind the last frame of a part-filled batch hold nothing
        for (int l = 0; l < heads.levels; ++l) heads.level[l].data = outputs[static_cast<size_t>(l)];
        params_.set(thresholds);
        nms_.set(params_);
        decode_(heads, thresholds.conf, held.candidates, buffers.scratch, context);
        if (thresholds.oks) decode_.keypoints(heads, held.candidates, held.keypoints, context);
        if (selected) selected();
        const ops::Detections kept{buffers.results.counts, held.kept, thresholds.max_det};
        nms_(held.candidates, count, held.keypoints, kept, buffers.scratch, context);
        decode_.poses(heads, held.candidates, kept, placements, buffers.results.poses, context);
    }

private:
    ModelSpec spec_;
    ops::Decode decode_;
    ops::NmsParams params_;
    ops::Nms nms_;
    ops::HeadView heads_;  ///< of the planned shapes, without data
};

}  // namespace

std::unique_ptr<families::PoseReader> AnchorGrid::reader(const ModelSpec& spec, int most_candidates) const {
    return std::make_unique<Reader>(spec, most_candidates);
}

ScoredRows AnchorGrid::scored_rows(const ModelSpec& spec) const {
    const auto first = static_cast<size_t>(Fields(spec).classes), classes = static_cast<size_t>(spec.classes());
    switch (spec.layout) {
        case Layout::channels_first: return {0, true, first, classes, classes};
        case Layout::final: return {0, false, first, 1, classes};
        default: return {};  // scores and all else come from one convolution
    }
}

}  // namespace trtpose::anchor_grid
