// SPDX-License-Identifier: Apache-2.0
// What the model's runtime knows of streams, events, graphs and devices, between the files that implement it.
#pragma once

#define TRTPOSE_EMULATION_RUNTIME
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
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

// Held by every call; streams, `broken` and what they point to are reached under it alone.
extern std::recursive_mutex lock;
using Guard = std::lock_guard<std::recursive_mutex>;
extern std::set<Stream*> streams;
extern std::string broken;        ///< what broke the device, in words
extern thread_local int current;  ///< the thread's device

/// Keep an error for cudaGetLastError.
cudaError_t report(cudaError_t error);
/// What every call fails with once a device is broken, or where there is none.
cudaError_t usable();

/// Carry out the next of what `stream` was given.
void step(Stream& stream);
/// Carry out what `stream` was given up to `ticket`; now and then something of another stream gets in between.
void run_until(Stream& stream, uint64_t ticket);
void run_all();

/// Give a stream work; null: the legacy stream, which carries it out at once.
cudaError_t give(Stream* stream, Work work);
/// Calls that a recording forbids to any stream that takes part.
cudaError_t refuse_while_capturing();

}  // namespace emulation
