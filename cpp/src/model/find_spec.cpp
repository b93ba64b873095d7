// SPDX-License-Identifier: Apache-2.0
// Where a model's spec stands, and which one a file without any leaves no doubt about.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/check.hpp"
#include "families/family.hpp"
#include "model/ultralytics.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {
namespace {

constexpr const char* kOwnKey = "trtpose";  ///< of the spec in a file's metadata

std::string read_text_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    require(in.good() && !std::filesystem::is_directory(path), ErrorCode::model, path,
            ": cannot read the model spec; check the path");
    std::ostringstream out;
    out << in.rdbuf();
    require(!in.bad(), ErrorCode::model, path, ": cannot read the model spec");
    return out.str();
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
    std::string out;
    for (const auto& part : parts) out += (out.empty() ? "" : between) + part;
    return out;
}

/// The one reading that all families together allow.
FoundSpec recognise(const ModelFile& file) {
    const UltralyticsMetadata metadata = UltralyticsMetadata::of(file);
    std::vector<families::Recognition> claims;
    std::vector<std::string> claimants, doubts;
    for (const families::Family* family : families::all_families()) {
        families::Recognition found = family->recognise(file, metadata);
        if (!found.doubt.empty()) doubts.push_back(found.doubt);
        if (found.readings.empty()) continue;
        claimants.emplace_back(family->name());
        claims.push_back(std::move(found));
    }
    if (claims.size() == 1) {
        const auto& [readings, doubt] = claims.front();
        if (readings.size() == 1 && doubt.empty())
            return {readings.front(), metadata.present ? "metadata of Ultralytics" : "names and shapes"};
        doubts = {doubt};
    } else if (claims.size() > 1) {
        doubts = {"its outputs may be those of the families " + joined(claimants, " and ")};
    }
    throw Error(ErrorCode::model, text(file.path, ": ", joined(doubts, "; "),
                                       "; give the model spec with --spec FILE.json (docs/conventions.md shows one)"));
}

}  // namespace

FoundSpec find_spec(const ModelFile& file, const std::string& given) {
    require(!file.inputs.empty() && !file.outputs.empty(), ErrorCode::model, file.path,
            ": its inputs and outputs are not known without the library that made it");
    FoundSpec found;
    const auto own = file.metadata.find(kOwnKey);
    const std::string neighbour = std::filesystem::path(file.path).replace_extension(".json").string();
    std::error_code ignored;
    if (!given.empty() && given.front() == '{') {
        found = {ModelSpec::from_json(given, "model spec"), "the caller"};
    } else if (!given.empty()) {
        found = {ModelSpec::from_json(read_text_file(given), given), "file " + given};
    } else if (own != file.metadata.end()) {
        found = {ModelSpec::from_json(own->second, file.path), "metadata of trtpose"};
    } else if (std::filesystem::is_regular_file(neighbour, ignored)) {
        found = {ModelSpec::from_json(read_text_file(neighbour), neighbour), "file " + neighbour};
    } else {
        found = recognise(file);
    }
    if (found.spec.name.empty()) found.spec.name = std::filesystem::path(file.path).stem().string();
    check_spec(found.spec, file);
    return found;
}

void check_raw(const ModelFile& file) {
    const auto has_output = [&](const char* name) {
        return std::any_of(file.outputs.begin(), file.outputs.end(), [&](const auto& o) { return o.name == name; });
    };
    // What trtpose's TensorRT plugin gives (docs/plugin.md).
    const bool decoded_inside = has_output("num_dets") && has_output("boxes") && has_output("keypoints");
    require(!decoded_inside, ErrorCode::model, file.path,
            ": decode and NMS are inside of it, for programs that run engines by themselves; trtpose does both behind "
            "the network: take a model built without --nms-in-engine");
}

void check_spec(const ModelSpec& spec, const ModelFile& file) {
    check_raw(file);
    const auto& path = file.path;
    const auto fail = [&](const auto&... args) {
        throw Error(ErrorCode::model, text(path, ": ", args..., "; the model spec does not fit this model"));
    };
    if (file.inputs.size() != 1) fail("it has ", file.inputs.size(), " inputs, expected one");
    const auto& input = file.inputs.front().shape;
    if (input.size() != 4 || (input[1] != 3 && input[1] != -1))
        fail("its input is ", shape_text(input), ", expected N×3×H×W");
    if (!spec.outputs.empty()) {
        for (const auto& name : spec.outputs) {
            const bool there =
                std::any_of(file.outputs.begin(), file.outputs.end(), [&](const auto& o) { return o.name == name; });
            if (!there) fail("it has no output '", name, "'");
        }
    }
    const std::string misfit = families::family_of(spec).misfit(spec, file);
    if (!misfit.empty()) fail(misfit);
    const int stride = spec.max_stride();
    if ((input[2] > 0 && input[2] % stride) || (input[3] > 0 && input[3] % stride))
        fail("its input is ", shape_text(input), ", no multiple of the largest stride ", stride);
}

}  // namespace trtpose
