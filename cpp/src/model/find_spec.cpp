// SPDX-License-Identifier: Apache-2.0
// Where a model's spec stands, and which one a file without any leaves no doubt about.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>

#include "core/check.hpp"
#include "families/family.hpp"
#include "model/limits.hpp"
#include "model/outputs_by_name.hpp"
#include "model/regular_file.hpp"
#include "model/two_stage.hpp"
#include "model/ultralytics.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {
namespace {

constexpr const char* kOwnKey = "trtpose";  ///< of the spec in a file's metadata

constexpr FileRole kSpecRole{"model spec", "give a file of JSON (docs/conventions.md shows one)",
                             "write or export it again"};

constexpr FileRole kNeighbourRole{"model spec beside the model",
                                  "put a file of JSON there, take it away, or name the model spec (--spec)",
                                  "write or export it again"};

std::string read_text_file(const std::string& path, const FileRole& role = kSpecRole) {
    const RegularFile file(path, role);
    require(file.size() <= kMaxDescription, ErrorCode::model, path, ": has ", file.size(),
            " bytes, and a model spec at most ", kMaxDescription, "; ", role.expect);
    std::string out(file.size(), '\0');
    file.read(0, out.data(), out.size());
    file.require_unchanged();
    return out;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
    std::string out;
    for (const auto& part : parts) out += (out.empty() ? "" : between) + part;
    return out;
}

/// What all families together make of a file: one reading, or the reasons and what settles it.
struct Verdict {
    std::optional<ModelSpec> spec;
    std::string doubt, remedy;
    bool knows_input = false;  ///< the reading reckons with how the graph begins
};

Verdict ask_families(const ModelFile& file, const UltralyticsMetadata& metadata, NetworkProbe* probe) {
    std::vector<families::Recognition> claims, others;
    std::vector<std::string> claimants, doubts;
    for (const families::Family* family : families::all_families()) {
        families::Recognition found = family->recognise(file, metadata, probe);
        if (!found.readings.empty()) claimants.emplace_back(family->name());
        (found.readings.empty() ? others : claims).push_back(std::move(found));
    }
    if (claims.size() > 1)
        return {{}, "its outputs may be those of the families " + joined(claimants, " and "), {}, {}};
    if (claims.size() == 1 && claims[0].readings.size() == 1 && claims[0].doubt.empty())
        return {claims[0].readings[0], {}, {}, claims[0].knows_input};
    Verdict out;
    for (const auto& one : claims.empty() ? others : claims) {
        if (!one.doubt.empty()) doubts.push_back(one.doubt);
        if (out.remedy.empty()) out.remedy = one.remedy;
    }
    out.doubt = joined(doubts, "; ");
    return out;
}

/// The size a network can be asked at; {} where nothing says one.
Size size_of(const ModelFile& file, const UltralyticsMetadata& metadata) {
    const auto& input = file.inputs.front().shape;
    if (input[2] > 0 && input[3] > 0) return {static_cast<int>(input[2]), static_cast<int>(input[3])};
    return metadata.imgsz;
}

/// Fill in what the file leaves open of its outputs' shapes, but for the batch. Whether there was anything to fill in.
bool fill_shapes(ModelFile& file, Size size, NetworkProbe& probe) {
    const auto open = [](const TensorInfo& output) {
        return output.shape.empty() ||
               std::any_of(output.shape.begin() + 1, output.shape.end(), [](auto d) { return d < 0; });
    };
    if (size.height == 0 || std::none_of(file.outputs.begin(), file.outputs.end(), open)) return false;
    try {
        const auto shapes = probe.shapes(size);
        for (size_t i = 0; i < file.outputs.size(); ++i) {
            const bool batch_is_open = !file.outputs[i].shape.empty() && file.outputs[i].shape[0] < 0;
            file.outputs[i].shape = shapes[i];
            if (batch_is_open && !shapes[i].empty()) file.outputs[i].shape[0] = -1;
        }
    } catch (const Error&) {
        return false;  // the doubt that was there already is the better sentence
    }
    return true;
}

/// Refuse a graph that normalises its pictures by itself where no spec says what it is fed.
void check_input_range(const ModelFile& file) {
    static constexpr const char* kArithmetic[] = {"Add", "Div", "Mul", "Sub"};
    for (const auto& kind : file.input_operators) {
        require(std::find(std::begin(kArithmetic), std::end(kArithmetic), kind) == std::end(kArithmetic),
                ErrorCode::model, file.path, ": its graph begins with arithmetic on the picture (", kind,
                "), and nothing says whether it wants values from 0 to 1 or from 0 to 255; ", families::kGiveASpec,
                ": mean 0 and std 1 feed 0 to 255, mean 0 and std 255 feed 0 to 1");
    }
}

/// What was asked is remembered: several families may ask for the same run.
class OneRun final : public NetworkProbe {
public:
    explicit OneRun(NetworkProbe& probe) : probe_(probe) {}

