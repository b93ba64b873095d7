// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/memory.hpp"

#include <algorithm>

#include "core/check.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::engine {
namespace {

// Room for frames on their way to the GPU, in each of the two staging buffers: usual ones for a whole batch, but no
// more than this many bytes. A batch that needs more goes in several pieces, a frame that needs more gets it.
constexpr size_t kMaxUsualStaging = size_t{128} << 20;

}  // namespace

DeviceBuffer take_device_memory(size_t bytes, const std::string& what, const char* remedy) {
    try {
        return DeviceBuffer(bytes);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::budget) throw;
    }
    size_t free_bytes = 0, total = 0;
    const bool known = cudaMemGetInfo(&free_bytes, &total) == cudaSuccess;
    throw Error(ErrorCode::budget,
                text(what, ": no memory for ", mebibytes(bytes), " on the GPU",
                     known ? " (" + mebibytes(free_bytes) + " of " + mebibytes(total) + " are free)" : std::string(),
                     "; ", remedy));
}

PinnedBuffer take_pinned_memory(size_t bytes, const std::string& what) {
    try {
        return PinnedBuffer(bytes);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::budget) throw;
    }
    throw Error(ErrorCode::budget, text(what, ": no memory for ", mebibytes(bytes),
                                        " on the host that the GPU can copy from; take a smaller batch or size"));
}

PipelineMemory::PipelineMemory(const EngineParts& engine, TensorTypes types, const Streams& streams,
                               ResultBlocks& results)
    : engine_(engine), device_(engine.session.info().device), types_(types), streams_(streams), results_(results) {}

MemoryPlan PipelineMemory::plan(int batch, Size size, const Thresholds& t, size_t largest) const {
    return measure(engine_.session.prepare(batch, size), batch, size, t, largest, 0).plan;
}

ShapeBuffers PipelineMemory::lay_out(Planner& planner, const SessionShape& shape, int batch, Size size,
                                     const Thresholds& t) const {
    ShapeBuffers b;
    b.batch = batch;
    b.size = size;
    b.max_det = t.max_det;
    b.oks = t.oks;
    const auto images = static_cast<size_t>(batch);
    b.input = planner.take<char>(tensor_room(images * types_.image_bytes(size)));
    for (size_t i = 0; i < shape.outputs.size(); ++i) {
        const size_t each = size_of(engine_.session.info().outputs[i].dtype);
        require(each > 0, ErrorCode::model, "model ", engine_.spec.name, ": output ", i,
                " is of a type that has no known size");
        b.outputs.push_back(planner.take<char>(tensor_room(product(shape.outputs[i]) * each)));
    }
    const size_t before_results = planner.used();
    b.read.results = lay_out_results(planner, images, t, engine_.spec.keypoints);
    b.io_bytes = planner.used();
    b.results_bytes = planner.used() - before_results;
    b.read_outputs = in_spec_order(engine_, b.outputs);
    ShapeReader reader = make_reader(engine_, shape, types_.outputs, batch, size, t);
    b.reader = std::move(reader.reader);
    b.placements = planner.take<math::Letterbox>(images);
    b.read.held = planner.take<char>(reader.memory.held);
    b.read.scratch.bytes = reader.memory.scratch;
    b.read.scratch.data = planner.take<char>(reader.memory.scratch);
    b.bytes = planner.used();
    return b;
}

