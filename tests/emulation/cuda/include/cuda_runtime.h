// SPDX-License-Identifier: Apache-2.0
// Stands in for CUDA's header of this name: the part of the runtime and of the device language that trtpose uses, with
// the same names and signatures, carried out on the CPU. See tests/emulation/README.md.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

// ---- Language ------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}  // NOLINT: as CUDA's
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

// ---- Runtime -------------------------------------------------------------------------------------------------------

#define CUDART_VERSION 13000

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnmatched = 903,
    cudaErrorStreamCaptureImplicit = 906,
    cudaErrorCapturedEvent = 907,
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum cudaStreamCaptureStatus {
    cudaStreamCaptureStatusNone,
    cudaStreamCaptureStatusActive,
    cudaStreamCaptureStatusInvalidated
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
    int multiProcessorCount;
    size_t sharedMemPerBlockOptin;
};
struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
    void* devicePointer;
    void* hostPointer;
};

namespace emulation {
struct Stream;
struct Event;
struct Graph;
struct GraphExec;
}  // namespace emulation
using cudaStream_t = emulation::Stream*;
using cudaEvent_t = emulation::Event*;
using cudaGraph_t = emulation::Graph*;
using cudaGraphExec_t = emulation::GraphExec*;

inline constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2;
inline constexpr unsigned cudaEventRecordDefault = 0, cudaEventRecordExternal = 1;
inline constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocPortable = 1;
#define cudaStreamLegacy (static_cast<cudaStream_t>(nullptr))
#define cudaStreamPerThread (static_cast<cudaStream_t>(nullptr))

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);

cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream = nullptr);

cudaError_t cudaDeviceSynchronize();
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream = nullptr, unsigned flags = 0);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

template <typename T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}
template <typename T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned flags) {
    return cudaHostAlloc(reinterpret_cast<void**>(pointer), bytes, flags);
}

// ---- Execution -----------------------------------------------------------------------------------------------------

namespace emulation {

/// What a lane brings to an operation of its warp.
enum class WarpOp : uint8_t { sync, ballot, any, all, shfl, shfl_up, shfl_down, shfl_xor, reduce_add, reduce_max };

const uint3& thread_index();
const uint3& block_index();
const dim3& block_shape();
const dim3& grid_shape();
void barrier(const char* file, int line);
uint64_t warp(WarpOp op, unsigned mask, uint64_t value, int argument, int width, const char* file, int line);
unsigned active_lanes();
/// Another thread may go on here, as one may between any two instructions.
void preempt();
unsigned char* dynamic_shared();
void* shared_block(const char* file, int line, size_t bytes);
void launch_closure(const char* name, dim3 grid, dim3 block, size_t shared, Stream* stream, std::function<void()> body);
void allow_shared(const void* kernel, size_t bytes);
size_t allowed_shared(const void* kernel);

template <typename T>
T* shared_array(const char* file, int line, size_t count) {
    return static_cast<T*>(shared_block(file, line, count * sizeof(T)));
}

/// The arguments are copied now, as at a launch, and the kernel runs when its stream gets there.
template <typename... P, typename... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, Stream* stream,
            A&&... given) {
    if (shared > allowed_shared(reinterpret_cast<const void*>(kernel))) grid = {0, 0, 0};  // refused as CUDA does
    std::tuple<std::decay_t<P>...> arguments(static_cast<A&&>(given)...);
    launch_closure(name, grid, block, shared, stream, [kernel, arguments] { std::apply(kernel, arguments); });
}

template <typename T>
uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <typename T>
T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace emulation

template <typename K>
cudaError_t cudaFuncSetAttribute(K* kernel, cudaFuncAttribute, int value) {
    if (value < 0 || value > (64 << 10)) return cudaErrorInvalidValue;  // what the smallest GPU has
    emulation::allow_shared(reinterpret_cast<const void*>(kernel), static_cast<size_t>(value));
    return cudaSuccess;
}

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())
#define blockDim (emulation::block_shape())
#define gridDim (emulation::grid_shape())

#define __syncthreads() emulation::barrier(__FILE__, __LINE__)
#define __syncwarp(...) emulation::syncwarp_at(__FILE__, __LINE__, ##__VA_ARGS__)
#define __ballot_sync(mask, predicate) \
    static_cast<unsigned>(             \
        emulation::warp(emulation::WarpOp::ballot, mask, (predicate) ? 1 : 0, 0, 32, __FILE__, __LINE__))
#define __any_sync(mask, predicate) \
    static_cast<int>(emulation::warp(emulation::WarpOp::any, mask, (predicate) ? 1 : 0, 0, 32, __FILE__, __LINE__))
#define __all_sync(mask, predicate) \
    static_cast<int>(emulation::warp(emulation::WarpOp::all, mask, (predicate) ? 1 : 0, 0, 32, __FILE__, __LINE__))
#define __shfl_sync(mask, value, lane, ...) \
    emulation::shuffle(emulation::WarpOp::shfl, mask, value, static_cast<int>(lane), __FILE__, __LINE__, ##__VA_ARGS__)
#define __shfl_up_sync(mask, value, delta, ...)                                                    \
    emulation::shuffle(emulation::WarpOp::shfl_up, mask, value, static_cast<int>(delta), __FILE__, \
                       __LINE__, ##__VA_ARGS__)
#define __shfl_down_sync(mask, value, delta, ...)                                                    \
    emulation::shuffle(emulation::WarpOp::shfl_down, mask, value, static_cast<int>(delta), __FILE__, \
                       __LINE__, ##__VA_ARGS__)
#define __shfl_xor_sync(mask, value, lanes, ...)                                                    \
    emulation::shuffle(emulation::WarpOp::shfl_xor, mask, value, static_cast<int>(lanes), __FILE__, \
                       __LINE__, ##__VA_ARGS__)
#define __reduce_add_sync(mask, value) \
    static_cast<unsigned>(emulation::warp(emulation::WarpOp::reduce_add, mask, value, 0, 32, __FILE__, __LINE__))
#define __reduce_max_sync(mask, value) \
    static_cast<unsigned>(emulation::warp(emulation::WarpOp::reduce_max, mask, value, 0, 32, __FILE__, __LINE__))
#define __activemask() emulation::active_lanes()

namespace emulation {
inline void syncwarp_at(const char* file, int line, unsigned mask = 0xFFFFFFFFu) {
    warp(WarpOp::sync, mask, 0, 0, 32, file, line);
}
template <typename T>
T shuffle(WarpOp op, unsigned mask, T value, int argument, const char* file, int line, int width = 32) {
    return from_bits<T>(warp(op, mask, to_bits(value), argument, width, file, line));
}
template <typename T, typename F>
T atomic(T* address, F&& change) {
    preempt();
    const T old = *address;
    *address = change(old);
    return old;
}
}  // namespace emulation

template <typename T>
T atomicAdd(T* address, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T old) { return static_cast<T>(old + value); });
}
template <typename T>
T atomicMax(T* address, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <typename T>
T atomicMin(T* address, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <typename T>
T atomicOr(T* address, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T old) { return static_cast<T>(old | value); });
}
template <typename T>
T atomicExch(T* address, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    return emulation::atomic(address, [=](T old) { return old == expected ? value : old; });
}

inline void __threadfence() { emulation::preempt(); }
inline void __threadfence_block() { emulation::preempt(); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
inline unsigned __float_as_uint(float x) { return emulation::from_bits<unsigned>(emulation::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return emulation::from_bits<float>(emulation::to_bits(x)); }
template <typename T>
T __ldg(const T* address) {
    return *address;
}

#include "cuda/calls.hpp"
