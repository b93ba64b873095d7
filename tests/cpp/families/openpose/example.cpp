// SPDX-License-Identifier: Apache-2.0
#include "families/openpose/example.hpp"

#include <array>
#include <cmath>
#include <limits>

namespace trtpose::test {
namespace {

using Random = std::mt19937;

constexpr int kStride = 8, kHigh = 16, kWide = 24, kCells = kHigh * kWide;
constexpr int kPerson = 4;  ///< cells of the square that a person takes
// A body of a trunk (0) with two arms (1, 2), a leg (3) behind one of them, and a head (4) that a last limb joins.
constexpr int kMaps = 5, kLimbs = 4;
constexpr int kPlaces[kMaps][2] = {{1, 1}, {3, 1}, {1, 3}, {3, 3}, {0, 0}};  ///< cells within the square
constexpr int kJoined[kLimbs][2] = {{0, 1}, {0, 2}, {1, 3}, {2, 4}};

float between(Random& random, float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
}

struct Planes {
    std::vector<float> heatmaps = std::vector<float>((kMaps + 1) * kCells);
    std::vector<float> fields = std::vector<float>(2 * kLimbs * kCells);

    float& at(std::vector<float>& planes, int channel, int x, int y) const {
        return planes[static_cast<size_t>((channel * kHigh + y) * kWide + x)];
    }
};

/// A keypoint of one cell, which the reference does not see, or of some.
void add_keypoint(Planes& planes, int map, int x, int y, Random& random) {
    planes.at(planes.heatmaps, map, x, y) = between(random, 0.7f, 1);
    if (random() % 8 == 0) return;
    if (x + 1 < kWide) planes.at(planes.heatmaps, map, x + 1, y) = between(random, 0.2f, 0.5f);
    if (y > 0) planes.at(planes.heatmaps, map, x, y - 1) = between(random, 0.1f, 0.4f);
}

void add_person(Planes& planes, int left, int top, Random& random) {
    for (int m = 0; m < kMaps; ++m) {
        if (m == 0 || random() % 10 != 0) add_keypoint(planes, m, left + kPlaces[m][0], top + kPlaces[m][1], random);
    }
    for (int l = 0; l < kLimbs; ++l) {
        const auto &from = kPlaces[kJoined[l][0]], &to = kPlaces[kJoined[l][1]];
        const float dx = static_cast<float>(to[0] - from[0]), dy = static_cast<float>(to[1] - from[1]);
        const float length = std::sqrt(dx * dx + dy * dy), strength = between(random, 0.6f, 1);
        for (int y = top; y < top + kPerson; ++y) {
            for (int x = left; x < left + kPerson; ++x) {
                planes.at(planes.fields, 2 * l, x, y) = strength * dx / length;
                planes.at(planes.fields, 2 * l + 1, x, y) = strength * dy / length;
            }
        }
    }
}

std::vector<std::vector<float>> outputs_of(bool joined, Holds holds, Random& random) {
    Planes planes;
    for (auto* all : {&planes.heatmaps, &planes.fields}) {
        for (float& value : *all)
            value = holds == Holds::not_a_number ? std::numeric_limits<float>::quiet_NaN() : between(random, 0, 0.04f);
    }
    for (int y = 0; y < kHigh && holds != Holds::not_a_number; y += kPerson) {
        for (int x = 0; x < kWide; x += kPerson) {
            if (holds == Holds::everybody || (holds == Holds::somebody && between(random, 0, 1) < 0.3f))
                add_person(planes, x, y, random);
        }
    }
    if (!joined) return {planes.heatmaps, planes.fields};
    planes.heatmaps.insert(planes.heatmaps.end(), planes.fields.begin(), planes.fields.end());
    return {planes.heatmaps};
}

ModelSpec spec_of(bool joined) {
    ModelSpec spec;
    spec.family = "openpose";
    spec.name = "trunk";
    spec.imgsz = {kStride * kHigh, kStride * kWide};
    spec.strides = {kStride};
    spec.names = {"person"};
    spec.keypoints = 4;
    spec.extra = {{"form", joined ? "\"joined\"" : "\"maps\""},
                  {"maps", "5"},
                  {"limbs", "[[0, 1, 0], [0, 2, 2], [1, 3, 4], [2, 4, 6]]"},
                  {"filling", "1"},
                  {"keypoint_maps", "[0, 2, 1, 4]"},
                  {"rule", joined ? "\"reference\"" : "\"own\""}};
    return spec;
}

}  // namespace

std::vector<FamilyExample> openpose_examples() {
    std::vector<FamilyExample> out;
    for (const bool joined : {false, true}) {
        const ModelSpec spec = spec_of(joined);
        constexpr int64_t heatmaps = kMaps + 1, fields = 2 * kLimbs;
        std::vector<std::vector<int64_t>> shapes{{1, heatmaps, kHigh, kWide}, {1, fields, kHigh, kWide}};
        if (joined) shapes = {{1, heatmaps + fields, kHigh, kWide}};
        out.push_back({joined ? "openpose_joined" : "openpose_maps", spec, spec.imgsz, shapes,
                       [joined](Holds holds, Random& random) { return outputs_of(joined, holds, random); }});
    }
    return out;
}

}  // namespace trtpose::test