/// What `shape` takes where the largest item is of `largest` bytes and staging buffers of `staging` bytes are there
/// already.
Demand PipelineMemory::measure(const SessionShape& shape, int batch, Size size, const Thresholds& t, size_t largest,
                               size_t staging) const {
    Planner planner;
    const ShapeBuffers buffers = lay_out(planner, shape, batch, size, t);
    const size_t frame = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
    const size_t jobs =
        align_up(ops::Letterbox(engine_.spec, size).workspace_bytes(static_cast<size_t>(batch), device_));
    const size_t least = jobs + align_up(std::max(largest, frame));
    Demand d;
    d.scratch = (shape.scratch_bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
    d.buffers = buffers.bytes;
    d.arrival = buffers.results_bytes;
    d.staging = staging;
    if (d.staging < least) {
        const size_t usual = static_cast<size_t>(batch) * std::max(kUsualFrame, frame);
        d.staging = std::max(least, jobs + align_up(std::min(usual, kMaxUsualStaging)));
    }
    d.plan.weights = shape.weight_bytes;
    d.plan.activations = shape.activation_bytes - shape.scratch_bytes + d.scratch;
    // Two results left on the device for a batch: one that is read, one that is written.
    d.results = std::max(2 * buffers.results_bytes, results_.total());
    d.plan.io = buffers.io_bytes + d.results;
    d.plan.workspace = buffers.bytes - buffers.io_bytes;
    d.plan.staging = 2 * d.staging;
    keep_within_budget(d, least);
    return d;
}

/// Staging gives way, down to one frame at a time.
void PipelineMemory::keep_within_budget(Demand& demand, size_t least_staging) const {
    const size_t budget = engine_.budget;
    if (!budget || demand.plan.total() <= budget) return;
    const size_t others = demand.plan.total() - demand.plan.staging;
    const size_t left = budget > others ? (budget - others) / 2 / kAlignment * kAlignment : 0;
    demand.staging = std::max(least_staging, left);
    demand.plan.staging = 2 * demand.staging;
}

uint64_t PipelineMemory::make_ready(const Run& run, const Thresholds& t, size_t largest, const LetGo& let_go) {
    const SessionShape& shape = engine_.session.prepare(run.batch, run.size);
    const bool known = buffers_.batch == run.batch && buffers_.size == run.size && buffers_.max_det == t.max_det &&
                       buffers_.oks == t.oks && shape.scratch_bytes <= current_.scratch;
    if (!known || largest > largest_item_) {
        Demand wanted = measure(shape, run.batch, run.size, t, largest, current_.staging);
        if (engine_.budget && wanted.plan.total() > engine_.budget) {
            results_.clear();
            wanted = measure(shape, run.batch, run.size, t, largest, current_.staging);
        }
        check_budget(engine_, wanted.plan, run.batch, run.size);
        widen_for_earlier_shapes(wanted);
        if (!wanted.same_blocks(current_)) {
            let_go();
            move_in(wanted, run);
        }
        current_ = wanted;
        Planner planner(static_cast<char*>(arena_.data()) + current_.scratch);
        buffers_ = lay_out(planner, shape, run.batch, run.size, t);
        largest_item_ = largest;
        if (wanted.plan.total() > largest_plan_.total()) largest_plan_ = wanted.plan;
    }
    if (shape.scratch_bytes) engine_.session.use_scratch(arena_.data(), current_.scratch);
    return shape.capture_id;
}

/// Let a shape have what earlier ones needed, within the budget, so that shapes in turn do not push each other out.
void PipelineMemory::widen_for_earlier_shapes(Demand& wanted) const {
    const size_t scratch = std::max(wanted.scratch, current_.scratch) - wanted.scratch;
    const size_t buffers = std::max(wanted.buffers, current_.buffers) - wanted.buffers;
    wanted.arrival = std::max(wanted.arrival, current_.arrival);
    if (engine_.budget && wanted.plan.total() + scratch + buffers > engine_.budget) return;
    wanted.scratch += scratch;
    wanted.plan.activations += scratch;
    wanted.buffers += buffers;
    wanted.plan.workspace += buffers;
}

/// Take memory anew: one block of the GPU's, one of the host's.
void PipelineMemory::move_in(const Demand& wanted, const Run& run) {
    buffers_ = {};
    current_ = {};
    arena_ = DeviceBuffer();
    pinned_ = PinnedBuffer();
    const std::string what = shape_name(engine_, run.batch, run.size);
    arena_ = take_device_memory(wanted.arena(), what, "take a smaller batch or size");
    pinned_ = take_pinned_memory(2 * wanted.staging + 2 * wanted.arrival, what);
    cudaStream_t const compute = streams_.compute.get();
    cuda_check(cudaMemsetAsync(arena_.data(), 0, wanted.arena(), compute), "clear memory");
    // Uploads go by another stream and must not be cleared.
    cuda_check(cudaStreamSynchronize(compute), "clear memory");
    current_ = wanted;
}

ResultBlock PipelineMemory::take_results(size_t bytes, size_t frames, const Thresholds& t) {
    if (ResultBlock kept = results_.reuse(bytes)) return kept;
    const std::string what = text("results of ", frames, " frames with room for ", t.max_det, " poses each");
    const size_t others = current_.plan.total() - current_.results;
    const auto fits = [&] { return !engine_.budget || others + results_.total() + bytes <= engine_.budget; };
    if (!fits()) results_.clear();
    require(fits(), ErrorCode::budget, what, " need ", mebibytes(bytes), " beside ", mebibytes(others),
            " of the engine and ", mebibytes(results_.total()), " of results that are still held, more than the ",
            "budget of ", mebibytes(engine_.budget), "; let go of earlier results, pass fewer frames or a smaller ",
            "max_det");
    ResultBlock block = results_.add(take_device_memory(bytes, what, "pass fewer frames or a smaller max_det"));
    const size_t now = std::max(current_.results, results_.total());
    current_.plan.io += now - current_.results;
    current_.results = now;
    if (current_.plan.total() > largest_plan_.total()) largest_plan_ = current_.plan;
    return block;
}

}  // namespace trtpose::engine
