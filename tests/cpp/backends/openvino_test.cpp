// SPDX-License-Identifier: Apache-2.0
// Work in OpenVINO that does not end, as where a fork left one of its locks behind.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "backends/backend.hpp"
#include "backends/openvino/use.hpp"
#include "support/files.hpp"
#include "support/model_files.hpp"
#include "trtpose/error.hpp"

extern "C" const trtpose::BackendTable* trtpose_backend();

namespace trtpose::test {
namespace {

using namespace std::chrono_literals;

/// A lock that is held until the test ends. Shared with the thread that waits for it, which ends after the test.
struct Lock {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;

    void wait() {
        std::unique_lock hold(mutex);
        changed.wait(hold, [&] { return open; });
    }
    void free() {
        const std::lock_guard hold(mutex);
        open = true;
        changed.notify_all();
    }
};

void use_processor(std::chrono::nanoseconds time) {
    const auto used = [] {
        timespec now{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
    };
    for (const auto end = used() + time; used() < end;) {
    }
}

template <typename Work>
std::string refusal(Work&& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.code() == ErrorCode::device ? error.what() : "another error";
    }
    return "";
}

TEST(OpenVinoUse, WorkThatEndsIsWaitedForAndItsErrorsPass) {
    int done = 0;
    openvino::run_bounded([&] { done = 7; });
    EXPECT_EQ(done, 7);
    EXPECT_THROW(openvino::run_bounded([] { throw std::out_of_range("x"); }), std::out_of_range);
    // Longer than a standstill may be, and never still for that long.
    const openvino::Patience patience{5ms, 1000ms, 1ms, 60'000ms};
    openvino::run_bounded(
        [&] {
            for (int i = 0; i < 15; ++i, ++done) {
                use_processor(5ms);
                std::this_thread::sleep_for(100ms);
            }
        },
        patience);
    EXPECT_EQ(done, 22);
}

TEST(OpenVinoUse, AStandstillEndsInTheSentence) {
    const auto lock = std::make_shared<Lock>();
    const auto begun = std::chrono::steady_clock::now();
    const std::string told =
        refusal([&] { openvino::run_bounded([lock] { lock->wait(); }, {5ms, 200ms, 50ms, 60'000ms}); });
    const auto took = std::chrono::steady_clock::now() - begun;
    lock->free();
    EXPECT_EQ(told, openvino::kLeftLocked);
    EXPECT_NE(told.find("'spawn' or 'forkserver'"), told.npos);
    EXPECT_GE(took, 200ms);
    EXPECT_LT(took, 20s);
    EXPECT_TRUE(openvino::left_locked());
    // And what comes next in this process is told at once.
    const TempFolder folder;
    OnnxContent content(folder.write("net.onnx", head_model().text()));
    EXPECT_EQ(refusal([&] { trtpose_backend()->open_onnx(ModelFile{}, std::move(content), SessionOptions{}); }), told);
}

TEST(OpenVinoUse, ThreadsThatSpinInVainAreNotWorkForEver) {
    const auto stop = std::make_shared<std::atomic<bool>>(false);
    const auto spin = [stop] {
        while (!*stop) {
        }
    };
    const std::string told = refusal([&] { openvino::run_bounded(spin, {5ms, 60'000ms, 1ms, 300ms}); });
    *stop = true;
    EXPECT_EQ(told, openvino::kLeftLocked);
    EXPECT_TRUE(openvino::left_locked());
}

}  // namespace
}  // namespace trtpose::test
