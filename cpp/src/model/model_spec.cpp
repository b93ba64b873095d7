// SPDX-License-Identifier: Apache-2.0
#include "trtpose/model_spec.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>

#include "core/check.hpp"
#include "families/anchor_grid/public_networks.hpp"
#include "model/literal.hpp"

namespace trtpose {
namespace {

constexpr const char* kLayouts[] = {"heads", "heads5d", "decoded", "channels_first", "final"};
constexpr const char* kMetadataKey = "trtpose";
constexpr int kVersion = 1;
constexpr int kMaxSide = 1 << 16;

bool has_anchors(Layout layout) { return layout == Layout::heads || layout == Layout::heads5d; }

/// Reads the fields of one dict and says in every error which file and field it is about.
class SpecReader {
public:
    SpecReader(const Literal& root, std::string source) : root_(root), source_(std::move(source)) {}

    template <typename... Args>
    [[noreturn]] void fail(const Args&... args) const {
        throw Error(ErrorCode::model, text(source_, ": ", args..., "; docs/conventions.md describes the model spec"));
    }

    const Literal* find(const char* key) const { return root_.find(key); }

    const Literal& need(const char* key) const {
        const Literal* value = find(key);
        if (!value) fail("the model spec lacks ", key);
        return *value;
    }

    double number(const Literal& value, const char* key) const {
        const double* n = value.number();
        if (!n) fail(key, " holds ", shown(value), " where a number is expected");
        if (std::abs(*n) > std::numeric_limits<float>::max()) fail(key, " holds ", shown(value), ", beyond float32");
        return *n;
    }

    int whole(const Literal& value, const char* key, int low, int high) const {
        const double n = number(value, key);
        if (n != std::floor(n) || n < low || n > high)
            fail(key, " holds ", shown(value), " where a whole number from ", low, " to ", high, " is expected");
        return static_cast<int>(n);
    }

    std::string string(const Literal& value, const char* key) const {
        const std::string* s = value.string();
        if (!s) fail(key, " holds ", shown(value), " where a text is expected");
        return *s;
    }

    const Literal::List& list(const Literal& value, const char* key) const {
        const Literal::List* l = value.list();
        if (!l) fail(key, " holds ", shown(value), " where a list is expected");
        return *l;
    }

    const Literal::List& pair(const Literal& value, const char* key) const {
        const auto& l = list(value, key);
        if (l.size() != 2) fail(key, " holds ", shown(value), " where two numbers are expected");
        return l;
    }

private:
    static std::string shown(const Literal& value) {
        std::string out(value.source.substr(0, 60));
        for (char& c : out) {
            if (static_cast<unsigned char>(c) < 32) c = ' ';
        }
        return value.source.size() > 60 ? out + "..." : out;
    }

