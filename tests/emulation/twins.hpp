// SPDX-License-Identifier: Apache-2.0
// The way from a network's outputs to poses on any device, for tests that compare devices bit for bit.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/op_test.hpp"

namespace trtpose::test {

/// What a scene asks of the operations.
struct Scene {
    ModelSpec spec;
    Size input;
    std::vector<std::vector<int64_t>> shapes;
    std::vector<std::vector<float>> outputs;
    bool half = false;  ///< CUDA reads them as float16; the numbers are ones that float16 has
    float conf = 0.25f;
    int capacity = 0;  ///< 0: room for every anchor
    ops::NmsParams nms;
    std::vector<math::Letterbox> placements;
};

/// All that the operations wrote, candidates by rising anchor since their order is free.
struct Outcome {
    std::vector<int32_t> counts;
    std::vector<std::vector<ReferenceCandidate>> candidates;
    std::vector<std::vector<int32_t>> kept;  ///< anchors, best first
    std::vector<float> boxes, scores, keypoints;
    std::vector<int32_t> class_ids;
};

/// The outputs as float16 if `half`, which the CPU refuses.
Outcome run_scene(TestDevice& device, const Scene& scene, bool half);

/// Bit for bit: -0 is not 0.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void expect_same(const Outcome& got, const Outcome& expected);

/// Numbers that make many candidates, with people on top of each other, equal scores and now and then no number.
Scene random_scene(std::mt19937& random, bool half);

/// The device of this name, which must be linked in.
std::unique_ptr<TestDevice> open_device(const std::string& name);

}  // namespace trtpose::test
