// SPDX-License-Identifier: Apache-2.0
#include "families/tiny/tiny.hpp"

#include <limits>

#include "core/check.hpp"
#include "core/thread_pool.hpp"
#include "families/tiny/select.hpp"
#include "ops/dispatch.hpp"

namespace trtpose::test {
namespace {

class Reader final : public families::PoseReader {
public:
    explicit Reader(const ModelSpec& spec) : spec_(spec) {}

    std::vector<std::vector<int64_t>> outputs() const override { return {{-1, -1, 1 + 3 * spec_.keypoints}}; }
    Size input_size(Span<const std::vector<int64_t>>) const override { return {}; }

    families::ReaderMemory plan(const families::OutputShapes& outputs, const Thresholds&, Device) override {
        const bool fits = outputs.shapes.size() == 1 && outputs.shapes[0].size() == 3 && outputs.batch > 0 &&
                          outputs.shapes[0][0] == outputs.batch && outputs.shapes[0][1] > 0 &&
                          outputs.shapes[0][2] == 1 + 3 * spec_.keypoints && outputs.dtype == DType::f32;
        require(fits, ErrorCode::model, "model ", spec_.name, ": its outputs are not one list of rows");
        rows_ = static_cast<int>(outputs.shapes[0][1]);
        return {align_up(sizeof(int32_t) * static_cast<size_t>(outputs.batch) * static_cast<size_t>(rows_)), 0};
    }

    void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
              const math::Letterbox* placements, const families::ReadBuffers& buffers, const Context& context,
              const std::function<void()>& selected) override {
        if (selected) selected();
        const TinyRows all{static_cast<const float*>(outputs[0]), rows_, spec_.keypoints, thresholds.conf,
                           thresholds.max_det};
        auto* const taken = static_cast<int32_t*>(buffers.held);
        const families::ResultArrays& results = buffers.results;
        ops::dispatch(
            context, "tiny",
            [&] {
                parallel_for(context.threads, count, [&](int image) {
                    select_image(all, image, placements[image], taken, results.counts, results.poses);
                });
            },
            [&](auto* stream) { select_cuda(all, count, placements, taken, results.counts, results.poses, stream); });
    }

private:
    ModelSpec spec_;
    int rows_ = 0;
};

class Tiny final : public families::Family {
public:
    const char* name() const override { return "tiny"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int) const override {
        return std::make_unique<Reader>(spec);
    }
};

constexpr int kRows = 40, kKeypoints = 2;

std::vector<std::vector<float>> rows_with(Holds holds, std::mt19937& random) {
    std::uniform_real_distribution<float> unit(0, 1), pixel(0, 64);
    std::vector<float> values;
    for (int r = 0; r < kRows; ++r) {
        const bool there = holds == Holds::everybody || (holds == Holds::somebody && unit(random) < 0.3f);
        values.push_back(there ? 0.5f + unit(random) / 2 : unit(random) / 8);
        for (int k = 0; k < kKeypoints; ++k) values.insert(values.end(), {pixel(random), pixel(random), unit(random)});
    }
    if (holds == Holds::not_a_number) values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
    return {values};
}

}  // namespace

const families::Family* added_tiny_family() {
    static const Tiny tiny;
    if (!families::find_family(tiny.name())) families::add_family(tiny);
    return &tiny;
}

std::vector<FamilyExample> tiny_examples() {
    ModelSpec spec;
    spec.name = "rows";
    spec.family = "tiny";
    spec.imgsz = {64, 64};
    spec.strides = {1};
    spec.names = {"person"};
    spec.keypoints = kKeypoints;
    return {{"tiny", spec, spec.imgsz, {{1, kRows, 1 + 3 * kKeypoints}}, rows_with}};
}

}  // namespace trtpose::test
