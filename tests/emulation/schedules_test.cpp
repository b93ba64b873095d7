// SPDX-License-Identifier: Apache-2.0
// The same work under many orders of blocks, threads and streams: a result that depends on the order differs from the
// CPU's sooner or later.
#include <gtest/gtest.h>

#include <numeric>

#include "cuda/emulation.hpp"
#include "support/sanitized.hpp"
#include "twins.hpp"

namespace trtpose::test {
namespace {

// Memory errors show themselves in the first of them, or not by the order.
constexpr uint64_t kSchedules = kAddressSanitizer ? 40 : 200;

TEST(Schedules, DecodeAndNmsAreTheSameUnderAll) {
    const auto cpu = open_device("cpu");
    const auto cuda = open_device("emulated_cuda");
    std::mt19937 random(seed() + 3);
    for (uint64_t schedule = 1; schedule <= kSchedules && !testing::Test::HasFatalFailure(); ++schedule) {
        const bool half = random() & 1;
        const Scene scene = random_scene(random, half);
        SCOPED_TRACE("schedule " + std::to_string(schedule) + " of seed " + std::to_string(seed() + 3));
        emulation::set_schedule(schedule);
        expect_same(run_scene(*cuda, scene, half), run_scene(*cpu, scene, false));
    }
    emulation::set_schedule(0);
}

TEST(Schedules, OneSceneGivesTheSameBytesUnderAll) {
    const auto cuda = open_device("emulated_cuda");
    std::mt19937 random(seed() + 4);
    Scene scene;
    Outcome first;
    // One with candidates in several blocks.
    do {
        scene = random_scene(random, false);
        scene.conf = 0.01f;
        scene.nms.similarity = ops::Similarity::iou;
        first = run_scene(*cuda, scene, false);
    } while (first.counts.front() < 200 || std::accumulate(first.counts.begin(), first.counts.end(), 0) > 700);
    for (uint64_t schedule = 1; schedule <= kSchedules && !testing::Test::HasFatalFailure(); ++schedule) {
        SCOPED_TRACE("schedule " + std::to_string(schedule) + " of seed " + std::to_string(seed() + 4));
        emulation::set_schedule(schedule);
        expect_same(run_scene(*cuda, scene, false), first);
    }
    emulation::set_schedule(0);
}

}  // namespace
}  // namespace trtpose::test
