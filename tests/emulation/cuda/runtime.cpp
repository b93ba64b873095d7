// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime on the CPU. Work given to a stream waits there until somebody synchronises, as it may on a GPU: what
// a program forgot to wait for is not there yet, and what it overwrote too early is gone.
#define TRTPOSE_EMULATION_RUNTIME
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "cuda/execution.hpp"

namespace emulation {

using Work = std::function<void()>;

/// The clock of an event: whoever records it sets it when the stream gets there.
struct Mark {
    int pending = 0;  ///< recorded and not yet reached
    bool reached = false, gone = false;
    std::chrono::steady_clock::time_point when;
};
struct Node {
    Work work;
    std::shared_ptr<Mark> mark;  ///< of an event that is recorded at every launch
};
struct Graph {
    std::vector<Node> nodes;
};
struct GraphExec {
    std::vector<Node> nodes;
};
struct Stream {
    int device = 0;
    bool blocking = false;  ///< waits for the legacy stream, and that for it
    std::deque<Work> waiting;
    uint64_t given = 0, done = 0;
    bool busy = false;         ///< its work is being carried out, perhaps waiting for another stream
    Graph* capture = nullptr;  ///< being recorded
    bool invalid = false;      ///< the recording met something that cannot be recorded
    bool origin = false;
    std::thread::id owner;  ///< of the recording
    bool global = false;    ///< the recording forbids unsafe calls to every thread
};
struct Event {
    int device = 0;
    bool timing = true;
    Stream* stream = nullptr;
    uint64_t ticket = 0;
    std::shared_ptr<Mark> mark = std::make_shared<Mark>();
    Graph* capture = nullptr;
};

namespace {

struct Memory {
    size_t bytes;
    cudaMemoryType type;
    int device;
};

std::recursive_mutex lock;
using Guard = std::lock_guard<std::recursive_mutex>;
std::set<Stream*> streams;
std::map<const char*, Memory> memory;
std::map<const void*, size_t> shared_limits;
int devices = 1;
size_t device_capacity = size_t{4} << 30;
std::map<int, size_t> taken;  ///< by device
thread_local int current = 0;
thread_local cudaError_t last_error = cudaSuccess;
std::string broken;
cudaError_t report(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}

cudaError_t usable() {
    if (devices == 0) return cudaErrorNoDevice;
    return broken.empty() ? cudaSuccess : cudaErrorLaunchFailure;
}

const Memory* find(const void* pointer) {
    auto after = memory.upper_bound(static_cast<const char*>(pointer));
    if (after == memory.begin()) return nullptr;
    --after;
    return static_cast<const char*>(pointer) < after->first + std::max<size_t>(after->second.bytes, 1) ? &after->second
                                                                                                       : nullptr;
}

void step(Stream& stream) {
    const Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    stream.busy = true;
    if (broken.empty()) work();
    stream.busy = false;
    ++stream.done;
}

/// Carry out what `stream` was given up to `ticket`; now and then something of another stream gets in between.
void run_until(Stream& stream, uint64_t ticket) {
    while (stream.done < ticket) {
        if (schedule() && random().below(3) == 0) {
            for (Stream* other : streams) {
                if (other != &stream && !other->busy && !other->waiting.empty() && random().below(2)) step(*other);
            }
        }
        // A wait for another stream, carried out in between, may have come back here.
        if (stream.done < ticket) step(stream);
    }
}

void run_all() {
    for (Stream* stream : streams) run_until(*stream, stream->given);
}

/// What the legacy stream waits for.
void run_blocking() {
    for (Stream* stream : streams) {
        if (stream->blocking && stream->device == current) run_until(*stream, stream->given);
    }
}

bool capture_blocks_legacy() {
    return std::any_of(streams.begin(), streams.end(), [](const Stream* s) { return s->capture && s->blocking; });
}

cudaError_t give(Stream* stream, Work work) {
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    if (stream == nullptr) {
        if (capture_blocks_legacy()) return report(cudaErrorStreamCaptureImplicit);
        run_blocking();
        work();
        return report(usable());
    }
    if (!streams.count(stream)) return report(cudaErrorInvalidResourceHandle);
    if (stream->capture) {
        stream->capture->nodes.push_back({std::move(work), nullptr});
        return cudaSuccess;
    }
    stream->waiting.push_back(std::move(work));
    ++stream->given;
    return cudaSuccess;
}

/// Calls that a recording forbids to any stream that takes part.
cudaError_t refuse_while_capturing() {
    for (Stream* stream : streams) {
        if (!stream->capture || (!stream->global && stream->owner != std::this_thread::get_id())) continue;
        stream->invalid = true;
        return report(cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
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

void set_devices(int count, size_t bytes_each) {
    const Guard guard(lock);
    devices = count;
    device_capacity = bytes_each;
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

void enqueue(Stream* stream, std::function<void()> work) {
    const Guard guard(lock);
    give(stream, std::move(work));
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

void launch_closure(const char* name, dim3 grid, dim3 block, size_t shared, Stream* stream,
                    std::function<void()> body) {
    const Guard guard(lock);
    const size_t threads = size_t{block.x} * block.y * block.z;
    if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
        grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) {
        report(cudaErrorInvalidConfiguration);
        return;
    }
    if (stream && streams.count(stream) && stream->device != current) {
        report(cudaErrorInvalidResourceHandle);  // a kernel belongs to the current device
        return;
    }
    give(stream, [name = std::string(name), grid, block, shared, body = std::move(body)] {
        const std::string problem = run_grid(name, grid, block, shared, body);
        if (problem.empty()) return;
        broken = problem;
        std::fprintf(stderr, "emulated CUDA: %s\n", problem.c_str());
    });
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
    properties->major = 7;
    properties->minor = 5;
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

cudaError_t cudaDeviceSynchronize() {
    const Guard guard(lock);
    if (const cudaError_t error = refuse_while_capturing(); error != cudaSuccess) return error;
    run_all();
    return report(usable());
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    const Guard guard(lock);
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    *stream = new Stream;
    (*stream)->device = current;
    (*stream)->blocking = !(flags & cudaStreamNonBlocking);
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const Guard guard(lock);
    if (!streams.count(stream)) return report(cudaErrorInvalidResourceHandle);
    run_until(*stream, stream->given);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const Guard guard(lock);
    if (!stream) return cudaDeviceSynchronize();
    if (!streams.count(stream)) return report(cudaErrorInvalidResourceHandle);
    if (stream->capture) {
        stream->invalid = true;
        return report(cudaErrorStreamCaptureUnsupported);
    }
    run_until(*stream, stream->given);
    return report(usable());
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    const Guard guard(lock);
    if (!stream) return cudaSuccess;
    if (!streams.count(stream)) return report(cudaErrorInvalidResourceHandle);
    if (stream->done < stream->given) step(*stream);  // who asks often enough gets there
    if (stream->done < stream->given) return cudaErrorNotReady;
    return report(usable());
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const Guard guard(lock);
    if (event->capture) {
        // The stream takes part in the recording from here on.
        if (stream->capture && stream->capture != event->capture) return report(cudaErrorStreamCaptureUnmatched);
        stream->capture = event->capture;
        stream->owner = std::this_thread::get_id();
        return cudaSuccess;
    }
    Stream* other = event->stream;
    const uint64_t ticket = event->ticket;
    if (!other || other == stream) return cudaSuccess;
    return give(stream, [other, ticket] {
        if (streams.count(other)) run_until(*other, ticket);
    });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    const Guard guard(lock);
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    *event = new Event;
    (*event)->device = current;
    (*event)->timing = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    const Guard guard(lock);
    event->mark->gone = true;
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    const Guard guard(lock);
    if (stream && streams.count(stream) && stream->device != event->device)
        return report(cudaErrorInvalidResourceHandle);
    const auto mark = event->mark;
    const Work reach = [mark] {
        mark->when = std::chrono::steady_clock::now();
        mark->reached = true;
        --mark->pending;
    };
    if (flags == cudaEventRecordExternal) {
        // A node of the graph, which records the event at every launch; there is no such thing outside of a recording.
        if (!stream || !stream->capture) return report(cudaErrorInvalidValue);
        stream->capture->nodes.push_back({reach, mark});
        return cudaSuccess;
    }
    if (flags != cudaEventRecordDefault) return report(cudaErrorInvalidValue);
    event->capture = stream ? stream->capture : nullptr;
    if (event->capture) return cudaSuccess;  // only orders what is recorded
    ++mark->pending;
    const cudaError_t error = give(stream, reach);
    if (error != cudaSuccess) --mark->pending;
    event->stream = stream;
    event->ticket = stream ? stream->given : 0;
    return error;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const Guard guard(lock);
    if (event->capture) return report(cudaErrorCapturedEvent);
    if (event->stream && streams.count(event->stream)) run_until(*event->stream, event->ticket);
    return report(usable());
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    const Guard guard(lock);
    if (event->capture) return report(cudaErrorCapturedEvent);
    if (!event->stream || !streams.count(event->stream)) return report(usable());
    if (event->stream->done < event->ticket) step(*event->stream);
    return event->stream->done < event->ticket ? cudaErrorNotReady : report(usable());
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
    const Guard guard(lock);
    for (const Event* event : {start, end}) {
        if (event->capture) return report(cudaErrorInvalidValue);
        if (!event->timing || event->device != start->device) return report(cudaErrorInvalidResourceHandle);
        if (event->mark->pending) return cudaErrorNotReady;
        if (!event->mark->reached) return report(cudaErrorInvalidResourceHandle);
    }
    *ms = std::chrono::duration<float, std::milli>(end->mark->when - start->mark->when).count();
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    const Guard guard(lock);
    if (const cudaError_t error = usable(); error != cudaSuccess) return report(error);
    if (!stream || stream->capture) return report(cudaErrorStreamCaptureUnsupported);
    stream->capture = new Graph;
    stream->origin = true;
    stream->owner = std::this_thread::get_id();
    stream->global = mode == cudaStreamCaptureModeGlobal;
    stream->invalid = false;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const Guard guard(lock);
    *graph = nullptr;
    if (!stream || !stream->capture || !stream->origin) return report(cudaErrorStreamCaptureUnmatched);
    Graph* recorded = stream->capture;
    bool invalid = false;
    for (Stream* s : streams) {
        if (s->capture != recorded) continue;
        invalid |= s->invalid;
        s->capture = nullptr;
        s->origin = s->invalid = false;
    }
    if (invalid) {
        delete recorded;
        return report(cudaErrorStreamCaptureInvalidated);
    }
    *graph = recorded;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    const Guard guard(lock);
    *status = !stream || !stream->capture ? cudaStreamCaptureStatusNone
              : stream->invalid           ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
    if (!graph) return report(cudaErrorInvalidValue);
    *exec = new GraphExec{graph->nodes};
    return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
    return exec ? cudaSuccess : report(cudaErrorInvalidValue);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    const Guard guard(lock);
    if (!exec) return report(cudaErrorInvalidValue);
    for (const Node& node : exec->nodes) {
        if (node.mark && node.mark->gone) broken = "a graph records an event that is gone";
        if (const cudaError_t error = give(stream, node.work); error != cudaSuccess) return error;
        if (node.mark) ++node.mark->pending;
    }
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}
