// SPDX-License-Identifier: Apache-2.0
// What the CUDA runtime lends, given back by destructors: streams, events, memory, graphs. Each belongs to the device
// that was current when it was made, and none can be copied.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "core/cuda_check.hpp"

namespace trtpose {

/// Owns a handle of CUDA's; `Destroy` gives it back.
template <typename Handle, cudaError_t (*Destroy)(Handle)>
class CudaHandle {
public:
    CudaHandle() = default;
    explicit CudaHandle(Handle handle) : handle_(handle) {}
    ~CudaHandle() { reset(); }
    CudaHandle(CudaHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    CudaHandle& operator=(CudaHandle&& other) noexcept {
        if (this != &other) {
            reset();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    Handle get() const { return handle_; }
    explicit operator bool() const { return handle_ != nullptr; }

private:
    void reset() {
        if (handle_) static_cast<void>(Destroy(handle_));
        handle_ = nullptr;
    }
    Handle handle_ = nullptr;
};

/// A stream that does not wait for the default one, as TensorRT and graphs want it.
class CudaStream {
public:
    CudaStream() {
        cudaStream_t stream = nullptr;
        cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
        handle_ = Handle(stream);
    }
    cudaStream_t get() const { return handle_.get(); }
    /// Wait until all that was given to the stream is done; its errors come to light here.
    void synchronize() const { cuda_check(cudaStreamSynchronize(get()), "finish the work of a stream"); }

private:
    using Handle = CudaHandle<cudaStream_t, cudaStreamDestroy>;
    Handle handle_;
};

/// A point in a stream. `timing` makes elapsed times possible, which costs a little.
class CudaEvent {
public:
    explicit CudaEvent(bool timing = false) {
        cudaEvent_t event = nullptr;
        cuda_check(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming),
                   "make an event");
        handle_ = Handle(event);
    }
    cudaEvent_t get() const { return handle_.get(); }
    void record(cudaStream_t stream) const { cuda_check(cudaEventRecord(get(), stream), "record an event"); }
    /// Where `stream` is being recorded: at every launch of the graph the event is reached anew. Such events can be
    /// timed, unlike those that record() leaves in a recording, which only order it. CUDA has them since 11.1.
    void record_in_graph(cudaStream_t stream) const {
        cuda_check(cudaEventRecordWithFlags(get(), stream, cudaEventRecordExternal), "record an event in a graph");
    }
    void synchronize() const { cuda_check(cudaEventSynchronize(get()), "wait for an event"); }
    /// What `stream` is given from now on begins after this event.
    void hold(cudaStream_t stream) const { cuda_check(cudaStreamWaitEvent(stream, get(), 0), "let a stream wait"); }

private:
    using Handle = CudaHandle<cudaEvent_t, cudaEventDestroy>;
    Handle handle_;
};

/// Milliseconds between two events made with timing, both reached.
inline double elapsed_ms(const CudaEvent& start, const CudaEvent& end) {
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, start.get(), end.get()), "read the time between two events");
    return ms;
}

/// Memory of the current device. Throws Error(budget) if there is not enough.
class DeviceBuffer {
public:
    DeviceBuffer() = default;
    explicit DeviceBuffer(size_t bytes) : bytes_(bytes) {
        void* data = nullptr;
        if (bytes == 0) return;
        const cudaError_t status = cudaMalloc(&data, bytes);
        if (status == cudaErrorMemoryAllocation) {
            static_cast<void>(cudaGetLastError());
            throw Error(ErrorCode::budget, text("the GPU has no ", bytes, " bytes of memory left"));
        }
        cuda_check(status, "take memory of the GPU");
        handle_ = Handle(data);
    }
    void* data() const { return handle_.get(); }
    size_t size() const { return bytes_; }

private:
    using Handle = CudaHandle<void*, cudaFree>;
    Handle handle_;
    size_t bytes_ = 0;
};

/// Host memory that the GPU reads and writes by itself, while the program goes on.
class PinnedBuffer {
public:
    PinnedBuffer() = default;
    explicit PinnedBuffer(size_t bytes) : bytes_(bytes) {
        void* data = nullptr;
        if (bytes == 0) return;
        const cudaError_t status = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
        if (status == cudaErrorMemoryAllocation) {
            static_cast<void>(cudaGetLastError());
            throw Error(ErrorCode::budget, text("no ", bytes, " bytes of memory could be pinned"));
        }
        cuda_check(status, "pin memory");
        handle_ = Handle(data);
    }
    void* data() const { return handle_.get(); }
    size_t size() const { return bytes_; }

private:
    using Handle = CudaHandle<void*, cudaFreeHost>;
    Handle handle_;
    size_t bytes_ = 0;
};

/// Work recorded once and launched as a whole.
class CudaGraph {
public:
    CudaGraph() = default;

    /// Record what `work()` gives to `stream`. Nothing of it runs. In thread-local mode, so that other threads may use
    /// CUDA meanwhile. An exception of `work` ends the recording and goes on.
    template <typename Work>
    static CudaGraph record(cudaStream_t stream, Work&& work) {
        cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin to record a graph");
        cudaGraph_t recorded = nullptr;
        try {
            work();
        } catch (...) {
            if (cudaStreamEndCapture(stream, &recorded) == cudaSuccess && recorded)
                static_cast<void>(cudaGraphDestroy(recorded));
            static_cast<void>(cudaGetLastError());
            throw;
        }
        cuda_check(cudaStreamEndCapture(stream, &recorded), "record a graph");
        const CudaHandle<cudaGraph_t, cudaGraphDestroy> graph(recorded);
        cudaGraphExec_t exec = nullptr;
        cuda_check(cudaGraphInstantiate(&exec, recorded, 0), "make a recorded graph ready");
        CudaGraph out;
        out.handle_ = Handle(exec);
        return out;
    }

    explicit operator bool() const { return static_cast<bool>(handle_); }
    /// Move it to the device ahead of the first launch.
    void upload(cudaStream_t stream) const { cuda_check(cudaGraphUpload(handle_.get(), stream), "upload a graph"); }
    void launch(cudaStream_t stream) const { cuda_check(cudaGraphLaunch(handle_.get(), stream), "launch a graph"); }

private:
    using Handle = CudaHandle<cudaGraphExec_t, cudaGraphExecDestroy>;
    Handle handle_;
};

}  // namespace trtpose