    const Literal& root_;
    std::string source_;
};

/// Checks that do not need the model's file.
void check_consistency(const ModelSpec& spec, const SpecReader& read) {
    if (spec.strides.empty()) read.fail("strides is empty");
    if (spec.names.empty()) read.fail("names is empty, expected one name per class");
    if (has_anchors(spec.layout)) {
        if (spec.anchors.size() != spec.strides.size())
            read.fail("anchors has ", spec.anchors.size(), " levels for ", spec.strides.size(), " strides");
        for (const auto& level : spec.anchors) {
            if (level.empty() || level.size() != spec.anchors.front().size())
                read.fail("anchors needs as many pairs for each stride");
        }
    }
    if (!spec.sigmas.empty() && spec.sigmas.size() != static_cast<size_t>(spec.keypoints))
        read.fail("sigmas has ", spec.sigmas.size(), " numbers for ", spec.keypoints, " keypoints");
    for (const float deviation : spec.std) {
        if (!(deviation > 0)) read.fail("std must be above 0");
    }
    const int stride = spec.max_stride();
    if (spec.imgsz.height % stride || spec.imgsz.width % stride)
        read.fail("imgsz ", spec.imgsz.height, "×", spec.imgsz.width, " is no multiple of the largest stride ", stride);
}

template <typename T, typename F>
std::string json_list(const std::vector<T>& values, F&& one) {
    std::string out = "[";
    for (const auto& value : values) {
        if (out.size() > 1) out += ", ";
        out += one(value);
    }
    return out + "]";
}

/// The shortest text that reads back as the same number; not by a stream, which would follow the program's locale.
std::string json_number(float value) {
    char buffer[32];
    const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
    return std::string(buffer, result.ptr);
}

ModelSpec read_spec(const Literal& root, const std::string& source) {
    const SpecReader read(root, source);
    if (!root.dict()) read.fail("a model spec is a JSON object");
    ModelSpec spec;
    if (const Literal* version = read.find(kMetadataKey)) {
        if (read.whole(*version, kMetadataKey, 0, 1 << 20) != kVersion)
            throw Error(ErrorCode::model, text(source, ": model spec version ", version->source,
                                               " is not supported, this trtpose reads version ", kVersion));
    }
    const std::string layout = read.string(read.need("layout"), "layout");
    const auto* found = std::find(std::begin(kLayouts), std::end(kLayouts), layout);
    if (found == std::end(kLayouts))
        read.fail("layout is '", layout, "', expected heads, heads5d, decoded, channels_first or final");
    spec.layout = static_cast<Layout>(found - std::begin(kLayouts));

    const auto& imgsz = read.pair(read.need("imgsz"), "imgsz");
    spec.imgsz = {read.whole(imgsz[0], "imgsz", 1, kMaxSide), read.whole(imgsz[1], "imgsz", 1, kMaxSide)};
    for (const auto& stride : read.list(read.need("strides"), "strides"))
        spec.strides.push_back(read.whole(stride, "strides", 1, kMaxSide));
    for (const auto& name : read.list(read.need("names"), "names")) spec.names.push_back(read.string(name, "names"));
    const auto& shape = read.pair(read.need("kpt_shape"), "kpt_shape");
    spec.keypoints = read.whole(shape[0], "kpt_shape", 1, 4096);
    spec.keypoint_dims = read.whole(shape[1], "kpt_shape", 2, 3);
    if (const Literal* value = read.find("anchors")) {
        for (const auto& level : read.list(*value, "anchors")) {
            auto& pairs = spec.anchors.emplace_back();
            for (const auto& anchor : read.list(level, "anchors")) {
                const auto& side = read.pair(anchor, "anchors");
                pairs.emplace_back(static_cast<float>(read.number(side[0], "anchors")),
                                   static_cast<float>(read.number(side[1], "anchors")));
            }
        }
    }
    if (const Literal* value = read.find("outputs")) {
        for (const auto& name : read.list(*value, "outputs")) spec.outputs.push_back(read.string(name, "outputs"));
    }
    if (const Literal* value = read.find("sigmas")) {
        for (const auto& sigma : read.list(*value, "sigmas")) {
            spec.sigmas.push_back(static_cast<float>(read.number(sigma, "sigmas")));
            if (!(spec.sigmas.back() > 0)) read.fail("sigmas must be positive");
        }
    }
    if (const Literal* value = read.find("color")) {
        const std::string color = read.string(*value, "color");
        if (color != "rgb" && color != "bgr") read.fail("color is '", color, "', expected rgb or bgr");
        spec.color = color == "rgb" ? PixelFormat::rgb : PixelFormat::bgr;
    }
    for (const auto& [key, target] : {std::pair{"mean", spec.mean}, std::pair{"std", spec.std}}) {
        if (const Literal* value = read.find(key)) {
            const auto& numbers = read.list(*value, key);
            if (numbers.size() != 3) read.fail(key, " needs three numbers");
            for (int i = 0; i < 3; ++i)
                target[i] = static_cast<float>(read.number(numbers[static_cast<size_t>(i)], key));
        }
    }
    if (const Literal* value = read.find("pad")) spec.pad = read.whole(*value, "pad", 0, 255);
    if (const Literal* value = read.find("name")) spec.name = read.string(*value, "name");

    static const char* const kKnown[] = {kMetadataKey, "layout", "imgsz", "strides", "names", "kpt_shape", "anchors",
                                         "outputs",    "sigmas", "color", "mean",    "std",   "pad",       "name"};
    for (const auto& [key, value] : *root.dict()) {
        if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown))
            spec.extra.emplace_back(key, to_json(value));
    }
    check_consistency(spec, read);
    return spec;
}

