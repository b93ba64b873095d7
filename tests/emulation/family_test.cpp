// SPDX-License-Identifier: Apache-2.0
// Reading outputs on a GPU launches kernels and clears memory, nothing else: no taking of memory, no waiting.
#include <algorithm>

#include "cuda/emulation.hpp"
#include "families/family_example.hpp"
#include "twins.hpp"

namespace trtpose::test {
namespace {

TEST(FamilyOnCuda, ReadingNeitherTakesMemoryNorWaits) {
    const auto device = open_device("emulated_cuda");
    const Context context = device->context();
    std::mt19937 random(seed());
    for (const FamilyUnderTest& under_test : families_under_test()) {
        for (const FamilyExample& example : under_test.examples) {
            SCOPED_TRACE(example.name);
            Thresholds t;
            t.oks = !example.spec.sigmas.empty();
            const auto reader = under_test.family->default_reader(example.spec);
            const auto memory = reader->plan({example.shapes, DType::f32, 1, example.input}, t, context.device);
            std::vector<DeviceArray<float>> arrays;
            std::vector<const void*> data;
            for (const auto& values : example.make(Holds::everybody, random)) {
                arrays.emplace_back(*device, values);
                data.push_back(arrays.back().data());
            }
            const auto slots = static_cast<size_t>(t.max_det);
            const DeviceArray<char> held(*device, memory.held), scratch(*device, memory.scratch);
            const DeviceArray<int32_t> counts(*device, 1), class_ids(*device, slots);
            const DeviceArray<float> boxes(*device, 4 * slots), scores(*device, slots),
                keypoints(*device, slots * static_cast<size_t>(example.spec.keypoints) * 3);
            const DeviceArray<math::Letterbox> placements(
                *device, std::vector{math::letterbox(example.input.width, example.input.height, example.input.width,
                                                     example.input.height)});
            emulation::listen();
            reader->read(data, 1, t, placements.data(),
                         {held.data(),
                          {scratch.data(), scratch.size()},
                          {counts.data(), {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}}},
                         context, {});
            for (const std::string& call : emulation::heard()) {
                EXPECT_TRUE(call == "cudaGetDevice" || call == "cudaSetDevice" || call == "cudaMemsetAsync" ||
                            call == "cudaFuncSetAttribute" || call == "cudaGetLastError")
                    << call;
            }
            EXPECT_GT(counts.get()[0], 0);
        }
    }
}

}  // namespace
}  // namespace trtpose::test
