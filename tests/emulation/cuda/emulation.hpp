// SPDX-License-Identifier: Apache-2.0
// What tests ask of the model of CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace emulation {
struct Stream;
}

namespace emulation {

/// Order in which blocks, threads and streams go on. 0: as they are numbered; anything else shuffles, the same seed the
/// same way.
void set_schedule(uint64_t seed);

/// Devices that cudaGetDeviceCount finds; 0: none, as on a machine without a driver.
void set_devices(int count, size_t bytes_each = size_t{4} << 30);

/// Compute capability of all of them; 7.5 to begin with.
void set_capability(int major, int minor);

/// What broke the device since the last reset(), in words; empty if nothing did. After a fault every call fails with
/// cudaErrorLaunchFailure, as with CUDA.
std::string fault();
void reset();

struct Counts {
    uint64_t launches = 0, blocks = 0, threads = 0, switches = 0, barriers = 0, warp_operations = 0;
};
Counts counts();

/// Give a stream work that is a function on the CPU, as a library's kernels are. It can be captured.
void enqueue(Stream* stream, std::function<void()> work);

/// Bytes taken with cudaMalloc and not given back.
size_t device_bytes();

/// Note the names of the runtime calls that trtpose makes, until heard().
void listen();
std::vector<std::string> heard();

/// The `number`th call of the runtime from now on, counted from 1, returns `error` (a cudaError_t) and is not carried
/// out, except for what gives something back. 0: none.
void fail_call_number(uint64_t number, int error);
/// The next call of this name.
void fail_call_named(const std::string& name, int error);
/// Whether the call that was to fail has been made.
bool failed_a_call();

}  // namespace emulation
