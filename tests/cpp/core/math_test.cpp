// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "trtpose/math/box.hpp"
#include "trtpose/math/head.hpp"

namespace trtpose::test {
namespace {

/// Units in the last place between a float and the true value.
double ulps(float value, double truth) {
    const float near = static_cast<float>(truth);
    const double unit = static_cast<double>(std::nextafter(near, std::numeric_limits<float>::infinity())) - near;
    return std::abs(static_cast<double>(value) - truth) / unit;
}

TEST(Math, TheExponentialIsWithinTwoUnits) {
    double worst = 0;
    for (int i = -8700000; i <= 8800000; i += 7) {
        const float x = static_cast<float>(i) * 1e-5f;
        if (x <= -87.0f || x > 88.0f) continue;
        worst = std::max(worst, ulps(math::exp_fast(x), std::exp(static_cast<double>(x))));
    }
    EXPECT_LE(worst, 2.0);
}

TEST(Math, TheExponentialAtItsEnds) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(math::exp_fast(0.0f), 1.0f);
    EXPECT_EQ(math::exp_fast(-0.0f), 1.0f);
    EXPECT_EQ(math::exp_fast(-88.0f), 0.0f);
    EXPECT_EQ(math::exp_fast(-kInf), 0.0f);
    EXPECT_EQ(math::exp_fast(-1e30f), 0.0f);
    EXPECT_TRUE(std::isfinite(math::exp_fast(kInf)));
    EXPECT_TRUE(std::isfinite(math::exp_fast(1e30f)));
    EXPECT_TRUE(std::isnan(math::exp_fast(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Math, TheSigmoidStaysBetweenZeroAndOneAndNeverFalls) {
    float before = 0;
    for (int i = -20000; i <= 20000; ++i) {
        const float t = static_cast<float>(i) * 0.005f;
        const float s = math::sigmoid(t);
        EXPECT_GE(s, 0.0f);
        EXPECT_LE(s, 1.0f);
        // Neighbours may swap by the exponential's two units, no more.
        EXPECT_GE(s, before * (1 - 4e-7f));
        EXPECT_NEAR(s, 1 / (1 + std::exp(-static_cast<double>(t))), 3e-7);
        before = s;
    }
    EXPECT_EQ(math::sigmoid(0.0f), 0.5f);
    EXPECT_EQ(math::sigmoid(1000.0f), 1.0f);
    EXPECT_LT(math::sigmoid(-1000.0f), 1e-37f);
    EXPECT_GT(math::sigmoid(-1000.0f), 0.0f);
}

TEST(Math, OverlapOfBoxes) {
    using math::Box;
    const auto iou = [](Box a, Box b) { return math::iou(a, math::area(a), b, math::area(b)); };
    EXPECT_EQ(iou({0, 0, 10, 10}, {0, 0, 10, 10}), 1.0f);
    EXPECT_EQ(iou({0, 0, 10, 10}, {0, 0, 10, 5}), 0.5f);
    EXPECT_EQ(iou({0, 0, 10, 10}, {10, 0, 20, 10}), 0.0f) << "an edge is no overlap";
    EXPECT_EQ(iou({0, 0, 10, 10}, {20, 20, 30, 30}), 0.0f);
    EXPECT_TRUE(std::isnan(iou({5, 5, 5, 5}, {5, 5, 5, 5})));
}

TEST(Math, LikenessOfPoses) {
    const float sigmas[] = {0.05f, 0.1f};
    const float a[] = {10, 10, 1, 20, 20, 1}, b[] = {10, 10, 0, 23, 24, 0};
    EXPECT_EQ(math::oks(a, a, 2, 3, sigmas, 100.0f), 1.0f);
    // Second keypoint 5 pixels off: exp(-25 / (2 · 100 · 0.04)).
    EXPECT_NEAR(math::oks(a, b, 2, 3, sigmas, 100.0f), (1 + std::exp(-25 / 8.0)) / 2, 1e-6);
    EXPECT_LT(math::oks(a, b, 2, 3, sigmas, 0.0f), 0.51f) << "a box without area likes only what is the same";
}

TEST(Math, FiniteNumbers) {
    EXPECT_TRUE(math::is_finite(0.0f));
    EXPECT_TRUE(math::is_finite(std::numeric_limits<float>::max()));
    EXPECT_FALSE(math::is_finite(std::numeric_limits<float>::infinity()));
    EXPECT_FALSE(math::is_finite(-std::numeric_limits<float>::infinity()));
    EXPECT_FALSE(math::is_finite(std::numeric_limits<float>::quiet_NaN()));
}

}  // namespace
}  // namespace trtpose::test
