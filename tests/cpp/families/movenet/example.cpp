// SPDX-License-Identifier: Apache-2.0
#include "families/movenet/example.hpp"

#include <limits>

#include "families/movenet/settings.hpp"

namespace trtpose::test {
namespace {

using movenet::Form;
using Random = std::mt19937;

constexpr int kKeypoints = 5, kRows = 20;
constexpr Size kInput{96, 128};
constexpr int kStride = 4;
constexpr int64_t kHeight = kInput.height / kStride, kWidth = kInput.width / kStride;

float between(Random& random, float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
}

/// One decoded row; with `box`, of several people.
void add_row(std::vector<float>& out, bool there, bool box, Random& random) {
    for (int k = 0; k < kKeypoints; ++k) {
        for (int i = 0; i < 2; ++i) out.push_back(between(random, -0.1f, 1.1f));
        out.push_back(there ? between(random, 0.7f, 1) : between(random, 0, 0.1f));
    }
    if (!box) return;
    const float y = between(random, 0, 0.6f), x = between(random, 0, 0.6f);
    out.insert(out.end(), {y, x, y + 0.3f, x + 0.2f, there ? between(random, 0.6f, 1) : between(random, 0, 0.1f)});
}

std::vector<float> decoded(bool several, Holds holds, Random& random) {
    std::vector<float> out;
    for (int r = 0; r < (several ? kRows : 1); ++r) {
        const bool some = r == 0 || between(random, 0, 1) < 0.3f;
        add_row(out, holds == Holds::everybody || (holds == Holds::somebody && some), several, random);
    }
    return out;
}

/// A plane of scores, high in `share` of the cells and in one of them at least.
void add_scores(std::vector<float>& out, bool activated, float share, Random& random) {
    const auto first = out.size();
    const auto one = [&](bool high) {
        if (activated) return high ? between(random, 0.7f, 1) : between(random, 0, 0.05f);
        return high ? between(random, 2, 5) : between(random, -20, -10);
    };
    for (int64_t i = 0; i < kHeight * kWidth; ++i) out.push_back(one(between(random, 0, 1) < share));
    if (share > 0) out[first + random() % static_cast<unsigned>(kHeight * kWidth)] = one(true);
}

std::vector<float> plane_of(int channels, float low, float high, Random& random) {
    std::vector<float> out;
    for (int64_t i = 0; i < channels * kHeight * kWidth; ++i) out.push_back(between(random, low, high));
    return out;
}

std::vector<std::vector<float>> heads(bool several, bool activated, Holds holds, Random& random) {
    const float share = holds == Holds::nobody ? 0.0f : holds == Holds::everybody ? 1.0f : 0.03f;
    std::vector<std::vector<float>> out(2);
    // Of one person the heatmaps say whether there is somebody, of several the centres.
    for (int k = 0; k < kKeypoints; ++k) add_scores(out[0], activated, several && share > 0 ? 1.0f : share, random);
    add_scores(out[1], activated, share, random);
    out.push_back(plane_of(2 * kKeypoints, -1.5f, 1.5f, random));
    out.push_back(plane_of(2 * kKeypoints, -0.5f, 0.5f, random));
    if (several) {
        out.push_back(plane_of(2, 6, 16, random));
        out.push_back(plane_of(2, -0.5f, 0.5f, random));
    }
    return out;
}

FamilyExample example(const char* name, Form form, const char* differs, int most) {
    FamilyExample out;
    out.name = std::string("movenet_") + name;
    out.spec = ModelSpec::from_json(std::string(R"({"trtpose": 1, "family": "movenet", "name": "movenet", "form": ")") +
                                        to_string(form) + R"(", "imgsz": [96, 128], "strides": [4, 32],
        "names": ["person"], "kpt_shape": [5, 3], "sigmas": [0.05, 0.1, 0.2, 0.1, 0.1])" +
                                        differs + "}",
                                    "the test");
    out.input = kInput;
    out.most = most;
    const bool several = !is_single(form), activated = movenet::Settings::of(out.spec).activated;
    const std::vector<int64_t> free =
        is_raw(form) ? std::vector<int64_t>{kHeight, kWidth} : std::vector<int64_t>{kRows, 0};
    for (auto shape : movenet::output_shapes(form, kKeypoints)) {
        size_t next = 0;
        shape[0] = 1;
        for (auto& side : shape) side = side < 0 ? free[next++] : side;
        out.shapes.push_back(shape);
    }
    out.make = [=](Holds holds, Random& random) {
        auto all = is_raw(form) ? heads(several, activated, holds, random)
                                : std::vector<std::vector<float>>{decoded(several, holds, random)};
        if (holds == Holds::not_a_number) {
            for (auto& values : all) values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
        }
        return all;
    };
    return out;
}

}  // namespace

std::vector<FamilyExample> movenet_examples() {
    return {
        example("single", Form::single, "", 1),
        example("multi", Form::multi, "", 0),
        example("single_heads", Form::single_heads, "", 1),
        example("reproduction", Form::single_heads,
                R"(, "pairs": "xy", "activated": true, "rounded": true, "floor": 0.1)", 1),
        example("multi_heads", Form::multi_heads, "", 0),
        example("multi_heads_of_six", Form::multi_heads, R"(, "people": 6)", 6),
    };
}

}  // namespace trtpose::test
