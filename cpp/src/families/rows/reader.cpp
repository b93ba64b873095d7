// SPDX-License-Identifier: Apache-2.0
// Rows above the confidence, NMS, poses.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "families/rows/family.hpp"
#include "families/rows/select.hpp"
#include "ops/dispatch.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose::rows {
namespace {

/// What is held from the rows to the poses, as parts of one block.
struct Held {
    ops::Candidates candidates;
    float* keypoints = nullptr;  ///< of the candidates; for OKS alone
    int32_t* kept = nullptr;

    Held(Planner& planner, const View& view, const Thresholds& t) {
        const auto images = static_cast<size_t>(view.count), rows = static_cast<size_t>(view.rows);
        candidates.capacity = view.rows;
        candidates.counts = planner.take<int32_t>(images);
        candidates.boxes = planner.take<float>(images * rows * 4);
        candidates.scores = planner.take<float>(images * rows);
        candidates.classes = planner.take<int32_t>(images * rows);
        candidates.anchors = planner.take<int32_t>(images * rows);
        const size_t pose = static_cast<size_t>(view.keypoint_count) * kPointNumbers;
        if (t.oks) keypoints = planner.take<float>(images * rows * pose);
        kept = planner.take<int32_t>(images * static_cast<size_t>(t.max_det));
    }
};

class Reader final : public families::PoseReader {
public:
    Reader(const ModelSpec& spec, int most_candidates) : spec_(spec), nms_(ops::NmsParams{}, spec.sigmas) {
        params_.max_nms = most_candidates;
        params_.suppress = suppresses(spec);
    }

    std::vector<std::vector<int64_t>> outputs() const override { return output_shapes(spec_.keypoints); }
    Size input_size(Span<const std::vector<int64_t>>) const override { return {}; }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds& thresholds,
                                Device device) override {
        view_ = view_of(outputs);
        params_.set(thresholds);
        nms_.set(params_);
        Planner planner;
        static_cast<void>(Held(planner, view_, thresholds));
        return {planner.used(), nms_.workspace_bytes(view_.count, view_.rows, device)};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        Planner planner(buffers.held);
        const Held held(planner, view_, thresholds);
        View view = view_;
        view.count = count;
        view.boxes = outputs[0];
        view.keypoints = outputs[1];
        view.conf = thresholds.conf;
        params_.set(thresholds);
        nms_.set(params_);
        const auto give = [&](auto&& on_cpu, auto&& on_cuda) { ops::dispatch(context, "rows", on_cpu, on_cuda); };
        give([&] { candidates_cpu(view, held.candidates, context.threads); },
             [&](auto* stream) { candidates_cuda(view, held.candidates, stream); });
        if (thresholds.oks)
            give([&] { keypoints_cpu(view, held.candidates, held.keypoints, context.threads); },
                 [&](auto* stream) { keypoints_cuda(view, held.candidates, held.keypoints, stream); });
        if (selected) selected();
        const ops::Detections kept{buffers.results.counts, held.kept, thresholds.max_det};
        nms_(held.candidates, count, held.keypoints, kept, buffers.scratch, context);
        const ops::PoseArrays& poses = buffers.results.poses;
        give([&] { poses_cpu(view, held.candidates, kept, placements, poses, context.threads); },
             [&](auto* stream) { poses_cuda(view, held.candidates, kept, placements, poses, stream); });
    }

private:
    View view_of(const families::OutputShapes& outputs) const {
        const auto fail = [&](const auto&... why) {
            throw Error(ErrorCode::model, text("model ", spec_.name, why...));
        };
        const auto expected = this->outputs();
        if (outputs.shapes.size() < expected.size())
            fail(": it has ", outputs.shapes.size(), " outputs, expected ", expected.size());
        if (outputs.dtype != DType::f32 && outputs.dtype != DType::f16)
            fail(": outputs of type ", to_string(outputs.dtype), " cannot be read, float32 and float16 can");
        const auto& boxes = outputs.shapes[0];
        const int64_t rows = boxes.size() == expected[0].size() ? boxes[1] : 0;
        for (size_t i = 0; i < expected.size(); ++i) {
            std::vector<int64_t> wanted = expected[i];
            wanted[0] = outputs.batch;
            wanted[1] = rows;
            if (rows < 1 || rows > (1 << 24) || outputs.shapes[i] != wanted)
                fail(": output ", i, " is ", shape_text(outputs.shapes[i]), ", expected ", shape_text(expected[i]),
                     " with as many rows in both");
        }
        return {nullptr, nullptr, outputs.dtype, outputs.batch, static_cast<int>(rows), spec_.keypoints, 0.0f};
    }

    ModelSpec spec_;
    ops::NmsParams params_;
    ops::Nms nms_;
    View view_{};  ///< of the planned shapes, without data
};

}  // namespace

std::unique_ptr<families::PoseReader> Rows::reader(const ModelSpec& spec, int most_candidates) const {
    return std::make_unique<Reader>(spec, most_candidates);
}

}  // namespace trtpose::rows
