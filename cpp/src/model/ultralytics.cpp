// SPDX-License-Identifier: Apache-2.0
#include "model/ultralytics.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "core/check.hpp"
#include "families/family.hpp"
#include "model/limits.hpp"
#include "model/literal.hpp"
#include "trtpose/own_nms.hpp"

namespace trtpose {
namespace {

constexpr int kColours = 3;

int whole(const Literal& value, int low, int high) {
    const auto number = value.whole(low, high);
    if (!number) throw std::invalid_argument(text("expected a whole number from ", low, " to ", high));
    return static_cast<int>(*number);
}

const Literal::List& two(const Literal& value) {
    if (!value.list() || value.list()->size() != 2) throw std::invalid_argument("expected two numbers");
    return *value.list();
}

/// What a key counts, a number or one in quotes; nothing where it is something else.
std::optional<int64_t> index_of(const std::string& key, size_t entries) {
    try {
        return parse_literal(key).whole(0, static_cast<double>(entries) - 1);
    } catch (const std::invalid_argument&) {
        return {};
    }
}

/// The entries of a list, or of a dict whose keys are 0, 1, 2 and so on, in whichever order it was written.
std::vector<const Literal*> by_number(const Literal& value) {
    std::vector<const Literal*> out;
    if (value.list()) {
        for (const auto& entry : *value.list()) out.push_back(&entry);
    } else if (value.dict()) {
        out.resize(value.dict()->size());
        for (const auto& [key, entry] : *value.dict()) {
            const auto index = index_of(key, out.size());
            if (!index)
                throw std::invalid_argument(text("a key is ", key.substr(0, 40), " where ", out.size(),
                                                 " entries are numbered from 0 without a gap"));
            const Literal*& place = out[static_cast<size_t>(*index)];
            if (place) throw std::invalid_argument(text("key ", *index, " is there twice"));
            place = &entry;
        }
    } else {
        throw std::invalid_argument("expected a list, or a dict by number");
    }
    return out;
}

std::vector<std::string> texts(const std::vector<const Literal*>& values) {
    std::vector<std::string> out;
    for (const Literal* value : values) {
        if (!value->string()) throw std::invalid_argument("expected names in quotes");
        out.push_back(*value->string());
    }
    return out;
}

/// One list for all classes, or one for each.
std::vector<std::string> keypoint_names(const Literal& value, int keypoints) {
    const auto entries = by_number(value);
    std::vector<std::string> out;
    if (value.list() && !entries.empty() && entries.front()->string()) {
        out = texts(entries);
    } else {
        for (size_t c = 0; c < entries.size(); ++c) {
            const auto names = texts(by_number(*entries[c]));
            if (c == 0) out = names;
            if (names == out) continue;
            out.clear();  // a pose's keypoints have one name each, whatever its class
            for (int k = 0; k < keypoints; ++k) out.push_back(std::to_string(k));
            break;
        }
    }
    if (!out.empty() && out.size() != static_cast<size_t>(keypoints))
        throw std::invalid_argument(text(out.size(), " names for ", keypoints, " keypoints"));
    return out;
}

/// Call `use` with the value of an entry, if it is there.
template <typename F>
void parse(const ModelFile& file, const char* key, F&& use) {
    const auto entry = file.metadata.find(key);
    if (entry == file.metadata.end()) return;
    try {
        use(parse_literal(entry->second));
    } catch (const std::invalid_argument& error) {
        throw Error(ErrorCode::model, text(file.path, ": metadata '", key, "' is unreadable (", error.what(), "); ",
                                           families::kGiveASpec));
    }
}

}  // namespace

UltralyticsMetadata UltralyticsMetadata::of(const ModelFile& file) {
    UltralyticsMetadata out;
    const auto task = file.metadata.find("task");
    if (task != file.metadata.end() && task->second != "pose")
        throw Error(ErrorCode::model, text(file.path, ": its metadata says that it is a '", task->second.substr(0, 40),
                                           "' network, trtpose runs networks of task 'pose'"));
    if (!file.metadata.count("kpt_shape")) return out;
    out.present = true;
    parse(file, "kpt_shape", [&](const Literal& value) {
        out.keypoints = whole(two(value)[0], 1, kMaxKeypoints);
        out.dims = whole(two(value)[1], 2, 3);
    });
    parse(file, "imgsz", [&](const Literal& value) {
        out.imgsz = {whole(two(value)[0], 1, kMaxSide), whole(two(value)[1], 1, kMaxSide)};
    });
    parse(file, "channels", [&](const Literal& value) {
        const int channels = whole(value, 1, kMaxSide);
        if (channels != kColours)
            throw Error(ErrorCode::model, text(file.path, ": its metadata says that its pictures have ", channels,
                                               " channel(s), trtpose runs networks of three colours"));
    });
    parse(file, "stride", [&](const Literal& value) { out.stride = whole(value, 1, kMaxSide); });
    parse(file, "end2end", [&](const Literal& value) { out.end2end = value.boolean() && *value.boolean(); });
    parse(file, "names", [&](const Literal& value) { out.names = texts(by_number(value)); });
    parse(file, "kpt_names", [&](const Literal& value) {
        if (!value.is_null()) out.kpt_names = keypoint_names(value, out.keypoints);
    });
    if (out.names.empty()) out.names.emplace_back("person");
    return out;
}

int frames_of_own_nms(const ModelFile& file) {
    const auto read = [&](const char* key, auto&& use) {
        const auto entry = file.metadata.find(key);
        if (entry == file.metadata.end()) return 0;
        try {
            return use(parse_literal(entry->second));
        } catch (const std::invalid_argument&) {
            return 0;
        }
    };
    const bool own = read("args", [](const Literal& args) {
        const Literal* nms = args.find("nms");
        return nms && nms->boolean() && *nms->boolean() ? 1 : 0;
    });
    if (!own) return 0;
    // One is right for any of them.
    return std::max(1, read("batch", [](const Literal& batch) { return whole(batch, 1, kMaxSide); }));
}

}  // namespace trtpose
