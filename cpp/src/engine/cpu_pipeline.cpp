// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <new>
#include <utility>

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

/// A session and the buffers of the shape it is ready for.
struct Bench : Place {
    explicit Bench(Session& session_in) : session(&session_in) {}
    explicit Bench(std::unique_ptr<Session> own_in) : own(std::move(own_in)), session(own.get()) {}

    std::unique_ptr<Session> own;  ///< null: the engine's
    Session* session;
    HostBuffer arena;
    Buffers buffers;
    MemoryPlan plan;  ///< the largest so far
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
    // What is planned for is one run at a time, so a budget leaves no memory for more.
    explicit CpuPipeline(const EngineParts& engine)
        : engine_(engine), most_(engine.budget ? 1 : static_cast<size_t>(engine.in_flight)) {
        benches_.emplace_back(engine_.session);
    }

    ~CpuPipeline() override {
        for (Bench& bench : benches_) abandon(bench);  // it writes its buffers until it has ended
    }

    MemoryPlan plan(int batch, Size size, const Thresholds& t, size_t) override {
        Planner measure;
        const SessionShape& shape = engine_.session.prepare(batch, size);
        return plan_of(shape, lay_out(measure, shape, batch, size, t));
    }

    void prepare(int batch, Size size, const Thresholds& t) override {
        vacate(benches_[0], nullptr);
        prepare(benches_[0], batch, size, t);
    }

    std::vector<Poses> run(const Call& call, const Thresholds& t, StageTimes& times) override {
        check_input(call);
        Flight flight(call, t, &times);
        if (call.runs.size() > 1 && most_ > 2) return run_side_by_side(flight);
        Bench& bench = benches_[0];
        vacate(bench, nullptr);
        for (const Run& run : call.runs) {
            if (run.first > 0) BetweenRuns::ask();
            fill(bench, run, flight);
            Stopwatch watch;
            bench.session->run(bench.buffers.input, bench.buffers.outputs, context());
            times.network += watch.lap();
            read(bench, run, flight);
        }
        return std::move(flight.found);
    }

    void begin(Flight& flight) override {
        check_input(flight.call);
        try {
            for (const Run& run : flight.call.runs) {
                if (run.first > 0) BetweenRuns::ask();
                Bench& bench = free_bench(flight);
                fill(bench, run, flight);
                bench.session->start(bench.buffers.input, bench.buffers.outputs, context());
                static_cast<Place&>(bench) = {&flight, &run, ++runs_};
                ++flight.open;
            }
        } catch (...) {
            abandon(flight);
            throw;
        }
    }

