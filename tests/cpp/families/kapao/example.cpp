// SPDX-License-Identifier: Apache-2.0
#include "families/kapao/example.hpp"

#include <cmath>
#include <limits>

namespace trtpose::test {
namespace {

constexpr Size kInput{64, 96};
constexpr int kPerCell = 2, kKeypoints = 3, kFields = 6 + 3 * kKeypoints;

using Random = std::mt19937;

float between(Random& random, float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random);
}

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

bool hit(Holds holds, Random& random) {
    return holds == Holds::everybody || (holds == Holds::somebody && between(random, 0, 1) < 0.3f);
}

/// Numbers of one anchor before the sigmoid: a person or one of its keypoints.
std::vector<float> raw_anchor(Holds holds, Random& random) {
    const bool there = hit(holds, random);
    std::vector<float> fields;
    for (int i = 0; i < 4; ++i) fields.push_back(between(random, -2, 2));
    fields.push_back(there ? between(random, 2, 5) : between(random, -20, -10));
    const int what = random() % 2 ? 0 : 1 + static_cast<int>(random() % kKeypoints);
    for (int c = 0; c <= kKeypoints; ++c) fields.push_back(c == what ? between(random, 2, 5) : between(random, -9, -3));
    for (int i = 0; i < 2 * kKeypoints; ++i) fields.push_back(between(random, -2, 2));
    return fields;
}

/// The same as a list has it.
std::vector<float> listed_anchor(const std::string& form, Holds holds, Random& random) {
    std::vector<float> fields = raw_anchor(holds, random);
    for (float& value : fields) value = sigmoid(value);
    if (form == "sigmoid") return fields;
    fields[0] *= kInput.width;
    fields[1] *= kInput.height;
    fields[2] = between(random, 4, 30);
    fields[3] = between(random, 4, 30);
    if (form == "undecoded") return fields;
    for (size_t i = kFields - 2 * kKeypoints; i < kFields; ++i) fields[i] *= 60;
    return fields;
}

bool is_grid(const std::string& form) { return form == "heads" || form == "heads5d"; }

/// Anchors of an image.
size_t anchors_of(const ModelSpec& spec) {
    size_t count = 0;
    for (const int stride : spec.strides)
        count += static_cast<size_t>(kPerCell * (kInput.height / stride) * (kInput.width / stride));
    return count;
}

std::vector<std::vector<float>> outputs_of(const std::string& form, const ModelSpec& spec, Holds holds,
                                           Random& random) {
    std::vector<std::vector<float>> out;
    const size_t fields = kFields;
    for (const int stride : is_grid(form) ? spec.strides : std::vector<int>{}) {
        const auto cells = static_cast<size_t>((kInput.height / stride) * (kInput.width / stride));
        auto& values = out.emplace_back(kPerCell * cells * fields);
        for (size_t a = 0; a < kPerCell; ++a) {
            for (size_t cell = 0; cell < cells; ++cell) {
                const std::vector<float> anchor = raw_anchor(holds, random);
                for (size_t f = 0; f < fields; ++f)
                    values[form == "heads" ? (a * fields + f) * cells + cell : (a * cells + cell) * fields + f] =
                        anchor[f];
            }
        }
    }
    if (!is_grid(form)) {
        auto& values = out.emplace_back();
        for (size_t i = 0; i < anchors_of(spec); ++i) {
            const std::vector<float> anchor = listed_anchor(form, holds, random);
            values.insert(values.end(), anchor.begin(), anchor.end());
        }
    }
    if (holds == Holds::not_a_number) {
        for (auto& values : out) values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
    }
    return out;
}

std::vector<std::vector<int64_t>> shapes_of(const std::string& form, const ModelSpec& spec) {
    if (!is_grid(form)) return {{1, static_cast<int64_t>(anchors_of(spec)), kFields}};
    std::vector<std::vector<int64_t>> out;
    for (const int stride : spec.strides) {
        const int64_t h = kInput.height / stride, w = kInput.width / stride;
        out.push_back(form == "heads" ? std::vector<int64_t>{1, kPerCell * kFields, h, w}
                                      : std::vector<int64_t>{1, kPerCell, h, w, kFields});
    }
    return out;
}

FamilyExample example(const std::string& name, const std::string& form, const std::string& more = {}) {
    const ModelSpec spec = ModelSpec::from_json(
        R"({"trtpose": 1, "family": "kapao", "name": "example", "imgsz": [64, 96], "strides": [8, 16],
            "anchors": [[[11, 17], [18, 22]], [[22, 34], [36, 44]]], "names": ["person", "a", "b", "c"],
            "kpt_shape": [3, 2], "sigmas": [0.05, 0.1, 0.2], "form": ")" +
            form + "\"" + more + "}",
        "the example");
    FamilyExample out{"kapao_" + name, spec, kInput, shapes_of(form, spec),
                      [form, spec](Holds holds, Random& random) { return outputs_of(form, spec, holds, random); }};
    out.counted = form == "sigmoid" || form == "undecoded";
    return out;
}

}  // namespace

std::vector<FamilyExample> kapao_examples() {
    std::vector<FamilyExample> out;
    for (const char* form : {"heads", "heads5d", "decoded", "sigmoid", "undecoded"})
        out.push_back(example(form, form, R"(, "overwrite_tol": 20)"));
    out.push_back(example("together", "heads", R"(, "thresholds": "video", "conf_kp": 0.8, "iou_kp": 0.65)"));
    out.push_back(example("plain", "heads", R"(, "fusion": false, "round_boxes": true)"));
    return out;
}

}  // namespace trtpose::test
