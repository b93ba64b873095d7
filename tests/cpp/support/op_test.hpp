// SPDX-License-Identifier: Apache-2.0
// What the tests of decode and NMS share: outputs of a network brought to a device, candidates brought back.
#pragma once

#include <algorithm>
#include <vector>

#include "support/reference.hpp"
#include "support/test_device.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose::test {

/// A spec of `levels` strides from 8 on and `per_cell` anchors with sides that differ.
inline ModelSpec make_spec(Layout layout, int levels, int per_cell, int classes, int keypoints, int dims) {
    ModelSpec spec;
    spec.layout = layout;
    spec.name = "synthetic";
    for (int l = 0; l < levels; ++l) {
        spec.strides.push_back(8 << l);
        auto& sides = spec.anchors.emplace_back();
        for (int a = 0; a < per_cell; ++a)
            sides.emplace_back(static_cast<float>((11 + 7 * a) << l), static_cast<float>((17 + 5 * a) << l));
    }
    for (int c = 0; c < classes; ++c) spec.names.push_back("class " + std::to_string(c));
    spec.keypoints = keypoints;
    spec.keypoint_dims = dims;
    spec.imgsz = {8 << (levels - 1), 8 << (levels - 1)};
    return spec;
}

/// Candidates in device memory.
struct CandidateArrays {
    DeviceArray<int32_t> counts, classes, anchors;
    DeviceArray<float> boxes, scores;
    ops::Candidates view;

    CandidateArrays() = default;
    CandidateArrays(TestDevice& device, int batch, int capacity) {
        const size_t all = static_cast<size_t>(batch) * static_cast<size_t>(capacity);
        counts = {device, static_cast<size_t>(batch)};
        classes = {device, all};
        anchors = {device, all};
        boxes = {device, 4 * all};
        scores = {device, all};
        view = {counts.data(), boxes.data(), scores.data(), classes.data(), anchors.data(), capacity};
    }
};

/// An image's candidates by rising anchor, with their keypoints from `points`, of `pose` numbers each.
inline std::vector<ReferenceCandidate> candidates_in(const CandidateArrays& found, int image,
                                                     const std::vector<float>& points, size_t pose) {
    const auto capacity = static_cast<size_t>(found.view.capacity), n = static_cast<size_t>(image);
    const auto boxes = found.boxes.get(), scores = found.scores.get();
    const auto classes = found.classes.get(), anchors = found.anchors.get();
    const size_t count = std::min(static_cast<size_t>(found.counts.get()[n]), capacity);
    std::vector<ReferenceCandidate> out;
    for (size_t i = n * capacity; i < n * capacity + count; ++i) {
        ReferenceCandidate c;
        std::copy_n(boxes.begin() + static_cast<ptrdiff_t>(4 * i), 4, c.box.begin());
        c.score = scores[i];
        c.class_id = classes[i];
        c.anchor = anchors[i];
        c.keypoints.assign(points.begin() + static_cast<ptrdiff_t>(i * pose),
                           points.begin() + static_cast<ptrdiff_t>((i + 1) * pose));
        out.push_back(std::move(c));
    }
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.anchor < b.anchor; });
    return out;
}

class OpTest : public OnDevice {
protected:
    struct Decoded {
        ModelSpec spec;
        std::vector<DeviceArray<float>> outputs;
        ops::HeadView heads;
        CandidateArrays candidates;
        std::vector<int32_t> counts;  ///< how many passed in each image
    };

    /// Run decode; without a `capacity` there is room for every anchor.
    Decoded decode(const ModelSpec& spec, const NetworkOutputs& outputs, Size input, float conf, int capacity = 0) {
        Decoded d;
        d.spec = spec;
        std::vector<const float*> pointers;
        for (const auto& values : outputs.data) {
            d.outputs.push_back(array(values));
            pointers.push_back(d.outputs.back().data());
        }
        const ops::Decode op(spec);
        d.heads = op.view(outputs.shapes, pointers, input);
        d.candidates = CandidateArrays(device(), d.heads.batch, capacity ? capacity : d.heads.total_anchors);
        op(d.heads, conf, d.candidates.view, workspace(op.workspace_bytes(d.heads, context().device)), context());
        d.counts = d.candidates.counts.get();
        return d;
    }

    /// An image's candidates by rising anchor, with their keypoints.
    std::vector<ReferenceCandidate> candidates_of(const Decoded& d, int image) {
        const auto capacity = static_cast<size_t>(d.candidates.view.capacity);
        const auto pose = static_cast<size_t>(d.heads.keypoints) * 3;
        const auto keypoints = array<float>(static_cast<size_t>(d.heads.batch) * capacity * pose);
        ops::Decode(d.spec).keypoints(d.heads, d.candidates.view, keypoints.data(), context());
        return candidates_in(d.candidates, image, keypoints.get(), pose);
    }

    /// Positions that NMS keeps of each image's candidates, best first.
    std::vector<std::vector<int>> nms(const ops::NmsParams& params, const ops::Candidates& candidates, int batch,
                                      const float* keypoints = nullptr, const std::vector<float>& sigmas = {}) {
        const ops::Nms op(params, sigmas);
        const auto max_det = static_cast<size_t>(params.max_det);
        const auto counts = array<int32_t>(static_cast<size_t>(batch));
        const auto indices = array<int32_t>(static_cast<size_t>(batch) * max_det);
        op(candidates, batch, keypoints, {counts.data(), indices.data(), params.max_det},
           workspace(op.workspace_bytes(batch, candidates.capacity, context().device)), context());
        const auto kept = indices.get();
        std::vector<std::vector<int>> out;
        size_t image = 0;
        for (const int32_t count : counts.get()) {
            const auto begin = kept.begin() + static_cast<ptrdiff_t>(image++ * max_det);
            out.emplace_back(begin, begin + count);
        }
        return out;
    }
};

}  // namespace trtpose::test
