// SPDX-License-Identifier: Apache-2.0
// The steps one by one: peaks of maps that are enlarged already, and the grouping of given peaks, against the
// reference's; then where our rules differ from its.
#include "families/openpose/select.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "families/openpose/networks.hpp"
#include "ops/dispatch.hpp"
#include "support/goldens.hpp"
#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

using openpose::Body;
using openpose::Grid;
using openpose::Job;
using openpose::Joint;
using openpose::Peak;
using openpose::Work;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Peaks by map, and what poses hold of them.
struct Pose {
    std::vector<int> ids;  ///< for each map the running number of the peak over all maps, or -1
    float score;
    int count;
};

class OpenPoseSteps : public OnDevice {
protected:
    bool on_cpu() { return context().device.type == DeviceType::cpu; }

    /// A job in memory of the device's.
    Job job(const ModelSpec& spec, int height, int width) {
        Job out;
        out.topology = openpose::topology_of(spec);
        out.grid = openpose::make_grid(height, width, out.topology.factor);
        Planner measure;
        static_cast<void>(Work(measure, out.topology, out.grid, 1, on_cpu()));
        held_ = DeviceArray<char>(device(), measure.used());
        Planner planner(held_.data());
        out.work = Work(planner, out.topology, out.grid, 1, on_cpu());
        return out;
    }

    /// Elements of a part of the job's memory.
    template <typename T>
    std::vector<T> get(const T* part, int count) const {
        const auto bytes = held_.get();
        std::vector<T> out(static_cast<size_t>(count));
        if (count > 0)
            std::memcpy(out.data(), bytes.data() + (reinterpret_cast<const char*>(part) - held_.data()),
                        out.size() * sizeof(T));
        return out;
    }

    /// The first map's peaks; the others are empty.
    std::vector<Peak> peaks(ModelSpec spec, const std::vector<float>& map, int height, int width) {
        Job work = job(spec, height, width);
        std::vector<float> heatmaps(map);
        heatmaps.resize(map.size() * static_cast<size_t>(work.topology.heatmap_channels()));
        const DeviceArray<float> data(device(), heatmaps);
        work.outputs.heatmaps = data.data();
        find_peaks(work);
        const auto counts = get(work.work.peak_counts, work.topology.maps);
        for (size_t m = 1; m < counts.size(); ++m) EXPECT_EQ(counts[m], 0);
        return get(work.work.peaks, counts[0]);
    }

    void find_peaks(const Job& work) {
        ops::dispatch(
            context(), "peaks", [&] { openpose::peaks_cpu(work, 1, nullptr); },
            [&](auto* stream) { openpose::peaks_cuda(work, 1, stream); });
    }

    /// The poses that given peaks come to, those that are kept.
    std::vector<Pose> group(const ModelSpec& spec, const std::vector<std::vector<Peak>>& given,
                            const std::vector<float>& fields, int height, int width) {
        Job work = job(spec, height, width);
        // Into the job's memory, by way of the host.
        std::vector<char> memory(held_.get());
        const auto at = [&](const void* part) {
            return memory.data() + (static_cast<const char*>(part) - held_.data());
        };
        std::vector<int> first;
        int total = 0;
        for (size_t m = 0; m < given.size(); ++m) {
            const auto count = static_cast<int32_t>(given[m].size());
            std::memcpy(at(work.work.peak_counts + m), &count, sizeof(count));
            if (!given[m].empty())
                std::memcpy(at(work.work.peaks + m * static_cast<size_t>(work.work.most_peaks)), given[m].data(),
                            given[m].size() * sizeof(Peak));
            first.push_back(total);
            total += count;
        }
        held_ = DeviceArray<char>(device(), memory);
        Planner planner(held_.data());
        work.work = Work(planner, work.topology, work.grid, 1, on_cpu());
        const DeviceArray<float> data(device(), fields);
        work.outputs.fields = data.data();
        return grouped(work, first);
    }

