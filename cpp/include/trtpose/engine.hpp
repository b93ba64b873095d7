// SPDX-License-Identifier: Apache-2.0
// The whole way: frames in, people out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trtpose/device_poses.hpp"
#include "trtpose/error.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/options.hpp"
#include "trtpose/session.hpp"
#include "trtpose/types.hpp"
#include "trtpose/version.hpp"

namespace trtpose {

/// Bytes the engine plans for its batch and size before the first frame, on the device it runs on. Staging is the room
/// for frames on their way to a GPU; as much again is taken of the host's memory, which no budget is for.
struct MemoryPlan {
    size_t weights = 0, activations = 0, io = 0, staging = 0, workspace = 0;
    size_t total() const { return weights + activations + io + staging + workspace; }
};

/// Milliseconds spent in each stage of the last call to infer, summed over its batches. On the CPU with several
/// streams, which compute batches at the same time, network is what the others leave of the whole. On CUDA the GPU's
/// own clock, only of calls that bring the results to the host: letterbox holds the wait for the upload, nms the way of
/// the results to the host; as batches overlap the stages may add up to more than the total, which is the host's.
/// Without EngineOptions::stage_times network holds decode and NMS too, which run with it as one graph, and theirs are
/// 0.
struct StageTimes {
    double letterbox = 0, network = 0, decode = 0, nms = 0, total = 0;
};

/// A call that has been submitted. No two of a process are alike, whichever engine they are of.
struct Ticket {
    uint64_t number = 0;
};

/// A network and everything around it. Calls from several threads are serialised; use clone() to run in parallel.
class TRTPOSE_API Engine {
public:
    /// Open a model file. Throws Error: see ErrorCode. A batch or size outside of what the network was built for is an
    /// Error(input) that names what it takes.
    explicit Engine(const std::string& path, const EngineOptions& options = {});
    /// Use a session of your own.
    Engine(std::unique_ptr<Session> session, const ModelSpec& spec, const EngineOptions& options = {});
    ~Engine();
    Engine(Engine&&) noexcept;
    Engine& operator=(Engine&&) noexcept;

    /// The people in each frame, one Poses per frame, in order. Slot k of a batch equals frame k alone.
    /// Throws Error(input) naming the first frame that cannot be used; then none was run.
    std::vector<Poses> infer(Span<const ImageView> frames);
    std::vector<Poses> infer(Span<const ImageView> frames, const Thresholds& thresholds);

    /// The same for inputs that are letterboxed and normalised already: N × 3 × height × width float32 in host memory,
    /// results in input pixels.
    std::vector<Poses> infer_tensor(const float* input, int batch, Size size, const Thresholds& thresholds);
    /// The same on either side; float16 where the network's own input is. Throws Error(input).
    std::vector<Poses> infer_tensor(const InputView& input, const Thresholds& thresholds);

    /// infer and infer_tensor with the results left on the engine's device. On CUDA this returns while the GPU is still
    /// at work, but not before it has read frames that lie on it.
    DevicePoses infer_device(Span<const ImageView> frames, const Thresholds& thresholds);
    DevicePoses infer_tensor_device(const InputView& input, const Thresholds& thresholds);

    /// infer in two halves, so that the network is at work on one call while the caller reads the next frames or uses
    /// the results of the one before. The frames are the caller's again when submit returns; those on a GPU are waited
    /// for. What submit throws it throws at once, and the call is none; other calls go on. Throws Error(input) where
    /// max_in_flight() calls have been submitted and not collected.
    Ticket submit(Span<const ImageView> frames);
    Ticket submit(Span<const ImageView> frames, const Thresholds& thresholds);
    /// The same for letterboxed inputs, see infer_tensor.
    Ticket submit_tensor(const InputView& input, const Thresholds& thresholds);
    /// Wait for a call and take its results, once, in any order: those that infer would have given. What it throws is
    /// about that call alone. Throws Error(input) for a ticket of another engine or one that has been collected.
    std::vector<Poses> collect(Ticket ticket);
    /// How many calls may be submitted before one must be collected: 2, and on the CPU one more than its streams.
    int max_in_flight() const;

    /// The frame as the network would see it: 3 × height × width float32.
    std::vector<float> letterbox(const ImageView& frame, Size* size = nullptr) const;

    /// A second engine on the same weights with buffers of its own.
    Engine clone() const;

    const ModelSpec& spec() const;
    const SessionInfo& session() const;
    const Thresholds& thresholds() const;
    Size imgsz() const;
    int batch() const;
    MemoryPlan memory() const;
    StageTimes times() const;
    const std::string& spec_origin() const;
    /// On CUDA a stream (cudaStream_t) that every later call waits for: who makes frames on the GPU may let it wait for
    /// them. Null on the CPU.
    void* input_stream() const;

private:
    struct Impl;
    explicit Engine(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace trtpose
