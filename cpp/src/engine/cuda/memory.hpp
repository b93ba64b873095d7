// SPDX-License-Identifier: Apache-2.0
// The memory of a CUDA pipeline: what a shape takes, one block of the GPU's and one of the host's, and their parts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/cuda_resources.hpp"
#include "engine/cuda/results.hpp"
#include "engine/pipeline.hpp"

namespace trtpose::engine {

/// Types of the network's tensors; the outputs are all of one.
struct TensorTypes {
    DType input = DType::f32, outputs = DType::f32;
    /// Bytes of one image of the input.
    size_t image_bytes(Size size) const {
        return 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width) * size_of(input);
    }
};

/// The network's buffers at one shape, as parts of the arena.
struct ShapeBuffers {
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

/// What a shape takes of the arena and of the host's pinned memory, and its plan.
struct Demand {
    MemoryPlan plan;
    size_t scratch = 0;  ///< lent to the session; shapes that run in turn share it
    size_t buffers = 0;
    size_t results = 0;  ///< blocks of their own
    size_t staging = 0;  ///< of each of the two staging buffers, on either side
    size_t arrival = 0;  ///< of each of the two, pinned alone
    size_t arena() const { return scratch + buffers + 2 * staging; }
    bool same_blocks(const Demand& other) const {
        return arena() == other.arena() && scratch == other.scratch && staging == other.staging &&
               arrival == other.arrival;
    }
};

/// Memory of the current GPU; what is missing is said for `what`.
DeviceBuffer take_device_memory(size_t bytes, const std::string& what, const char* remedy);
PinnedBuffer take_pinned_memory(size_t bytes, const std::string& what);

/// What is called before memory moves: afterwards nothing is at work on it or remembers its addresses.
using LetGo = std::function<void()>;

/// The blocks of one pipeline, divided for the shape that is ready. Used while the pipeline's GPU is the current one.
class PipelineMemory {
public:
    PipelineMemory(const EngineParts& engine, TensorTypes types, const Streams& streams, ResultBlocks& results);

    /// What a shape would take, with room for an item of `largest` bytes in a staging buffer.
    MemoryPlan plan(int batch, Size size, const Thresholds& t, size_t largest) const;

    /// Make session and buffers ready for a run whose largest item takes `largest` bytes of a staging buffer. The id
    /// under which the run may be captured, 0 if it may not.
    uint64_t make_ready(const Run& run, const Thresholds& t, size_t largest, const LetGo& let_go);

    /// A block for the results of `frames` frames, within the budget.
    ResultBlock take_results(size_t bytes, size_t frames, const Thresholds& t);

    const ShapeBuffers& buffers() const { return buffers_; }
    /// The largest plan so far.
    const MemoryPlan& largest_plan() const { return largest_plan_; }

    size_t staging_bytes() const { return current_.staging; }
    char* staging_on_host(size_t i) const { return static_cast<char*>(pinned_.data()) + i * current_.staging; }
    char* staging_on_device(size_t i) const {
        return static_cast<char*>(arena_.data()) + current_.scratch + current_.buffers + i * current_.staging;
    }
    char* arrival(size_t i) const { return staging_on_host(2) + i * current_.arrival; }

private:
    ShapeBuffers lay_out(Planner& planner, const SessionShape& shape, int batch, Size size, const Thresholds& t) const;
    Demand measure(const SessionShape& shape, int batch, Size size, const Thresholds& t, size_t largest,
                   size_t staging) const;
    void keep_within_budget(Demand& demand, size_t least_staging) const;
    void widen_for_earlier_shapes(Demand& wanted) const;
    void move_in(const Demand& wanted, const Run& run);

    const EngineParts& engine_;
    Device device_;
    TensorTypes types_;
    const Streams& streams_;
    ResultBlocks& results_;
    DeviceBuffer arena_;   ///< the session's scratch, then the buffers, then the staging
    PinnedBuffer pinned_;  ///< the staging, then the arrivals
    Demand current_;       ///< what both are divided into
    ShapeBuffers buffers_;
    size_t largest_item_ = 0;  ///< that the staging is known to hold
    MemoryPlan largest_plan_;
};

}  // namespace trtpose::engine