    std::vector<Pose> grouped(const Job& work, const std::vector<int>& first) {
        constexpr int kRoom = 50;
        const auto maps = static_cast<size_t>(work.topology.maps);
        const DeviceArray<int32_t> counts(device(), 1), class_ids(device(), kRoom);
        const DeviceArray<float> boxes(device(), kRoom * 4), scores(device(), kRoom);
        const DeviceArray<float> keypoints(device(), kRoom * 3 * static_cast<size_t>(work.topology.keypoints));
        const int height = work.grid.rows(), width = work.grid.columns();
        const DeviceArray<math::Letterbox> place(device(), std::vector{math::letterbox(width, height, width, height)});
        const openpose::Answer answer{place.data(),  1,
                                      0.0f,          kRoom,
                                      counts.data(), {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}};
        ops::dispatch(
            context(), "poses",
            [&] {
                openpose::joints_cpu(work, 1, nullptr);
                openpose::poses_cpu(work, answer, 1, nullptr);
            },
            [&](auto* stream) {
                openpose::joints_cuda(work, 1, stream);
                openpose::poses_cuda(work, answer, 1, stream);
            });
        const auto finals = get(work.work.finals, kRoom);
        const auto bodies = get(work.work.bodies, kRoom);
        const auto ids = get(work.work.ids, kRoom * work.topology.maps);
        std::vector<Pose> out;
        for (size_t i = 0; static_cast<int>(out.size()) < counts.get()[0]; ++i) {
            if (i >= kRoom) throw std::runtime_error("fewer poses than were counted");
            if (!(finals[i] > openpose::kNobody)) continue;
            Pose& pose = out.emplace_back(Pose{{}, bodies[i].score, bodies[i].count});
            for (size_t m = 0; m < maps; ++m)
                pose.ids.push_back(ids[i * maps + m] < 0 ? -1 : first[m] + ids[i * maps + m]);
        }
        return out;
    }

    DeviceArray<char> held_;
};

INSTANTIATE_TEST_SUITE_P(Devices, OpenPoseSteps, testing::ValuesIn(device_names()),
                         [](const auto& instance) { return instance.param; });

TEST_P(OpenPoseSteps, PeaksAreTheReferences) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "openpose-edge");
    int maps = 0;
    for (; goldens.count("peaks/" + std::to_string(maps) + "/map"); ++maps) {
        const std::string prefix = "peaks/" + std::to_string(maps) + "/";
        const auto& name = goldens.at(prefix + "name").bytes;
        SCOPED_TRACE(std::string(name.begin(), name.end()));
        const auto& map = goldens.at(prefix + "map");
        const auto found = peaks(lightweight_spec(1, "reference"), map.floats, static_cast<int>(map.shape[0]),
                                 static_cast<int>(map.shape[1]));
        const auto& expected = goldens.at(prefix + "peaks").doubles;
        ASSERT_EQ(found.size() * 3, expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
            EXPECT_EQ(found[i].x, expected[i * 3]);
            EXPECT_EQ(found[i].y, expected[i * 3 + 1]);
            EXPECT_EQ(found[i].score, static_cast<float>(expected[i * 3 + 2]));
        }
    }
    EXPECT_EQ(maps, 17);
}

/// A case of the grouping, and what the reference makes of it.
struct Grouping {
    std::vector<std::vector<Peak>> peaks;
    const GoldenArray &fields, &entries;

    Grouping(const Goldens& goldens, const std::string& prefix)
        : fields(goldens.at(prefix + "pafs")), entries(goldens.at(prefix + "entries")) {
        const double* row = goldens.at(prefix + "peaks").doubles.data();
        for (const int64_t count : goldens.at(prefix + "peaks_per_keypoint").longs) {
            auto& list = peaks.emplace_back();
            for (int64_t i = 0; i < count; ++i, row += 3)
                list.push_back({static_cast<float>(row[0]), static_cast<float>(row[1]), static_cast<float>(row[2])});
        }
    }
};

