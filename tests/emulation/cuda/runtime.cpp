// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime on the CPU: devices, errors, memory and copies.
#include "cuda/runtime.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace emulation {

std::recursive_mutex lock;
std::string broken;
thread_local int current = 0;

namespace {

struct Memory {
    size_t bytes;
    cudaMemoryType type;
    int device;
};

std::map<const char*, Memory> memory;
std::map<const void*, size_t> shared_limits;
int devices = 1;
size_t device_capacity = size_t{4} << 30;
int capability[] = {7, 5};
std::map<int, size_t> taken;  ///< by device
thread_local cudaError_t last_error = cudaSuccess;

const Memory* find(const void* pointer) {
    auto after = memory.upper_bound(static_cast<const char*>(pointer));
    if (after == memory.begin()) return nullptr;
    --after;
    return static_cast<const char*>(pointer) < after->first + std::max<size_t>(after->second.bytes, 1) ? &after->second
                                                                                                       : nullptr;
}

cudaError_t take(void** pointer, size_t bytes, cudaMemoryType type) {
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (type == cudaMemoryTypeDevice && taken[current] + bytes > device_capacity)
        return report(cudaErrorMemoryAllocation);
    void* data = nullptr;
    if (::posix_memalign(&data, 256, bytes) != 0) return report(cudaErrorMemoryAllocation);
    std::memset(data, 0xFF, bytes);
    memory[static_cast<char*>(data)] = {bytes, type, current};
    if (type == cudaMemoryTypeDevice) taken[current] += bytes;
    *pointer = data;
    return cudaSuccess;
}

cudaError_t drop(void* pointer, cudaMemoryType type) {
    if (!pointer) return cudaSuccess;
    if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
    run_all();
    const auto found = memory.find(static_cast<char*>(pointer));
    if (found == memory.end() || found->second.type != type) return report(cudaErrorInvalidValue);
    if (type == cudaMemoryTypeDevice) taken[found->second.device] -= found->second.bytes;
    memory.erase(found);
    std::free(pointer);
    return cudaSuccess;
}

/// Whether `bytes` from `pointer` lie in memory fit for that side of the copy.
bool fits(const void* pointer, size_t bytes, bool on_device) {
    const Memory* block = find(pointer);
    if (!block) return !on_device;
    const auto after = memory.upper_bound(static_cast<const char*>(pointer));
    const char* begin = std::prev(after)->first;
    return static_cast<const char*>(pointer) + bytes <= begin + block->bytes &&
           (block->type == cudaMemoryTypeDevice) == on_device;
}

bool to_device(cudaMemcpyKind kind) { return kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice; }
bool from_device(cudaMemcpyKind kind) { return kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice; }

cudaMemcpyKind settle(cudaMemcpyKind kind, const void* to, const void* from) {
    if (kind != cudaMemcpyDefault) return kind;
    const Memory *t = find(to), *f = find(from);
    const bool td = t && t->type == cudaMemoryTypeDevice, fd = f && f->type == cudaMemoryTypeDevice;
    return td   ? fd ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
           : fd ? cudaMemcpyDeviceToHost
                : cudaMemcpyHostToHost;
}

}  // namespace

cudaError_t report(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}

cudaError_t usable() {
    if (devices == 0) return cudaErrorNoDevice;
    return broken.empty() ? cudaSuccess : cudaErrorLaunchFailure;
}

void set_devices(int count, size_t bytes_each) {
    const Guard guard(lock);
    devices = count;
    device_capacity = bytes_each;
}

void set_capability(int major, int minor) {
    const Guard guard(lock);
    capability[0] = major;
    capability[1] = minor;
}

std::string fault() {
    const Guard guard(lock);
    return broken;
}

void reset() {
    const Guard guard(lock);
    for (Stream* stream : streams) {
        stream->waiting.clear();
        stream->done = stream->given;
    }
    broken.clear();
    last_error = cudaSuccess;
}

size_t device_bytes() {
    const Guard guard(lock);
    size_t sum = 0;
    for (const auto& [device, bytes] : taken) sum += bytes;
    return sum;
}

cudaError_t fail_call(cudaError_t error) {
    const Guard guard(lock);
    return report(error);
}

void allow_shared(const void* kernel, size_t bytes) {
    const Guard guard(lock);
    shared_limits[kernel] = std::max(bytes, size_t{48} << 10);
}

size_t allowed_shared(const void* kernel) {
    const Guard guard(lock);
    const auto found = shared_limits.find(kernel);
    return found == shared_limits.end() ? size_t{48} << 10 : found->second;
}

}  // namespace emulation

