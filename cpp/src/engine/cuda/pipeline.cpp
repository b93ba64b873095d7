// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "core/check.hpp"
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "engine/cuda/graphs.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/cuda/results.hpp"
#include "engine/cuda/staging.hpp"
#include "trtpose/between_runs.hpp"

namespace trtpose::engine {
namespace {

/// Throws Error(model) for tensors that the GPU's operations cannot make or read.
TensorTypes types_of_network(const EngineParts& engine) {
    const SessionInfo& info = engine.session.info();
    const auto readable = [](DType dtype) { return dtype == DType::f32 || dtype == DType::f16; };
    TensorTypes types;
    types.input = info.input.dtype;
    require(readable(types.input), ErrorCode::model, "model ", engine.spec.name, ": its input is ",
            to_string(types.input), "; float32 and float16 can be made");
    for (size_t i = 0; i < engine.output_order.size(); ++i) {
        const TensorInfo& output = info.outputs[static_cast<size_t>(engine.output_order[i])];
        if (i == 0) types.outputs = output.dtype;
        require(readable(output.dtype) && output.dtype == types.outputs, ErrorCode::model, "model ", engine.spec.name,
                ": output '", output.name, "' is ", to_string(output.dtype),
                "; all outputs must be float32 or all float16");
    }
    return types;
}

/// What the pipeline holds of its GPU, made and given back while that is the current one.
struct GpuResources {
    GpuResources(const EngineParts& engine, TensorTypes types, const Streams& streams, ResultBlocks& results)
        : memory(engine, types, streams, results), staging(engine, types, streams, memory) {}

    PipelineMemory memory;
    Staging staging;
    std::array<Arrival, 2> arrivals;
    Graphs graphs;
};

class CudaPipeline final : public Pipeline {
public:
    explicit CudaPipeline(const EngineParts& engine) : engine_(engine), device_(engine.session.info().device) {
        const TensorTypes types = types_of_network(engine_);
        require_cuda_device(device_.index);
        const CudaDeviceGuard guard(device_.index);
        streams_ = std::make_shared<Streams>();
        gpu_ = std::make_unique<GpuResources>(engine_, types, *streams_, *results_);
    }