    std::vector<Poses> end(Flight& flight) override {
        try {
            if (flight.failure) std::rethrow_exception(flight.failure);
            for (Bench& bench : benches_) {
                if (bench.flight == &flight) vacate(bench, &flight);
            }
        } catch (...) {
            abandon(flight);
            throw;
        }
        return std::move(flight.found);
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

    MemoryPlan memory() const override {
        MemoryPlan all = benches_[0].plan;
        for (size_t i = 1; i < benches_.size(); ++i) {
            all.activations += benches_[i].plan.activations;
            all.io += benches_[i].plan.io;
            all.workspace += benches_[i].plan.workspace;
        }
        return all;
    }

private:
    Context context() const { return {engine_.session.info().device, nullptr, &engine_.threads}; }

    static void check_input(const Call& call) {
        require(!call.input.data || call.input.dtype == DType::f32, ErrorCode::input, "a letterboxed input is ",
                to_string(call.input.dtype), ", on the CPU it must be float32");
    }

    void prepare(Bench& bench, int batch, Size size, const Thresholds& t) const {
        const SessionShape& shape = bench.session->prepare(batch, size);
        const Buffers& b = bench.buffers;
        if (b.batch == batch && b.size == size && b.max_det == t.max_det && b.oks == t.oks) return;
        Planner measure;
        const MemoryPlan wanted = plan_of(shape, lay_out(measure, shape, batch, size, t));
        check_budget(engine_, wanted, batch, size);
        bench.buffers = {};  // nothing is valid until the block stands
        if (measure.used() > bench.arena.size()) {
            bench.arena = HostBuffer();
            try {
                bench.arena = HostBuffer(measure.used());
            } catch (const std::bad_alloc&) {
                throw Error(ErrorCode::budget, text(shape_name(engine_, batch, size), ": no memory for ",
                                                    mebibytes(measure.used()), "; take a smaller batch or size"));
            }
        }
        Planner planner(bench.arena.data());
        bench.buffers = lay_out(planner, shape, batch, size, t);
        if (wanted.total() > bench.plan.total()) bench.plan = wanted;  // the block stays as large as it once had to be
    }

    /// With several streams one run has a part of the processor: those of a call are computed at the same time.
    std::vector<Poses> run_side_by_side(Flight& flight) {
        StageTimes& times = *flight.times;
        Stopwatch watch;
        begin(flight);
        auto found = end(flight);
        times.network += std::max(0.0, watch.lap() - times.letterbox - times.decode - times.nms);
        return found;
    }

    /// One for the next run of `flight`: free, made, or of the run that began first, which is read then.
    Bench& free_bench(const Flight& flight) {
        Bench& bench = benches_[next_place(benches_)];
        if (bench.run && benches_.size() < most_) return benches_.emplace_back(engine_.session.clone());
        vacate(bench, &flight);
        return bench;
    }

    /// Wait for the run that is computed there, if any, and read what it found. What goes wrong with one of another
    /// call than `asking` is left for that one to say.
    void vacate(Bench& bench, const Flight* asking) {
        const Place place = std::exchange(static_cast<Place&>(bench), {});
        if (!place.run) return;
        --place.flight->open;
        try {
            bench.session->wait();
            read(bench, *place.run, *place.flight);
        } catch (const std::exception&) {
            if (place.flight == asking) throw;
            place.flight->failure = std::current_exception();
        }
    }

    static void abandon(Bench& bench) noexcept {
        if (!std::exchange(static_cast<Place&>(bench), {}).run) return;
        try {
            bench.session->wait();
        } catch (const std::exception&) {
            // Nobody asks any more.
        }
    }
    void abandon(const Flight& flight) noexcept {
        for (Bench& bench : benches_) {
            if (bench.flight == &flight) abandon(bench);
        }
    }

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

    /// The items of a run, letterboxed, as the network's input.
    void fill(Bench& bench, const Run& run, Flight& flight) const {
        prepare(bench, run.batch, run.size, flight.thresholds);
        bench.session->set_least_score(flight.thresholds.conf);
        const Call& call = flight.call;
        Buffers& b = bench.buffers;
        const auto count = static_cast<size_t>(run.count);
        if (call.input.data) {
            const size_t one = 3 * static_cast<size_t>(run.size.height) * static_cast<size_t>(run.size.width);
            std::copy_n(static_cast<const float*>(call.input.data) + run.first * one, count * one, b.input);
            std::fill_n(b.placements, count,
                        math::letterbox(run.size.width, run.size.height, run.size.width, run.size.height));
            return;
        }
        Stopwatch watch;
        ops::Letterbox(engine_.spec, run.size)(call.frames.subspan(run.first, count), b.input, b.placements,
                                               b.workspace, context());
        if (flight.times) flight.times->letterbox += watch.lap();
    }

    /// The poses in what the network has answered.
    void read(Bench& bench, const Run& run, Flight& flight) const {
        Stopwatch watch;
        Buffers& b = bench.buffers;
        const Thresholds& t = flight.thresholds;
        b.reader->read(b.read_outputs, run.count, t, b.placements, b.read, context(), [&] {
            if (flight.times) flight.times->decode += watch.lap();
        });
        for (size_t i = 0; i < static_cast<size_t>(run.count); ++i)
            flight.found[run.first + i] =
                take_poses(b.read.results, i, t.max_det, engine_.spec.keypoints, flight.call.frame_size(run.first + i));
        if (flight.times) flight.times->nms += watch.lap();
    }

    EngineParts engine_;
    size_t most_;                ///< benches: one for each stream, and one that is filled meanwhile
    std::deque<Bench> benches_;  ///< the first is that of calls that are not in flight; others are made when needed
    uint64_t runs_ = 0;          ///< that have begun
};

}  // namespace

std::unique_ptr<Pipeline> make_cpu_pipeline(const EngineParts& engine) { return std::make_unique<CpuPipeline>(engine); }

}  // namespace trtpose::engine
