// SPDX-License-Identifier: Apache-2.0
#include "trtpose/between_runs.hpp"

#include <stdexcept>
#include <thread>

#include "engine_test.hpp"

namespace trtpose::test {
namespace {

thread_local int asked = 0, throws_at = 0;

struct Enough : std::runtime_error {
    Enough() : std::runtime_error("enough") {}
};

void question() {
    if (++asked == throws_at) throw Enough();
}

class BetweenRunsTest : public EngineTest {
protected:
    void SetUp() override { asked = throws_at = 0; }
    Engine of_two() {
        EngineOptions options;
        options.batch = 2;
        return make(options);
    }
};

TEST_F(BetweenRunsTest, IsAskedBetweenTwoRunsAndOnlyThere) {
    Engine engine = of_two();
    const auto frames = mixed(7);
    const auto unasked = infer(engine, frames);
    const BetweenRuns between(&question);
    EXPECT_TRUE(same(infer(engine, frames), unasked));
    EXPECT_EQ(asked, 3);
    infer(engine, mixed(2));
    engine.infer(Span<const ImageView>());
    EXPECT_EQ(asked, 3);
    engine.infer_device(views(frames), engine.thresholds()).synchronize();
    EXPECT_EQ(asked, 6);
    {
        const BetweenRuns nobody(nullptr);
        infer(engine, frames);
    }
    EXPECT_EQ(asked, 6);
    infer(engine, frames);
    EXPECT_EQ(asked, 9);
}

TEST_F(BetweenRunsTest, WhatItThrowsEndsTheCallAndTheEngineGoesOn) {
    Engine engine = of_two();
    const auto frames = mixed(7);
    const auto whole = infer(engine, frames);
    network_->taken_runs();
    for (const bool on_device : {false, true}) {
        const BetweenRuns between(&question);
        asked = 0;
        throws_at = 2;
        EXPECT_THROW(on_device ? static_cast<void>(engine.infer_device(views(frames), engine.thresholds()))
                               : static_cast<void>(infer(engine, frames)),
                     Enough);
        EXPECT_EQ(network_->taken_runs().size(), 2u);
        throws_at = 0;
        EXPECT_TRUE(same(infer(engine, frames), whole));
        network_->taken_runs();
    }
}

TEST_F(BetweenRunsTest, OtherThreadsAreNotAsked) {
    Engine engine = of_two();
    const auto frames = mixed(7);
    const BetweenRuns between(&question);
    std::thread([&] { infer(engine, frames); }).join();
    EXPECT_EQ(asked, 0);
}

}  // namespace
}  // namespace trtpose::test