using namespace emulation;  // NOLINT: this file is that namespace's face

cudaError_t cudaDriverGetVersion(int* version) {
    const Guard guard(lock);
    *version = devices ? CUDART_VERSION : 0;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    const Guard guard(lock);
    *count = devices;
    return devices ? cudaSuccess : report(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
    const Guard guard(lock);
    if (devices == 0) return report(cudaErrorNoDevice);
    *device = current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    const Guard guard(lock);
    if (devices == 0) return report(cudaErrorNoDevice);
    if (device < 0 || device >= devices) return report(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    const Guard guard(lock);
    if (device < 0 || device >= devices) return report(cudaErrorInvalidDevice);
    *properties = {};
    std::snprintf(properties->name, sizeof(properties->name), "emulated");
    properties->totalGlobalMem = device_capacity;
    properties->major = capability[0];
    properties->minor = capability[1];
    properties->multiProcessorCount = 1;
    properties->sharedMemPerBlockOptin = 64 << 10;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
    const Guard guard(lock);
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    *total = device_capacity;
    *free_bytes = device_capacity - taken[current];
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    const Guard guard(lock);
    const cudaError_t error = last_error;
    last_error = broken.empty() ? cudaSuccess : cudaErrorLaunchFailure;  // a broken device stays so
    return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
    const Guard guard(lock);
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorInvalidResourceHandle: return "invalid resource handle";
        case cudaErrorNotReady: return "device not ready";
        case cudaErrorLaunchFailure: return broken.empty() ? "unspecified launch failure" : broken.c_str();
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        case cudaErrorStreamCaptureUnmatched: return "operation would result in a merge of separate capture sequences";
        case cudaErrorCapturedEvent: return "operation not permitted on an event last recorded in a capturing stream";
        case cudaErrorStreamCaptureImplicit:
            return "operation would make the legacy stream depend on a capturing stream";
    }
    return "unknown error";
}
const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
        case cudaErrorNotReady: return "cudaErrorNotReady";
        case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
        case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
        case cudaErrorStreamCaptureUnmatched: return "cudaErrorStreamCaptureUnmatched";
        case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
        case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
    }
    return "unknown";
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
    const Guard guard(lock);
    return take(pointer, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaFree(void* pointer) {
    const Guard guard(lock);
    return drop(pointer, cudaMemoryTypeDevice);
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
    const Guard guard(lock);
    return take(pointer, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, 0); }
cudaError_t cudaFreeHost(void* pointer) {
    const Guard guard(lock);
    return drop(pointer, cudaMemoryTypeHost);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    const Guard guard(lock);
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    const Memory* block = find(pointer);
    *attributes = {};
    attributes->device = block ? block->device : -1;
    attributes->type = block ? block->type : cudaMemoryTypeUnregistered;
    attributes->devicePointer = block ? const_cast<void*>(pointer) : nullptr;
    attributes->hostPointer = block && block->type == cudaMemoryTypeHost ? const_cast<void*>(pointer) : nullptr;
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    const Guard guard(lock);
    if (width == 0 || height == 0) return cudaSuccess;
    kind = settle(kind, to, from);
    if (width > to_pitch || width > from_pitch || !fits(to, (height - 1) * to_pitch + width, to_device(kind)) ||
        !fits(from, (height - 1) * from_pitch + width, from_device(kind)))
        return report(cudaErrorInvalidValue);
    const auto copy = [=](const void* source, size_t pitch) {
        for (size_t row = 0; row < height; ++row)
            std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(source) + row * pitch, width);
    };
    const bool pageable = (!to_device(kind) && !find(to)) || (!from_device(kind) && !find(from));
    if (pageable && stream && stream->capture) {
        stream->invalid = true;
        return report(cudaErrorStreamCaptureUnsupported);
    }
    if (pageable && !from_device(kind)) {
        // Pageable memory is read before the call returns.
        auto copied = std::make_shared<std::vector<char>>(width * height);
        for (size_t row = 0; row < height; ++row)
            std::memcpy(copied->data() + row * width, static_cast<const char*>(from) + row * from_pitch, width);
        return give(stream, [=] { copy(copied->data(), width); });
    }
    const cudaError_t error = give(stream, [=] { copy(from, from_pitch); });
    // And it is written before the call returns.
    if (error == cudaSuccess && pageable && stream) return cudaStreamSynchronize(stream);
    return error;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    const Guard guard(lock);
    if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return error == cudaSuccess ? report(usable()) : error;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    const Guard guard(lock);
    if (bytes == 0) return cudaSuccess;
    if (!fits(to, bytes, true)) return report(cudaErrorInvalidValue);
    return give(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }
