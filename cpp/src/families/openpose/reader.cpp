// SPDX-License-Identifier: Apache-2.0
// Heatmaps and fields: peaks, limbs, poses.
#include <utility>

#include "core/check.hpp"
#include "families/openpose/family.hpp"
#include "families/openpose/select.hpp"
#include "families/raw_heads.hpp"
#include "ops/dispatch.hpp"

namespace trtpose::openpose {

Grid make_grid(int height, int width, int factor) {
    Grid grid{height, width, factor};
    while (1 << grid.shift < factor) ++grid.shift;
    constexpr double a = -0.75;
    const auto near = [&](double x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
    const auto far = [&](double x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
    for (int place = 0; place < factor; ++place) {
        const double at = (place + 0.5) / factor - 0.5, part = at < 0 ? at + 1 : at;
        const double weights[] = {far(part + 1), near(part), near(1 - part), far(2 - part)};
        for (int i = 0; i < 4; ++i) grid.weight[place][i] = static_cast<float>(weights[i]);
    }
    return grid;
}

namespace {

class Reader final : public families::PoseReader {
public:
    explicit Reader(const ModelSpec& spec) : spec_(spec) { job_.topology = topology_of(spec); }

    std::vector<std::vector<int64_t>> outputs() const override {
        const Topology& t = job_.topology;
        if (t.joined) return {{-1, t.heatmap_channels() + t.field_channels(), -1, -1}};
        return {{-1, t.heatmap_channels(), -1, -1}, {-1, t.field_channels(), -1, -1}};
    }

    Size input_size(Span<const std::vector<int64_t>> shapes) const override {
        return families::input_of_head(spec_.name, shapes[0][2], shapes[0][3], spec_.strides[0]);
    }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds&, Device device) override {
        const bool on_cpu = device.type == DeviceType::cpu;
        require(outputs.dtype == DType::f32 || (outputs.dtype == DType::f16 && !on_cpu), ErrorCode::model, "model ",
                spec_.name, ": outputs of type ", to_string(outputs.dtype), " cannot be read, float32 can");
        place_outputs(outputs);
        const int stride = spec_.strides[0];
        job_.grid = make_grid(outputs.input.height / stride, outputs.input.width / stride, job_.topology.factor);
        job_.outputs.half = outputs.dtype == DType::f16;
        images_ = static_cast<size_t>(outputs.batch);
        on_cpu_ = on_cpu;
        Planner planner;
        static_cast<void>(Work(planner, job_.topology, job_.grid, images_, on_cpu_));
        return {planner.used(), 0};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        Planner planner(buffers.held);
        Job job = job_;
        job.work = Work(planner, job.topology, job.grid, images_, on_cpu_);
        job.outputs.heatmaps = outputs[heatmaps_];
        const auto* const bytes = static_cast<const char*>(outputs[fields_]);
        job.outputs.fields = bytes + fields_offset_ * static_cast<int64_t>(job.outputs.half ? 2 : sizeof(float));
        const Answer answer{placements,         spec_.strides[0],       thresholds.conf,
                            thresholds.max_det, buffers.results.counts, buffers.results.poses};
        ops::dispatch(
            context, "the search for peaks", [&] { peaks_cpu(job, count, context.threads); },
            [&](auto* stream) { peaks_cuda(job, count, stream); });
        if (selected) selected();
        ops::dispatch(
            context, "the poses of maps",
            [&] {
                joints_cpu(job, count, context.threads);
                poses_cpu(job, answer, count, context.threads);
            },
            [&](auto* stream) {
                joints_cuda(job, count, stream);
                poses_cuda(job, answer, count, stream);
            });
    }

private:
    /// Which output is which, by their channels.
    void place_outputs(const families::OutputShapes& outputs) {
        const Topology& t = job_.topology;
        const int64_t stride = spec_.strides[0], cells_high = outputs.input.height / stride,
                      cells_wide = outputs.input.width / stride;
        auto expected = this->outputs();
        for (auto& shape : expected) {
            shape[0] = outputs.batch;
            shape[2] = cells_high;
            shape[3] = cells_wide;
        }
        require(outputs.shapes.size() >= expected.size(), ErrorCode::model, "model ", spec_.name, ": ",
                outputs.shapes.size(), " outputs, expected ", expected.size(), "; check the model spec");
        heatmaps_ = 0;
        fields_ = expected.size() - 1;
        if (!t.joined && outputs.shapes[0] == expected[1]) std::swap(heatmaps_, fields_);
        const bool divides = outputs.input.height % stride == 0 && outputs.input.width % stride == 0;
        for (const auto& [index, which] : {std::pair{heatmaps_, size_t{0}}, std::pair{fields_, expected.size() - 1}})
            require(divides && outputs.batch > 0 && outputs.shapes[index] == expected[which], ErrorCode::model,
                    "model ", spec_.name, ": output ", index, " has shape ", shape_text(outputs.shapes[index]),
                    ", maps of ", t.maps, " keypoints and ", t.limbs, " limbs at stride ", stride, " have ",
                    shape_text(expected[which]), "; check the model spec");
        const int64_t cells = cells_high * cells_wide;
        job_.outputs.heatmap_step = cells * (t.heatmap_channels() + (t.joined ? t.field_channels() : 0));
        job_.outputs.field_step = t.joined ? job_.outputs.heatmap_step : cells * t.field_channels();
        fields_offset_ = t.joined ? cells * t.heatmap_channels() : 0;
    }

    ModelSpec spec_;
    Job job_;  ///< of the planned shapes, without data
    size_t images_ = 0, heatmaps_ = 0, fields_ = 0;
    int64_t fields_offset_ = 0;  ///< elements of an image before its fields
    bool on_cpu_ = true;
};

}  // namespace

std::unique_ptr<families::PoseReader> OpenPose::reader(const ModelSpec& spec, int) const {
    return std::make_unique<Reader>(spec);
}

}  // namespace trtpose::openpose
