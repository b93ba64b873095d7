// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "engine/cuda/pack.hpp"
#include "engine/cuda/results.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::engine {
namespace {

// Graphs kept ready; each belongs to one shape and one set of thresholds.
constexpr size_t kMaxGraphs = 8;
// Room for frames on their way to the GPU, for each of the two slots: usual ones for a whole batch, but no more than
// this many bytes. A batch that needs more goes in several pieces, a frame that needs more gets it.
constexpr size_t kMaxUsualSlot = size_t{128} << 20;

/// The network's buffers at one shape, as parts of the arena.
struct Buffers {
    int batch = 0, max_det = 0;
    Size size;
    bool oks = false;
    void* input = nullptr;
    std::vector<void*> outputs;
    std::vector<const void*> read_outputs;  ///< the same in the spec's order
    math::Letterbox* placements = nullptr;
    std::unique_ptr<families::PoseReader> reader;
    families::ReadBuffers read;
    size_t results_bytes = 0;  ///< of the block that the results are parts of; it begins with the counts
    size_t io_bytes = 0, bytes = 0;
};

/// Pinned memory and as much on the device: a piece of a batch is packed into the one and copied to the other.
struct Slot {
    char* host = nullptr;
    char* device = nullptr;
    CudaEvent uploaded;  ///< the pinned half is free again
    CudaEvent consumed;  ///< the device's half is free again
};

/// Where the results of one run arrive on the host.
struct Arrival {
    char* host = nullptr;
    CudaEvent begun{true}, letterboxed{true}, inferred{true}, decoded{true}, done{true};
    const Run* run = nullptr;  ///< null: nothing is on its way
};

/// What a captured graph is good for.
struct GraphKey {
    uint64_t capture_id;
    int batch, count;
    Size size;
    Thresholds t;
    const Arrival* clock;  ///< whose events it records; null: none
    bool operator==(const GraphKey& o) const {
        return clock == o.clock && capture_id == o.capture_id && batch == o.batch && count == o.count &&
               size == o.size && t == o.t;
    }
};

struct Graph {
    GraphKey key;
    CudaGraph recorded;       ///< empty at first: the run that warms up is not captured
    bool unsuitable = false;  ///< the capture failed once and is not tried again
};

/// What a shape takes of the arena and of the host's pinned memory, and its plan.
struct Demand {
    MemoryPlan plan;
    size_t scratch = 0;  ///< lent to the session; shapes that run in turn share it
    size_t buffers = 0;
    size_t results = 0;  ///< blocks of their own
    size_t slot = 0;     ///< of each of the two
    size_t arrival = 0;  ///< of each of the two, pinned alone
    size_t arena() const { return scratch + buffers + 2 * slot; }
};

/// What the pipeline holds of its GPU, made and given back while that is the current one.
struct Resources {
    CudaEvent handover;
    std::array<Slot, 2> slots;
    std::array<Arrival, 2> arrivals;
    DeviceBuffer arena;       ///< the session's scratch, then the buffers, then the slots
    PinnedBuffer pinned;      ///< the slots, then the arrivals
    std::list<Graph> graphs;  ///< latest used first
};

/// Memory of the current GPU; what is missing is said for `what`.
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

bool on_gpu(const ImageView& frame) { return frame.device.type == DeviceType::cuda; }

class CudaPipeline final : public Pipeline {
public:
    explicit CudaPipeline(const Setup& setup) : setup_(setup), device_(setup.session.info().device) {
        const SessionInfo& info = setup.session.info();
        const auto readable = [](DType dtype) { return dtype == DType::f32 || dtype == DType::f16; };
        input_dtype_ = info.input.dtype;
        require(readable(input_dtype_), ErrorCode::model, "model ", setup.spec.name, ": its input is ",
                to_string(input_dtype_), "; float32 and float16 can be made");
        for (size_t i = 0; i < setup.output_order.size(); ++i) {
            const TensorInfo& output = info.outputs[static_cast<size_t>(setup.output_order[i])];
            if (i == 0) outputs_dtype_ = output.dtype;
            require(readable(output.dtype) && output.dtype == outputs_dtype_, ErrorCode::model, "model ",
                    setup.spec.name, ": output '", output.name, "' is ", to_string(output.dtype),
                    "; all outputs must be float32 or all float16");
        }
        require_cuda_device(device_.index);
        const CudaDeviceGuard guard(device_.index);
        streams_ = std::make_shared<Streams>();
        own_ = std::make_unique<Resources>();
    }

