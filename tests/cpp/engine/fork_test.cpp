// SPDX-License-Identifier: Apache-2.0
// An engine in a process forked from the one that opened it.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "engine_test.hpp"
#include "support/child.hpp"

namespace trtpose::test {
namespace {

using namespace std::chrono_literals;

class EngineFork : public EngineTest {
protected:
    /// How many of the calls say that a new engine is needed.
    static int told(Engine& engine, const std::vector<Frame>& frames) {
        int count = 0;
        const auto tell = [&](auto&& work) {
            try {
                work();
            } catch (const Error& error) {
                count += error.code() == ErrorCode::device &&
                         std::string(error.what()).find("open a new Engine in this process") != std::string::npos;
            }
        };
        tell([&] { engine.infer(views(frames)); });
        tell([&] { engine.infer(Span<const ImageView>()); });
        tell([&] { engine.infer_device(views(frames), engine.thresholds()); });
        tell([&] { engine.clone(); });
        tell([&] { engine.memory(); });
        tell([&] { engine.times(); });
        return count;
    }
};

TEST_F(EngineFork, ItSaysThatANewOneIsNeededAndIsDeletedWithoutWaiting) {
    const auto frames = mixed(3);
    EngineOptions options;
    options.threads = 3;
    Engine engine = make(options), clone = engine.clone(), other = engine.clone();
    const auto before = infer(engine, frames);
    EXPECT_EQ(in_child([&] {
                  const int count = told(engine, frames) + told(clone, frames);
                  engine.spec();
                  engine.session();
                  {
                      const Engine gone = std::move(engine);
                  }
                  other = std::move(clone);
                  // What is opened here works; in this thread alone, which sanitizers want after a fork.
                  Engine fresh = make();
                  const bool as_before = same(infer(fresh, frames), before);
                  other = std::move(fresh);
                  return as_before && same(infer(other, frames), before) ? count : 50;
              }),
              12);
    EXPECT_TRUE(same(infer(engine, frames), before));
    EXPECT_TRUE(same(infer(other, frames), before));
}

TEST_F(EngineFork, ALockThatAnotherThreadHeldIsNotWaitedFor) {
    const auto frames = mixed(2);
    Engine engine = make();
    std::atomic<bool> inside{false}, go_on{false};
    const auto answer = network_->answer;
    network_->answer = [&](const float* image, Size size, const std::vector<float*>& outputs) {
        inside = true;
        while (!go_on) std::this_thread::sleep_for(1ms);
        answer(image, size, outputs);
    };
    std::thread at_work([&] { infer(engine, frames); });
    while (!inside) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(in_child([&] {
                  const int count = told(engine, frames);
                  {
                      const Engine gone = std::move(engine);
                  }
                  return count;
              }),
              6);
    go_on = true;
    at_work.join();
}

TEST_F(EngineFork, ResultsOnTheHostStayThoseOnAGpuSayThatTheyAreGone) {
    const auto frames = mixed(2);
    Engine engine = make();
    DevicePoses poses = engine.infer_device(views(frames), engine.thresholds());
    poses.synchronize();
    EXPECT_EQ(in_child([&] {
                  try {
                      poses.synchronize();
                      poses.wait(nullptr);
                  } catch (const Error& error) {
                      const std::string text = error.what();
                      poses = {};
                      return error.code() == ErrorCode::device && text.find("spawn") != text.npos ? 1 : 2;
                  }
                  poses = {};
                  return 0;
              }),
              fake_sessions_are_on_cuda() ? 1 : 0);
}

}  // namespace
}  // namespace trtpose::test
