// SPDX-License-Identifier: Apache-2.0
#include "plugins/attributes.hpp"

#include <cmath>
#include <cstring>

#include "core/check.hpp"

namespace trtpose::plugins {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

constexpr int kMaxClasses = 1 << 16;
constexpr int kMaxKeypoints = 1 << 16;
constexpr int kMaxMaxDet = 30000;
constexpr int kMaxCandidates = 1 << 30;
constexpr int kMaxSide = 1 << 20;

template <typename... Args>
void must(bool ok, const Args&... args) {
    require(ok, ErrorCode::input, kPluginName, ": ", args...);
}

/// Numbers of a field as T, whichever type they came in; false if it has none that fits.
template <typename T>
bool read_numbers(const PluginField& field, std::vector<T>& out) {
    const auto copy = [&](auto type) {
        using From = decltype(type);
        const auto* from = static_cast<const char*>(field.data);
        for (int32_t i = 0; i < field.length; ++i) {
            From value;
            std::memcpy(&value, from + static_cast<size_t>(i) * sizeof(From), sizeof(From));
            const T number = static_cast<T>(value);
            if (std::is_integral_v<T> && static_cast<From>(number) != value) return false;
            out.push_back(number);
        }
        return true;
    };
    out.clear();
    if (field.length < 0 || (field.length > 0 && !field.data)) return false;
    switch (field.type) {
        case PluginFieldType::kINT32: return copy(int32_t{});
        case PluginFieldType::kINT64: return copy(int64_t{});
        case PluginFieldType::kFLOAT32: return std::is_floating_point_v<T> && copy(float{});
        case PluginFieldType::kFLOAT64: return std::is_floating_point_v<T> && copy(double{});
        default: return false;
    }
}

bool read_value(const PluginField& field, std::vector<int32_t>& out) { return read_numbers(field, out); }
bool read_value(const PluginField& field, std::vector<float>& out) { return read_numbers(field, out); }

template <typename T>
bool read_value(const PluginField& field, T& out) {
    std::vector<T> numbers;
    if (!read_numbers(field, numbers) || numbers.size() != 1) return false;
    out = numbers.front();
    return true;
}

bool read_value(const PluginField& field, std::string& out) {
    if (field.type != PluginFieldType::kCHAR || field.length < 0 || (field.length > 0 && !field.data)) return false;
    // Some writers count the zero at the end, some do not.
    const auto* text = static_cast<const char*>(field.data);
    size_t length = 0;
    while (length < static_cast<size_t>(field.length) && text[length]) ++length;
    out.assign(text ? text : "", length);
    return true;
}

const char* kind_of(const std::string&) { return "a string"; }
const char* kind_of(const std::vector<int32_t>&) { return "a list of whole numbers"; }
const char* kind_of(const std::vector<float>&) { return "a list of numbers"; }
const char* kind_of(const int32_t&) { return "a whole number"; }
const char* kind_of(const float&) { return "a number"; }

PluginField field_of(const char* name, const std::string& value) {
    return {name, value.data(), PluginFieldType::kCHAR, static_cast<int32_t>(value.size())};
}
PluginField field_of(const char* name, const std::vector<int32_t>& value) {
    return {name, value.data(), PluginFieldType::kINT32, static_cast<int32_t>(value.size())};
}
PluginField field_of(const char* name, const std::vector<float>& value) {
    return {name, value.data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(value.size())};
}
PluginField field_of(const char* name, const int32_t& value) { return {name, &value, PluginFieldType::kINT32, 1}; }
PluginField field_of(const char* name, const float& value) { return {name, &value, PluginFieldType::kFLOAT32, 1}; }

template <typename T>
std::string text_of(const T& value) {
    return text(value);
}
template <typename T>
std::string text_of(const std::vector<T>& values) {
    std::string out;
    for (const T& value : values) out += (out.empty() ? "" : ",") + text(value);
    return out;
}

Layout layout_of(const std::string& name) {
    for (const Layout l : {Layout::heads, Layout::heads5d, Layout::decoded, Layout::channels_first, Layout::final}) {
        if (name == to_string(l)) return l;
    }
    must(false, "layout is \"", name, "\", expected heads, heads5d, decoded, channels_first or final");
    return Layout::heads;
}

}  // namespace

Attributes Attributes::read(const nvinfer1::PluginFieldCollection& given) {
    Attributes out;
    must(given.nbFields >= 0 && (given.nbFields == 0 || given.fields), "no fields were given");
    for (int32_t i = 0; i < given.nbFields; ++i) {
        const PluginField& field = given.fields[i];
        must(field.name, "field ", i, " has no name");
        const std::string name = field.name;
        if (name == "plugin_version" || name == "plugin_namespace") continue;  // the registry's
        bool known = false;
        each(out, [&](const char* own, auto& value) {
            if (name != own) return;
            known = true;
            must(read_value(field, value), "attribute ", name, " must be ", kind_of(value));
        });
        must(known, "attribute ", name, " is unknown to this version of the plugin; see docs/plugin.md");
    }
    return out;
}