    ~CudaPipeline() override {
        try {
            const CudaDeviceGuard guard(device_.index);
            // Nothing may be at work on what is given back now.
            static_cast<void>(cudaStreamSynchronize(upload()));
            static_cast<void>(cudaStreamSynchronize(compute()));
            own_.reset();
            results_->clear(true);
            streams_.reset();
            static_cast<void>(cudaGetLastError());  // the next launch would take it for its own
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }

    MemoryPlan plan(int batch, Size size, const Thresholds& t, size_t frame_bytes) override {
        MemoryPlan out;
        guarded([&] { out = measure(setup_.session.prepare(batch, size), batch, size, t, frame_bytes, 0).plan; });
        return out;
    }

    void prepare(int batch, Size size, const Thresholds& t) override {
        guarded([&] { make_ready({0, batch, batch, size}, t, 0, [] {}); });
    }

    std::vector<Poses> run(const Work& work, const Thresholds& t, StageTimes& times) override {
        std::vector<Poses> out(work.count());
        guarded([&] {
            const size_t largest = check_work(work);
            size_t next = 0;
            const auto collect_one = [&] { collect(own_->arrivals[next++ % 2], work, t, out, times); };
            for (const Run& run : work.runs) {
                collect_one();  // of the run before the last; the last is being computed
                Arrival& arrival = own_->arrivals[(next + 1) % 2];
                make_ready(run, t, largest, [&] {
                    for (int i = 0; i < 2; ++i) collect_one();
                });
                start(work, run, t, &arrival);
                const Buffers& b = buffers_;
                check(cudaMemcpyAsync(arrival.host, b.read.results.counts, b.results_bytes, cudaMemcpyDeviceToHost,
                                      compute()),
                      "bring the poses to the host");
                arrival.done.record(compute());
                arrival.run = &run;
            }
            for (int i = 0; i < 2; ++i) collect_one();
        });
        return out;
    }

    DevicePoses run_device(const Work& work, const Thresholds& t, StageTimes&) override {
        DevicePoses out;
        out.device = device_;
        out.frames = static_cast<int>(work.count());
        out.max_det = t.max_det;
        out.keypoints_per_pose = setup_.spec.keypoints;
        out.stream = compute();
        for (size_t i = 0; i < work.count(); ++i) out.frame_sizes.push_back(work.frame_size(i));
        if (work.count() == 0) return out;
        guarded([&] {
            const size_t largest = check_work(work);
            Planner measure;
            lay_out_results(measure, work.count(), t, setup_.spec.keypoints);
            auto memory = std::make_shared<CudaPoses>(device_.index, streams_, results_);
            memory->own(take_results(measure.used(), work.count(), t));
            Planner planner(memory->data());
            const ResultArrays all = lay_out_results(planner, work.count(), t, setup_.spec.keypoints);
            const auto pose = static_cast<size_t>(setup_.spec.keypoints) * 3;
            const auto max_det = static_cast<size_t>(t.max_det);
            for (const Run& run : work.runs) {
                make_ready(run, t, largest, [] {});
                start(work, run, t, nullptr);
                const ResultArrays& found = buffers_.read.results;
                const auto keep = [&](auto* to, const auto* from, size_t each) {
                    check(cudaMemcpyAsync(to + run.first * each, from,
                                          static_cast<size_t>(run.count) * each * sizeof(*from),
                                          cudaMemcpyDeviceToDevice, compute()),
                          "copy the poses");
                };
                keep(all.counts, found.counts, 1);
                keep(all.poses.boxes, found.poses.boxes, max_det * 4);
                keep(all.poses.scores, found.poses.scores, max_det);
                keep(all.poses.class_ids, found.poses.class_ids, max_det);
                keep(all.poses.keypoints, found.poses.keypoints, max_det * pose);
            }
            memory->record();
            // The caller's frames are his again when the call returns.
            const bool reads_frames =
                (work.input.data && work.input.device.type == DeviceType::cuda) ||
                std::any_of(work.frames.begin(), work.frames.end(), [](const auto& f) { return on_gpu(f); });
            if (reads_frames) {
                for (Slot& slot : own_->slots) slot.consumed.synchronize();
            }
            out.counts = all.counts;
            out.boxes = all.poses.boxes;
            out.scores = all.poses.scores;
            out.class_ids = all.poses.class_ids;
            out.keypoints = all.poses.keypoints;
            out.memory = std::move(memory);
        });
        return out;
    }

    MemoryPlan memory() const override { return plan_; }
    void* input_stream() const override { return streams_->input.get(); }

private:
    cudaStream_t compute() const { return streams_->compute.get(); }
    cudaStream_t upload() const { return streams_->upload.get(); }
    Context context(cudaStream_t stream) const { return {device_, stream, nullptr}; }
    static void check(cudaError_t status, const char* what) { cuda_check(status, what); }

    /// Do `body` on the engine's GPU; afterwards, whatever happened, nothing of a failed call is at work any more.
    template <typename Body>
    void guarded(Body&& body) {
        require(broken_.empty(), ErrorCode::device, broken_);
        const CudaDeviceGuard guard(device_.index);
        try {
            body();
        } catch (const std::exception& error) {
            clean_up(error.what());
            if (broken_.empty()) throw;
            throw Error(ErrorCode::device, broken_);
        }
    }

    void clean_up(const char* reason) {
        packer_ = {};
        for (Arrival& arrival : own_->arrivals) arrival.run = nullptr;
        const auto settled = [&] {
            const bool uploaded = cudaStreamSynchronize(upload()) == cudaSuccess;
            const bool computed = cudaStreamSynchronize(compute()) == cudaSuccess;
            static_cast<void>(cudaGetLastError());
            return uploaded && computed;
        };
        // An error that stays has broken everything this process has on the GPU.
        if (settled() || settled()) return;
        broken_ = text("the GPU of model ", setup_.spec.name, " stopped with an error (", reason,
                       "); nothing on it can be used any more, restart the program");
    }

    // ---- Memory ----------------------------------------------------------------------------------------------------

    Buffers lay_out(Planner& planner, const SessionShape& shape, int batch, Size size, const Thresholds& t) const {
        Buffers b;
        b.batch = batch;
        b.size = size;
        b.max_det = t.max_det;
        b.oks = t.oks;
        const auto images = static_cast<size_t>(batch);
        b.input = planner.take<char>(images * image_bytes(size));
        for (size_t i = 0; i < shape.outputs.size(); ++i) {
            const size_t each = size_of(setup_.session.info().outputs[i].dtype);
            require(each > 0, ErrorCode::model, "model ", setup_.spec.name, ": output ", i,
                    " is of a type that has no known size");
            b.outputs.push_back(planner.take<char>(product(shape.outputs[i]) * each));
        }
        const size_t before_results = planner.used();
        b.read.results = lay_out_results(planner, images, t, setup_.spec.keypoints);
        b.io_bytes = planner.used();
        b.results_bytes = planner.used() - before_results;
        b.read_outputs = in_spec_order(setup_, b.outputs);
        ShapeReader reader = make_reader(setup_, shape, outputs_dtype_, batch, size, t);
        b.reader = std::move(reader.reader);
        b.placements = planner.take<math::Letterbox>(images);
        b.read.held = planner.take<char>(reader.memory.held);
        b.read.scratch.bytes = reader.memory.scratch;
        b.read.scratch.data = planner.take<char>(reader.memory.scratch);
        b.bytes = planner.used();
        return b;
    }

    /// A block for the results of `frames` frames, within the budget.
    ResultBlock take_results(size_t bytes, size_t frames, const Thresholds& t) {
        if (ResultBlock kept = results_->reuse(bytes)) return kept;
        const std::string what = text("results of ", frames, " frames with room for ", t.max_det, " poses each");
        const size_t others = held_.plan.total() - held_.results;
        const auto fits = [&] { return !setup_.budget || others + results_->total() + bytes <= setup_.budget; };
        if (!fits()) results_->clear();
        require(fits(), ErrorCode::budget, what, " need ", mebibytes(bytes), " beside ", mebibytes(others),
                " of the engine and ", mebibytes(results_->total()), " of results that are still held, more than the ",
                "budget of ", mebibytes(setup_.budget), "; let go of earlier results, pass fewer frames or a smaller ",
                "max_det");
        ResultBlock block = results_->add(take_device_memory(bytes, what, "pass fewer frames or a smaller max_det"));
        const size_t now = std::max(held_.results, results_->total());
        held_.plan.io += now - held_.results;
        held_.results = now;
        if (held_.plan.total() > plan_.total()) plan_ = held_.plan;
        return block;
    }

    size_t image_bytes(Size size) const {
        return 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width) * size_of(input_dtype_);
    }