// ---------------------------------------------------------------------------------------------------------------------
// Specs that the file's metadata or its names and shapes tell.

std::string read_text_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    require(in.good() && !std::filesystem::is_directory(path), ErrorCode::model, path,
            ": cannot read the model spec; check the path");
    std::ostringstream out;
    out << in.rdbuf();
    require(!in.bad(), ErrorCode::model, path, ": cannot read the model spec");
    return out.str();
}

/// What Ultralytics' exporters write beside the graph, as far as it was there and readable.
struct UltralyticsMetadata {
    bool present = false;
    bool end2end = false;
    int stride = 0;
    Size imgsz;
    int keypoints = 0, dims = 0;
    std::vector<std::string> names;

    UltralyticsMetadata(const std::map<std::string, std::string>& metadata, const std::string& path) {
        const auto task = metadata.find("task");
        const auto shape = metadata.find("kpt_shape");
        if (task != metadata.end() && task->second != "pose")
            throw Error(ErrorCode::model, text(path, ": its metadata says that it is a '", task->second.substr(0, 40),
                                               "' network, trtpose runs networks of task 'pose'"));
        if (shape == metadata.end()) return;
        present = true;
        const auto parse = [&](const char* key, auto&& use) {
            const auto entry = metadata.find(key);
            if (entry == metadata.end()) return;
            try {
                use(parse_literal(entry->second));
            } catch (const std::invalid_argument& error) {
                throw Error(ErrorCode::model, text(path, ": metadata '", key, "' is unreadable (", error.what(),
                                                   "); give the model spec with --spec"));
            }
        };
        const auto whole = [&](const Literal& value, int low, int high) {
            const double* n = value.number();
            if (!n || *n != std::floor(*n) || *n < low || *n > high)
                throw std::invalid_argument("expected a whole number");
            return static_cast<int>(*n);
        };
        const auto two = [&](const Literal& value) -> const Literal::List& {
            if (!value.list() || value.list()->size() != 2) throw std::invalid_argument("expected two numbers");
            return *value.list();
        };
        parse("kpt_shape", [&](const Literal& v) {
            keypoints = whole(two(v)[0], 1, 4096);
            dims = whole(two(v)[1], 2, 3);
        });
        parse("imgsz",
              [&](const Literal& v) { imgsz = {whole(two(v)[0], 1, kMaxSide), whole(two(v)[1], 1, kMaxSide)}; });
        parse("stride", [&](const Literal& v) { stride = whole(v, 1, kMaxSide); });
        parse("end2end", [&](const Literal& v) { end2end = v.boolean() && *v.boolean(); });
        parse("names", [&](const Literal& v) {
            const auto add = [&](const Literal& name) {
                if (!name.string()) throw std::invalid_argument("expected class names");
                names.push_back(*name.string());
            };
            if (v.dict()) {
                for (const auto& entry : *v.dict()) add(entry.second);
            } else if (v.list()) {
                for (const auto& name : *v.list()) add(name);
            }
        });
        if (names.empty()) names.emplace_back("person");
    }
};

int64_t grid_cells(Size size, const std::vector<int>& strides) {
    int64_t cells = 0;
    for (const int s : strides) cells += static_cast<int64_t>(size.height / s) * (size.width / s);
    return cells;
}

[[noreturn]] void ambiguous(const std::string& path, const std::string& why) {
    throw Error(ErrorCode::model,
                text(path, ": ", why, "; give the model spec with --spec FILE.json (docs/conventions.md shows one)"));
}

