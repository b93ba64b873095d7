// SPDX-License-Identifier: Apache-2.0
// Candidates, suppression of people and of keypoint objects, fusion into poses.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "families/kapao/family.hpp"
#include "families/kapao/kernels.hpp"
#include "families/kapao/options.hpp"
#include "families/kapao/view.hpp"
#include "families/raw_heads.hpp"
#include "ops/dispatch.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose::kapao {
namespace {

/// The largest float that is not above `threshold`: an overlap is above the one if it is above the other.
float not_above(double threshold) {
    const auto nearest = static_cast<float>(threshold);
    return nearest > threshold ? std::nextafter(nearest, -1.0f) : nearest;
}

/// What is held from the candidates to the poses, as parts of one block.
struct Held {
    CandidateLists candidates;
    float* keypoints = nullptr;  ///< of the people's candidates; for OKS alone
    ops::Detections kept, people, objects;
    Points points;

    Held(Planner& planner, const Predictions& all, int most, bool oks) {
        const auto images = static_cast<size_t>(all.batch), capacity = static_cast<size_t>(all.total_anchors);
        const auto keypoint_count = static_cast<size_t>(all.keypoints);
        // Room for every anchor: none is dropped, and the answer does not depend on which came first.
        for (ops::Candidates* list : {&candidates.people, &candidates.objects}) {
            list->capacity = all.total_anchors;
            list->counts = planner.take<int32_t>(images);
            list->boxes = planner.take<float>(images * capacity * 4);
            list->scores = planner.take<float>(images * capacity);
            list->classes = planner.take<int32_t>(images * capacity);
            list->anchors = planner.take<int32_t>(images * capacity);
        }
        if (oks) keypoints = planner.take<float>(images * capacity * keypoint_count * 3);
        for (ops::Detections* list : {&kept, &people, &objects}) {
            list->max_det = most;
            list->counts = planner.take<int32_t>(images);
            list->indices = planner.take<int32_t>(images * static_cast<size_t>(most));
        }
        points.people = most;
        for (float** values : {&points.x, &points.y, &points.confidence})
            *values = planner.take<float>(images * keypoint_count * static_cast<size_t>(most));
    }
};

class Reader final : public families::PoseReader {
public:
    Reader(const ModelSpec& spec, int most_candidates)
        : spec_(spec), options_(options_of(spec)), nms_(ops::NmsParams{}, spec.sigmas) {
        params_.max_nms = most_candidates;
    }

    std::vector<std::vector<int64_t>> outputs() const override {
        return {output_count(spec_, options_.form), output_shape(spec_, options_.form)};
    }

    Size input_size(Span<const std::vector<int64_t>> shapes) const override {
        if (!is_raw(options_.form)) return {};
        constexpr size_t rows = 2;  // of N × (A·F) × h × w and of N × A × h × w × F
        return families::input_of_head(spec_.name, shapes[0][rows], shapes[0][rows + 1], spec_.strides[0]);
    }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds& thresholds,
                                Device device) override {
        require(device.type == DeviceType::cuda || outputs.dtype == DType::f32, ErrorCode::model, "model ", spec_.name,
                ": on the CPU outputs are float32, not ", trtpose::to_string(outputs.dtype));
        all_ = view_of(spec_, options_.form, outputs);
        Planner planner;
        static_cast<void>(Held(planner, all_, most_of(thresholds), thresholds.oks));
        set_people(thresholds);
        return {planner.used(), nms_.workspace_bytes(all_.batch, all_.total_anchors, device)};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        Planner planner(buffers.held);
        const Held held(planner, all_, most_of(thresholds), thresholds.oks);
        Predictions all = all_;
        all.batch = count;  // slots behind the last frame of a part-filled batch hold nothing
        place_data(options_.form, outputs, all);
        const Gates gates = gates_of(thresholds);
        find(all, gates, thresholds.oks, held, context);
        if (selected) selected();
        suppress(count, gates, thresholds, held, buffers.scratch, context);
        const Chosen people{held.candidates.people, held.people};
        const Chosen objects{gates.together ? held.candidates.people : held.candidates.objects, held.objects};
        const Fusion fusion{static_cast<float>(options_.conf_kp_person), options_.overwrite_tol, options_.fusion,
                            options_.round_boxes, options_.zero_unreplaced};
        const PosesOut out{buffers.results.counts, buffers.results.poses, thresholds.max_det};
        ops::dispatch(
            context, kName,
            [&] { fuse_cpu(all, people, objects, placements, fusion, held.points, out, context.threads); },
            [&](auto* stream) { fuse_cuda(all, people, objects, placements, fusion, held.points, out, stream); });
    }

private:
    /// Kept of a suppression: as many as the reference keeps, or as many as are asked for.
    int most_of(const Thresholds& thresholds) const { return std::max(thresholds.max_det, options_.max_objects); }

