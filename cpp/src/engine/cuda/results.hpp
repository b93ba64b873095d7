// SPDX-License-Identifier: Apache-2.0
// Results on their way to the host, and those left on a GPU: who owns their memory, who reads it, and when it may be
// written again.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "core/fork.hpp"
#include "engine/pipeline.hpp"
#include "trtpose/device_poses.hpp"

namespace trtpose::engine {

/// The streams of an engine; results on the device keep them alive.
struct Streams {
    CudaStream compute, upload;
    CudaStream capture;  ///< only ever recorded, so that others may use `compute` meanwhile
    CudaStream input;    ///< for those who make frames
};

/// A number as programs and Python pass it: 0 and 1 stand for the legacy default stream, 2 for the thread's own.
inline cudaStream_t cuda_stream(void* stream) {
    const auto number = reinterpret_cast<uintptr_t>(stream);
    if (number <= 1) return cudaStreamLegacy;
    return number == 2 ? cudaStreamPerThread : static_cast<cudaStream_t>(stream);
}

/// One run whose results are on their way to the host, and its clock.
struct Arrival : Place {
    CudaEvent begun{true}, letterboxed{true}, inferred{true}, selected{true}, done{true};
};

/// Memory of results, and what must be reached before it is written again.
struct ResultBlock {
    DeviceBuffer memory;
    std::vector<CudaEvent> readers;  ///< as many as there ever were
    size_t reading = 0;              ///< of them, those that count

    explicit operator bool() const { return memory.data() != nullptr; }
};

/// The blocks of an engine's results. One whose owner has gone is kept for a later call, because cudaMalloc takes long
/// and cudaFree stops the whole GPU.
///
/// A list of ours, not a pool of CUDA's (cudaMallocAsync): there too a block may only be given back behind its readers,
/// whose streams nobody but us is told; what the pool keeps would be in nobody's plan; and some drivers have none.
class ResultBlocks {
public:
    static constexpr size_t kMaxKept = 4;

    /// A kept block of at least `bytes`, the one kept longest; empty if there is none.
    ResultBlock reuse(size_t bytes) {
        const std::lock_guard lock(mutex_);
        const auto found =
            std::find_if(kept_.begin(), kept_.end(), [&](const ResultBlock& b) { return b.memory.size() >= bytes; });
        if (found == kept_.end()) return {};
        ResultBlock block = std::move(*found);
        kept_.erase(found);
        return block;
    }
    ResultBlock add(DeviceBuffer memory) {
        const std::lock_guard lock(mutex_);
        total_ += memory.size();
        return {std::move(memory), {}, 0};
    }
    /// A block that nobody owns any more; kept where it may be used again.
    void give(ResultBlock block, bool again) {
        std::list<ResultBlock> gone;  // freed when the lock is
        const std::lock_guard lock(mutex_);
        auto& list = again && !closed_ ? kept_ : gone;
        list.push_back(std::move(block));
        if (kept_.size() > kMaxKept) gone.splice(gone.end(), kept_, kept_.begin());
        forget(gone);
    }
    /// Give back what is kept, and with `close` from now on everything.
    void clear(bool close = false) {
        std::list<ResultBlock> gone;
        const std::lock_guard lock(mutex_);
        closed_ |= close;
        gone.swap(kept_);
        forget(gone);
    }
    /// Bytes of all blocks, with an owner or without.
    size_t total() const {
        const std::lock_guard lock(mutex_);
        return total_;
    }

private:
    void forget(const std::list<ResultBlock>& gone) {
        for (const ResultBlock& block : gone) total_ -= block.memory.size();
    }

    mutable std::mutex mutex_;
    std::list<ResultBlock> kept_;  ///< kept longest first
    size_t total_ = 0;
    bool closed_ = false;
};

class CudaPoses final : public DevicePoses::Memory {
public:
    /// Left alone by processes forked from this one, which have no GPU memory.
    static std::shared_ptr<CudaPoses> make(int device, std::shared_ptr<Streams> streams,
                                           std::shared_ptr<ResultBlocks> blocks) {
        auto poses = std::make_unique<CudaPoses>(device, std::move(streams), std::move(blocks));
        const auto remove = [birth = poses->birth_](CudaPoses* gone) {
            std::unique_ptr<CudaPoses> owner(gone);
            give_up(birth, owner);
        };
        return {poses.release(), remove};
    }
    CudaPoses(int device, std::shared_ptr<Streams> streams, std::shared_ptr<ResultBlocks> blocks)
        : device_(device), streams_(std::move(streams)), blocks_(std::move(blocks)) {}
    ~CudaPoses() override {
        try {
            const CudaDeviceGuard guard(device_);
            if (block_) blocks_->give(std::move(block_), record_readers());
            streams_.reset();
            static_cast<void>(cudaGetLastError());  // the next launch would take it for its own
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }

    /// The results go to `block`, which the engine's stream writes when its readers before are done.
    void own(ResultBlock block) {
        block_ = std::move(block);
        shared_ = true;  // should the wait fail
        for (size_t i = 0; i < block_.reading; ++i) block_.readers[i].hold(streams_->compute.get());
        block_.reading = 0;
        shared_ = false;
    }
    void* data() const { return block_.memory.data(); }
    void record() const { ready_.record(streams_->compute.get()); }

    void wait(void* stream) const override {
        check_process();
        cudaStream_t reader = cuda_stream(stream);
        ready_.hold(reader);
        if (reader == streams_->compute.get()) return;  // writes the block again, after what it is given now
        // Every thread has a default stream of its own; the legacy one waits for all of them.
        if (reader == cudaStreamPerThread) reader = cudaStreamLegacy;
        const std::lock_guard lock(mutex_);
        if (std::find(readers_.begin(), readers_.end(), reader) == readers_.end()) readers_.push_back(reader);
    }
    void synchronize() const override {
        check_process();
        cuda_check(cudaEventSynchronize(ready_.get()), "find the poses");
    }
    void share() const override {
        check_process();
        const std::lock_guard lock(mutex_);
        shared_ = true;
    }

private:
    void check_process() const {
        require(birth_.here(), ErrorCode::device,
                "poses on a GPU: found before this process was forked, and a forked process has no GPU memory; bring "
                "them to the host before, or start processes with 'spawn'");
    }

    /// Note how far the readers' streams are; false: that is not known, and cudaFree must wait for all there is.
    bool record_readers() {
        try {
            for (size_t i = 0; !shared_ && i < readers_.size(); ++i) {
                if (block_.readers.size() == i) block_.readers.emplace_back();
                block_.readers[i].record(readers_[i]);
                ++block_.reading;
            }
            return !shared_;
        } catch (const Error&) {
            return false;
        }
    }

    Birth birth_;
    int device_;
    std::shared_ptr<Streams> streams_;
    std::shared_ptr<ResultBlocks> blocks_;
    ResultBlock block_;
    CudaEvent ready_;
    mutable std::mutex mutex_;
    mutable std::vector<cudaStream_t> readers_;
    mutable bool shared_ = false;
};

}  // namespace trtpose::engine