TEST_P(OpenPoseSteps, GroupingIsTheReferences) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "openpose-edge");
    int cases = 0;
    for (; goldens.count("group/" + std::to_string(cases) + "/pafs"); ++cases) {
        const std::string prefix = "group/" + std::to_string(cases) + "/";
        const auto& name = goldens.at(prefix + "name").bytes;
        SCOPED_TRACE(std::string(name.begin(), name.end()));
        const Grouping given(goldens, prefix);
        const auto found = group(lightweight_spec(1, "reference"), given.peaks, given.fields.floats,
                                 static_cast<int>(given.fields.shape[1]), static_cast<int>(given.fields.shape[2]));
        const auto width = static_cast<size_t>(given.entries.shape[1]);
        ASSERT_EQ(found.size(), static_cast<size_t>(given.entries.shape[0]));
        for (size_t i = 0; i < found.size(); ++i) {
            const double* const row = given.entries.doubles.data() + i * width;
            EXPECT_EQ(found[i].ids, std::vector<int>(row, row + width - 2)) << "pose " << i;
            EXPECT_EQ(found[i].count, row[width - 1]);
            EXPECT_NEAR(found[i].score, row[width - 2], 4e-5);
        }
    }
    EXPECT_EQ(cases, 20);
}

/// A map of zeros with some values in it.
std::vector<float> map_of(int height, int width, const std::vector<std::pair<std::pair<int, int>, float>>& values) {
    std::vector<float> out(static_cast<size_t>(height * width));
    for (const auto& [at, value] : values) out[static_cast<size_t>(at.second * width + at.first)] = value;
    return out;
}

void expect_peaks(const std::vector<Peak>& found, const std::vector<std::pair<float, float>>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].x, expected[i].first) << i;
        EXPECT_EQ(found[i].y, expected[i].second) << i;
    }
}

TEST_P(OpenPoseSteps, OneBrightCellIsAPeakInItsMiddleByOurRules) {
    const auto map = map_of(9, 12, {{{4, 3}, 0.8f}, {{9, 6}, 0.5f}});
    expect_peaks(peaks(lightweight_spec(4, "reference"), map, 9, 12), {});
    // Four points about the middle of the cell, 4·cell + 1.5.
    expect_peaks(peaks(lightweight_spec(4, "own"), map, 9, 12), {{17.5f, 13.5f}, {37.5f, 25.5f}});
    // Enlarged by two a cell's own two points are in no way higher than each other either.
    expect_peaks(peaks(lightweight_spec(2, "own"), map, 9, 12), {{8.5f, 6.5f}, {18.5f, 12.5f}});
}

TEST_P(OpenPoseSteps, PlateausCountOnceWhereNothingBesideThemIsHigher) {
    const ModelSpec own = lightweight_spec(1, "own"), reference = lightweight_spec(1, "reference");
    // Two, an L of four, and a cross; the values to one side of each are lower, not 0.
    const auto tops = map_of(20, 30,
                             {{{4, 4}, 0.5f},
                              {{5, 4}, 0.5f},
                              {{3, 4}, 0.3f},
                              {{14, 4}, 0.6f},
                              {{14, 5}, 0.6f},
                              {{14, 6}, 0.6f},
                              {{15, 6}, 0.6f},
                              {{22, 12}, 0.7f},
                              {{21, 12}, 0.7f},
                              {{23, 12}, 0.7f},
                              {{22, 11}, 0.7f},
                              {{22, 13}, 0.7f}});
    expect_peaks(peaks(reference, tops, 20, 30), {});
    expect_peaks(peaks(own, tops, 20, 30), {{4.5f, 4}, {14.25f, 5.25f}, {22, 12}});
    // The far end of a step touches what is higher: it is a slope, and the peak is behind it.
    const auto slope = map_of(20, 30, {{{4, 4}, 0.5f}, {{5, 4}, 0.5f}, {{6, 4}, 0.5f}, {{7, 4}, 0.9f}});
    expect_peaks(peaks(own, slope, 20, 30), {{7, 4}});
    // At the border, and beside what is no number.
    expect_peaks(peaks(own, map_of(20, 30, {{{0, 0}, 0.5f}, {{0, 1}, 0.5f}}), 20, 30), {{0, 0.5f}});
    expect_peaks(peaks(own, map_of(20, 30, {{{9, 9}, 0.5f}, {{9, 10}, 0.5f}, {{9, 11}, kNan}}), 20, 30), {});
    // A flat map is one plateau without end; its peaks keep their distance.
    const auto flat = peaks(own, std::vector<float>(600, 0.4f), 20, 30);
    EXPECT_EQ(flat.size(), 1u);
}

