// SPDX-License-Identifier: Apache-2.0
// MoveNet: the centres of people, the cell of each keypoint, people above the threshold, best first, poses.
#include <algorithm>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "families/movenet/family.hpp"
#include "families/movenet/select_kernels.hpp"
#include "families/raw_heads.hpp"
#include "ops/dispatch.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose::movenet {
namespace {

ops::Candidates take_candidates(Planner& planner, size_t images, int capacity) {
    ops::Candidates out;
    const size_t all = images * static_cast<size_t>(capacity);
    out.capacity = capacity;
    out.counts = planner.take<int32_t>(images);
    out.boxes = planner.take<float>(4 * all);
    out.scores = planner.take<float>(all);
    out.classes = planner.take<int32_t>(all);
    out.anchors = planner.take<int32_t>(all);
    return out;
}

/// What is held from the outputs to the poses, as parts of one block.
struct Held {
    People people;
    int32_t* kept = nullptr;

    /// `centers`: the most that are looked at, `capacity` the most people that are read.
    Held(Planner& planner, const Outputs& all, int batch, int centers, int capacity, int max_det) {
        const auto images = static_cast<size_t>(batch), keypoints = static_cast<size_t>(all.keypoints);
        const size_t slots = images * static_cast<size_t>(capacity);
        people.capacity = capacity;
        if (is_raw(all.settings.form)) {
            people.centers = take_candidates(planner, images, centers);
            people.chosen = {planner.take<int32_t>(images), planner.take<int32_t>(slots), capacity};
            people.cells = planner.take<int32_t>(slots * keypoints);
            people.values = planner.take<float>(slots * keypoints);
        }
        people.found = take_candidates(planner, images, capacity);
        people.points = planner.take<float>(slots * keypoints * 3);
        kept = planner.take<int32_t>(images * static_cast<size_t>(max_det));
    }
};

class Reader final : public families::PoseReader {
public:
    Reader(const ModelSpec& spec, int most_candidates)
        : name_(spec.name), most_candidates_(most_candidates), sorter_(ops::NmsParams{}) {
        all_.settings = Settings::of(spec);
        all_.keypoints = spec.keypoints;
        tensors_ = outputs().size();
        require(!is_raw(all_.settings.form) || !spec.strides.empty(), ErrorCode::model, "model spec ", spec.name,
                ": form ", to_string(all_.settings.form), " needs strides");
        all_.stride = spec.strides.empty() ? 1.0f : static_cast<float>(spec.strides[0]);
        all_.cell = all_.settings.cell > 0 ? all_.settings.cell : all_.stride;
    }

    std::vector<std::vector<int64_t>> outputs() const override {
        return output_shapes(all_.settings.form, all_.keypoints);
    }