    ~CudaPipeline() override {
        try {
            const CudaDeviceGuard guard(device_.index);
            // Nothing may be at work on what is given back now.
            static_cast<void>(cudaStreamSynchronize(upload()));
            static_cast<void>(cudaStreamSynchronize(compute()));
            gpu_.reset();
            results_->clear(true);
            streams_.reset();
            static_cast<void>(cudaGetLastError());  // the next launch would take it for its own
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }

    MemoryPlan plan(int batch, Size size, const Thresholds& t, size_t frame_bytes) override {
        MemoryPlan out;
        guarded(nullptr, [&] { out = gpu_->memory.plan(batch, size, t, frame_bytes); });
        return out;
    }

    void prepare(int batch, Size size, const Thresholds& t) override {
        guarded(nullptr, [&] { make_ready({0, batch, batch, size}, t, 0, nullptr); });
    }

    std::vector<Poses> run(const Call& call, const Thresholds& t, StageTimes& times) override {
        Flight flight(call, t, &times);
        guarded(&flight, [&] {
            start_runs(flight);
            collect_runs(flight);
        });
        return std::move(flight.found);
    }

    void begin(Flight& flight) override {
        guarded(&flight, [&] {
            start_runs(flight);
            if (reads_gpu(flight.call)) gpu_->staging.wait_for_readers();
        });
    }

    std::vector<Poses> end(Flight& flight) override {
        if (flight.open > 0 || flight.failure) {
            guarded(&flight, [&] {
                if (flight.failure) std::rethrow_exception(flight.failure);
                collect_runs(flight);
            });
        }
        return std::move(flight.found);
    }

    DevicePoses run_device(const Call& call, const Thresholds& t, StageTimes&) override {
        DevicePoses out;
        out.device = device_;
        out.frames = static_cast<int>(call.count());
        out.max_det = t.max_det;
        out.keypoints_per_pose = engine_.spec.keypoints;
        out.stream = compute();
        for (size_t i = 0; i < call.count(); ++i) out.frame_sizes.push_back(call.frame_size(i));
        if (call.count() == 0) return out;
        guarded(nullptr, [&] {
            const size_t largest = gpu_->staging.check_call(call);
            Planner measure;
            lay_out_results(measure, call.count(), t, engine_.spec.keypoints);
            auto memory = CudaPoses::make(device_.index, streams_, results_);
            memory->own(gpu_->memory.take_results(measure.used(), call.count(), t));
            Planner planner(memory->data());
            const ResultArrays all = lay_out_results(planner, call.count(), t, engine_.spec.keypoints);
            for (const Run& run : call.runs) {
                if (run.first > 0) BetweenRuns::ask();
                make_ready(run, t, largest, nullptr);
                start(call, run, t, nullptr);
                keep_on_device(all, run, t);
            }
            memory->record();
            // The caller's frames are his again when the call returns.
            if (reads_gpu(call)) gpu_->staging.wait_for_readers();
            out.counts = all.counts;
            out.boxes = all.poses.boxes;
            out.scores = all.poses.scores;
            out.class_ids = all.poses.class_ids;
            out.keypoints = all.poses.keypoints;
            out.memory = std::move(memory);
        });
        return out;
    }

    MemoryPlan memory() const override { return gpu_->memory.largest_plan(); }
    void* input_stream() const override { return streams_->input.get(); }

private:
    cudaStream_t compute() const { return streams_->compute.get(); }
    cudaStream_t upload() const { return streams_->upload.get(); }
    static void check(cudaError_t status, const char* what) { cuda_check(status, what); }

    /// Whether a call reads memory of the caller's after it has been given to the streams.
    static bool reads_gpu(const Call& call) {
        return (call.input.data && call.input.device.type == DeviceType::cuda) ||
               std::any_of(call.frames.begin(), call.frames.end(), [](const auto& f) { return on_gpu(f); });
    }

    /// Do `body` on the engine's GPU; afterwards, whatever happened, nothing of a failed call is at work any more.
    /// `flight`: whose runs are dropped then; null: the body has none.
    template <typename Body>
    void guarded(Flight* flight, Body&& body) {
        require(broken_.empty(), ErrorCode::device, broken_);
        try {
            const CudaDeviceGuard guard(device_.index);
            try {
                body();
            } catch (const std::exception& error) {
                clean_up(error.what());
                if (broken_.empty()) throw;
                throw Error(ErrorCode::device, broken_);
            }
        } catch (...) {
            for (Arrival& arrival : gpu_->arrivals) {
                if (arrival.flight == flight) static_cast<Place&>(arrival) = {};
            }
            throw;
        }
    }

    void clean_up(const char* reason) {
        gpu_->staging.forget();
        const auto settled = [&] {
            const bool uploaded = cudaStreamSynchronize(upload()) == cudaSuccess;
            const bool computed = cudaStreamSynchronize(compute()) == cudaSuccess;
            static_cast<void>(cudaGetLastError());
            return uploaded && computed;
        };
        // An error that stays has broken everything this process has on the GPU.
        if (settled() || settled()) return;
        for (Arrival& arrival : gpu_->arrivals) static_cast<Place&>(arrival) = {};
        broken_ = text("the GPU of model ", engine_.spec.name, " stopped with an error (", reason,
                       "); nothing on it can be used any more, restart the program");
    }

    /// Before any memory is given back, all runs are read; `flight`: for whose sake.
    void make_ready(const Run& run, const Thresholds& t, size_t largest, const Flight* flight) {
        capture_id_ = gpu_->memory.make_ready(run, t, largest, [&] {
            for (size_t i = 0; i < gpu_->arrivals.size(); ++i) collect(i, flight);
            check(cudaStreamSynchronize(upload()), "finish the uploads");
            check(cudaStreamSynchronize(compute()), "finish the work");
            gpu_->graphs.clear();
        });
    }

    /// Give the GPU a call, and the host what is found; two runs are on their way at most.
    void start_runs(Flight& flight) {
        const size_t largest = gpu_->staging.check_call(flight.call);
        for (const Run& run : flight.call.runs) {
            if (run.first > 0) BetweenRuns::ask();
            const size_t arrives_at = next_place(gpu_->arrivals);
            collect(arrives_at, &flight);
            Arrival& arrival = gpu_->arrivals[arrives_at];
            make_ready(run, flight.thresholds, largest, &flight);
            start(flight.call, run, flight.thresholds, &arrival);
            const ShapeBuffers& b = gpu_->memory.buffers();
            check(cudaMemcpyAsync(gpu_->memory.arrival(arrives_at), b.read.results.counts, b.results_bytes,
                                  cudaMemcpyDeviceToHost, compute()),
                  "bring the poses to the host");
            arrival.done.record(compute());
            static_cast<Place&>(arrival) = {&flight, &run, ++runs_};
            ++flight.open;
        }
    }

    /// Give the GPU everything up to the poses of one run. `arrival` gets the times, if anybody wants them.
    void start(const Call& call, const Run& run, const Thresholds& t, Arrival* arrival) {
        if (arrival) arrival->begun.record(compute());
        gpu_->staging.stage(call, run);
        if (arrival) arrival->letterboxed.record(compute());
        // Events inside of a graph are baked into it, so that each of the two arrivals needs graphs of its own.
        const Arrival* const clock = engine_.stage_times ? arrival : nullptr;
        const auto enqueue = [&](cudaStream_t stream, bool recording) { infer(run, t, clock, stream, recording); };
        const GraphKey key{capture_id_, run.batch, run.count, run.size, t, clock};
        gpu_->graphs.execute(key, *streams_, std::ref(enqueue));
    }

    /// The network and what reads its outputs, given to `stream`, with the events of `clock` where they belong.
    void infer(const Run& run, const Thresholds& t, const Arrival* clock, cudaStream_t stream, bool recording) {
        const ShapeBuffers& b = gpu_->memory.buffers();
        const Context context{device_, stream, nullptr};
        const auto mark = [&](const CudaEvent& event) {
            if (recording) {
                event.record_in_graph(stream);
            } else {
                event.record(stream);
            }
        };
        engine_.session.run(b.input, b.outputs, context);
        if (clock) mark(clock->inferred);
        b.reader->read(b.read_outputs, run.count, t, b.placements, b.read, context, [&] {
            if (clock) mark(clock->selected);
        });
    }

    /// Copy the poses of a run to where all of the call's go.
    void keep_on_device(const ResultArrays& all, const Run& run, const Thresholds& t) {
        const ResultArrays& found = gpu_->memory.buffers().read.results;
        const auto keep = [&](auto* to, const auto* from, size_t each) {
            check(cudaMemcpyAsync(to + run.first * each, from, static_cast<size_t>(run.count) * each * sizeof(*from),
                                  cudaMemcpyDeviceToDevice, compute()),
                  "copy the poses");
        };
        const auto max_det = static_cast<size_t>(t.max_det);
        keep(all.counts, found.counts, 1);
        keep(all.poses.boxes, found.poses.boxes, max_det * 4);
        keep(all.poses.scores, found.poses.scores, max_det);
        keep(all.poses.class_ids, found.poses.class_ids, max_det);
        keep(all.poses.keypoints, found.poses.keypoints, max_det * static_cast<size_t>(engine_.spec.keypoints) * 3);
    }

    void collect_runs(const Flight& flight) {
        for (size_t i = 0; i < gpu_->arrivals.size(); ++i) {
            if (gpu_->arrivals[i].flight == &flight) collect(i, &flight);
        }
    }

    /// Free an arrival for the sake of `asking`: wait for its run and read what it found. What goes wrong with a run of
    /// another call is left for that one to say.
    void collect(size_t arrives_at, const Flight* asking) {
        const Place place = std::exchange(static_cast<Place&>(gpu_->arrivals[arrives_at]), {});
        if (!place.run) return;
        --place.flight->open;
        try {
            read(arrives_at, *place.run, *place.flight);
        } catch (const std::exception&) {
            if (place.flight == asking) throw;
            place.flight->failure = std::current_exception();
        }
    }

    void read(size_t arrives_at, const Run& run, Flight& flight) {
        const Arrival& arrival = gpu_->arrivals[arrives_at];
        arrival.done.synchronize();
        if (flight.times) add_times(arrival, *flight.times);
        const int max_det = flight.thresholds.max_det, keypoints = engine_.spec.keypoints;
        Planner planner(gpu_->memory.arrival(arrives_at));
        const ResultArrays results =
            lay_out_results(planner, static_cast<size_t>(run.batch), flight.thresholds, keypoints);
        for (size_t i = 0; i < static_cast<size_t>(run.count); ++i)
            flight.found[run.first + i] =
                take_poses(results, i, max_det, keypoints, flight.call.frame_size(run.first + i));
    }

    void add_times(const Arrival& arrival, StageTimes& times) const {
        times.letterbox += elapsed_ms(arrival.begun, arrival.letterboxed);
        const CudaEvent& inferred = engine_.stage_times ? arrival.inferred : arrival.done;
        times.network += elapsed_ms(arrival.letterboxed, inferred);
        if (engine_.stage_times) {
            times.decode += elapsed_ms(arrival.inferred, arrival.selected);
            times.nms += elapsed_ms(arrival.selected, arrival.done);
        }
    }

    const EngineParts engine_;
    Device device_;
    std::shared_ptr<Streams> streams_;
    std::shared_ptr<ResultBlocks> results_ = std::make_shared<ResultBlocks>();
    std::unique_ptr<GpuResources> gpu_;
    uint64_t capture_id_ = 0;  ///< of the shape that is ready
    uint64_t runs_ = 0;        ///< that have begun
    std::string broken_;       ///< why the GPU can no longer be used
};

}  // namespace

std::unique_ptr<Pipeline> make_cuda_pipeline(const EngineParts& engine) {
    return std::make_unique<CudaPipeline>(engine);
}

}  // namespace trtpose::engine
