// SPDX-License-Identifier: Apache-2.0
// Streams, events and graphs. Work given to a stream waits there until somebody synchronises, as it may on a GPU: what
// a program forgot to wait for is not there yet, and what it overwrote too early is gone.
#include <algorithm>
#include <cstdio>
#include <utility>

#include "cuda/runtime.hpp"

namespace emulation {

std::set<Stream*> streams;

namespace {

/// What the legacy stream waits for.
void run_blocking() {
    for (Stream* stream : streams) {
        if (stream->blocking && stream->device == current) run_until(*stream, stream->given);
    }
}

bool capture_blocks_legacy() {
    return std::any_of(streams.begin(), streams.end(), [](const Stream* s) { return s->capture && s->blocking; });
}

}  // namespace

void step(Stream& stream) {
    const Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    stream.busy = true;
    if (broken.empty()) work();
    stream.busy = false;
    ++stream.done;
}

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

cudaError_t refuse_while_capturing() {
    for (Stream* stream : streams) {
        if (!stream->capture || (!stream->global && stream->owner != std::this_thread::get_id())) continue;
        stream->invalid = true;
        return report(cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

void enqueue(Stream* stream, std::function<void()> work) {
    const Guard guard(lock);
    give(stream, std::move(work));
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