    Gates gates_of(const Thresholds& thresholds) const {
        Gates gates{};
        gates.conf = thresholds.conf;
        gates.conf_objects = static_cast<float>(options_.conf_kp);
        gates.together = !thresholds.oks && thresholds.iou == static_cast<float>(options_.iou_kp) &&
                         gates.conf_objects >= thresholds.conf;
        const bool objects = options_.fusion && !gates.together;
        if (!options_.fusion) gates.conf_objects = std::numeric_limits<float>::infinity();
        const float least = objects ? std::min(gates.conf, gates.conf_objects) : gates.conf;
        gates.gate = all_.logits ? math::logit_below(least) : least;
        return gates;
    }

    void find(const Predictions& all, const Gates& gates, bool oks, const Held& held, const Context& context) const {
        ops::dispatch(
            context, kName, [&] { candidates_cpu(all, gates, held.candidates, context.threads); },
            [&](auto* stream) { candidates_cuda(all, gates, held.candidates, stream); });
        if (!oks) return;
        ops::dispatch(
            context, kName,
            [&] { candidate_keypoints_cpu(all, held.candidates.people, held.keypoints, context.threads); },
            [&](auto* stream) { candidate_keypoints_cuda(all, held.candidates.people, held.keypoints, stream); });
    }

    void set_people(const Thresholds& thresholds) {
        params_.threshold = thresholds.iou;
        params_.max_det = most_of(thresholds);
        params_.agnostic = true;  // the shift tells classes apart
        params_.similarity = thresholds.oks ? ops::Similarity::oks : ops::Similarity::iou;
        nms_.set(params_);
    }

    void suppress(int count, const Gates& gates, const Thresholds& thresholds, const Held& held,
                  const Workspace& scratch, const Context& context) {
        set_people(thresholds);
        const ops::Candidates& people = held.candidates.people;
        nms_(people, count, held.keypoints, gates.together ? held.kept : held.people, scratch, context);
        if (gates.together) {
            ops::dispatch(
                context, kName, [&] { divide_cpu(gates, people, count, held.kept, held.people, held.objects); },
                [&](auto* stream) { divide_cuda(gates, people, count, held.kept, held.people, held.objects, stream); });
            return;
        }
        params_.threshold = not_above(options_.iou_kp);
        params_.similarity = ops::Similarity::iou;
        nms_.set(params_);
        nms_(held.candidates.objects, count, nullptr, held.objects, scratch, context);
    }

    static constexpr const char* kName = "kapao";
    ModelSpec spec_;
    Options options_;
    ops::NmsParams params_;
    ops::Nms nms_;
    Predictions all_;  ///< of the planned shapes, without data
};

}  // namespace

std::unique_ptr<families::PoseReader> Kapao::reader(const ModelSpec& spec, int most_candidates) const {
    return std::make_unique<Reader>(spec, most_candidates);
}

}  // namespace trtpose::kapao
