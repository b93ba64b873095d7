// SPDX-License-Identifier: Apache-2.0
#include "twins.hpp"

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trtpose::test {
namespace {

float through_half(float x) { return __half2float(__float2half_rn(x)); }

/// A scene's outputs in the memory of a device, float32 or float16.
class UploadedOutputs {
public:
    UploadedOutputs(TestDevice& device, const Scene& scene, bool as_float16) {
        for (const auto& output : scene.outputs) {
            if (!as_float16) {
                floats_.emplace_back(device, output);
                data_.push_back(floats_.back().data());
                continue;
            }
            std::vector<uint16_t> bits(output.size());
            for (size_t i = 0; i < output.size(); ++i) {
                const __half h = __float2half_rn(output[i]);
                std::memcpy(&bits[i], &h, sizeof(h));
            }
            halves_.emplace_back(device, bits);
            data_.push_back(halves_.back().data());
        }
    }
    const std::vector<const void*>& data() const { return data_; }

private:
    std::vector<DeviceArray<float>> floats_;
    std::vector<DeviceArray<uint16_t>> halves_;
    std::vector<const void*> data_;
};

/// Draws a scene part by part; the same numbers give the same scene.
class SceneMaker {
public:
    SceneMaker(std::mt19937& random, bool as_float16) : random_(random) { scene_.half = as_float16; }

    Scene make() {
        choose_spec();
        choose_shapes();
        const bool ties = pick(0, 2) == 0, broken = pick(0, 2) == 0;
        for (const auto& shape : scene_.shapes) scene_.outputs.push_back(numbers(shape, ties, broken));
        choose_thresholds();
        for (int n = 0; n < batch_; ++n)
            scene_.placements.push_back(
                math::letterbox(pick(1, 900), pick(1, 900), scene_.input.width, scene_.input.height, form()));
        return std::move(scene_);
    }

private:
    int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

    math::LetterboxForm form() {
        return {static_cast<math::Placement>(pick(0, 1)), static_cast<math::Rounding>(pick(0, 1)),
                static_cast<math::Sizing>(pick(0, 2))};
    }

    void choose_spec() {
        layout_ = static_cast<Layout>(pick(0, 4));
        raw_ = layout_ == Layout::heads || layout_ == Layout::heads5d;
        classes_ = pick(0, 3) ? 1 : pick(2, 5);
        keypoints_ = pick(0, 4) ? pick(1, 6) : 0;
        scene_.spec =
            make_spec(layout_, raw_ ? pick(1, 4) : 1, raw_ ? pick(1, 4) : 1, classes_, keypoints_, pick(2, 3));
        scene_.input = {scene_.spec.max_stride() * pick(1, 4), scene_.spec.max_stride() * pick(1, 5)};
        batch_ = pick(1, 3);
    }

    void choose_shapes() {
        fields_ = (raw_ || layout_ == Layout::decoded ? 5 + classes_
                   : layout_ == Layout::final         ? 6
                                                      : 4 + classes_) +
                  keypoints_ * scene_.spec.keypoint_dims;
        if (!raw_) {
            const int64_t anchors = pick(0, 9) ? pick(1, 700) : pick(2049, 5000);
            scene_.shapes.push_back(layout_ == Layout::channels_first ? std::vector<int64_t>{batch_, fields_, anchors}
                                                                      : std::vector<int64_t>{batch_, anchors, fields_});
            return;
        }
        for (const int stride : scene_.spec.strides) {
            const int64_t h = scene_.input.height / stride, w = scene_.input.width / stride;
            const int a = scene_.spec.anchors_per_cell();
            scene_.shapes.push_back(layout_ == Layout::heads ? std::vector<int64_t>{batch_, a * fields_, h, w}
                                                             : std::vector<int64_t>{batch_, a, h, w, fields_});
        }
    }

    /// An output: with `ties` few different ones, with `broken` some that are none.
    std::vector<float> numbers(const std::vector<int64_t>& shape, bool ties, bool broken) {
        const auto total = static_cast<size_t>(
            std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; }));
        std::vector<float> values(total);
        for (size_t i = 0; i < total; ++i) {
            float x = raw_ ? logit_(random_) : readable_number(shape, i);
            if (ties) x = std::round(x * 2) / 2;
            if (broken && pick(0, 60) == 0) {
                const float odd[] = {NAN, INFINITY, -INFINITY, 1e30f, -0.0f};
                x = odd[pick(0, 4)];
            }
            values[i] = scene_.half ? through_half(x) : x;
        }
        return values;
    }

    /// Number i of an output whose fields are pixels, scores between 0 and 1, and classes.
    float readable_number(const std::vector<int64_t>& shape, size_t i) {
        const auto fields = static_cast<size_t>(fields_);
        const size_t field =
            layout_ == Layout::channels_first ? i / static_cast<size_t>(shape[2]) % fields : i % fields;
        const size_t scores = layout_ == Layout::decoded ? 5 + static_cast<size_t>(classes_)
                              : layout_ == Layout::final ? 5
                                                         : 4 + static_cast<size_t>(classes_);
        if (layout_ == Layout::final && field == 5) return static_cast<float>(pick(0, classes_));
        return field < 4 || field >= scores ? pixel_(random_) : unit_(random_);
    }

    void choose_thresholds() {
        const float confs[] = {0.0f, 0.001f, 0.25f, 0.5f, 0.9f, 1.0f};
        scene_.conf = confs[pick(0, 5)];
        if (pick(0, 1)) {
            for (int k = 0; k < keypoints_; ++k) scene_.spec.sigmas.push_back(0.02f + 0.01f * static_cast<float>(k));
        }
        const float thresholds[] = {0.0f, 0.3f, 0.65f, 1.0f};
        scene_.nms.threshold = thresholds[pick(0, 3)];
        scene_.nms.max_det = pick(0, 2) ? 300 : pick(1, 20);
        scene_.nms.max_nms = pick(0, 2) ? 30000 : pick(1, 3000);
        scene_.nms.agnostic = pick(0, 1);
        scene_.nms.suppress = layout_ != Layout::final;
        if (!scene_.spec.sigmas.empty() && pick(0, 2)) scene_.nms.similarity = ops::Similarity::oks;
    }

    std::mt19937& random_;
    Scene scene_;
    Layout layout_ = Layout::heads;
    bool raw_ = false;
    int classes_ = 1, keypoints_ = 0, batch_ = 1, fields_ = 0;
    // Of one scene: a normal distribution keeps half of what it draws for the next number.
    std::normal_distribution<float> logit_{-0.5f, 2.0f};
    std::uniform_real_distribution<float> unit_{0.0f, 1.0f}, pixel_{0.0f, 100.0f};
};

}  // namespace