    /// What `shape` takes where the largest item is of `largest` bytes and slots of `slot` bytes are there already.
    Demand measure(const SessionShape& shape, int batch, Size size, const Thresholds& t, size_t largest,
                   size_t slot) const {
        Planner planner;
        const Buffers buffers = lay_out(planner, shape, batch, size, t);
        const size_t frame = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        const size_t jobs =
            align_up(ops::Letterbox(setup_.spec, size).workspace_bytes(static_cast<size_t>(batch), device_));
        const size_t least = jobs + align_up(std::max(largest, frame));
        Demand d;
        d.scratch = (shape.scratch_bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
        d.buffers = buffers.bytes;
        d.arrival = buffers.results_bytes;
        d.slot = slot;
        if (d.slot < least) {
            const size_t usual = static_cast<size_t>(batch) * std::max(kUsualFrame, frame);
            d.slot = std::max(least, jobs + align_up(std::min(usual, kMaxUsualSlot)));
        }
        d.plan.weights = shape.weight_bytes;
        d.plan.activations = shape.activation_bytes - shape.scratch_bytes + d.scratch;
        // Two results left on the device for a batch: one that is read, one that is written.
        d.results = std::max(2 * buffers.results_bytes, results_->total());
        d.plan.io = buffers.io_bytes + d.results;
        d.plan.workspace = buffers.bytes - buffers.io_bytes;
        d.plan.staging = 2 * d.slot;
        if (setup_.budget && d.plan.total() > setup_.budget) {
            // Staging gives way, down to one frame at a time.
            const size_t others = d.plan.total() - d.plan.staging;
            const size_t left = setup_.budget > others ? (setup_.budget - others) / 2 / kAlignment * kAlignment : 0;
            d.slot = std::max(least, left);
            d.plan.staging = 2 * d.slot;
        }
        return d;
    }

    /// Make session and buffers ready for a run whose largest item takes `largest` bytes of a slot. `before_moving` is
    /// called before any memory is given back.
    template <typename BeforeMoving>
    void make_ready(const Run& run, const Thresholds& t, size_t largest, BeforeMoving&& before_moving) {
        const SessionShape& shape = setup_.session.prepare(run.batch, run.size);
        const bool known = buffers_.batch == run.batch && buffers_.size == run.size && buffers_.max_det == t.max_det &&
                           buffers_.oks == t.oks && shape.scratch_bytes <= held_.scratch;
        if (!known || largest > largest_) {
            Demand wanted = measure(shape, run.batch, run.size, t, largest, held_.slot);
            if (setup_.budget && wanted.plan.total() > setup_.budget) {
                results_->clear();
                wanted = measure(shape, run.batch, run.size, t, largest, held_.slot);
            }
            check_budget(setup_, wanted.plan, run.batch, run.size);
            keep_what_is_there(wanted);
            if (wanted.arena() != held_.arena() || wanted.scratch != held_.scratch || wanted.slot != held_.slot ||
                wanted.arrival != held_.arrival) {
                before_moving();
                move_in(wanted, run);
            }
            held_ = wanted;
            Planner planner(static_cast<char*>(own_->arena.data()) + held_.scratch);
            buffers_ = lay_out(planner, shape, run.batch, run.size, t);
            largest_ = largest;
            if (wanted.plan.total() > plan_.total()) plan_ = wanted.plan;
        }
        if (shape.scratch_bytes) setup_.session.use_scratch(own_->arena.data(), held_.scratch);
        capture_id_ = shape.capture_id;
    }

    /// Let a shape have what earlier ones needed, within the budget, so that shapes in turn do not push each other out.
    void keep_what_is_there(Demand& wanted) const {
        const size_t scratch = std::max(wanted.scratch, held_.scratch) - wanted.scratch;
        const size_t buffers = std::max(wanted.buffers, held_.buffers) - wanted.buffers;
        wanted.arrival = std::max(wanted.arrival, held_.arrival);
        if (setup_.budget && wanted.plan.total() + scratch + buffers > setup_.budget) return;
        wanted.scratch += scratch;
        wanted.plan.activations += scratch;
        wanted.buffers += buffers;
        wanted.plan.workspace += buffers;
    }

    /// Take memory anew: one block of the GPU's, one of the host's.
    void move_in(const Demand& wanted, const Run& run) {
        check(cudaStreamSynchronize(upload()), "finish the uploads");
        check(cudaStreamSynchronize(compute()), "finish the work");
        own_->graphs.clear();  // they hold the addresses, the scratch's too
        buffers_ = {};
        held_ = {};
        own_->arena = DeviceBuffer();
        own_->pinned = PinnedBuffer();
        const std::string what = shape_name(setup_, run.batch, run.size);
        own_->arena = take_device_memory(wanted.arena(), what, "take a smaller batch or size");
        own_->pinned = take_pinned_memory(2 * wanted.slot + 2 * wanted.arrival, what);
        check(cudaMemsetAsync(own_->arena.data(), 0, wanted.arena(), compute()), "clear memory");
        // Uploads go by another stream and must not be cleared.
        check(cudaStreamSynchronize(compute()), "clear memory");
        auto* const host = static_cast<char*>(own_->pinned.data());
        auto* const slots = static_cast<char*>(own_->arena.data()) + wanted.scratch + wanted.buffers;
        for (size_t i = 0; i < 2; ++i) {
            own_->slots[i].host = host + i * wanted.slot;
            own_->slots[i].device = slots + i * wanted.slot;
            own_->arrivals[i].host = host + 2 * wanted.slot + i * wanted.arrival;
        }
        held_ = wanted;
    }

    // ---- One call --------------------------------------------------------------------------------------------------

    /// Throws Error(input) for what the GPU cannot read; the bytes of a slot that the largest item takes.
    size_t check_work(const Work& work) {
        size_t largest = 0;
        bool from_gpu = false;
        heard_ = nullptr;
        if (work.input.data) {
            from_gpu = work.input.device.type == DeviceType::cuda;
            if (from_gpu) {
                check_pointer(work.input.data, "the letterboxed input");
                require(work.input.dtype == input_dtype_, ErrorCode::input, "the letterboxed input is ",
                        to_string(work.input.dtype), ", the network's is ", to_string(input_dtype_),
                        "; convert it on the GPU");
            } else {
                require(
                    work.input.dtype == input_dtype_ || (work.input.dtype == DType::f32 && input_dtype_ == DType::f16),
                    ErrorCode::input, "a letterboxed input is ", to_string(work.input.dtype), ", expected ",
                    to_string(input_dtype_));
                largest = image_bytes({work.input.height, work.input.width});
            }
        }
        for (size_t i = 0; i < work.frames.size(); ++i) {
            const ImageView& frame = work.frames[i];
            if (!on_gpu(frame)) {
                largest = std::max(largest, packed_bytes(frame));
                continue;
            }
            from_gpu = true;
            check_pointer(frame.data, text("frame ", i));
            if (frame.chroma) check_pointer(frame.chroma, text("frame ", i));
        }
        if (from_gpu) wait_for(streams_->input.get());
        return largest;
    }

    void check_pointer(const void* data, const std::string& what) const {
        cudaPointerAttributes attributes{};
        check(cudaPointerGetAttributes(&attributes, data), "look up a pointer");
        require(attributes.type != cudaMemoryTypeUnregistered, ErrorCode::input, what,
                ": its memory is not a GPU's, though it was given as ", to_string(device_));
        require(attributes.type != cudaMemoryTypeDevice || attributes.device == device_.index, ErrorCode::input, what,
                ": its memory is on cuda:", attributes.device, ", the engine on ", to_string(device_));
    }

    /// Let the work from now on wait for what `stream` has been given.
    void wait_for(cudaStream_t stream) {
        own_->handover.record(stream);
        own_->handover.hold(compute());
    }
    void wait_for_maker(void* stream) {
        // Neighbours mostly come from the same stream.
        if (!stream || stream == heard_) return;
        wait_for(cuda_stream(stream));
        heard_ = stream;
    }

    /// Give the GPU everything up to the poses of one run. `arrival` gets the times, if anybody wants them.
    void start(const Work& work, const Run& run, const Thresholds& t, Arrival* arrival) {
        if (arrival) arrival->begun.record(compute());
        if (work.input.data) {
            stage_input(work.input, run);
        } else {
            stage_frames(work.frames.subspan(run.first, static_cast<size_t>(run.count)), run);
        }
        if (arrival) arrival->letterboxed.record(compute());
        // Events inside of a graph are baked into it, so that each of the two arrivals needs graphs of its own.
        execute(run, t, setup_.stage_times ? arrival : nullptr);
    }

    Slot& next_slot() {
        Slot& slot = own_->slots[slot_number_++ % 2];
        slot.uploaded.synchronize();
        return slot;
    }

    void send(const Slot& slot, size_t bytes) {
        slot.consumed.hold(upload());
        check(cudaMemcpyAsync(slot.device, slot.host, bytes, cudaMemcpyHostToDevice, upload()), "upload");
        slot.uploaded.record(upload());
        slot.uploaded.hold(compute());
    }

    void stage_frames(Span<const ImageView> frames, const Run& run) {
        const ops::Letterbox letterbox(setup_.spec, run.size);
        for (size_t first = 0; first < frames.size();) {
            Slot& slot = next_slot();
            // Descriptions first, then the pixels.
            size_t used = align_up(letterbox.workspace_bytes(frames.size() - first, device_));
            views_.clear();
            for (size_t i = first; i < frames.size(); ++i) {
                if (on_gpu(frames[i])) {
                    wait_for_maker(frames[i].stream);
                    views_.push_back(frames[i]);
                    continue;
                }
                const size_t bytes = packed_bytes(frames[i]);
                if (used + bytes > held_.slot) break;
                views_.push_back(packer_.add(frames[i], slot.host + used, slot.device + used, device_));
                used = align_up(used + bytes);
            }
            packer_.copy(setup_.threads);
            letterbox.describe(views_, slot.host);
            send(slot, used);
            letterbox.run(slot.device, static_cast<int>(views_.size()),
                          static_cast<char*>(buffers_.input) + first * image_bytes(run.size), input_dtype_,
                          buffers_.placements + first, context(compute()));
            slot.consumed.record(compute());
            first += views_.size();
        }
    }

    void stage_input(const InputView& input, const Run& run) {
        const size_t one = image_bytes(run.size), numbers = one / size_of(input_dtype_);
        const auto count = static_cast<size_t>(run.count);
        const auto* from = static_cast<const char*>(input.data) + run.first * numbers * size_of(input.dtype);
        auto* const to = static_cast<char*>(buffers_.input);
        const bool from_gpu = input.device.type == DeviceType::cuda;
        if (from_gpu) {
            wait_for_maker(input.stream);
            check(cudaMemcpyAsync(to, from, count * one, cudaMemcpyDeviceToDevice, compute()), "copy an input");
        }
        const math::Letterbox place = math::letterbox(run.size.width, run.size.height, run.size.width, run.size.height);
        for (size_t first = 0; first < count;) {
            Slot& slot = next_slot();
            auto* const places = reinterpret_cast<math::Letterbox*>(slot.host);
            const size_t pixels_at = align_up((count - first) * sizeof(place));
            const size_t pieces =
                from_gpu ? count : std::min(count - first, std::max<size_t>((held_.slot - pixels_at) / one, 1));
            std::fill_n(places, pieces, place);
            if (!from_gpu)
                copy_numbers(from + first * numbers * size_of(input.dtype), input.dtype, pieces * numbers,
                             slot.host + pixels_at);
            send(slot, from_gpu ? pixels_at : pixels_at + pieces * one);
            check(cudaMemcpyAsync(buffers_.placements + first, slot.device, pieces * sizeof(place),
                                  cudaMemcpyDeviceToDevice, compute()),
                  "copy placements");
            if (!from_gpu) {
                check(cudaMemcpyAsync(to + first * one, slot.device + pixels_at, pieces * one, cudaMemcpyDeviceToDevice,
                                      compute()),
                      "copy an input");
            }
            slot.consumed.record(compute());
            first += pieces;
        }
    }

    void copy_numbers(const char* from, DType dtype, size_t count, char* to) const {
        const size_t each = size_of(dtype);
        in_parts(setup_.threads, count, each, [&](size_t first, size_t last) {
            if (dtype == input_dtype_) {
                std::memcpy(to + first * each, from + first * each, (last - first) * each);
                return;
            }
            const auto* numbers = reinterpret_cast<const float*>(from);
            auto* halves = reinterpret_cast<__half*>(to);
            for (size_t i = first; i < last; ++i) halves[i] = __float2half_rn(numbers[i]);
        });
    }

    // ---- Network and poses ------------------------------------------------------------------------------------------

    /// `mark` is called with the events of `clock`, if there is one, where they belong.
    template <typename Mark>
    void enqueue(const Run& run, const Thresholds& t, cudaStream_t stream, const Arrival* clock, Mark&& mark) {
        const Buffers& b = buffers_;
        const Context ctx = context(stream);
        setup_.session.run(b.input, b.outputs, ctx);
        if (clock) mark(clock->inferred);
        b.reader->read(b.read_outputs, run.count, t, b.placements, b.read, ctx, [&] {
            if (clock) mark(clock->decoded);
        });
    }

    void enqueue_now(const Run& run, const Thresholds& t, const Arrival* clock) {
        enqueue(run, t, compute(), clock, [&](const CudaEvent& event) { event.record(compute()); });
    }

    void execute(const Run& run, const Thresholds& t, const Arrival* clock) {
        if (capture_id_ == 0) return enqueue_now(run, t, clock);
        const GraphKey key{capture_id_, run.batch, run.count, run.size, t, clock};
        const auto found =
            std::find_if(own_->graphs.begin(), own_->graphs.end(), [&](const Graph& g) { return g.key == key; });
        if (found == own_->graphs.end()) {
            // The first run is plain: libraries make themselves ready in it, which cannot be captured.
            enqueue_now(run, t, clock);
            own_->graphs.push_front({key, {}, false});
            if (own_->graphs.size() > kMaxGraphs) own_->graphs.pop_back();
            return;
        }
        own_->graphs.splice(own_->graphs.begin(), own_->graphs, found);
        Graph& graph = own_->graphs.front();
        if (!graph.recorded && !graph.unsuitable) {
            graph.recorded = capture(run, t, clock);
            graph.unsuitable = !graph.recorded;
        }
        if (!graph.recorded) return enqueue_now(run, t, clock);
        graph.recorded.launch(compute());
    }

    /// Empty if it cannot be captured; the plain run will say why, if that is wrong there too.
    CudaGraph capture(const Run& run, const Thresholds& t, const Arrival* clock) {
        cudaStream_t const recorder = streams_->capture.get();
        CudaGraph graph;
        // The session is asked again on another stream: the run that warmed it up must be over.
        check(cudaStreamSynchronize(compute()), "finish the work");
        try {
            graph = CudaGraph::record(recorder, [&] {
                enqueue(run, t, recorder, clock, [&](const CudaEvent& event) { event.record_in_graph(recorder); });
            });
            graph.upload(compute());
        } catch (const std::exception&) {
            static_cast<void>(cudaGetLastError());
        }
        return graph;
    }

    /// Wait for a run and read what it found.
    void collect(Arrival& arrival, const Work& work, const Thresholds& t, std::vector<Poses>& out, StageTimes& times) {
        const Run* run = std::exchange(arrival.run, nullptr);
        if (!run) return;
        arrival.done.synchronize();
        times.letterbox += elapsed_ms(arrival.begun, arrival.letterboxed);
        const CudaEvent& inferred = setup_.stage_times ? arrival.inferred : arrival.done;
        times.network += elapsed_ms(arrival.letterboxed, inferred);
        if (setup_.stage_times) {
            times.decode += elapsed_ms(arrival.inferred, arrival.decoded);
            times.nms += elapsed_ms(arrival.decoded, arrival.done);
        }
        Planner planner(arrival.host);
        const ResultArrays results =
            lay_out_results(planner, static_cast<size_t>(run->batch), t, setup_.spec.keypoints);
        for (size_t i = 0; i < static_cast<size_t>(run->count); ++i)
            out[run->first + i] =
                take_poses(results, i, t.max_det, setup_.spec.keypoints, work.frame_size(run->first + i));
    }

    Setup setup_;
    Device device_;
    DType input_dtype_ = DType::f32, outputs_dtype_ = DType::f32;
    std::shared_ptr<Streams> streams_;
    std::shared_ptr<ResultBlocks> results_ = std::make_shared<ResultBlocks>();
    std::unique_ptr<Resources> own_;
    Demand held_;         ///< what arena and pinned memory are divided into
    size_t largest_ = 0;  ///< the item that the slots are known to hold
    size_t slot_number_ = 0;
    Buffers buffers_;
    MemoryPlan plan_;
    uint64_t capture_id_ = 0;  ///< of the shape that is ready
    std::vector<ImageView> views_;
    Packer packer_;
    void* heard_ = nullptr;  ///< stream this call waits for already
    std::string broken_;     ///< why the GPU can no longer be used
};

}  // namespace

std::unique_ptr<Pipeline> make_cuda_pipeline(const Setup& setup) { return std::make_unique<CudaPipeline>(setup); }

}  // namespace trtpose::engine
