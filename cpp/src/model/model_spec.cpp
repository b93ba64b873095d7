// SPDX-License-Identifier: Apache-2.0
// A spec's JSON. What every family's specs hold is read here, the rest by the family.
#include "trtpose/model_spec.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <stdexcept>

#include "core/check.hpp"
#include "families/family.hpp"
#include "model/limits.hpp"
#include "model/literal.hpp"
#include "model/spec_keys.hpp"
#include "model/spec_reader.hpp"

namespace trtpose {
namespace {

constexpr const char* kVersionKey = "trtpose";
/// The second version is that of specs with another form of input than the first could say: who knows only the first
/// would take no notice of its keys, and find everybody somewhere else.
constexpr int kFirstVersion = 1, kFormVersion = 2;
/// Keys as people read them; a family's others come behind.
constexpr const char* kOrder[] = {kVersionKey, "name",    "family", "layout",    "imgsz",    "strides",
                                  "anchors",   "outputs", "names",  "kpt_shape", "sigmas",   "color",
                                  "mean",      "std",     "pad",    "placement", "rounding", "sizing"};
// In the order of their enumerations.
constexpr const char* kPlacements[] = {"center", "top_left"};
constexpr const char* kRoundings[] = {"nearest", "down"};
constexpr const char* kSizings[] = {"fit", "height", "stretch"};

using Entry = std::pair<std::string, std::string>;  ///< key and JSON text

void check_version(const SpecReader& json) {
    const Literal* version = json.find(kVersionKey);
    if (!version) return;
    const int stated = json.whole(*version, kVersionKey, 0, 1 << 20);
    if (stated == kFirstVersion || stated == kFormVersion) return;
    throw Error(ErrorCode::model,
                text(json.source(), ": model spec version ", version->source, " is not supported, this trtpose reads ",
                     "versions ", kFirstVersion, " and ", kFormVersion));
}

const families::Family& read_family(const SpecReader& json, ModelSpec& spec) {
    if (const Literal* value = json.find("family")) spec.family = json.string(*value, "family");
    const families::Family* family = families::find_family(spec.family);
    if (!family) json.fail("family is '", spec.family, "', expected ", families::family_names());
    return *family;
}

std::vector<std::string> read_texts(const SpecReader& json, const Literal& value, const char* key) {
    std::vector<std::string> out;
    for (const auto& entry : json.list(value, key)) out.push_back(json.string(entry, key));
    return out;
}

/// The field `key`, one of `words`, which stand in the order of an enumeration.
template <typename Enum, size_t kCount>
void read_word(const SpecReader& json, const char* key, const char* const (&words)[kCount], Enum& out) {
    const Literal* value = json.find(key);
    if (!value) return;
    const std::string given = json.string(*value, key);
    std::string known;
    for (size_t i = 0; i < kCount; ++i) {
        if (given == words[i]) {
            out = static_cast<Enum>(i);
            return;
        }
        known += (i == 0 ? "" : i + 1 < kCount ? ", " : " or ") + std::string(words[i]);
    }
    json.fail(key, " is '", given, "', expected ", known);
}

void read_form(const SpecReader& json, math::LetterboxForm& form) {
    read_word(json, "placement", kPlacements, form.placement);
    read_word(json, "rounding", kRoundings, form.rounding);
    read_word(json, "sizing", kSizings, form.sizing);
}

void read_input(const SpecReader& json, ModelSpec& spec) {
    const auto& imgsz = json.pair(json.need("imgsz"), "imgsz");
    spec.imgsz = {json.whole(imgsz[0], "imgsz", 1, kMaxSide), json.whole(imgsz[1], "imgsz", 1, kMaxSide)};
    if (const Literal* value = json.find("strides")) {
        for (const auto& stride : json.list(*value, "strides"))
            spec.strides.push_back(json.whole(stride, "strides", 1, kMaxSide));
    }
    if (const Literal* value = json.find("color")) {
        const std::string color = json.string(*value, "color");
        if (color != "rgb" && color != "bgr") json.fail("color is '", color, "', expected rgb or bgr");
        spec.color = color == "rgb" ? PixelFormat::rgb : PixelFormat::bgr;
    }
    for (const auto& [key, target] : {std::pair{"mean", spec.mean}, std::pair{"std", spec.std}}) {
        if (const Literal* value = json.find(key)) {
            const auto& numbers = json.list(*value, key);
            if (numbers.size() != 3) json.fail(key, " needs three numbers");
            for (int i = 0; i < 3; ++i)
                target[i] = static_cast<float>(json.number(numbers[static_cast<size_t>(i)], key));
        }
    }
    if (const Literal* value = json.find("pad")) spec.pad = json.whole(*value, "pad", 0, 255);
    read_form(json, spec.letterbox);
}

void read_results(const SpecReader& json, ModelSpec& spec) {
    spec.names = read_texts(json, json.need("names"), "names");
    const auto& shape = json.pair(json.need("kpt_shape"), "kpt_shape");
    spec.keypoints = json.whole(shape[0], "kpt_shape", 1, kMaxKeypoints);
    spec.keypoint_dims = json.whole(shape[1], "kpt_shape", 2, 3);
    if (const Literal* value = json.find("outputs")) spec.outputs = read_texts(json, *value, "outputs");
    if (const Literal* value = json.find("sigmas")) {
        for (const auto& sigma : json.list(*value, "sigmas")) {
            spec.sigmas.push_back(static_cast<float>(json.number(sigma, "sigmas")));
            if (!(spec.sigmas.back() > 0)) json.fail("sigmas must be positive");
        }
    }
    if (const Literal* value = json.find("name")) spec.name = json.string(*value, "name");
}

/// Keys that neither every spec has nor the family takes into members. Refuses those that were meant otherwise.
std::vector<Entry> unread_entries(const SpecReader& json, const families::Family& family) {
    const std::vector<std::string> own = family.keys();
    const auto read = [&](const std::string& key) {
        if (std::find(own.begin(), own.end(), key) != own.end()) return true;
        return is_shared_key(key);
    };
    std::vector<Entry> out;
    std::set<std::string> seen;
    for (const auto& [key, value] : json.entries()) {
        if (!seen.insert(key).second) json.fail("'", key, "' stands there twice; leave one of them");
        if (read(key)) continue;
        check_unread_key(json, family, key, value);
        out.emplace_back(key, to_json(value));
    }
    return out;
}

/// Checks that do not need the model's file.
void check_shared(const SpecReader& json, const ModelSpec& spec) {
    if (spec.names.empty()) json.fail("names is empty, expected one name per class");
    if (!spec.sigmas.empty() && spec.sigmas.size() != static_cast<size_t>(spec.keypoints))
        json.fail("sigmas has ", spec.sigmas.size(), " numbers for ", spec.keypoints, " keypoints");
    for (const float deviation : spec.std) {
        if (!(deviation > 0)) json.fail("std must be above 0");
    }
    const int stride = spec.max_stride();
    if (spec.imgsz.height % stride || spec.imgsz.width % stride)
        json.fail("imgsz ", spec.imgsz.height, "×", spec.imgsz.width, " is no multiple of the largest stride ", stride);
}

ModelSpec read_spec(const Literal& root, const std::string& source) {
    const SpecReader json(root, source);
    if (!root.dict()) json.fail("a model spec is a JSON object");
    ModelSpec spec;
    check_version(json);
    const families::Family& family = read_family(json, spec);
    family.read_fields(json, spec);
    read_input(json, spec);
    read_results(json, spec);
    spec.extra = unread_entries(json, family);
    family.check_fields(json, spec);
    check_shared(json, spec);
    return spec;
}

std::vector<Entry> shared_entries(const ModelSpec& spec) {
    const auto whole = [](int v) { return std::to_string(v); };
    const auto two = [&](int a, int b) { return "[" + whole(a) + ", " + whole(b) + "]"; };
    const auto three = [](const float* v) {
        return "[" + json_number(v[0]) + ", " + json_number(v[1]) + ", " + json_number(v[2]) + "]";
    };
    const auto quoted = [](const std::string& s) { return quote_json(s); };
    const bool plain = spec.letterbox == math::LetterboxForm{};
    std::vector<Entry> out{{kVersionKey, whole(plain ? kFirstVersion : kFormVersion)}, {"name", quoted(spec.name)}};
    if (spec.family != ModelSpec{}.family) out.emplace_back("family", quoted(spec.family));
    out.insert(out.end(), {{"imgsz", two(spec.imgsz.height, spec.imgsz.width)},
                           {"strides", json_list(spec.strides, whole)},
                           {"outputs", json_list(spec.outputs, quoted)},
                           {"names", json_list(spec.names, quoted)},
                           {"kpt_shape", two(spec.keypoints, spec.keypoint_dims)},
                           {"sigmas", json_list(spec.sigmas, json_number)},
                           {"color", quoted(spec.color == PixelFormat::rgb ? "rgb" : "bgr")},
                           {"mean", three(spec.mean)},
                           {"std", three(spec.std)},
                           {"pad", whole(spec.pad)}});
    if (plain) return out;
    const auto word = [&](const auto& words, auto value) { return quoted(words[static_cast<size_t>(value)]); };
    out.emplace_back("placement", word(kPlacements, spec.letterbox.placement));
    out.emplace_back("rounding", word(kRoundings, spec.letterbox.rounding));
    out.emplace_back("sizing", word(kSizings, spec.letterbox.sizing));
    return out;
}

}  // namespace

int ModelSpec::max_stride() const { return strides.empty() ? 1 : *std::max_element(strides.begin(), strides.end()); }

std::string ModelSpec::to_json() const {
    std::vector<Entry> entries = shared_entries(*this);
    for (auto& entry : families::family_of(*this).write_fields(*this)) entries.push_back(std::move(entry));
    const auto place = [](const Entry& entry) { return std::find(std::begin(kOrder), std::end(kOrder), entry.first); };
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const Entry& a, const Entry& b) { return place(a) < place(b); });
    entries.insert(entries.end(), extra.begin(), extra.end());
    std::string out;
    for (const auto& [key, value] : entries) out += (out.empty() ? "" : ", ") + quote_json(key) + ": " + value;
    return "{" + out + "}";
}

ModelSpec ModelSpec::from_json(const std::string& json, const std::string& source) {
    try {
        const Literal root = parse_literal(json);
        return read_spec(root, source);
    } catch (const std::invalid_argument& error) {
        throw Error(ErrorCode::model, text(source, ": not valid JSON (", error.what(), ")"));
    }
}

}  // namespace trtpose
