// SPDX-License-Identifier: Apache-2.0
#include "twins.hpp"

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trtpose::test {
namespace {

float through_half(float x) { return __half2float(__float2half_rn(x)); }

}  // namespace

Outcome run_scene(TestDevice& device, const Scene& scene, bool half) {
    const Context context = device.context();
    std::vector<DeviceArray<float>> floats;
    std::vector<DeviceArray<uint16_t>> halves;
    std::vector<const void*> data;
    for (const auto& output : scene.outputs) {
        if (half) {
            std::vector<uint16_t> bits(output.size());
            for (size_t i = 0; i < output.size(); ++i) {
                const __half h = __float2half_rn(output[i]);
                std::memcpy(&bits[i], &h, sizeof(h));
            }
            halves.emplace_back(device, bits);
            data.push_back(halves.back().data());
        } else {
            floats.emplace_back(device, output);
            data.push_back(floats.back().data());
        }
    }
    const ops::Decode decode(scene.spec);
    const ops::HeadView heads = decode.view(scene.shapes, data, half ? DType::f16 : DType::f32, scene.input);
    const auto batch = static_cast<size_t>(heads.batch);
    CandidateArrays candidates(device, heads.batch, scene.capacity ? scene.capacity : heads.total_anchors);
    const auto capacity = static_cast<size_t>(candidates.view.capacity);
    const auto pose = static_cast<size_t>(heads.keypoints) * 3;
    const auto max_det = static_cast<size_t>(scene.nms.max_det);
    const ops::Nms nms(scene.nms, scene.spec.sigmas);
    DeviceArray<char> scratch(device,
                              std::max(decode.workspace_bytes(heads, context.device),
                                       nms.workspace_bytes(heads.batch, candidates.view.capacity, context.device)));
    const Workspace workspace{scratch.data(), scratch.size()};
    DeviceArray<float> points(device, batch * capacity * pose);
    DeviceArray<int32_t> kept_counts(device, batch), kept_indices(device, batch * max_det);
    DeviceArray<float> boxes(device, batch * max_det * 4), scores(device, batch * max_det);
    DeviceArray<float> keypoints(device, batch * max_det * pose);
    DeviceArray<int32_t> class_ids(device, batch * max_det);
    DeviceArray<math::Letterbox> placements(device, scene.placements);

    decode(heads, scene.conf, candidates.view, workspace, context);
    decode.keypoints(heads, candidates.view, points.data(), context);
    const ops::Detections kept{kept_counts.data(), kept_indices.data(), scene.nms.max_det};
    nms(candidates.view, heads.batch, points.data(), kept, workspace, context);
    decode.poses(heads, candidates.view, kept, placements.data(),
                 {boxes.data(), scores.data(), class_ids.data(), keypoints.data()}, context);

    Outcome out;
    out.counts = candidates.counts.get();
    const auto c_boxes = candidates.boxes.get(), c_scores = candidates.scores.get(), c_points = points.get();
    const auto c_classes = candidates.classes.get(), c_anchors = candidates.anchors.get();
    const auto counts = kept_counts.get(), indices = kept_indices.get();
    const auto all_boxes = boxes.get(), all_scores = scores.get(), all_points = keypoints.get();
    const auto all_ids = class_ids.get();
    for (size_t n = 0; n < batch; ++n) {
        auto& list = out.candidates.emplace_back();
        for (size_t i = n * capacity; i < n * capacity + std::min(static_cast<size_t>(out.counts[n]), capacity); ++i) {
            ReferenceCandidate c;
            std::copy_n(c_boxes.begin() + static_cast<ptrdiff_t>(4 * i), 4, c.box.begin());
            c.score = c_scores[i];
            c.class_id = c_classes[i];
            c.anchor = c_anchors[i];
            c.keypoints.assign(c_points.begin() + static_cast<ptrdiff_t>(i * pose),
                               c_points.begin() + static_cast<ptrdiff_t>((i + 1) * pose));
            list.push_back(std::move(c));
        }
        std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.anchor < b.anchor; });
        auto& anchors = out.kept.emplace_back();
        for (size_t i = n * max_det; i < n * max_det + static_cast<size_t>(counts[n]); ++i)
            anchors.push_back(c_anchors[n * capacity + static_cast<size_t>(indices[i])]);
        const auto append = [&](auto& to, const auto& from, size_t each) {
            to.insert(to.end(), from.begin() + static_cast<ptrdiff_t>(n * max_det * each),
                      from.begin() + static_cast<ptrdiff_t>((n * max_det + static_cast<size_t>(counts[n])) * each));
        };
        append(out.boxes, all_boxes, 4);
        append(out.scores, all_scores, 1);
        append(out.keypoints, all_points, pose);
        append(out.class_ids, all_ids, 1);
    }
    return out;
}

