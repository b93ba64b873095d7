// SPDX-License-Identifier: Apache-2.0
// Every call of the runtime that trtpose makes passes here, where tests listen and let single ones fail. Included at
// the end of the stand-in for cuda_runtime.h; the runtime itself is compiled without it.
#pragma once

#if !defined(TRTPOSE_EMULATION_RUNTIME)

namespace emulation {

/// Note a call; the error it is to return instead of being carried out, if there is one.
cudaError_t note_call(const char* name);
/// The error that the call in progress failed with is there for cudaGetLastError too.
cudaError_t fail_call(cudaError_t error);

template <typename Call>
cudaError_t call(const char* name, Call&& carry_out) {
    const cudaError_t error = note_call(name);
    return error == cudaSuccess ? carry_out() : fail_call(error);
}

/// Calls that give something back do so even when they report an error.
template <typename Call>
cudaError_t give_back(const char* name, Call&& carry_out) {
    const cudaError_t error = note_call(name), own = carry_out();
    return error == cudaSuccess ? own : fail_call(error);
}

/// A recording that fails to end is gone.
inline cudaError_t end_capture(cudaStream_t stream, cudaGraph_t* graph) {
    const cudaError_t error = note_call("cudaStreamEndCapture"), own = cudaStreamEndCapture(stream, graph);
    if (error == cudaSuccess) return own;
    if (own == cudaSuccess) static_cast<void>(cudaGraphDestroy(*graph));
    *graph = nullptr;
    return fail_call(error);
}

/// Taken, it is gone.
inline cudaError_t take_last_error() {
    const cudaError_t error = note_call("cudaGetLastError"), own = cudaGetLastError();
    return error == cudaSuccess ? own : error;
}

}  // namespace emulation

#define TRTPOSE_CALL(name, ...) emulation::call(#name, [&] { return name(__VA_ARGS__); })
#define TRTPOSE_GIVE_BACK(name, ...) emulation::give_back(#name, [&] { return name(__VA_ARGS__); })

#define cudaGetDevice(...) TRTPOSE_CALL(cudaGetDevice, __VA_ARGS__)
#define cudaSetDevice(...) TRTPOSE_CALL(cudaSetDevice, __VA_ARGS__)
#define cudaMemGetInfo(...) TRTPOSE_CALL(cudaMemGetInfo, __VA_ARGS__)
#define cudaMalloc(...) TRTPOSE_CALL(cudaMalloc, __VA_ARGS__)
#define cudaFree(...) TRTPOSE_GIVE_BACK(cudaFree, __VA_ARGS__)
#define cudaHostAlloc(...) TRTPOSE_CALL(cudaHostAlloc, __VA_ARGS__)
#define cudaFreeHost(...) TRTPOSE_GIVE_BACK(cudaFreeHost, __VA_ARGS__)
#define cudaPointerGetAttributes(...) TRTPOSE_CALL(cudaPointerGetAttributes, __VA_ARGS__)
#define cudaMemcpyAsync(...) TRTPOSE_CALL(cudaMemcpyAsync, __VA_ARGS__)
#define cudaMemsetAsync(...) TRTPOSE_CALL(cudaMemsetAsync, __VA_ARGS__)
#define cudaStreamCreateWithFlags(...) TRTPOSE_CALL(cudaStreamCreateWithFlags, __VA_ARGS__)
#define cudaStreamDestroy(...) TRTPOSE_GIVE_BACK(cudaStreamDestroy, __VA_ARGS__)
#define cudaStreamSynchronize(...) TRTPOSE_CALL(cudaStreamSynchronize, __VA_ARGS__)
#define cudaStreamWaitEvent(...) TRTPOSE_CALL(cudaStreamWaitEvent, __VA_ARGS__)
#define cudaEventCreateWithFlags(...) TRTPOSE_CALL(cudaEventCreateWithFlags, __VA_ARGS__)
#define cudaEventDestroy(...) TRTPOSE_GIVE_BACK(cudaEventDestroy, __VA_ARGS__)
#define cudaEventRecord(...) TRTPOSE_CALL(cudaEventRecord, __VA_ARGS__)
#define cudaEventRecordWithFlags(...) TRTPOSE_CALL(cudaEventRecordWithFlags, __VA_ARGS__)
#define cudaEventSynchronize(...) TRTPOSE_CALL(cudaEventSynchronize, __VA_ARGS__)
#define cudaEventElapsedTime(...) TRTPOSE_CALL(cudaEventElapsedTime, __VA_ARGS__)
#define cudaStreamBeginCapture(...) TRTPOSE_CALL(cudaStreamBeginCapture, __VA_ARGS__)
#define cudaStreamEndCapture(...) emulation::end_capture(__VA_ARGS__)
#define cudaGraphInstantiate(...) TRTPOSE_CALL(cudaGraphInstantiate, __VA_ARGS__)
#define cudaGraphUpload(...) TRTPOSE_CALL(cudaGraphUpload, __VA_ARGS__)
#define cudaGraphLaunch(...) TRTPOSE_CALL(cudaGraphLaunch, __VA_ARGS__)
#define cudaGraphDestroy(...) TRTPOSE_GIVE_BACK(cudaGraphDestroy, __VA_ARGS__)
#define cudaGraphExecDestroy(...) TRTPOSE_GIVE_BACK(cudaGraphExecDestroy, __VA_ARGS__)
#define cudaFuncSetAttribute(...) TRTPOSE_CALL(cudaFuncSetAttribute, __VA_ARGS__)
// Errors of launches come to light here; the launch before has taken place.
#define cudaGetLastError() emulation::take_last_error()

#endif
