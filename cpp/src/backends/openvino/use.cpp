// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/use.hpp"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <openvino/openvino.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "core/check.hpp"

namespace trtpose::openvino {
namespace {

using namespace std::chrono_literals;

// Compiling a large network takes longer; then the child has no OpenVINO, and says so.
constexpr auto kLongestWait = 2s;

// One run of a large network takes seconds.
constexpr auto kLongestWork = 30s;

// Threads of the program's own may be at work all the time.
constexpr auto kLongestSleep = 200ms;

std::atomic<int> users{0};
std::atomic<int> going_on{0};       ///< of them, work that no thread of ours is inside for
std::atomic<int> forks{0};          ///< processes being forked just now
std::atomic<bool> used{false};      ///< ever, in this process or those it was forked from
std::atomic<bool> unusable{false};  ///< see left_locked()
thread_local bool quiet = true;     ///< nobody was inside when this thread last forked

bool all_left() {
    for (const auto end = std::chrono::steady_clock::now() + kLongestWait; users.load() != 0;) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(200us);
    }
    return true;
}

/// Whether another thread of this process is running or would if it had a core; false where the system does not say.
bool others_run() {
    const std::string self = std::to_string(::gettid());
    std::error_code failed;
    for (std::filesystem::directory_iterator task("/proc/self/task", failed), end; !failed && task != end;
         task.increment(failed)) {
        if (task->path().filename() == self) continue;
        std::ifstream file(task->path() / "stat");
        std::string stat;
        std::getline(file, stat);
        const size_t name_end = stat.rfind(')');  // the name may hold any letter
        if (name_end != stat.npos && name_end + 2 < stat.size() && stat[name_end + 2] == 'R') return true;
    }
    return false;
}

/// OpenVINO's own threads, left without work, take locks once more on their way to sleep.
void wait_for_sleep() {
    const auto end = std::chrono::steady_clock::now() + kLongestSleep;
    do {
        std::this_thread::sleep_for(1ms);
    } while (others_run() && std::chrono::steady_clock::now() < end);
}

/// At the end of the program, where nobody will.
void wait_for_work() {
    const auto end = std::chrono::steady_clock::now() + kLongestWork;
    while (going_on.load() != 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
}

void before_fork() {
    forks.fetch_add(1);
    if (!used.load() || unusable.load()) return;
    quiet = all_left();
    if (!quiet) return;
    // OpenVINO keeps the threads of closed networks for the next one, and would give the child some that it has not.
    // The end of a CPU plugin lets go of them.
    try {
        ov::Core core;
        core.get_property("CPU", ov::available_devices);
    } catch (const std::exception&) {
        // Then nothing of it was in use.
    }
    wait_for_sleep();
}

void after_in_parent() { forks.fetch_sub(1); }

void after_in_child() {
    if (!quiet) unusable.store(true);
    users.store(0);
    going_on.store(0);
    forks.store(0);
}

[[maybe_unused]] const int watched = ::pthread_atfork(&before_fork, &after_in_parent, &after_in_child);

}  // namespace

Use::Use() noexcept {
    for (;;) {
        users.fetch_add(1);
        if (forks.load() == 0) break;
        users.fetch_sub(1);
        while (forks.load() != 0) std::this_thread::sleep_for(200us);
    }
    if (!used.load(std::memory_order_relaxed)) used.store(true);
}

Use::~Use() { users.fetch_sub(1); }

void work_begins() noexcept {
    // Registered when OpenVINO is loaded, so that it runs before OpenVINO's own end.
    static const int registered = std::atexit(&wait_for_work);
    static_cast<void>(registered);
    users.fetch_add(1);
    going_on.fetch_add(1);
}

void work_ends() noexcept {
    going_on.fetch_sub(1);
    users.fetch_sub(1);
}

bool left_locked() noexcept { return unusable.load(); }

void run_bounded(std::function<void()> work, const Patience& patience) {
    const auto task = std::make_shared<std::packaged_task<void()>>(std::move(work));
    auto done = task->get_future();
    std::thread([task] { (*task)(); }).detach();
    const auto used_time = [] {
        timespec time{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    };
    auto begun = std::chrono::steady_clock::now();
    const auto end = begun + patience.longest;
    for (auto before = used_time(); done.wait_for(patience.look) != std::future_status::ready;) {
        const auto now = std::chrono::steady_clock::now();
        if (used_time() - before > patience.work && now < end) {
            before = used_time();
            begun = now;
        } else if (now - begun > patience.standstill || now > end) {
            unusable.store(true);
            throw Error(ErrorCode::device, kLeftLocked);
        }
    }
    done.get();
}

}  // namespace trtpose::openvino
