// SPDX-License-Identifier: Apache-2.0
#include "plugins/attributes.hpp"

#include <algorithm>
#include <cstring>

#include "core/check.hpp"

namespace trtpose::plugins {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

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

ModelSpec parse(const std::string& json) { return ModelSpec::from_json(json, text(kPluginName, ": attribute spec")); }

/// What a node says in parts beside a spec must be what the spec says.
void check_agreement(const anchor_grid::SpecAttributes& given, const std::vector<std::string>& names,
                     const anchor_grid::SpecAttributes& spec) {
    Attributes::each_part(given, [&](const std::string& name, const auto& value) {
        if (std::find(names.begin(), names.end(), name) == names.end()) return;
        Attributes::each_part(spec, [&](const std::string& other, const auto& stated) {
            if constexpr (std::is_same_v<decltype(value), decltype(stated)>) {
                must(name != other || value == stated, "attribute ", name, " is ", text_of(value),
                     " where attribute spec says ", text_of(stated), "; give the spec alone");
            }
        });
    });
}

}  // namespace

Attributes Attributes::read(const nvinfer1::PluginFieldCollection& given) {
    Attributes out;
    std::vector<std::string> names;
    must(given.nbFields >= 0 && (given.nbFields == 0 || given.fields), "no fields were given");
    for (int32_t i = 0; i < given.nbFields; ++i) {
        const PluginField& field = given.fields[i];
        must(field.name, "field ", i, " has no name");
        const std::string name = field.name;
        if (name == "plugin_version" || name == "plugin_namespace") continue;  // the registry's
        bool known = false;
        const auto take = [&](const char* own, auto& value) {
            if (name != own) return;
            known = true;
            must(read_value(field, value), "attribute ", name, " must be ", kind_of(value));
        };
        each_other(out, take);
        each_part(out.in_parts, take);
        must(known, "attribute ", name, " is unknown to this version of the plugin; see docs/plugin.md");
        names.push_back(name);
    }
    if (!out.spec.empty()) {
        const auto stated = anchor_grid::SpecAttributes::of(parse(out.spec));
        check_agreement(out.in_parts, names, stated);
        out.in_parts = stated;
    }
    return out;
}

std::vector<PluginField> Attributes::fields() const {
    std::vector<PluginField> out;
    const auto add = [&](const char* name, const auto& value) {
        const PluginField field = field_of(name, value);
        if (field.length > 0) out.push_back(field);  // empty lists are what is not there
    };
    if (spec.empty()) each_part(in_parts, add);
    each_other(*this, add);
    return out;
}

std::vector<PluginField> Attributes::names() {
    const Attributes defaults;
    std::vector<PluginField> out;
    const auto add = [&](const char* name, const auto& value) {
        PluginField field = field_of(name, value);
        field.data = nullptr;
        out.push_back(field);
    };
    each_part(defaults.in_parts, add);
    each_other(defaults, add);
    return out;
}

std::string Attributes::to_text() const {
    std::string out;
    const auto add = [&](const char* name, const auto& value) {
        const std::string shown = text_of(value);
        if (!shown.empty()) out += (out.empty() ? "" : " ") + std::string(name) + "=" + shown;
    };
    if (spec.empty()) each_part(in_parts, add);
    each_other(*this, add);
    return out;
}

ModelSpec Attributes::checked_spec() const {
    ModelSpec out = spec.empty() ? in_parts.spec(kPluginName) : parse(spec);
    out.name = kPluginName;
    each_bounded([](const char* name, auto value, auto least, auto most, const auto& expected) {
        must(value >= least && value <= most, name, " is ", value, ", expected ", expected);
    });
    must(nms == "iou" || nms == "oks", "nms is \"", nms, "\", expected iou or oks");
    must(nms == "iou" || !out.sigmas.empty(), "nms by OKS needs sigmas, one for each keypoint");
    return out;
}

}  // namespace trtpose::plugins
