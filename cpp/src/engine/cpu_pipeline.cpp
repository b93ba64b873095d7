// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <new>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "engine/pipeline.hpp"
#include "engine/stopwatch.hpp"
#include "trtpose/between_runs.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::engine {
namespace {

/// Every buffer of one batch and size, as parts of one block.
struct Buffers {
    float* input = nullptr;
    std::vector<void*> outputs;
    std::vector<const void*> read_outputs;  ///< the same in the spec's order
    math::Letterbox* placements = nullptr;
    std::unique_ptr<families::PoseReader> reader;
    families::ReadBuffers read;
    Workspace workspace;
    size_t io_bytes = 0, workspace_bytes = 0;
    int batch = 0, max_det = 0;
    Size size;
    bool oks = false;
};

/// DevicePoses in host memory.
class HostPoses final : public DevicePoses::Memory {
public:
    explicit HostPoses(size_t bytes) : block(bytes) {}
    void wait(void*) const override {}
    void synchronize() const override {}
    HostBuffer block;
};

class CpuPipeline final : public Pipeline {
public:
    explicit CpuPipeline(const EngineParts& engine) : engine_(engine) {}

    MemoryPlan plan(int batch, Size size, const Thresholds& t, size_t) override {
        Planner measure;
        const SessionShape& shape = engine_.session.prepare(batch, size);
        return plan_of(shape, lay_out(measure, shape, batch, size, t));
    }

    void prepare(int batch, Size size, const Thresholds& t) override {
        const SessionShape& shape = engine_.session.prepare(batch, size);
        const Buffers& b = buffers_;
        if (b.batch == batch && b.size == size && b.max_det == t.max_det && b.oks == t.oks) return;
        Planner measure;
        const MemoryPlan wanted = plan_of(shape, lay_out(measure, shape, batch, size, t));
        check_budget(engine_, wanted, batch, size);
        buffers_ = {};  // nothing is valid until the block stands
        if (measure.used() > arena_.size()) {
            arena_ = HostBuffer();
            try {
                arena_ = HostBuffer(measure.used());
            } catch (const std::bad_alloc&) {
                throw Error(ErrorCode::budget, text(shape_name(engine_, batch, size), ": no memory for ",
                                                    mebibytes(measure.used()), "; take a smaller batch or size"));
            }
        }
        Planner planner(arena_.data());
        buffers_ = lay_out(planner, shape, batch, size, t);
        if (wanted.total() > plan_.total()) plan_ = wanted;  // the block stays as large as it once had to be
    }

    std::vector<Poses> run(const Call& call, const Thresholds& t, StageTimes& times) override {
        require(!call.input.data || call.input.dtype == DType::f32, ErrorCode::input, "a letterboxed input is ",
                to_string(call.input.dtype), ", on the CPU it must be float32");
        std::vector<Poses> out(call.count());
        for (const Run& run : call.runs) {
            if (run.first > 0) BetweenRuns::ask();
            prepare(run.batch, run.size, t);
            const auto count = static_cast<size_t>(run.count);
            Stopwatch watch;
            if (call.input.data) {
                const size_t one = 3 * static_cast<size_t>(run.size.height) * static_cast<size_t>(run.size.width);
                std::copy_n(static_cast<const float*>(call.input.data) + run.first * one, count * one, buffers_.input);
                std::fill_n(buffers_.placements, count,
                            math::letterbox(run.size.width, run.size.height, run.size.width, run.size.height));
            } else {
                ops::Letterbox(engine_.spec, run.size)(call.frames.subspan(run.first, count), buffers_.input,
                                                       buffers_.placements, buffers_.workspace, context());
                times.letterbox += watch.lap();
            }
            run_network(call, run, t, out, times);
        }
        return out;
    }

