// SPDX-License-Identifier: Apache-2.0
// The CPU's search, which leaves out most of a map and does several numbers at once, against the formulas point by
// point.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "core/buffer.hpp"
#include "families/openpose/field_cpu.hpp"
#include "families/openpose/select.hpp"

namespace trtpose::openpose {
namespace {

Topology one_map(int factor, bool reference) {
    Topology t;
    t.maps = t.keypoints = 1;
    t.factor = factor;
    t.reference = reference;
    return t;
}

/// Bumps over noise, rarely with what is no number or has no bound; most of it lower than any peak.
std::vector<float> draw_map(int height, int width, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> noise(-0.03f, 0.03f), place(0.0f, 1.0f);
    std::vector<float> map(static_cast<size_t>(height) * static_cast<size_t>(width));
    for (float& v : map) v = seed % 4 == 0 ? 0.0f : noise(random);
    for (int bump = 0; bump < 4; ++bump) {
        const float x = place(random) * static_cast<float>(width), y = place(random) * static_cast<float>(height);
        const float high = place(random), sharp = 0.2f + place(random);
        for (int r = 0; r < height; ++r) {
            for (int c = 0; c < width; ++c) {
                const float dx = static_cast<float>(c) - x, dy = static_cast<float>(r) - y;
                map[static_cast<size_t>(r * width + c)] += high * std::exp(-sharp * (dx * dx + dy * dy));
            }
        }
    }
    if (seed % 5 == 1) map[random() % map.size()] = std::numeric_limits<float>::quiet_NaN();
    if (seed % 5 == 2) map[random() % map.size()] = std::numeric_limits<float>::infinity();
    if (seed % 5 == 3) map[random() % map.size()] = -2.0f;
    if (seed % 7 == 0) {  // equal neighbours: plateaus
        for (float& v : map) v = std::round(v * 4.0f) / 4.0f;
    }
    return map;
}

/// Every point of the enlarged map, column by column.
std::vector<Peak> look_everywhere(const Job& job, const float* map) {
    std::vector<Peak> found;
    for (int x = 0; x < job.grid.columns(); ++x) {
        for (int y = 0; y < job.grid.rows(); ++y) {
            Peak peak{};
            if (!find_peak(job.grid, map, x, y, job.topology.reference, &peak)) continue;
            bool near = false;
            for (const Peak& p : found) near = near || too_near(p, peak);
            if (!near) found.push_back(peak);
        }
    }
    return found;
}

int expect_the_same(int height, int width, int factor, bool reference, unsigned seed) {
    Job job;
    job.topology = one_map(factor, reference);
    job.grid = make_grid(height, width, factor);
    Planner measure;
    static_cast<void>(Work(measure, job.topology, job.grid, 1, true));
    const HostBuffer memory(measure.used());
    std::memset(memory.data(), 0xA5, memory.size());
    Planner planner(memory.data());
    job.work = Work(planner, job.topology, job.grid, 1, true);
    std::vector<float> maps = draw_map(height, width, seed);
    const std::vector<Peak> expected = look_everywhere(job, maps.data());
    maps.resize(2 * maps.size());  // the background
    job.outputs.heatmaps = maps.data();
    peaks_cpu(job, 1, nullptr);
    const auto kept = std::min(expected.size(), static_cast<size_t>(job.work.most_peaks));
    EXPECT_EQ(static_cast<size_t>(job.work.peak_counts[0]), kept);
    if (expected.size() != kept || static_cast<size_t>(job.work.peak_counts[0]) != kept) return 0;
    for (size_t i = 0; i < kept; ++i) {
        EXPECT_EQ(job.work.peaks[i].x, expected[i].x);
        EXPECT_EQ(job.work.peaks[i].y, expected[i].y);
        EXPECT_EQ(job.work.peaks[i].score, expected[i].score);
    }
    return static_cast<int>(kept);
}

TEST(OpenPoseSearch, FindsWhatLookingEverywhereFinds) {
    int found = 0;
    unsigned seed = 0;
    for (const auto& [height, width] : {std::pair{1, 1}, {2, 3}, {5, 8}, {9, 7}, {12, 43}, {17, 16}, {6, 70}}) {
        for (const int factor : {1, 2, 4, 8}) {
            for (int i = 0; i < 6; ++i, ++seed) {
                SCOPED_TRACE(testing::Message() << height << "x" << width << " by " << factor << ", seed " << seed);
                found += expect_the_same(height, width, factor, i % 2 == 0, seed);
            }
        }
    }
    EXPECT_GT(found, 200);  // there was something to find
}

/// How many of the pairs drawn are limbs.
int expect_the_scores(const Field& field, int from_count, int round, std::mt19937& random) {
    const float half = round % 3 == 0 ? 0.5f : 0.0f;  // in the middle of a plateau
    const auto whole = [&](int n) { return static_cast<float>(random() % static_cast<unsigned>(n)); };
    const auto points = [&](int count) {
        std::vector<Peak> peaks;
        while (static_cast<int>(peaks.size()) < count)
            peaks.push_back({whole(field.grid.columns()) + half, whole(field.grid.rows()) + half, 0.5f});
        return peaks;
    };
    const std::vector<Peak> from = points(from_count), to = points(3);
    const Ends ends{from.data(), to.data(), from_count, 3};
    std::vector<float> scores(3 * from.size());
    score_pairs(field, ends, scores.data());
    int limbs = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
        const float expected = limb_score(field.grid, field.x, field.y, from[i % from.size()], to[i / from.size()]);
        EXPECT_EQ(scores[i], expected) << "pair " << i << " of " << from_count << " by 3";
        limbs += expected > 0.0f ? 1 : 0;
    }
    return limbs;
}

TEST(OpenPoseSearch, ScoresOfLimbsAreTheFormulas) {
    std::mt19937 random(3);
    int limbs = 0;
    for (const int factor : {1, 2, 4, 8}) {
        const Grid grid = make_grid(13, 17, factor);
        std::uniform_real_distribution<float> along(0.0f, 1.0f);
        std::vector<float> x_plane(static_cast<size_t>(grid.cells())), y_plane(x_plane.size());
        for (int round = 0; round < 2; ++round) {
            for (float& v : x_plane) v = along(random) - (round == 0 ? 0.02f : 0.5f);
            for (float& v : y_plane) v = along(random) - (round == 0 ? 0.02f : 0.5f);
            const Field field{grid, x_plane.data(), y_plane.data()};
            for (const int from_count : {1, 7, 8, 19}) {
                for (int i = 0; i < 6; ++i) limbs += expect_the_scores(field, from_count, i, random);
            }
        }
    }
    EXPECT_GT(limbs, 100);
}

}  // namespace
}  // namespace trtpose::openpose
