// SPDX-License-Identifier: Apache-2.0
#include "families/rows/example.hpp"

#include <limits>

namespace trtpose::test {
namespace {

constexpr int kRows = 150;  // more than a block of threads
constexpr Size kInput{96, 128};

std::vector<std::vector<float>> rows_with(int keypoints, Holds holds, std::mt19937& random) {
    const auto between = [&](float low, float high) {
        return std::uniform_real_distribution<float>(low, high)(random);
    };
    std::vector<float> boxes, points;
    for (int r = 0; r < kRows; ++r) {
        const bool there = holds == Holds::everybody || (holds == Holds::somebody && (r == 0 || between(0, 1) < 0.3f));
        // Everybody stands apart, so that suppression leaves enough of them.
        const float x = holds == Holds::everybody ? static_cast<float>(8 * (r % 15)) : between(-10, 120);
        const float y = holds == Holds::everybody ? static_cast<float>(9 * (r / 15)) : between(-10, 90);
        const float side = holds == Holds::everybody ? 7.0f : between(1, 60);
        boxes.insert(boxes.end(), {x, y, x + side, y + side, there ? between(0.7f, 1) : between(0, 0.1f)});
        for (int k = 0; k < keypoints; ++k)
            points.insert(points.end(), {x + between(0, side), y + between(0, side), between(0, 1)});
    }
    if (holds == Holds::not_a_number) {
        boxes.assign(boxes.size(), std::numeric_limits<float>::quiet_NaN());
        points.assign(points.size(), std::numeric_limits<float>::quiet_NaN());
    }
    return {boxes, points};
}

FamilyExample example(const std::string& name, int keypoints, bool sigmas) {
    ModelSpec spec;
    spec.name = name;
    spec.family = "rows";
    spec.imgsz = kInput;
    spec.names = {"person"};
    spec.keypoints = keypoints;
    if (sigmas) spec.sigmas.assign(static_cast<size_t>(keypoints), 0.1f);
    spec.extra.emplace_back("form", "\"dets_keypoints\"");
    FamilyExample out{name, spec, kInput, {{1, kRows, 5}, {1, kRows, keypoints, 3}}, {}};
    out.make = [keypoints](Holds holds, std::mt19937& random) { return rows_with(keypoints, holds, random); };
    out.counted = true;
    return out;
}

}  // namespace

std::vector<FamilyExample> rows_examples() { return {example("rows", 5, true), example("rows_of_one", 1, false)}; }

}  // namespace trtpose::test
