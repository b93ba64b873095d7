// SPDX-License-Identifier: Apache-2.0
// Every family under many orders of blocks, threads and streams: what depends on the order differs from the CPU's
// sooner or later.
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cstring>

#include "cuda/emulation.hpp"
#include "families/family_example.hpp"
#include "support/sanitized.hpp"
#include "twins.hpp"

namespace trtpose::test {
namespace {

// Memory errors show themselves in the first of them, or not by the order.
constexpr uint64_t kSchedules = kAddressSanitizer ? 40 : 200;
constexpr int kBatch = 2;

struct Answer {
    std::vector<int32_t> counts;
    std::vector<float> numbers;  ///< scores, boxes and keypoints of the filled slots
};

std::vector<__half> to_half(const std::vector<float>& values) {
    std::vector<__half> out;
    for (const float v : values) out.push_back(__float2half_rn(v));
    return out;
}

Answer answer(TestDevice& device, const families::Family& family, const FamilyExample& example,
              const std::vector<std::vector<float>>& outputs, const Thresholds& t, DType dtype = DType::f32) {
    const auto reader = family.default_reader(example.spec);
    families::OutputShapes shapes{example.shapes, dtype, kBatch, example.input};
    for (auto& shape : shapes.shapes) shape[0] = kBatch;
    const auto memory = reader->plan(shapes, t, device.context().device);
    std::vector<DeviceArray<float>> arrays;
    std::vector<DeviceArray<__half>> halves;
    std::vector<const void*> data;
    for (const auto& values : outputs) {
        if (dtype == DType::f16) {
            halves.emplace_back(device, to_half(values));
            data.push_back(halves.back().data());
        } else {
            arrays.emplace_back(device, values);
            data.push_back(arrays.back().data());
        }
    }
    const auto each = static_cast<size_t>(t.max_det), slots = kBatch * each;
    const size_t pose = static_cast<size_t>(example.spec.keypoints) * 3;
    const DeviceArray<char> held(device, memory.held), scratch(device, memory.scratch);
    const DeviceArray<int32_t> counts(device, kBatch), class_ids(device, slots);
    const DeviceArray<float> boxes(device, 4 * slots), scores(device, slots), keypoints(device, slots * pose);
    const DeviceArray<math::Letterbox> placements(
        device, std::vector(kBatch, math::letterbox(3 * example.input.width / 2, example.input.height,
                                                    example.input.width, example.input.height)));
    reader->read(data, kBatch, t, placements.data(),
                 {held.data(),
                  {scratch.data(), scratch.size()},
                  {counts.data(), {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}}},
                 device.context(), {});
    Answer out;
    out.counts = counts.get();
    const auto all_scores = scores.get(), all_boxes = boxes.get(), all_keypoints = keypoints.get();
    for (size_t image = 0; image < kBatch; ++image) {
        const auto append = [&](const std::vector<float>& from, size_t width) {
            const auto begin = from.begin() + static_cast<ptrdiff_t>(image * each * width);
            out.numbers.insert(out.numbers.end(), begin,
                               begin + static_cast<ptrdiff_t>(static_cast<size_t>(out.counts[image]) * width));
        };
        append(all_scores, 1);
        append(all_boxes, 4);
        append(all_keypoints, pose);
    }
    return out;
}

TEST(FamilySchedules, EveryFamilyIsTheSameUnderAll) {
    const auto cpu = open_device("cpu");
    const auto cuda = open_device("emulated_cuda");
    std::mt19937 random(seed() + 5);
    for (const FamilyUnderTest& under_test : families_under_test()) {
        for (uint64_t schedule = 1; schedule <= kSchedules; ++schedule) {
            const FamilyExample& example = under_test.examples[schedule % under_test.examples.size()];
            SCOPED_TRACE(example.name + ", schedule " + std::to_string(schedule));
            std::vector<std::vector<float>> outputs = example.make(Holds::somebody, random);
            const auto second = example.make(schedule % 8 ? Holds::somebody : Holds::everybody, random);
            for (size_t o = 0; o < outputs.size(); ++o)
                outputs[o].insert(outputs[o].end(), second[o].begin(), second[o].end());
            Thresholds t;
            t.max_det = schedule % 2 ? 300 : 4;
            emulation::set_schedule(schedule);
            const Answer got = answer(*cuda, *under_test.family, example, outputs, t);
            const Answer expected = answer(*cpu, *under_test.family, example, outputs, t);
            ASSERT_EQ(got.counts, expected.counts);
            ASSERT_TRUE(same_bits(got.numbers, expected.numbers));
        }
    }
    emulation::set_schedule(0);
}

TEST(FamilySchedules, MoveNetReadsHalfPrecisionOnCuda) {
    const auto cpu = open_device("cpu");
    const auto cuda = open_device("emulated_cuda");
    std::mt19937 random(seed() + 6);
    for (const FamilyUnderTest& under_test : families_under_test()) {
        if (std::string(under_test.family->name()) != "movenet") continue;
        for (const FamilyExample& example : under_test.examples) {
            SCOPED_TRACE(example.name);
            std::vector<std::vector<float>> outputs = example.make(Holds::everybody, random);
            const auto second = example.make(Holds::somebody, random);
            for (size_t o = 0; o < outputs.size(); ++o) {
                outputs[o].insert(outputs[o].end(), second[o].begin(), second[o].end());
                for (float& v : outputs[o]) v = __half2float(__float2half_rn(v));
            }
            const Answer got = answer(*cuda, *under_test.family, example, outputs, {}, DType::f16);
            const Answer expected = answer(*cpu, *under_test.family, example, outputs, {});
            ASSERT_EQ(got.counts, expected.counts);
            EXPECT_GT(got.counts[0], 0);
            ASSERT_TRUE(same_bits(got.numbers, expected.numbers));
        }
    }
}

}  // namespace
}  // namespace trtpose::test