    DevicePoses run_device(const Call& call, const Thresholds& t, StageTimes& times) override {
        const std::vector<Poses> all = run(call, t, times);
        DevicePoses out;
        out.device = context().device;
        out.frames = static_cast<int>(all.size());
        out.max_det = t.max_det;
        out.keypoints_per_pose = engine_.spec.keypoints;
        for (const Poses& p : all) out.frame_sizes.push_back(p.frame);
        if (all.empty()) return out;
        const size_t pose = static_cast<size_t>(engine_.spec.keypoints) * 3;
        Planner measure;
        lay_out_results(measure, all.size(), t, engine_.spec.keypoints);
        std::shared_ptr<HostPoses> memory;
        try {
            memory = std::make_shared<HostPoses>(measure.used());
        } catch (const std::bad_alloc&) {
            throw Error(ErrorCode::budget, text("results of ", all.size(), " frames with room for ", t.max_det,
                                                " poses each: no memory for ", mebibytes(measure.used()),
                                                "; pass fewer frames or a smaller max_det"));
        }
        std::memset(memory->block.data(), 0, memory->block.size());
        Planner planner(memory->block.data());
        const ResultArrays results = lay_out_results(planner, all.size(), t, engine_.spec.keypoints);
        out.counts = results.counts;
        out.boxes = results.poses.boxes;
        out.scores = results.poses.scores;
        out.class_ids = results.poses.class_ids;
        out.keypoints = results.poses.keypoints;
        for (size_t i = 0; i < all.size(); ++i) {
            const size_t first = i * static_cast<size_t>(t.max_det);
            out.counts[i] = all[i].count;
            std::copy(all[i].boxes.begin(), all[i].boxes.end(), out.boxes + 4 * first);
            std::copy(all[i].scores.begin(), all[i].scores.end(), out.scores + first);
            std::copy(all[i].class_ids.begin(), all[i].class_ids.end(), out.class_ids + first);
            std::copy(all[i].keypoints.begin(), all[i].keypoints.end(), out.keypoints + pose * first);
        }
        out.memory = std::move(memory);
        return out;
    }

    MemoryPlan memory() const override { return plan_; }

private:
    Context context() const { return {engine_.session.info().device, nullptr, &engine_.threads}; }

    static MemoryPlan plan_of(const SessionShape& shape, const Buffers& buffers) {
        MemoryPlan plan;
        plan.weights = shape.weight_bytes;
        plan.activations = shape.activation_bytes;
        plan.io = buffers.io_bytes;
        plan.workspace = buffers.workspace_bytes;
        return plan;
    }

    /// For the shape that the session has been prepared for.
    Buffers lay_out(Planner& planner, const SessionShape& shape, int n, Size size, const Thresholds& t) const {
        Buffers b;
        ShapeReader reader = make_reader(engine_, shape, DType::f32, n, size, t);
        const auto images = static_cast<size_t>(n);
        b.input = planner.take<float>(images * 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width));
        for (const auto& output : shape.outputs) b.outputs.push_back(planner.take<float>(product(output)));
        b.read_outputs = in_spec_order(engine_, b.outputs);
        b.io_bytes = planner.used();
        b.placements = planner.take<math::Letterbox>(images);
        b.reader = std::move(reader.reader);
        b.read.held = planner.take<char>(reader.memory.held);
        b.read.results = lay_out_results(planner, images, t, engine_.spec.keypoints);
        // The letterbox is done when the outputs are read, so one scratch serves both.
        b.workspace.bytes =
            std::max(ops::Letterbox(engine_.spec, size).workspace_bytes(images, engine_.session.info().device),
                     reader.memory.scratch);
        b.workspace.data = planner.take<char>(b.workspace.bytes);
        b.read.scratch = b.workspace;
        b.workspace_bytes = planner.used() - b.io_bytes;
        b.batch = n;
        b.size = size;
        b.max_det = t.max_det;
        b.oks = t.oks;
        return b;
    }

    /// Everything behind the letterbox, for the inputs that stand in the buffers.
    void run_network(const Call& call, const Run& run, const Thresholds& t, std::vector<Poses>& out,
                     StageTimes& times) {
        Stopwatch watch;
        const Context ctx = context();
        Buffers& b = buffers_;
        engine_.session.run(b.input, b.outputs, ctx);
        times.network += watch.lap();

        b.reader->read(b.read_outputs, run.count, t, b.placements, b.read, ctx, [&] { times.decode += watch.lap(); });
        for (size_t i = 0; i < static_cast<size_t>(run.count); ++i)
            out[run.first + i] =
                take_poses(b.read.results, i, t.max_det, engine_.spec.keypoints, call.frame_size(run.first + i));
        times.nms += watch.lap();
    }

    EngineParts engine_;
    HostBuffer arena_;
    Buffers buffers_;
    MemoryPlan plan_;
};

}  // namespace

std::unique_ptr<Pipeline> make_cpu_pipeline(const EngineParts& engine) { return std::make_unique<CpuPipeline>(engine); }

}  // namespace trtpose::engine
