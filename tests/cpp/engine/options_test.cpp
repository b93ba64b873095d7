// SPDX-License-Identifier: Apache-2.0
// The options' face as programs use it; compiled as C++20.
#include "trtpose/options.hpp"

#include <gtest/gtest.h>

namespace trtpose {
namespace {

static_assert(__cplusplus >= 202002L, "this file shows what C++20 can write");

TEST(EngineOptionsTest, TakesDesignatedInitialisers) {
    const EngineOptions options{.conf = 0.3f, .agnostic = true, .imgsz = {64, 96}, .vram_budget = 2ull << 30};
    EXPECT_EQ(options.thresholds(), (Thresholds{.conf = 0.3f, .agnostic = true}));
    EXPECT_EQ(options.imgsz, (Size{64, 96}));
    EXPECT_EQ(options.vram_budget, 2ull << 30);
}

TEST(EngineOptionsTest, DefaultsAreThoseOfThresholds) { EXPECT_EQ(EngineOptions{}.thresholds(), Thresholds{}); }

TEST(EngineOptionsTest, ThresholdsThereAndBack) {
    const Thresholds all{.conf = 0.1f, .iou = 0.2f, .max_det = 3, .agnostic = true, .oks = true};
    EngineOptions options;
    EXPECT_EQ(options.set(all).thresholds(), all);
    EXPECT_EQ(options.max_det, 3);
}

TEST(EngineOptionsTest, ThresholdsDifferInAnyField) {
    const Thresholds some;
    for (const Thresholds& other : {Thresholds{.conf = 0.1f}, Thresholds{.iou = 0.1f}, Thresholds{.max_det = 1},
                                    Thresholds{.agnostic = true}, Thresholds{.oks = true}})
        EXPECT_FALSE(some == other);
}

}  // namespace
}  // namespace trtpose