    std::vector<std::vector<int64_t>> shapes(Size size) override { return probe_.shapes(size); }
    std::vector<float> numbers(size_t index, Size size) override {
        if (!problem_.empty()) throw Error(ErrorCode::model, problem_);
        if (numbers_.empty() || index != index_ || !(size == size_)) {
            try {
                numbers_ = probe_.numbers(index, size);
            } catch (const Error& error) {
                problem_ = error.what();
                throw;
            }
            index_ = index;
            size_ = size;
        }
        return numbers_;
    }
    void give_room(int64_t rows) override {
        probe_.give_room(rows);
        numbers_.clear();
        problem_.clear();
    }

private:
    NetworkProbe& probe_;
    size_t index_ = 0;
    Size size_;
    std::vector<float> numbers_;
    std::string problem_;
};

/// The one reading that all families together allow.
FoundSpec recognise(const ModelFile& file, NetworkProbe* network) {
    const UltralyticsMetadata metadata = UltralyticsMetadata::of(file);
    std::optional<OneRun> asked;
    if (network) asked.emplace(*network);
    NetworkProbe* const probe = asked ? &*asked : nullptr;
    Verdict verdict = ask_families(file, metadata, probe);
    if (ModelFile filled = file; !verdict.spec && probe && fill_shapes(filled, size_of(file, metadata), *probe))
        verdict = ask_families(filled, metadata, probe);
    if (verdict.spec) {
        if (!verdict.knows_input) check_input_range(file);
        return {*verdict.spec, metadata.present ? "metadata of Ultralytics" : "names and shapes"};
    }
    throw Error(ErrorCode::model, text(file.path, ": ", verdict.doubt, "; ",
                                       verdict.remedy.empty() ? families::kGiveASpec : verdict.remedy.c_str()));
}

/// A path as a shell takes it.
std::string shell_word(const std::string& path) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("_-./:@%+=,").find(c) != std::string_view::npos;
    };
    if (!path.empty() && std::all_of(path.begin(), path.end(), plain)) return path;
    std::string out = "'";
    for (const char c : path) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out + "'";
}

/// What brings a file with another form of input to ours, where a family knows it; else `usual`.
std::string other_input(const ModelFile& file, const char* usual) {
    const auto& all = families::all_families();
    if (std::none_of(all.begin(), all.end(), [&](const families::Family* f) { return f->adopts(file); })) return usual;
    return "write a copy that takes what trtpose feeds: trtpose export " + shell_word(file.path);
}

/// Whether the input is a batch of pictures as trtpose feeds them, whatever the spec says.
void check_input(const ModelFile& file) {
    require(file.inputs.size() == 1, ErrorCode::model, file.path, ": it has ", file.inputs.size(),
            " inputs, expected one");
    const TensorInfo& input = file.inputs.front();
    const auto refuse = [&](const auto&... why) {
        throw Error(ErrorCode::model, text(file.path, ": its input '", input.name, "' is ", why...));
    };
    const std::string shape = shape_text(input.shape);
    if (input.shape.size() != 4) refuse(shape, ", expected N×3×H×W");
    const int64_t channels = input.shape[1], last = input.shape[3];
    if (channels != 3 && (last == 3 || last == 1))
        refuse(shape, ", channels last (NHWC), expected N×3×H×W; ",
               other_input(file, "export the network with channels first"));
    if (channels != 3 && channels != -1) {
        if (channels == 1)
            refuse(shape, ", one channel (grey), expected N×3×H×W; trtpose runs networks of three colours");
        refuse(shape, ", expected N×3×H×W; trtpose runs networks of three colours");
    }
    if (input.dtype != DType::f32 && input.dtype != DType::f16)
        refuse(input.dtype == DType::other ? "neither of type float32 nor float16"
                                           : text("of type ", to_string(input.dtype)),
               ", trtpose feeds float32 (colour values less mean, divided by std); ",
               other_input(file, "export the network with a float32 input"));
}

/// The size of a fixed input in the place of the spec's. Of a spec within the file alone: another tool may have fixed
/// the size of an input that was open, and older versions wrote the spec that they were given, whatever its size.
void take_size(ModelSpec& spec, const ModelFile& file) {
    const auto& input = file.inputs.front().shape;
    if (file.kind != "onnx") return;
    if (input[2] > 0) spec.imgsz.height = static_cast<int>(std::min<int64_t>(input[2], kMaxSide));
    if (input[3] > 0) spec.imgsz.width = static_cast<int>(std::min<int64_t>(input[3], kMaxSide));
}

}  // namespace

NetworkProbe::~NetworkProbe() = default;

void NetworkProbe::give_room(int64_t) {}

FoundSpec find_spec(const ModelFile& file, const std::string& given, NetworkProbe* probe) {
    require(!file.inputs.empty() && !file.outputs.empty(), ErrorCode::model, file.path,
            ": its inputs and outputs are not known without the library that made it");
    check_raw(file);
    check_one_stage(file);
    check_input(file);
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
        take_size(found.spec, file);
    } else if (std::filesystem::exists(std::filesystem::symlink_status(neighbour, ignored))) {
        // Whatever has that name was meant; passing it over would be to guess.
        found = {ModelSpec::from_json(read_text_file(neighbour, kNeighbourRole), neighbour), "file " + neighbour};
    } else {
        found = recognise(file, probe);
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
    check_input(file);
    const auto& input = file.inputs.front().shape;
    if (!spec.outputs.empty()) {
        const auto outputs = outputs_by_name(file);
        for (const auto& name : spec.outputs) {
            if (!outputs.count(name)) fail("it has no output '", name, "'");
        }
    }
    const std::string misfit = families::family_of(spec).misfit(spec, file);
    if (!misfit.empty()) fail(misfit);
    const int stride = spec.max_stride();
    if ((input[2] > 0 && input[2] % stride) || (input[3] > 0 && input[3] % stride))
        fail("its input is ", shape_text(input), ", no multiple of the largest stride ", stride);
    // An engine may have been built for another size than the one its network was made for, and says so by itself.
    const int64_t height = input[2] > 0 ? input[2] : spec.imgsz.height;
    const int64_t width = input[3] > 0 ? input[3] : spec.imgsz.width;
    if (file.kind == "onnx" && (height != spec.imgsz.height || width != spec.imgsz.width))
        fail("its input is ", shape_text(input), ", and the model spec's imgsz is [", spec.imgsz.height, ", ",
             spec.imgsz.width, "], [height, width]: write [", height, ", ", width, "] there");
}

}  // namespace trtpose