FoundSpec infer_spec(const ModelFile& file) {
    const UltralyticsMetadata meta(file.metadata, file.path);
    ModelSpec spec;
    const auto& input = file.inputs.front().shape;
    if (input.size() != 4) ambiguous(file.path, "its input is " + shape_text(input) + ", not N×3×H×W");
    const bool sized = input[2] > 0 && input[3] > 0;
    spec.imgsz = sized ? Size{static_cast<int>(input[2]), static_cast<int>(input[3])} : meta.imgsz;
    spec.names = meta.present ? meta.names : std::vector<std::string>{"person"};
    spec.keypoints = meta.present ? meta.keypoints : coco::kKeypoints;
    spec.keypoint_dims = meta.present ? meta.dims : 3;
    spec.name = std::filesystem::path(file.path).stem().string();
    if (spec.keypoints == coco::kKeypoints) spec.sigmas.assign(std::begin(coco::kSigmas), std::end(coco::kSigmas));
    const std::string origin = meta.present ? "metadata of Ultralytics" : "names and shapes";
    const auto& outputs = file.outputs;
    const auto& first = outputs.front().shape;

    // Raw heads: one 4- or 5-dimensional output per stride. Nothing in the file tells the anchors, so only the one set
    // that every public YOLO-Pose network of this shape was trained with is taken for granted.
    if (first.size() == 4 || first.size() == 5) {
        const int64_t width = spec.fields();
        const int64_t levels = static_cast<int64_t>(coco::kStrides.size());
        const int64_t per_cell = static_cast<int64_t>(coco::kAnchors.front().size());
        bool fits = static_cast<int64_t>(outputs.size()) == levels && sized;
        for (size_t i = 0; fits && i < outputs.size(); ++i) {
            const auto& shape = outputs[i].shape;
            constexpr size_t cells = 2;  // where h and w stand in both shapes
            fits = shape.size() == first.size() &&
                   (first.size() == 4 ? shape[1] == per_cell * width : shape[1] == per_cell && shape[4] == width) &&
                   shape[cells] == spec.imgsz.height / coco::kStrides[i] &&
                   shape[cells + 1] == spec.imgsz.width / coco::kStrides[i];
        }
        if (!fits)
            ambiguous(file.path, text("it has ", outputs.size(), " raw outputs, the first ", shape_text(first),
                                      ", and its anchors are not known"));
        spec.layout = first.size() == 4 ? Layout::heads : Layout::heads5d;
        spec.strides = coco::kStrides;
        spec.anchors = coco::kAnchors;
        for (const auto& output : outputs) spec.outputs.push_back(output.name);
        return {spec, origin};
    }

    if (first.size() != 3)
        ambiguous(file.path, "its output '" + outputs.front().name + "' is " + shape_text(first) +
                                 ", which no layout of pose networks has");
    if (spec.imgsz.height == 0) ambiguous(file.path, "its input size is open and nothing says what it was made for");
    spec.outputs = {outputs.front().name};
    const int keypoint_numbers = spec.keypoints * spec.keypoint_dims;
    const int64_t rows = first[1], columns = first[2];

    // Every reading the shape allows; more than one left over is a question for the user.
    struct Reading {
        Layout layout;
        std::vector<int> strides;
    };
    std::vector<Reading> readings;
    const std::vector<std::vector<int>> pyramids = {{8, 16, 32}, {8, 16, 32, 64}};
    const auto strides_for = [&](int64_t count, int64_t anchors) -> std::vector<int> {
        for (const auto& strides : pyramids) {
            if (count == anchors * grid_cells(spec.imgsz, strides)) return strides;
        }
        return {};
    };
    const auto open_strides = [&] { return meta.stride == 64 ? pyramids[1] : pyramids[0]; };

    if (rows == 4 + spec.classes() + keypoint_numbers && !meta.end2end) {
        const auto strides = columns > 0 ? strides_for(columns, 1) : meta.present ? open_strides() : std::vector<int>{};
        if (!strides.empty()) readings.push_back({Layout::channels_first, strides});
    }
    if (columns == spec.fields() && !meta.end2end) {
        const auto per_cell = static_cast<int64_t>(coco::kAnchors.front().size());
        auto strides = rows > 0 ? strides_for(rows, per_cell) : std::vector<int>{};
        // The reference exporter's name for it, when the count is left open.
        if (rows <= 0 && !meta.present && outputs.front().name == "output") strides = coco::kStrides;
        if (!strides.empty()) readings.push_back({Layout::decoded, strides});
    }
    if (columns == 6 + keypoint_numbers && (meta.end2end || meta.present) && strides_for(rows, 3).empty()) {
        readings.push_back({Layout::final, open_strides()});
    }
    if (readings.empty() && columns == spec.fields() && columns == 6 + keypoint_numbers) {
        ambiguous(file.path,
                  text("its output '", outputs.front().name, "' is ", shape_text(first),
                       ", which may be decoded anchors (layout decoded) or final detections (layout final)"));
    }
    if (readings.size() != 1) {
        ambiguous(file.path, text("its output '", outputs.front().name, "' is ", shape_text(first),
                                  readings.empty() ? ", which fits no layout of a network with "
                                                   : ", which fits several layouts of a network with ",
                                  spec.keypoints, " keypoints and ", spec.classes(), " class(es)"));
    }
    spec.layout = readings.front().layout;
    spec.strides = readings.front().strides;
    const int stride = spec.max_stride();
    if (spec.imgsz.height % stride || spec.imgsz.width % stride)
        ambiguous(file.path,
                  text("its input ", spec.imgsz.height, "×", spec.imgsz.width, " is no multiple of stride ", stride));
    return {spec, origin};
}

}  // namespace

