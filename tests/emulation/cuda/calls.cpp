// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <mutex>
#include <utility>
#include <vector>

#include "cuda/emulation.hpp"

namespace emulation {
namespace {

std::mutex mutex;
bool listening = false;
std::vector<std::string> names;
uint64_t made = 0, failing = 0;
cudaError_t failure = cudaSuccess;
std::string failing_name;

}  // namespace

void listen() {
    const std::lock_guard lock(mutex);
    listening = true;
    names.clear();
    made = 0;
}

std::vector<std::string> heard() {
    const std::lock_guard lock(mutex);
    listening = false;
    return std::exchange(names, {});
}

void fail_call_number(uint64_t number, int error) {
    const std::lock_guard lock(mutex);
    made = 0;
    failing = number;
    failing_name.clear();
    failure = static_cast<cudaError_t>(error);
}

void fail_call_named(const std::string& name, int error) {
    const std::lock_guard lock(mutex);
    failing = 0;
    failing_name = name;
    failure = static_cast<cudaError_t>(error);
}

bool failed_a_call() {
    const std::lock_guard lock(mutex);
    return failing == 0 && failing_name.empty();
}

cudaError_t note_call(const char* name) {
    const std::lock_guard lock(mutex);
    if (listening) names.emplace_back(name);
    ++made;
    if (failing_name == name || (failing && made == failing)) {
        failing = 0;
        failing_name.clear();
        return failure;
    }
    return cudaSuccess;
}

}  // namespace emulation