Outcome run_scene(TestDevice& device, const Scene& scene, bool half) {
    const Context context = device.context();
    const UploadedOutputs outputs(device, scene, half);
    const ops::Decode decode(scene.spec);
    const ops::HeadView heads = decode.view(scene.shapes, outputs.data(), half ? DType::f16 : DType::f32, scene.input);
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
    const auto all = points.get();
    for (int n = 0; n < static_cast<int>(out.counts.size()); ++n)
        out.candidates.push_back(candidates_in(candidates, n, all, pose));
    const auto anchors = candidates.anchors.get();
    const auto counts = kept_counts.get(), indices = kept_indices.get();
    const auto all_boxes = boxes.get(), all_scores = scores.get(), all_points = keypoints.get();
    const auto all_ids = class_ids.get();
    for (size_t n = 0; n < batch; ++n) {
        auto& kept_anchors = out.kept.emplace_back();
        for (size_t i = n * max_det; i < n * max_det + static_cast<size_t>(counts[n]); ++i)
            kept_anchors.push_back(anchors[n * capacity + static_cast<size_t>(indices[i])]);
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

Scene random_scene(std::mt19937& random, bool half) { return SceneMaker(random, half).make(); }

std::unique_ptr<TestDevice> open_device(const std::string& name) {
    for (const auto& entry : device_entries()) {
        std::string why;
        if (entry.name == name) return entry.open(&why);
    }
    return nullptr;
}

}  // namespace trtpose::test
