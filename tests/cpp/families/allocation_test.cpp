// SPDX-License-Identifier: Apache-2.0
// Reading outputs takes no memory of its own.
#include <gtest/gtest.h>

#include "core/buffer.hpp"
#include "families/family_example.hpp"
#include "support/counted_new.hpp"

namespace trtpose::test {
namespace {

TEST(FamilyMemory, ReadingTakesNone) {
    std::mt19937 random(7);
    for (const FamilyUnderTest& under_test : families_under_test()) {
        for (const FamilyExample& example : under_test.examples) {
            SCOPED_TRACE(example.name);
            const auto reader = under_test.family->default_reader(example.spec);
            const auto outputs = example.make(Holds::everybody, random);
            std::vector<const void*> data;
            for (const auto& values : outputs) data.push_back(values.data());
            const math::Letterbox placement =
                math::letterbox(example.input.width, example.input.height, example.input.width, example.input.height);
            for (const bool oks : {false, true}) {
                Thresholds t;
                t.oks = oks && !example.spec.sigmas.empty();
                const auto memory = reader->plan({example.shapes, DType::f32, 1, example.input}, t, {});
                const HostBuffer held(memory.held), scratch(memory.scratch);
                const auto slots = static_cast<size_t>(t.max_det);
                int32_t count = 0;
                std::vector<float> boxes(4 * slots), scores(slots),
                    keypoints(slots * static_cast<size_t>(example.spec.keypoints) * 3);
                std::vector<int32_t> class_ids(slots);
                const families::ReadBuffers buffers{
                    held.data(),
                    {scratch.data(), scratch.size()},
                    {&count, {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}}};
                const int before = calls_of_new();
                reader->read(data, 1, t, &placement, buffers, {}, {});
                EXPECT_EQ(calls_of_new(), before);
                EXPECT_GT(count, 0);
            }
        }
    }
    EXPECT_GT(calls_of_new(), 0);  // it counts
}

}  // namespace
}  // namespace trtpose::test
