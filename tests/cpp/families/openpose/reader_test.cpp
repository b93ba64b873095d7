// SPDX-License-Identifier: Apache-2.0
// Poses against those that the reference code made of the same maps, on every device.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "families/family.hpp"
#include "families/openpose/networks.hpp"
#include "support/goldens.hpp"
#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

/// What one image's maps came to.
struct Found {
    int count = 0;
    std::vector<float> boxes, scores, keypoints;
};

class OpenPoseReader : public OnDevice {
protected:
    Found read(const ModelSpec& spec, const std::vector<float>& heatmaps, const std::vector<float>& fields,
               const Cells& cells, const math::Letterbox& place) {
        const auto reader = families::family_of(spec).default_reader(spec);
        Thresholds thresholds;
        thresholds.conf = 0;
        families::OutputShapes shapes{
            reader->outputs(), DType::f32, 1, {cells.height * spec.strides[0], cells.width * spec.strides[0]}};
        for (auto& shape : shapes.shapes) shape = {1, shape[1], cells.height, cells.width};
        const auto memory = reader->plan(shapes, thresholds, context().device);
        const auto slots = static_cast<size_t>(thresholds.max_det);
        const DeviceArray<float> first(device(), heatmaps), second(device(), fields);
        const std::vector<const void*> data{first.data(), second.data()};
        const DeviceArray<char> held(device(), memory.held), scratch(device(), memory.scratch);
        const DeviceArray<int32_t> counts(device(), 1), class_ids(device(), slots);
        const DeviceArray<float> boxes(device(), slots * 4), scores(device(), slots);
        const DeviceArray<float> keypoints(device(), slots * static_cast<size_t>(spec.keypoints) * 3);
        const DeviceArray<math::Letterbox> placements(device(), std::vector{place});
        reader->read(data, 1, thresholds, placements.data(),
                     {held.data(),
                      {scratch.data(), scratch.size()},
                      {counts.data(), {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}}},
                     context(), {});
        return {counts.get()[0], boxes.get(), scores.get(), keypoints.get()};
    }
};

INSTANTIATE_TEST_SUITE_P(Devices, OpenPoseReader, testing::ValuesIn(device_names()),
                         [](const auto& instance) { return instance.param; });

/// One image of a set of reference values.
struct Scene {
    const Goldens& goldens;
    std::string prefix;
    std::string heatmaps = prefix + "heatmaps", fields = prefix + "pafs";

    const GoldenArray& at(const std::string& name) const { return goldens.at(prefix + name); }
    Cells cells() const {
        const auto& shape = goldens.at(heatmaps).shape;
        return {static_cast<int>(shape[shape.size() - 2]), static_cast<int>(shape.back())};
    }
    /// As the demo scales: to the input's height, half of what is left before it.
    math::Letterbox place(int left) const {
        const auto& picture = at("picture").longs;
        const int stride = 8, high = cells().height * stride, wide = cells().width * stride;
        math::Letterbox box{
            static_cast<int>(picture[1]), static_cast<int>(picture[0]), wide, high, 0, high, left, 0, true};
        box.width = static_cast<int>(std::nearbyint(static_cast<double>(box.src_width) * high / box.src_height));
        return box;
    }
};

/// The reference's poses, best first as ours are: the COCO score it makes of its sum and its count of keypoints.
std::vector<size_t> by_score(const GoldenArray& entries) {
    const auto width = static_cast<size_t>(entries.shape[1]);
    std::vector<size_t> order(static_cast<size_t>(entries.shape[0]));
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto score = [&](size_t i) {
        const double* const row = entries.doubles.data() + i * width;
        return row[width - 2] * (row[width - 1] - 1);
    };
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score(a) > score(b); });
    return order;
}

/// The demo's keypoints to the pixel, its boxes, and its sums within 4e-5.
void expect_demo(const Scene& scene, const Found& found, const ModelSpec& spec) {
    const auto& entries = scene.at("entries");
    const auto &keypoints = scene.at("demo_keypoints").ints, &boxes = scene.at("demo_boxes").ints;
    const auto order = by_score(entries);
    ASSERT_EQ(static_cast<size_t>(found.count), order.size());
    const auto maps = static_cast<size_t>(spec.keypoints);
    for (size_t i = 0; i < order.size(); ++i) {
        SCOPED_TRACE(i);
        const size_t from = order[i];
        for (size_t k = 0; k < maps; ++k) {
            const float* const point = found.keypoints.data() + (i * maps + k) * 3;
            const int32_t* const expected = keypoints.data() + (from * maps + k) * 2;
            if (expected[0] < 0 && expected[1] < 0) {
                EXPECT_EQ(point[2], 0) << "keypoint " << k;
                continue;
            }
            EXPECT_EQ(point[0], static_cast<float>(expected[0])) << "keypoint " << k;
            EXPECT_EQ(point[1], static_cast<float>(expected[1])) << "keypoint " << k;
            EXPECT_GT(point[2], 0) << "keypoint " << k;
        }
        const int32_t* const box = boxes.data() + from * 4;  // x, y, width, height
        const auto right = static_cast<float>(scene.place(0).src_width),
                   bottom = static_cast<float>(scene.place(0).src_height);
        const float expected[] = {std::max(static_cast<float>(box[0]), 0.0f),
                                  std::max(static_cast<float>(box[1]), 0.0f),
                                  std::min(static_cast<float>(box[0] + box[2]), right),
                                  std::min(static_cast<float>(box[1] + box[3]), bottom)};
        for (size_t c = 0; c < 4; ++c) EXPECT_EQ(found.boxes[i * 4 + c], expected[c]) << "side " << c;
        const double* const row = entries.doubles.data() + from * static_cast<size_t>(entries.shape[1]) + maps;
        const double most = most_score(spec);
        const auto score = static_cast<double>(found.scores[i]);
        EXPECT_NEAR(score * score * most / (row[1] - 1), row[0], 4e-5);
    }
}

TEST_P(OpenPoseReader, IsTheDemoOnDrawnScenes) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "openpose-scenes");
    const ModelSpec spec = lightweight_spec(4, "reference");
    const auto& names = goldens.at("order").bytes;
    std::istringstream lines(std::string(names.begin(), names.end()));
    int scenes = 0;
    for (std::string name; std::getline(lines, name); ++scenes) {
        SCOPED_TRACE(name);
        const Scene scene{goldens, name + "/"};
        const auto left = static_cast<int>(scene.at("pad").longs[1]);
        expect_demo(scene,
                    read(spec, scene.at("heatmaps").floats, scene.at("pafs").floats, scene.cells(), scene.place(left)),
                    spec);
    }
    EXPECT_EQ(scenes, 14);
}

TEST_P(OpenPoseReader, IsTheDemoOnPhotographs) {
    TRTPOSE_GOLDENS_OR_SKIP(goldens, "openpose-hpe0001");
    const ModelSpec spec = lightweight_spec(4, "reference");
    for (const char* name : {"zidane", "person", "000000000785", "000000040083", "000000196141"}) {
        SCOPED_TRACE(name);
        const Scene scene{goldens, std::string(name) + "/"};
        math::Letterbox place = scene.place(0);
        place.left = (place.dst_width - place.width) / 2;
        expect_demo(scene, read(spec, scene.at("heatmaps").floats, scene.at("pafs").floats, scene.cells(), place),
                    spec);
    }
}

}  // namespace
}  // namespace trtpose::test
