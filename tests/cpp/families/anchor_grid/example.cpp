// SPDX-License-Identifier: Apache-2.0
#include "families/anchor_grid/example.hpp"

#include <limits>

#include "support/op_test.hpp"

namespace trtpose::test {
namespace {

constexpr Size kInput{64, 96};
constexpr int kLevels = 2, kPerCell = 2, kClasses = 2, kKeypoints = 3, kDims = 3;
constexpr size_t kListed = 120;  ///< anchors of the layouts without a grid

using Random = std::mt19937;

float between(Random& random, float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
}

bool is_grid(Layout layout) { return layout == Layout::heads || layout == Layout::heads5d; }

/// Whether an anchor holds somebody.
bool hit(Holds holds, Random& random) {
    return holds == Holds::everybody || (holds == Holds::somebody && between(random, 0, 1) < 0.3f);
}

/// Raw numbers of one anchor: scores are logits.
std::vector<float> raw_anchor(Holds holds, Random& random) {
    const bool there = hit(holds, random);
    std::vector<float> fields;
    for (int i = 0; i < 4; ++i) fields.push_back(between(random, -2, 2));
    for (int i = 0; i < 1 + kClasses; ++i) fields.push_back(there ? between(random, 2, 5) : between(random, -20, -10));
    for (int i = 0; i < kKeypoints * kDims; ++i) fields.push_back(between(random, -2, 2));
    return fields;
}

/// Numbers of one anchor in pixels.
std::vector<float> decoded_anchor(Layout layout, Holds holds, Random& random) {
    const bool there = hit(holds, random);
    const auto score = [&] { return there ? between(random, 0.6f, 1) : between(random, 0, 0.1f); };
    const float x = between(random, 0, kInput.width), y = between(random, 0, kInput.height);
    const float w = between(random, 4, 30), h = between(random, 4, 30);
    std::vector<float> fields;
    if (layout == Layout::final) {
        fields = {x, y, x + w, y + h, score(), static_cast<float>(random() % kClasses)};
    } else {
        fields = {x, y, w, h};
        if (layout == Layout::decoded) fields.push_back(score());
        for (int c = 0; c < kClasses; ++c) fields.push_back(score());
    }
    for (int i = 0; i < kKeypoints * kDims; ++i) fields.push_back(between(random, 0, 60));
    return fields;
}

/// One output whose anchors are `count` lists of numbers, their fields together or apart.
std::vector<float> output_of(size_t count, size_t planes, bool apart,
                             const std::function<std::vector<float>()>& anchor) {
    std::vector<float> values;
    for (size_t p = 0; p < planes; ++p) {
        std::vector<float> plane;
        for (size_t i = 0; i < count; ++i) {
            const std::vector<float> fields = anchor();
            plane.resize(count * fields.size());
            for (size_t f = 0; f < fields.size(); ++f) plane[apart ? f * count + i : i * fields.size() + f] = fields[f];
        }
        values.insert(values.end(), plane.begin(), plane.end());
    }
    return values;
}

std::vector<std::vector<float>> outputs_of(const ModelSpec& spec, Holds holds, Random& random) {
    std::vector<std::vector<float>> out;
    if (is_grid(spec.layout)) {
        for (const int stride : spec.strides) {
            const auto cells = static_cast<size_t>((kInput.height / stride) * (kInput.width / stride));
            out.push_back(
                output_of(cells, kPerCell, spec.layout == Layout::heads, [&] { return raw_anchor(holds, random); }));
        }
    } else {
        out.push_back(output_of(kListed, 1, spec.layout == Layout::channels_first,
                                [&] { return decoded_anchor(spec.layout, holds, random); }));
    }
    if (holds == Holds::not_a_number) {
        for (auto& values : out) values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
    }
    return out;
}

std::vector<std::vector<int64_t>> shapes_of(const ModelSpec& spec) {
    constexpr int64_t points = kKeypoints * kDims, fields = 5 + kClasses + points;
    switch (spec.layout) {
        case Layout::decoded: return {{1, kListed, fields}};
        case Layout::channels_first: return {{1, fields - 1, kListed}};
        case Layout::final: return {{1, kListed, 6 + points}};
        default: break;
    }
    std::vector<std::vector<int64_t>> out;
    for (const int stride : spec.strides) {
        const int64_t h = kInput.height / stride, w = kInput.width / stride;
        out.push_back(spec.layout == Layout::heads ? std::vector<int64_t>{1, kPerCell * fields, h, w}
                                                   : std::vector<int64_t>{1, kPerCell, h, w, fields});
    }
    return out;
}

}  // namespace

std::vector<FamilyExample> anchor_grid_examples() {
    std::vector<FamilyExample> out;
    for (const Layout layout :
         {Layout::heads, Layout::heads5d, Layout::decoded, Layout::channels_first, Layout::final}) {
        ModelSpec spec = make_spec(layout, kLevels, kPerCell, kClasses, kKeypoints, kDims);
        spec.sigmas = {0.05f, 0.1f, 0.2f};
        out.push_back({std::string("anchor_grid_") + to_string(layout), spec, kInput, shapes_of(spec),
                       [spec](Holds holds, Random& random) { return outputs_of(spec, holds, random); }});
    }
    return out;
}

}  // namespace trtpose::test