TEST_P(OpenPoseSteps, OfTooManyPeaksTheHighestAreKeptInTheirOrder) {
    constexpr int kHigh = 140, kWide = 140, kStep = 7;
    std::vector<std::pair<std::pair<int, int>, float>> values;
    std::vector<std::pair<float, float>> expected;
    constexpr int kAll = (kHigh / kStep) * (kWide / kStep);
    static_assert(kAll > openpose::kMostPeaks, "more than there is room for");
    for (int i = 0; i < kAll; ++i) {
        const int x = i / (kHigh / kStep) * kStep + 3, y = i % (kHigh / kStep) * kStep + 3;
        // Equal ones in pairs, so that the cut is also between equals.
        const int rank = (i * 167 % kAll) / 2;
        values.push_back({{x, y}, 0.2f + static_cast<float>(rank) * 1e-3f});
    }
    std::vector<size_t> order(values.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return values[a].second > values[b].second; });
    order.resize(openpose::kMostPeaks);
    std::sort(order.begin(), order.end());
    for (const size_t i : order)
        expected.emplace_back(static_cast<float>(values[i].first.first), static_cast<float>(values[i].first.second));
    expect_peaks(peaks(lightweight_spec(1, "own"), map_of(kHigh, kWide, values), kHigh, kWide), expected);
}

TEST_P(OpenPoseSteps, HeadAndArmWithoutNeckAreOnePersonByOurRules) {
    // Nose, right eye and right ear; right shoulder, elbow and wrist; the ear is joined to the shoulder.
    const auto spec = [](const char* rule) { return lightweight_spec(1, rule); };
    constexpr int kHigh = 30, kWide = 40;
    std::vector<std::vector<Peak>> given(18);
    given[0] = {{20, 5, 0.9f}};
    given[14] = {{16, 4, 0.8f}};
    given[16] = {{12, 5, 0.7f}};
    given[2] = {{10, 15, 0.9f}};
    given[3] = {{10, 20, 0.8f}};
    given[4] = {{10, 26, 0.7f}};
    std::vector<float> fields(38 * kHigh * kWide);
    const auto limb = [&](int channel, float x, float y) {
        std::fill_n(fields.begin() + channel * kHigh * kWide, kHigh * kWide, x);
        std::fill_n(fields.begin() + (channel + 1) * kHigh * kWide, kHigh * kWide, y);
    };
    limb(30, -1, 0);  // nose to eye
    limb(34, -1, 0);
    limb(14, 0, 1);
    limb(16, 0, 1);
    limb(18, 0, -1);  // shoulder to ear
    const auto apart = group(spec("reference"), given, fields, kHigh, kWide);
    ASSERT_EQ(apart.size(), 2u);
    const auto together = group(spec("own"), given, fields, kHigh, kWide);
    ASSERT_EQ(together.size(), 1u);
    EXPECT_EQ(together[0].count, 6);
    EXPECT_GT(together[0].score, apart[0].score + apart[1].score);  // and the limb between them
    for (const int map : {0, 14, 16, 2, 3, 4}) EXPECT_GE(together[0].ids[static_cast<size_t>(map)], 0);
    // With a nose of its own behind a neck the body is another person's: nothing is joined.
    given[1] = {{10, 10, 0.9f}};
    given[0].push_back({24, 10, 0.6f});
    limb(12, 0, 1);
    limb(28, 1, 0);
    const auto two = group(spec("own"), given, fields, kHigh, kWide);
    ASSERT_EQ(two.size(), 2u);
}

}  // namespace
}  // namespace trtpose::test