std::vector<PluginField> Attributes::fields() const {
    std::vector<PluginField> out;
    each(*this, [&](const char* name, const auto& value) {
        const PluginField field = field_of(name, value);
        if (field.length > 0) out.push_back(field);  // empty lists are what is not there
    });
    return out;
}

std::vector<PluginField> Attributes::names() {
    const Attributes defaults;
    std::vector<PluginField> out;
    each(defaults, [&](const char* name, const auto& value) {
        PluginField field = field_of(name, value);
        field.data = nullptr;
        out.push_back(field);
    });
    return out;
}

std::string Attributes::to_text() const {
    std::string out;
    each(*this, [&](const char* name, const auto& value) {
        const std::string shown = text_of(value);
        if (!shown.empty()) out += (out.empty() ? "" : " ") + std::string(name) + "=" + shown;
    });
    return out;
}

ModelSpec Attributes::spec() const {
    ModelSpec spec;
    spec.name = kPluginName;
    spec.layout = layout_of(layout);
    spec.strides.assign(strides.begin(), strides.end());
    for (int c = 0; c < num_classes; ++c) spec.names.push_back(std::to_string(c));
    spec.keypoints = num_keypoints;
    spec.keypoint_dims = keypoint_dims;
    if (!raw()) {
        spec.imgsz = {imgsz[0], imgsz[1]};
        return spec;
    }
    const size_t each_level = anchors.size() / strides.size();
    for (size_t l = 0; l < strides.size(); ++l) {
        auto& level = spec.anchors.emplace_back();
        for (size_t i = 0; i < each_level; i += 2)
            level.emplace_back(anchors[l * each_level + i], anchors[l * each_level + i + 1]);
    }
    return spec;
}

ops::NmsParams Attributes::nms_params() const {
    ops::NmsParams params;
    params.threshold = iou;
    params.max_nms = max_candidates;
    params.max_det = max_det;
    params.agnostic = agnostic != 0;
    params.suppress = layout != "final";
    params.similarity = nms == "oks" ? ops::Similarity::oks : ops::Similarity::iou;
    return params;
}

void Attributes::check() const {
    static_cast<void>(layout_of(layout));
    must(num_classes >= 1 && num_classes <= kMaxClasses, "num_classes is ", num_classes, ", expected 1 to ",
         kMaxClasses);
    must(num_keypoints >= 1 && num_keypoints <= kMaxKeypoints, "num_keypoints is ", num_keypoints, ", expected 1 to ",
         kMaxKeypoints);
    must(keypoint_dims == 2 || keypoint_dims == 3, "keypoint_dims is ", keypoint_dims, ", expected 2 or 3");
    must(conf >= 0 && conf <= 1, "conf is ", conf, ", expected 0 to 1");
    must(iou >= 0 && iou <= 1, "iou is ", iou, ", expected 0 to 1");
    must(max_det >= 1 && max_det <= kMaxMaxDet, "max_det is ", max_det, ", expected 1 to ", kMaxMaxDet);
    must(max_candidates >= 1 && max_candidates <= kMaxCandidates, "max_candidates is ", max_candidates,
         ", expected at least 1");
    must(agnostic == 0 || agnostic == 1, "agnostic is ", agnostic, ", expected 0 or 1");
    must(nms == "iou" || nms == "oks", "nms is \"", nms, "\", expected iou or oks");
    must(sigmas.empty() || sigmas.size() == static_cast<size_t>(num_keypoints), "sigmas has ", sigmas.size(),
         " numbers for ", num_keypoints, " keypoints");
    must(nms == "iou" || !sigmas.empty(), "nms by OKS needs sigmas, one for each keypoint");
    for (const float s : sigmas) must(s > 0 && std::isfinite(s), "sigmas holds ", s, ", expected numbers above 0");
    if (raw()) {
        must(!strides.empty() && strides.size() <= ops::HeadView::kMaxLevels, "strides has ", strides.size(),
             " numbers, expected one for each head, at most ", static_cast<int>(ops::HeadView::kMaxLevels));
        for (const int32_t s : strides) must(s > 0 && s <= kMaxSide, "strides holds ", s, ", expected pixels per cell");
        const size_t pairs = strides.size() * 2;
        must(!anchors.empty() && anchors.size() % pairs == 0, "anchors has ", anchors.size(),
             " numbers, expected a width and a height for as many anchors of each of ", strides.size(), " strides");
        must(anchors.size() / pairs <= ops::HeadLevel::kMaxAnchors, "anchors has ", anchors.size() / pairs,
             " for each stride, at most ", static_cast<int>(ops::HeadLevel::kMaxAnchors), " are supported");
        for (const float a : anchors) must(a > 0 && std::isfinite(a), "anchors holds ", a, ", expected pixels");
    } else {
        must(imgsz.size() == 2 && imgsz[0] > 0 && imgsz[1] > 0 && imgsz[0] <= kMaxSide && imgsz[1] <= kMaxSide,
             "imgsz must be the height and the width of the input for layout ", layout);
    }
}

}  // namespace trtpose::plugins