const char* to_string(Layout layout) { return kLayouts[static_cast<int>(layout)]; }

int ModelSpec::max_stride() const { return *std::max_element(strides.begin(), strides.end()); }

std::string ModelSpec::to_json() const {
    const auto quoted = [](const std::string& s) { return quote_json(s); };
    const auto whole = [](int v) { return std::to_string(v); };
    const auto number = [](float v) { return json_number(v); };
    const auto three = [](const float* v) {
        return "[" + json_number(v[0]) + ", " + json_number(v[1]) + ", " + json_number(v[2]) + "]";
    };
    std::string out = "{\"" + std::string(kMetadataKey) + "\": " + whole(kVersion);
    out += ", \"name\": " + quoted(name) + ", \"layout\": " + quoted(to_string(layout));
    out += ", \"imgsz\": [" + whole(imgsz.height) + ", " + whole(imgsz.width) +
           "], \"strides\": " + json_list(strides, whole);
    out += ", \"anchors\": " + json_list(anchors, [](const auto& level) {
               return json_list(level, [](const auto& a) {
                   return "[" + json_number(a.first) + ", " + json_number(a.second) + "]";
               });
           });
    out += ", \"outputs\": " + json_list(outputs, quoted) + ", \"names\": " + json_list(names, quoted);
    out += ", \"kpt_shape\": [" + whole(keypoints) + ", " + whole(keypoint_dims) +
           "], \"sigmas\": " + json_list(sigmas, number);
    out += ", \"color\": \"" + std::string(color == PixelFormat::rgb ? "rgb" : "bgr") + "\"";
    out += ", \"mean\": " + three(mean) + ", \"std\": " + three(std) + ", \"pad\": " + whole(pad);
    for (const auto& [key, value] : extra) out += ", " + quoted(key) + ": " + value;
    return out + "}";
}

ModelSpec ModelSpec::from_json(const std::string& json, const std::string& source) {
    try {
        const Literal root = parse_literal(json);
        return read_spec(root, source);
    } catch (const std::invalid_argument& error) {
        throw Error(ErrorCode::model, text(source, ": not valid JSON (", error.what(), ")"));
    }
}

FoundSpec find_spec(const ModelFile& file, const std::string& given) {
    require(!file.inputs.empty() && !file.outputs.empty(), ErrorCode::model, file.path,
            ": its inputs and outputs are not known without the library that made it");
    FoundSpec found;
    const auto own = file.metadata.find(kMetadataKey);
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
        found = infer_spec(file);
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
    const size_t expected = has_anchors(spec.layout) ? spec.strides.size() : 1;
    const size_t got = spec.outputs.empty() ? file.outputs.size() : spec.outputs.size();
    if (has_anchors(spec.layout) ? got != expected : got < expected)
        fail("layout ", to_string(spec.layout), " needs ", expected, " outputs, it has ", got);
    const int stride = spec.max_stride();
    if ((input[2] > 0 && input[2] % stride) || (input[3] > 0 && input[3] % stride))
        fail("its input is ", shape_text(input), ", no multiple of the largest stride ", stride);
}

}  // namespace trtpose
