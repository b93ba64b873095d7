// SPDX-License-Identifier: Apache-2.0
// How what a call was given gets to the network's input: frames and tensors of the host by way of pinned memory, piece
// by piece, those of the GPU from where they are.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/cuda_resources.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/cuda/pack.hpp"
#include "engine/cuda/results.hpp"
#include "engine/pipeline.hpp"

namespace trtpose::engine {

inline bool on_gpu(const ImageView& frame) { return frame.device.type == DeviceType::cuda; }

/// Used while the pipeline's GPU is the current one.
class Staging {
public:
    Staging(const EngineParts& engine, TensorTypes types, const Streams& streams, const PipelineMemory& memory);

    /// At the beginning of a call. Throws Error(input) for what the GPU cannot read; the bytes of a staging buffer that
    /// the largest item takes.
    size_t check_call(const Call& call);
    /// Give the streams what brings the items of one run, letterboxed, into the network's input, and their placements.
    void stage(const Call& call, const Run& run);
    /// Wait until everything that was staged has been read.
    void wait_for_readers();
    /// Drop what a failed call has left.
    void forget() { packer_ = {}; }

private:
    /// Pinned memory and as much on the device: a piece of a batch is packed into the one and copied to the other.
    struct Buffer {
        char* host = nullptr;
        char* device = nullptr;
        CudaEvent uploaded;  ///< the pinned half is free again
        CudaEvent consumed;  ///< the device's half is free again
    };

    cudaStream_t compute() const { return streams_.compute.get(); }
    cudaStream_t upload() const { return streams_.upload.get(); }
    size_t check_input(const InputView& input) const;
    void check_pointer(const void* data, const std::string& what) const;
    void wait_for(cudaStream_t stream);
    void wait_for_maker(void* stream);
    Buffer& next_buffer();
    void send(const Buffer& buffer, size_t bytes);
    void stage_frames(Span<const ImageView> frames, const Run& run);
    void stage_input(const InputView& input, const Run& run);
    void copy_numbers(const char* from, DType dtype, size_t count, char* to) const;

    const EngineParts& engine_;
    Device device_;
    TensorTypes types_;
    const Streams& streams_;
    const PipelineMemory& memory_;
    CudaEvent handover_;
    std::array<Buffer, 2> buffers_;
    size_t uses_ = 0;  ///< of the buffers, which take turns
    std::vector<ImageView> views_;
    Packer packer_;
    void* last_maker_ = nullptr;  ///< stream that this call waits for already
};

}  // namespace trtpose::engine
