// SPDX-License-Identifier: Apache-2.0
// Outputs of a network that are anything, to poses: decode, suppression and the way back to the frame, for networks of
// every layout.
#include <cmath>

#include "op_inputs.hpp"

namespace trtpose::fuzz {
namespace {

constexpr int kMostListed = 40;

ModelSpec any_spec(FuzzedDataProvider& in) {
    ModelSpec spec;
    spec.layout =
        in.PickValueInArray({Layout::heads, Layout::heads5d, Layout::decoded, Layout::channels_first, Layout::final});
    const int levels = in.ConsumeIntegralInRange(1, 3), per_cell = in.ConsumeIntegralInRange(1, 3);
    for (int l = 0; l < levels; ++l) {
        spec.strides.push_back(4 << l);
        auto& sides = spec.anchors.emplace_back();
        for (int a = 0; a < per_cell; ++a) sides.emplace_back(4.0f * static_cast<float>(a + 1), 6.0f);
    }
    spec.names.resize(in.ConsumeIntegralInRange<size_t>(1, 3), "one");
    spec.keypoints = in.ConsumeIntegralInRange(1, 4);
    spec.keypoint_dims = in.ConsumeIntegralInRange(2, 3);
    spec.sigmas.assign(static_cast<size_t>(spec.keypoints), in.ConsumeFloatingPointInRange(1e-3f, 1.0f));
    const int largest = spec.max_stride();
    spec.imgsz = {largest * in.ConsumeIntegralInRange(1, 2), largest * in.ConsumeIntegralInRange(1, 2)};
    return spec;
}

Thresholds any_thresholds(FuzzedDataProvider& in) {
    Thresholds out;
    out.conf = in.ConsumeFloatingPointInRange(0.0f, 1.0f);
    out.iou = in.ConsumeFloatingPointInRange(0.0f, 1.0f);
    out.max_det = in.ConsumeIntegralInRange(1, 40);
    out.agnostic = in.ConsumeBool();
    out.oks = in.ConsumeBool();
    return out;
}

/// The reader's outputs with what is left open filled in.
families::OutputShapes any_shapes(FuzzedDataProvider& in, const ModelSpec& spec, const families::PoseReader& reader) {
    families::OutputShapes out{reader.outputs(), DType::f32, in.ConsumeIntegralInRange(1, 3), spec.imgsz};
    const int listed = in.ConsumeIntegralInRange(1, kMostListed);
    for (size_t i = 0; i < out.shapes.size(); ++i) {
        auto& shape = out.shapes[i];
        const bool grid = shape.size() > 3;
        const int64_t known[] = {out.batch, grid ? spec.imgsz.height / spec.strides[i] : listed,
                                 spec.imgsz.width / spec.strides[i]};
        size_t next = 0;
        for (int64_t& size : shape) {
            if (size < 0) size = known[next++ % 3];
        }
    }
    return out;
}

struct Results {
    Block<int32_t> counts, class_ids;
    Block<float> boxes, scores, keypoints;

    Results(size_t images, size_t slots, size_t points)
        : counts(images), class_ids(slots), boxes(4 * slots), scores(slots), keypoints(slots * points * 3) {}

    void check(int image, const Thresholds& t, const math::Letterbox& place) const {
        expect(counts[image] >= 0 && counts[image] <= t.max_det, "no more poses than asked for");
        for (int i = 0; i < counts[image]; ++i) {
            const size_t at = static_cast<size_t>(image) * static_cast<size_t>(t.max_det) + static_cast<size_t>(i);
            expect(std::isfinite(scores[at]) && scores[at] > t.conf, "a score is above the threshold");
            expect(i == 0 || scores[at] <= scores[at - 1], "the best come first");
            expect(class_ids[at] >= 0, "a class is none below 0");
            for (size_t side = 0; side < 4; ++side) {
                const float value = boxes[4 * at + side];
                const int most = side % 2 ? place.src_height : place.src_width;
                expect(value >= 0 && value <= static_cast<float>(most), "a box is in the frame");
            }
        }
    }
};

void read(FuzzedDataProvider& in) {
    const ModelSpec spec = any_spec(in);
    const Thresholds thresholds = any_thresholds(in);
    const auto reader = families::family_of(spec).default_reader(spec);
    const families::OutputShapes shapes = any_shapes(in, spec, *reader);
    const families::ReaderMemory memory = reader->plan(shapes, thresholds, {});
    const int count = in.ConsumeIntegralInRange(1, shapes.batch);
    std::vector<math::Letterbox> placements;
    for (int i = 0; i < count; ++i) placements.push_back(any_placement(in, spec.imgsz));
    std::vector<Block<float>> outputs;
    std::vector<const void*> pointers;
    for (const auto& shape : shapes.shapes) {
        size_t numbers = 1;
        for (const int64_t size : shape) numbers *= static_cast<size_t>(size);
        outputs.emplace_back(numbers);
        fill(in, outputs.back());
        pointers.push_back(outputs.back().data());
    }
    const auto images = static_cast<size_t>(shapes.batch);
    const Results results(images, images * static_cast<size_t>(thresholds.max_det),
                          static_cast<size_t>(spec.keypoints));
    const Block<char> held(memory.held), scratch(memory.scratch);
    reader->read(pointers, count, thresholds, placements.data(),
                 {held.data(),
                  {scratch.data(), scratch.size()},
                  {results.counts.data(),
                   {results.boxes.data(), results.scores.data(), results.class_ids.data(), results.keypoints.data()}}},
                 {}, {});
    for (int i = 0; i < count; ++i) results.check(i, thresholds, placements[static_cast<size_t>(i)]);
}

}  // namespace
}  // namespace trtpose::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider in(data, size);
    trtpose::fuzz::read(in);
    return 0;
}