void expect_same(const Outcome& got, const Outcome& expected) {
    ASSERT_EQ(got.counts, expected.counts);
    for (size_t n = 0; n < expected.candidates.size(); ++n) {
        ASSERT_EQ(got.candidates[n].size(), expected.candidates[n].size()) << "image " << n;
        for (size_t i = 0; i < expected.candidates[n].size(); ++i) {
            const auto &a = got.candidates[n][i], &b = expected.candidates[n][i];
            ASSERT_TRUE(a.anchor == b.anchor && a.class_id == b.class_id && a.score == b.score && a.box == b.box &&
                        same_bits(a.keypoints, b.keypoints))
                << "image " << n << " candidate " << i << ": anchor " << a.anchor << " for " << b.anchor << ", score "
                << a.score << " for " << b.score;
        }
    }
    ASSERT_EQ(got.kept, expected.kept);
    ASSERT_TRUE(same_bits(got.boxes, expected.boxes));
    ASSERT_TRUE(same_bits(got.scores, expected.scores));
    ASSERT_TRUE(same_bits(got.keypoints, expected.keypoints));
    ASSERT_EQ(got.class_ids, expected.class_ids);
}

Scene random_scene(std::mt19937& random, bool half) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const auto layout = static_cast<Layout>(pick(0, 4));
    const bool raw = layout == Layout::heads || layout == Layout::heads5d;
    const int classes = pick(0, 3) ? 1 : pick(2, 5), keypoints = pick(0, 4) ? pick(1, 6) : 0;
    Scene scene;
    scene.half = half;
    scene.spec = make_spec(layout, raw ? pick(1, 4) : 1, raw ? pick(1, 4) : 1, classes, keypoints, pick(2, 3));
    scene.input = {scene.spec.max_stride() * pick(1, 4), scene.spec.max_stride() * pick(1, 5)};
    const int batch = pick(1, 3);
    const int fields = (raw || layout == Layout::decoded ? 5 + classes
                        : layout == Layout::final        ? 6
                                                         : 4 + classes) +
                       keypoints * scene.spec.keypoint_dims;
    if (raw) {
        for (const int stride : scene.spec.strides) {
            const int64_t h = scene.input.height / stride, w = scene.input.width / stride;
            const int a = scene.spec.anchors_per_cell();
            scene.shapes.push_back(layout == Layout::heads ? std::vector<int64_t>{batch, a * fields, h, w}
                                                           : std::vector<int64_t>{batch, a, h, w, fields});
        }
    } else {
        const int64_t anchors = pick(0, 9) ? pick(1, 700) : pick(2049, 5000);
        scene.shapes.push_back(layout == Layout::channels_first ? std::vector<int64_t>{batch, fields, anchors}
                                                                : std::vector<int64_t>{batch, anchors, fields});
    }
    std::normal_distribution<float> logit(raw ? -0.5f : 0.0f, 2.0f);
    std::uniform_real_distribution<float> unit(0.0f, 1.0f), pixel(0.0f, 100.0f);
    const bool ties = pick(0, 2) == 0, broken = pick(0, 2) == 0;
    for (const auto& shape : scene.shapes) {
        const auto total = static_cast<size_t>(
            std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; }));
        std::vector<float> values(total);
        for (size_t i = 0; i < total; ++i) {
            float x;
            if (raw) {
                x = logit(random);
            } else {
                const size_t field = layout == Layout::channels_first
                                         ? i / static_cast<size_t>(shape[2]) % static_cast<size_t>(fields)
                                         : i % static_cast<size_t>(fields);
                const size_t scores = layout == Layout::decoded ? 5 + static_cast<size_t>(classes)
                                      : layout == Layout::final ? 5
                                                                : 4 + static_cast<size_t>(classes);
                if (layout == Layout::final && field == 5) {
                    x = static_cast<float>(pick(0, classes));
                } else {
                    x = field < 4 || field >= scores ? pixel(random) : unit(random);
                }
            }
            if (ties) x = std::round(x * 2) / 2;
            if (broken && pick(0, 60) == 0) {
                const float odd[] = {NAN, INFINITY, -INFINITY, 1e30f, -0.0f};
                x = odd[pick(0, 4)];
            }
            values[i] = half ? through_half(x) : x;
        }
        scene.outputs.push_back(std::move(values));
    }
    const float confs[] = {0.0f, 0.001f, 0.25f, 0.5f, 0.9f, 1.0f};
    scene.conf = confs[pick(0, 5)];
    if (pick(0, 1)) {
        for (int k = 0; k < keypoints; ++k) scene.spec.sigmas.push_back(0.02f + 0.01f * static_cast<float>(k));
    }
    const float thresholds[] = {0.0f, 0.3f, 0.65f, 1.0f};
    scene.nms.threshold = thresholds[pick(0, 3)];
    scene.nms.max_det = pick(0, 2) ? 300 : pick(1, 20);
    scene.nms.max_nms = pick(0, 2) ? 30000 : pick(1, 3000);
    scene.nms.agnostic = pick(0, 1);
    scene.nms.suppress = layout != Layout::final;
    if (!scene.spec.sigmas.empty() && pick(0, 2)) scene.nms.similarity = ops::Similarity::oks;
    for (int n = 0; n < batch; ++n)
        scene.placements.push_back(math::letterbox(pick(1, 900), pick(1, 900), scene.input.width, scene.input.height));
    return scene;
}

std::unique_ptr<TestDevice> open_device(const std::string& name) {
    for (const auto& entry : device_entries()) {
        std::string why;
        if (entry.name == name) return entry.open(&why);
    }
    return nullptr;
}

}  // namespace trtpose::test
