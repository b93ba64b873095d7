// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <system_error>
#include <thread>

#include "backends/openvino/kept_network.hpp"

namespace trtpose::openvino {
namespace {

// A page of a mapped file that another machine cuts short ends the process: those are read.
constexpr unsigned long kOfThisMachine[] = {0xEF53,  // ext2 to ext4
                                            0x58465342, 0x9123683E, 0xF2F52010, 0x2FC12FC1, 0x01021994, 0x794C7630};

bool of_this_machine(int descriptor) {
    struct statfs status{};
    if (::fstatfs(descriptor, &status) != 0) return false;
    const auto kind = static_cast<unsigned long>(status.f_type) & 0xFFFFFFFFul;
    return std::find(std::begin(kOfThisMachine), std::end(kOfThisMachine), kind) != std::end(kOfThisMachine);
}

}  // namespace

bool read_all(int descriptor, uint64_t offset, char* to, size_t count) {
    for (size_t done = 0; done < count;) {
        const ssize_t got = ::pread(descriptor, to + done, count - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += static_cast<size_t>(got);
    }
    return true;
}

std::shared_ptr<FileBytes> FileBytes::of(int descriptor) {
    struct stat status{};
    if (::fstat(descriptor, &status) != 0 || status.st_size <= 0) return nullptr;
    const auto size = static_cast<size_t>(status.st_size);
    const bool mapped = of_this_machine(descriptor);
    void* const data = mapped ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, descriptor, 0)
                              : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    auto bytes = std::make_shared<FileBytes>(data, size, mapped);
    if (!mapped && !read_all(descriptor, 0, static_cast<char*>(data), size)) return nullptr;
    return bytes;
}

FileBytes::~FileBytes() { ::munmap(data_, size_); }

void FileBytes::let_go() const noexcept {
    if (mapped_) ::madvise(data_, size_, MADV_DONTNEED);
}

struct LettingGo::State {
    std::shared_ptr<FileBytes> bytes;
    std::mutex mutex;
    std::condition_variable changed;
    bool ended = false;
    std::thread thread;

    void work() {
        // Some tens of megabytes are reordered in that time.
        constexpr auto kOften = std::chrono::milliseconds(20);
        std::unique_lock lock(mutex);
        while (!changed.wait_for(lock, kOften, [this] { return ended; })) bytes->let_go();
    }
};

LettingGo::LettingGo(std::shared_ptr<FileBytes> bytes) : state_(std::make_unique<State>()) {
    state_->bytes = std::move(bytes);
    if (!state_->bytes || !state_->bytes->mapped()) return;
    try {
        state_->thread = std::thread([state = state_.get()] { state->work(); });
    } catch (const std::system_error&) {
        // No thread to be had: what was read stays until the end.
    }
}

LettingGo::~LettingGo() {
    if (state_->thread.joinable()) {
        {
            const std::lock_guard lock(state_->mutex);
            state_->ended = true;
        }
        state_->changed.notify_all();
        state_->thread.join();
    }
    if (state_->bytes) state_->bytes->let_go();
}

}  // namespace trtpose::openvino
