// SPDX-License-Identifier: Apache-2.0
// What carries out the engine's calls on one device: letterbox, network, decode and NMS, and the memory between them.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.hpp"
#include "core/thread_pool.hpp"
#include "families/family.hpp"
#include "trtpose/device_poses.hpp"
#include "trtpose/engine.hpp"
#include "trtpose/session.hpp"

namespace trtpose::engine {

/// Bytes of a usual frame, for which there should be room.
inline constexpr size_t kUsualFrame = size_t{1920} * 1080 * 3;

/// What an engine lends its pipeline; outlives it.
struct EngineParts {
    Session& session;
    const ModelSpec& spec;
    const std::vector<int>& output_order;  ///< session output for each of the spec's outputs
    ThreadPool& threads;
    size_t budget;     ///< bytes; 0: no limit
    bool stage_times;  ///< see EngineOptions
    int in_flight;     ///< calls at most that have begun and not ended
};

/// One run of the network: `count` frames from `first` on, in a batch of `batch` (more where the network's is fixed).
struct Run {
    size_t first = 0;
    int count = 0;
    int batch = 0;
    Size size;
};

/// One call: frames to letterbox or, without any, inputs that are letterboxed already. The engine has checked them.
struct Call {
    Span<const ImageView> frames;
    InputView input;
    std::vector<Run> runs;

    size_t count() const { return input.data ? static_cast<size_t>(input.batch) : frames.size(); }
    /// Height and width of item i, whose pixels the results are in.
    Size frame_size(size_t i) const {
        return input.data ? Size{input.height, input.width} : Size{frames[i].height, frames[i].width};
    }
};

/// A call that has begun, and what has been found so far.
struct Flight {
    Flight(const Call& call_in, const Thresholds& thresholds_in, StageTimes* times_in)
        : call(call_in), thresholds(thresholds_in), times(times_in), found(call_in.count()) {}
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    const Call& call;  ///< outlives it; its frames are read when it begins, their sizes are until it ends
    Thresholds thresholds;
    StageTimes* times;           ///< null: nobody asks
    std::vector<Poses> found;    ///< one per item, in order
    size_t open = 0;             ///< runs that are being computed
    std::exception_ptr failure;  ///< of a run that had to make room for another call's
};

/// Where a run is while it is being computed.
struct Place {
    Flight* flight = nullptr;
    const Run* run = nullptr;  ///< null: none
    uint64_t order = 0;        ///< of the runs, in which they began
};

/// The place for the next run: one that is free, else the one whose run began first.
template <typename Places>
size_t next_place(const Places& places) {
    size_t found = 0;
    for (size_t i = 0; i < places.size(); ++i) {
        if (!places[i].run) return i;
        if (places[i].order < places[found].order) found = i;
    }
    return found;
}

/// Serves one thread at a time, which the engine sees to.
class Pipeline {
public:
    virtual ~Pipeline() = default;
    /// What a shape would take, with room for a frame of `frame_bytes` on its way to a GPU; takes nothing. More than
    /// the budget where that is too small.
    virtual MemoryPlan plan(int batch, Size size, const Thresholds& thresholds, size_t frame_bytes) = 0;
    /// Plan the memory for a shape and take it. Throws Error(budget) where it does not fit.
    virtual void prepare(int batch, Size size, const Thresholds& thresholds) = 0;
    /// One Poses per item, in order. Adds to the stages of `times`.
    virtual std::vector<Poses> run(const Call& call, const Thresholds& thresholds, StageTimes& times) = 0;
    virtual DevicePoses run_device(const Call& call, const Thresholds& thresholds, StageTimes& times) = 0;
    /// Start a call. Its frames have been read when this returns; runs of it for which there was no place have been
    /// waited for. When it throws, nothing of the call is being computed.
    virtual void begin(Flight& flight) = 0;
    /// Wait for a call; one Poses per item, in order. Whatever happens, nothing of it is being computed afterwards, and
    /// other calls are as they were.
    virtual std::vector<Poses> end(Flight& flight) = 0;
    /// The largest plan so far.
    virtual MemoryPlan memory() const = 0;
    virtual void* input_stream() const { return nullptr; }
};

std::unique_ptr<Pipeline> make_cpu_pipeline(const EngineParts& engine);
/// Throws Error(device). Built with CUDA alone.
std::unique_ptr<Pipeline> make_cuda_pipeline(const EngineParts& engine);

/// What turns the network's outputs at one shape into poses, and the memory that takes.
struct ShapeReader {
    std::unique_ptr<families::PoseReader> reader;
    families::ReaderMemory memory;
};
ShapeReader make_reader(const EngineParts& engine, const SessionShape& shape, DType dtype, int batch, Size size,
                        const Thresholds& thresholds);

/// The session's outputs in the order of the spec's.
std::vector<const void*> in_spec_order(const EngineParts& engine, const std::vector<void*>& outputs);

/// "model people at batch 2 and 64×96".
std::string shape_name(const EngineParts& engine, int batch, Size size);

/// Throws Error(budget) with the plan's numbers where it exceeds the budget; `remedy`: what would fit, if that is
/// known.
void check_budget(const EngineParts& engine, const MemoryPlan& plan, int batch, Size size,
                  const std::string& remedy = {});

std::string mebibytes(size_t bytes);

size_t product(const std::vector<int64_t>& shape);
/// Bytes that a tensor takes in a block where the next one is to lie as a session wants it.
inline size_t tensor_room(size_t bytes) { return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment; }

using families::ResultArrays;

/// Counts and poses of `images` images with room for max_det each, as parts of a block.
ResultArrays lay_out_results(Planner& planner, size_t images, const Thresholds& thresholds, int keypoints);

/// Image i of `results`, brought to the host, in the pixels of a frame of `size`.
Poses take_poses(const ResultArrays& results, size_t i, int max_det, int keypoints, Size size);

}  // namespace trtpose::engine
