// SPDX-License-Identifier: Apache-2.0
#include "cuda/execution.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <utility>
#include <vector>

#include "cuda/fiber.hpp"

namespace emulation {
namespace {

constexpr int kLanes = 32;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif

enum class State : uint8_t { ready, barrier, warp, done };

struct Thread {
    Fiber fiber{kStack};
    uint3 index{};
    int number = 0;  ///< in the block
    State state = State::ready;
    // What it brings to, and gets from, the operation of its warp it waits in.
    WarpOp op = WarpOp::sync;
    unsigned mask = 0;
    uint64_t value = 0, result = 0;
    int argument = 0, width = kLanes;
    const char* file = "";
    int line = 0;
};

struct SharedArray {
    void* data = nullptr;
    size_t bytes = 0;
};

uint64_t schedule_seed = 0;
Random generator{0};
Counts counter;

// The block that runs. One at a time in the whole program, which the runtime's lock sees to.
std::vector<std::unique_ptr<Thread>> pool;
std::vector<Thread*> ready;

/// What most lanes of a warp wait for; others are looked for one by one.
struct Meeting {
    unsigned mask = 0, arrived = 0;
    WarpOp op = WarpOp::sync;
    int line = 0;
};
Meeting meetings[kLanes];
size_t ready_head = 0;
Fiber outside;
Thread* self = nullptr;
const std::function<void()>* kernel_body = nullptr;
dim3 grid_dim, block_dim;
uint3 block_idx{};
int thread_count = 0, finished = 0, at_barrier = 0;
const char* barrier_file = "";
int barrier_line = 0;
std::string kernel_name, problem;
std::map<std::pair<const char*, int>, SharedArray> shared_arrays;
SharedArray dynamic_array;

/// Memory as a kernel finds it: holding what was there before.
SharedArray take_shared(size_t bytes) {
    SharedArray array{nullptr, bytes};
    if (::posix_memalign(&array.data, 16, bytes ? bytes : 1) != 0) throw std::bad_alloc();
    std::memset(array.data, schedule_seed ? static_cast<int>(generator.next() & 255) : 0xFF, bytes);
    return array;
}

Thread* pick() {
    if (schedule_seed) {
        const size_t chosen = ready_head + generator.below(ready.size() - ready_head);
        std::swap(ready[ready_head], ready[chosen]);
    }
    Thread* thread = ready[ready_head++];
    if (ready_head == ready.size()) {
        ready.clear();
        ready_head = 0;
    }
    return thread;
}

std::string place(const char* file, int line) {
    const std::string path = file;
    return path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
}

std::string who(const Thread& t) {
    std::ostringstream out;
    out << kernel_name << ": block (" << block_idx.x << ", " << block_idx.y << ", " << block_idx.z << "), thread ("
        << t.index.x << ", " << t.index.y << ", " << t.index.z << ")";
    return out.str();
}

/// Stop the block for good. `what` makes the message, so that nothing of it is left on a stack that is given up.
template <typename What>
[[noreturn]] void fail(What&& what) {
    problem = what();
    self->fiber.switch_to(outside);
    std::abort();
}

/// Nobody can go on though not all are done: say who waits for whom.
std::string deadlock() {
    const Thread *waits_barrier = nullptr, *waits_warp = nullptr, *over = nullptr;
    for (int i = 0; i < thread_count; ++i) {
        const Thread& t = *pool[static_cast<size_t>(i)];
        if (t.state == State::barrier) waits_barrier = &t;
        if (t.state == State::warp) waits_warp = &t;
        if (t.state == State::done) over = &t;
    }
    if (waits_warp)
        return who(*waits_warp) + " waits at " + place(waits_warp->file, waits_warp->line) +
               " for lanes of its mask that do not come";
    if (waits_barrier && over)
        return who(*waits_barrier) + " waits at the barrier " + place(waits_barrier->file, waits_barrier->line) +
               " which thread " + std::to_string(over->number) + " of the block left out";
    return kernel_name + ": no thread can go on";
}

/// Leave the running fiber for the next that can go on; returns when it is this one's turn again.
void yield() {
    ++counter.switches;
    if (ready.empty()) fail(deadlock);
    Thread* next = pick();
    if (next == self) return;
    Thread* me = std::exchange(self, next);
    me->fiber.switch_to(next->fiber);
}

void run_thread() {
    Fiber::arrived();
    (*kernel_body)();
    self->state = State::done;
    ++finished;
    ++counter.switches;
    if (finished == thread_count) self->fiber.leave_for(outside);
    if (ready.empty()) fail(deadlock);
    Thread* me = std::exchange(self, pick());
    me->fiber.leave_for(self->fiber);
}

void run_block() {
    finished = at_barrier = 0;
    for (Meeting& meeting : meetings) meeting = {};
    ready.clear();
    ready_head = 0;
    for (int i = 0; i < thread_count; ++i) {
        if (pool.size() <= static_cast<size_t>(i)) pool.push_back(std::make_unique<Thread>());
        Thread& t = *pool[static_cast<size_t>(i)];
        const auto n = static_cast<unsigned>(i);
        t.index = {n % block_dim.x, n / block_dim.x % block_dim.y, n / block_dim.x / block_dim.y};
        t.number = i;
        t.state = State::ready;
        t.fiber.start(&run_thread);
        ready.push_back(&t);
    }
    self = pick();
    outside.switch_to(self->fiber);
    self = nullptr;
    if (!problem.empty()) {
        for (int i = 0; i < thread_count; ++i) pool[static_cast<size_t>(i)]->fiber.abandon();
    }
    for (auto& [key, array] : shared_arrays) std::free(array.data);
    shared_arrays.clear();
}

uint64_t source_lane(const Thread& t, int lane, bool& inside) {
    const int base = lane / t.width * t.width, within = lane % t.width;
    int from = within;
    switch (t.op) {
        case WarpOp::shfl: from = ((t.argument % t.width) + t.width) % t.width; break;
        case WarpOp::shfl_up: from = within - t.argument; break;
        case WarpOp::shfl_down: from = within + t.argument; break;
        case WarpOp::shfl_xor: from = within ^ t.argument; break;
        default: break;
    }
    inside = from >= 0 && from < t.width;
    return static_cast<uint64_t>(inside ? base + from : lane);
}

/// All lanes of the mask are there: give each its result.
void finish_warp(int first, unsigned mask) {
    Thread* lanes[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
        if (mask >> l & 1) lanes[l] = pool[static_cast<size_t>(first + l)].get();
    }
    Meeting& meeting = meetings[first / kLanes];
    if (meeting.mask == mask) meeting.arrived = 0;
    uint64_t ballot = 0, sum = 0, most = 0;
    for (int l = 0; l < kLanes; ++l) {
        if (!(mask >> l & 1)) continue;
        if (lanes[l]->value & 1) ballot |= uint64_t{1} << l;
        sum += lanes[l]->value;
        most = std::max(most, lanes[l]->value);
    }
    std::array<uint64_t, kLanes> results{};
    for (int l = 0; l < kLanes; ++l) {
        if (!(mask >> l & 1)) continue;
        switch (lanes[l]->op) {
            case WarpOp::sync: break;
            case WarpOp::ballot: results[static_cast<size_t>(l)] = ballot; break;
            case WarpOp::any: results[static_cast<size_t>(l)] = ballot != 0; break;
            case WarpOp::all: results[static_cast<size_t>(l)] = ballot == mask; break;
            case WarpOp::reduce_add: results[static_cast<size_t>(l)] = sum & 0xFFFFFFFFu; break;
            case WarpOp::reduce_max: results[static_cast<size_t>(l)] = most; break;
            default: {
                bool inside = true;
                const auto from = source_lane(*lanes[l], l, inside);
                // The value of a lane outside the mask is undefined.
                results[static_cast<size_t>(l)] =
                    mask >> from & 1 ? lanes[from]->value : 0xA5A5A5A5A5A5A5A5u ^ generator.next();
            }
        }
    }
    for (int l = 0; l < kLanes; ++l) {
        if (!(mask >> l & 1)) continue;
        lanes[l]->result = results[static_cast<size_t>(l)];
        lanes[l]->state = State::ready;
        ready.push_back(lanes[l]);
    }
}

}  // namespace

const uint3& thread_index() { return self->index; }
const uint3& block_index() { return block_idx; }
const dim3& block_shape() { return block_dim; }
const dim3& grid_shape() { return grid_dim; }

void barrier(const char* file, int line) {
    ++counter.barriers;
    if (at_barrier == 0) {
        barrier_file = file;
        barrier_line = line;
    } else if (line != barrier_line || std::strcmp(file, barrier_file) != 0) {
        fail([&] {
            return who(*self) + " is at the barrier " + place(file, line) + " while others wait at " +
                   place(barrier_file, barrier_line);
        });
    }
    self->state = State::barrier;
    self->file = file;
    self->line = line;
    if (++at_barrier == thread_count) {
        at_barrier = 0;
        for (int i = 0; i < thread_count; ++i) {
            pool[static_cast<size_t>(i)]->state = State::ready;
            ready.push_back(pool[static_cast<size_t>(i)].get());
        }
    }
    yield();
}

uint64_t warp(WarpOp op, unsigned mask, uint64_t value, int argument, int width, const char* file, int line) {
    ++counter.warp_operations;
    const int lane = self->number % kLanes, first = self->number - lane;
    if (!(mask >> lane & 1)) fail([&] { return who(*self) + " is not in the mask it gives at " + place(file, line); });
    self->op = op;
    self->mask = mask;
    self->value = value;
    self->argument = argument;
    self->width = width;
    self->file = file;
    self->line = line;
    self->state = State::warp;
    Meeting& meeting = meetings[first / kLanes];
    if (meeting.arrived && meeting.mask == mask && meeting.op == op && meeting.line == line) {
        meeting.arrived |= 1u << lane;
        if (meeting.arrived == mask) finish_warp(first, mask);
        yield();
        return self->result;
    }
    unsigned arrived = 0;
    for (int l = 0; l < kLanes; ++l) {
        if (!(mask >> l & 1)) continue;
        if (first + l >= thread_count)
            fail([&] {
                return who(*self) + " names lane " + std::to_string(l) + " at " + place(file, line) +
                       ", which the block does not have";
            });
        const Thread* other = pool[static_cast<size_t>(first + l)].get();
        if (other->state == State::done)
            fail([&] {
                return who(*self) + " names lane " + std::to_string(l) + " at " + place(file, line) +
                       ", which has returned";
            });
        if (other->state != State::warp) continue;
        if (other->mask != mask || other->op != op || other->line != line) {
            // Lanes that wait elsewhere for others may come here later, unless they wait for this one.
            if (other->mask >> lane & 1)
                fail([&] {
                    return who(*self) + " is at " + place(file, line) + " while lane " + std::to_string(l) +
                           " waits for it at " + place(other->file, other->line);
                });
        } else {
            arrived |= 1u << l;
        }
    }
    if (!meeting.arrived) meeting = {mask, arrived, op, line};
    if (arrived == mask) finish_warp(first, mask);
    yield();
    return self->result;
}

unsigned active_lanes() {
    // The hardware promises the calling lane and no other.
    return 1u << self->number % kLanes;
}

void preempt() {
    if (!schedule_seed || !self || ready.empty() || (generator.next() >> 20 & 3)) return;
    ready.push_back(self);
    yield();
}

unsigned char* dynamic_shared() { return static_cast<unsigned char*>(dynamic_array.data); }

void* shared_block(const char* file, int line, size_t bytes) {
    SharedArray& array = shared_arrays[{file, line}];
    if (!array.data) {
        array = take_shared(bytes);
        size_t total = 0;
        for (const auto& [key, other] : shared_arrays) total += other.bytes;
        if (total > (48 << 10)) fail([&] { return kernel_name + ": more than 48 KiB of static shared memory"; });
    }
    return array.data;
}

uint64_t schedule() { return schedule_seed; }
Random& random() { return generator; }
Counts& mutable_counts() { return counter; }
Counts counts() { return counter; }

void set_schedule(uint64_t seed) {
    schedule_seed = seed;
    generator = Random(seed);
}

std::string run_grid(const std::string& name, dim3 grid, dim3 block, size_t dynamic_bytes,
                     const std::function<void()>& body) {
    kernel_name = name;
    problem.clear();
    kernel_body = &body;
    grid_dim = grid;
    block_dim = block;
    thread_count = static_cast<int>(block.x * block.y * block.z);
    const size_t blocks = size_t{grid.x} * grid.y * grid.z;
    ++counter.launches;
    counter.blocks += blocks;
    counter.threads += blocks * static_cast<size_t>(thread_count);
    // A shuffled order of all blocks without a list of them: steps of a number that has no factor in common.
    size_t step = 1, block_number = 0;
    if (schedule_seed && blocks > 1) {
        const auto common = [](size_t a, size_t b) {
            while (b) a = std::exchange(b, a % b);
            return a;
        };
        step = 1 + generator.below(blocks - 1);
        while (common(step, blocks) != 1) step = step % blocks + 1;
        block_number = generator.below(blocks);
    }
    for (size_t i = 0; i < blocks && problem.empty(); ++i) {
        block_idx = {static_cast<unsigned>(block_number % grid.x),
                     static_cast<unsigned>(block_number / grid.x % grid.y),
                     static_cast<unsigned>(block_number / grid.x / grid.y)};
        dynamic_array = take_shared(dynamic_bytes);
        run_block();
        std::free(dynamic_array.data);
        block_number = (block_number + step) % blocks;
    }
    return std::exchange(problem, {});
}

}  // namespace emulation
