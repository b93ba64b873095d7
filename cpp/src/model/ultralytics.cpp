// SPDX-License-Identifier: Apache-2.0
#include "model/ultralytics.hpp"

#include <stdexcept>

#include "core/check.hpp"
#include "model/limits.hpp"
#include "model/literal.hpp"

namespace trtpose {
namespace {

int whole(const Literal& value, int low, int high) {
    const auto number = value.whole(low, high);
    if (!number) throw std::invalid_argument("expected a whole number");
    return static_cast<int>(*number);
}

const Literal::List& two(const Literal& value) {
    if (!value.list() || value.list()->size() != 2) throw std::invalid_argument("expected two numbers");
    return *value.list();
}

/// Of a list or of a dict by number.
std::vector<std::string> class_names(const Literal& value) {
    std::vector<std::string> out;
    const auto add = [&](const Literal& name) {
        if (!name.string()) throw std::invalid_argument("expected class names");
        out.push_back(*name.string());
    };
    if (value.dict()) {
        for (const auto& entry : *value.dict()) add(entry.second);
    } else if (value.list()) {
        for (const auto& name : *value.list()) add(name);
    }
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
        throw Error(ErrorCode::model, text(file.path, ": metadata '", key, "' is unreadable (", error.what(),
                                           "); give the model spec with --spec"));
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
    parse(file, "stride", [&](const Literal& value) { out.stride = whole(value, 1, kMaxSide); });
    parse(file, "end2end", [&](const Literal& value) { out.end2end = value.boolean() && *value.boolean(); });
    parse(file, "names", [&](const Literal& value) { out.names = class_names(value); });
    if (out.names.empty()) out.names.emplace_back("person");
    return out;
}

}  // namespace trtpose
