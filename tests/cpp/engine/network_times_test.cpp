// SPDX-License-Identifier: Apache-2.0
// The timing of a network alone: what it runs, on which device. No test looks at a duration.
#include "trtpose/network_times.hpp"

#include <algorithm>
#include <array>
#include <mutex>

#include "support/fake_session.hpp"

namespace trtpose::test {
namespace {

struct NetworkTimesTest : ::testing::Test {
    NetworkTimesTest() {
        network->shapes = [](Size size) { return std::vector<FakeNetwork::Shape>{{size.height / 8, size.width / 8}}; };
        network->answer = [this](const float* image, Size size, const std::vector<float*>& outputs) {
            const size_t count = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
            const auto [least, most] = std::minmax_element(image, image + count);
            const std::lock_guard lock(mutex);
            smallest = std::min(smallest, *least);
            largest = std::max(largest, *most);
            outputs[0][0] = 1.0f;
        };
    }
    std::shared_ptr<FakeNetwork> network = std::make_shared<FakeNetwork>();
    std::mutex mutex;
    float smallest = 1e9f, largest = -1e9f;
};

TEST_F(NetworkTimesTest, RunsAsOftenAsAsked) {
    const auto session = make_fake_session(network);
    const NetworkTimes times = time_network(*session, 2, {16, 24}, 5, 3);
    EXPECT_EQ(times.single.size(), 5u);
    EXPECT_GT(times.back_to_back, 0.0);
    for (const double ms : times.single) EXPECT_GE(ms, 0.0);
    if (fake_sessions_are_on_cuda()) {
        EXPECT_EQ(times.device.size(), 5u);
        EXPECT_EQ(times.graph.size(), 5u);
        EXPECT_GT(times.graph_back_to_back, 0.0);
        EXPECT_EQ(network->runs, 3 + 5 + 5 + 3 + 5 + 5);
    } else {
        EXPECT_TRUE(times.device.empty());
        EXPECT_TRUE(times.graph.empty());
        EXPECT_EQ(times.graph_back_to_back, 0.0);
        EXPECT_EQ(network->runs, 3 + 5);
    }
    for (const auto& [batch, size] : network->taken_runs()) {
        EXPECT_EQ(batch, 2);
        EXPECT_EQ(size, (Size{16, 24}));
    }
}

TEST_F(NetworkTimesTest, TheInputIsNoiseBetweenZeroAndOne) {
    const auto session = make_fake_session(network);
    static_cast<void>(time_network(*session, 1, {32, 32}, 1, 0));
    EXPECT_GE(smallest, 0.0f);
    EXPECT_LT(largest, 1.0f);
    EXPECT_GT(largest - smallest, 0.5f);
}

TEST_F(NetworkTimesTest, WhatIsRefused) {
    const auto session = make_fake_session(network);
    for (const auto& [batch, runs, warmup] :
         {std::array<int, 3>{0, 1, 1}, std::array<int, 3>{1, 0, 1}, std::array<int, 3>{1, 1, -1}}) {
        try {
            static_cast<void>(time_network(*session, batch, {16, 16}, runs, warmup));
            ADD_FAILURE() << "took batch " << batch << ", runs " << runs << ", warmup " << warmup;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::input) << error.what();
        }
    }
    network->fail_next = true;
    EXPECT_THROW(static_cast<void>(time_network(*session, 1, {16, 16}, 2, 1)), Error);
}

}  // namespace
}  // namespace trtpose::test