    Size input_size(Span<const std::vector<int64_t>> shapes) const override {
        if (!is_raw(all_.settings.form)) return {};
        return families::input_of_head(name_, shapes[0][2], shapes[0][3], static_cast<int64_t>(all_.stride));
    }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds& thresholds,
                                Device device) override {
        check_shapes(outputs);
        check_dtype(outputs.dtype, device);
        const auto& shape = outputs.shapes[0];
        all_.dtype = outputs.dtype;
        all_.batch = outputs.batch;
        all_.input_height = static_cast<float>(outputs.input.height);
        all_.input_width = static_cast<float>(outputs.input.width);
        const Form form = all_.settings.form;
        centers_ = capacity_ = 1;
        if (is_raw(form)) {
            all_.height = static_cast<int>(shape[2]);
            all_.width = static_cast<int>(shape[3]);
        } else {
            all_.rows = static_cast<int>(shape[1]);
            capacity_ = all_.rows;
        }
        if (form == Form::multi_heads) {
            const int peaks = std::min(most_peaks(all_.height, all_.width), most_candidates_);
            centers_ = all_.settings.people ? all_.cells() : most_peaks(all_.height, all_.width);
            capacity_ = all_.settings.people ? std::min(all_.settings.people, all_.cells()) : peaks;
        }
        Planner planner;
        static_cast<void>(Held(planner, all_, all_.batch, centers_, capacity_, thresholds.max_det));
        size_t scratch = 0;
        for (const auto& [most, candidates] : {std::pair{capacity_, centers_}, {thresholds.max_det, capacity_}}) {
            sort_up_to(most);
            scratch = std::max(scratch, sorter_.workspace_bytes(all_.batch, candidates, device));
        }
        return {planner.used(), scratch};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        Planner planner(buffers.held);
        const Held held(planner, all_, all_.batch, centers_, capacity_, thresholds.max_det);
        const People& people = held.people;
        Outputs all = all_;
        all.batch = count;  // slots behind the last frame of a part-filled batch hold nothing
        for (size_t i = 0; i < tensors_; ++i) all.tensor[i] = outputs[i];
        if (is_raw(all.settings.form)) find_keypoints(all, thresholds.conf, people, buffers.scratch, context);
        ops::dispatch(
            context, "people", [&] { people_cpu(all, thresholds.conf, people, context.threads); },
            [&](auto* stream) { people_cuda(all, thresholds.conf, people, stream); });
        if (selected) selected();
        const ops::Detections kept{buffers.results.counts, held.kept, thresholds.max_det};
        sort_up_to(thresholds.max_det);
        sorter_(people.found, count, nullptr, kept, buffers.scratch, context);
        const ops::PoseArrays& poses = buffers.results.poses;
        ops::dispatch(
            context, "poses", [&] { poses_cpu(all, people, kept, placements, poses, context.threads); },
            [&](auto* stream) { poses_cuda(all, people, kept, placements, poses, stream); });
    }

private:
    /// As the family's shapes and the input's size have them.
    void check_shapes(const families::OutputShapes& outputs) const {
        const Form form = all_.settings.form;
        auto expected = output_shapes(form, all_.keypoints);
        require(outputs.shapes.size() >= expected.size(), ErrorCode::model, "model ", name_, ": ",
                outputs.shapes.size(), " outputs where form ", to_string(form), " has ", expected.size());
        const auto stride = static_cast<int>(all_.stride);
        for (size_t i = 0; i < expected.size(); ++i) {
            const auto& shape = outputs.shapes[i];
            expected[i][0] = outputs.batch;
            if (is_raw(form)) {
                expected[i][2] = outputs.input.height / stride;
                expected[i][3] = outputs.input.width / stride;
            } else if (shape.size() == 3 && shape[1] > 0 && shape[1] <= kMostRows) {
                expected[i][1] = form == Form::multi ? shape[1] : 1;
            }
            require(shape == expected[i], ErrorCode::model, "model ", name_, ": output ", i, " has shape ",
                    shape_text(shape), ", form ", to_string(form), " with ", all_.keypoints, " keypoints expects ",
                    shape_text(expected[i]), "; check the model spec");
        }
    }

    void check_dtype(DType dtype, Device device) const {
        const bool readable = dtype == DType::f32 || (dtype == DType::f16 && device.type == DeviceType::cuda);
        require(readable, ErrorCode::model, "model ", name_, ": outputs of type ", to_string(dtype),
                " cannot be read on ", to_string(device));
    }

    /// What only raw heads need: who is there, and in which cell each keypoint is.
    void find_keypoints(const Outputs& all, float conf, const People& people, Workspace scratch,
                        const Context& context) {
        ops::dispatch(
            context, "centres", [&] { centers_cpu(all, conf, people, context.threads); },
            [&](auto* stream) { centers_cuda(all, conf, people, stream); });
        if (!is_single(all.settings.form)) {
            sort_up_to(people.capacity);
            sorter_(people.centers, all.batch, nullptr, people.chosen, scratch, context);
        }
        ops::dispatch(
            context, "keypoints", [&] { keypoints_cpu(all, people, context.threads); },
            [&](auto* stream) { keypoints_cuda(all, people, stream); });
    }

    /// NMS then sorts, keeps so many and suppresses nobody.
    void sort_up_to(int most) {
        ops::NmsParams params;
        params.suppress = false;
        params.max_nms = most_candidates_;
        params.max_det = most;
        sorter_.set(params);
    }

    static constexpr int64_t kMostRows = 1 << 20;

    std::string name_;
    int most_candidates_;
    ops::Nms sorter_;
    size_t tensors_ = 0;
    Outputs all_;  ///< of the planned shapes, without data
    int centers_ = 1, capacity_ = 1;
};

}  // namespace

std::unique_ptr<families::PoseReader> MoveNet::reader(const ModelSpec& spec, int most_candidates) const {
    return std::make_unique<Reader>(spec, most_candidates);
}

}  // namespace trtpose::movenet
