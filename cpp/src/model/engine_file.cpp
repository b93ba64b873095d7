// SPDX-License-Identifier: Apache-2.0
// The layout is the one of Ultralytics' exporters: a length of four bytes, little-endian, as much JSON, then the plan.
// trtpose adds the keys "trtpose" (the model spec) and "trtpose_engine" (what the plan was built for). Plans without a
// header are read too; their first bytes tell the library and, as trtexec reads them, its version.
#include "model/engine_file.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/check.hpp"
#include "model/crc32.hpp"
#include "model/limits.hpp"
#include "model/literal.hpp"

namespace trtpose {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kPlanStart = 28;  ///< bytes of a plan up to and with its version
constexpr size_t kMaxList = 256;   ///< tensors, profiles, plugins
constexpr size_t kMaxDims = 8;
constexpr double kMaxExact = 9007199254740992.0;  ///< whole numbers up to here survive JSON

bool is_plan(std::string_view bytes) { return bytes.substr(0, 4) == "ftrt" || bytes.substr(0, 4) == "vtrt"; }

/// Version of the library that made a plan, from where trtexec finds it; empty if the plan is of another layout.
std::string version_of(std::string_view plan) {
    uint32_t layout = 1;
    if (plan.size() >= kPlanStart) std::memcpy(&layout, plan.data() + 4, 4);
    if (layout != 0) return {};
    const auto part = [&](size_t i) { return static_cast<int>(static_cast<unsigned char>(plan[24 + i])); };
    return text(part(0), '.', part(1), '.', part(2), '.', part(3));
}

/// A dict of the header, read by key. Missing and null are the same; what is of the wrong type is damage.
class Fields {
public:
    Fields(const Literal* value, std::string name) : value_(value && !value->is_null() ? value : nullptr) {
        name_ = std::move(name);
        if (value_ && !value_->dict()) wrong("an object");
    }
    explicit operator bool() const { return value_ != nullptr; }

    const Literal* get(const char* key) const {
        const Literal* found = value_ ? value_->find(key) : nullptr;
        return found && !found->is_null() ? found : nullptr;
    }
    Fields dict(const char* key) const { return {get(key), path(key)}; }
    std::string string(const char* key, std::string missing = {}) const {
        const Literal* found = get(key);
        if (!found) return missing;
        if (!found->string()) wrong("a text", key);
        return *found->string();
    }
    bool flag(const char* key) const {
        const Literal* found = get(key);
        if (!found) return false;
        if (!found->boolean()) wrong("true or false", key);
        return *found->boolean();
    }
    int64_t whole(const char* key, int64_t missing) const {
        const Literal* found = get(key);
        return found ? whole(*found, key, 0) : missing;
    }
    int64_t whole(const Literal& value, const char* key, double low) const {
        const auto number = value.whole(low, kMaxExact);
        if (!number) wrong("a whole number", key);
        return *number;
    }
    /// Call `use` for every entry of a list.
    template <typename F>
    void each(const char* key, F&& use) const {
        const Literal* found = get(key);
        if (!found) return;
        if (!found->list() || found->list()->size() > kMaxList) wrong("a list", key);
        for (const Literal& entry : *found->list()) use(entry);
    }
    std::vector<std::string> strings(const char* key) const {
        std::vector<std::string> out;
        each(key, [&](const Literal& entry) {
            if (!entry.string()) wrong("a list of texts", key);
            out.push_back(*entry.string());
        });
        return out;
    }
    std::vector<int64_t> shape(const char* key, double low) const {
        std::vector<int64_t> out;
        each(key, [&](const Literal& entry) {
            out.push_back(whole(entry, key, low));
            if (out.size() > kMaxDims || out.back() > INT32_MAX) wrong("a shape", key);
        });
        return out;
    }
    const Literal::Dict& entries() const {
        static const Literal::Dict none;
        return value_ ? *value_->dict() : none;
    }
    [[noreturn]] void wrong(const char* expected, const char* key = nullptr) const {
        throw std::invalid_argument(text("'", key ? path(key) : name_, "' is not ", expected));
    }

private:
    std::string path(const char* key) const { return name_.empty() ? key : name_ + "." + key; }

    const Literal* value_;
    std::string name_;
};

DType dtype_of(const std::string& name) {
    for (const DType dtype : {DType::f32, DType::f16, DType::u8, DType::i32, DType::i64}) {
        if (name == to_string(dtype)) return dtype;
    }
    return DType::other;
}

std::vector<TensorInfo> read_tensors(const Fields& engine, const char* key) {
    std::vector<TensorInfo> out;
    engine.each(key, [&](const Literal& entry) {
        const Fields fields(&entry, key);
        out.push_back({fields.string("name"), dtype_of(fields.string("dtype")), fields.shape("shape", -1)});
    });
    return out;
}

void read_profiles(const Fields& engine, const std::vector<TensorInfo>& inputs, EngineDescription& out) {
    engine.each("profiles", [&](const Literal& entry) {
        const Fields profile(&entry, "profiles");
        auto& ranges = out.profiles.emplace_back();
        for (const auto& [name, value] : profile.entries()) {
            const Fields fields(&value, "profiles");
            ShapeRange range{fields.shape("min", 0), fields.shape("opt", 0), fields.shape("max", 0)};
            bool fits = range.min.size() == range.opt.size() && range.opt.size() == range.max.size();
            for (size_t d = 0; fits && d < range.min.size(); ++d)
                fits = range.min[d] <= range.opt[d] && range.opt[d] <= range.max[d];
            bool known = false;
            for (const auto& input : inputs) known |= input.name == name && input.shape.size() == range.min.size();
            if (!fits || !known) profile.wrong("a range of each input's shape");
            ranges.emplace(name, std::move(range));
        }
    });
}

/// What a header says of the plan's bytes; -1: nothing.
struct CheckSum {
    int64_t bytes = -1, crc32 = -1;
};

/// What trtpose wrote of the plan. Throws std::invalid_argument.
CheckSum read_description(const Fields& header, ModelFile& out) {
    const Fields engine = header.dict("trtpose_engine");
    if (!engine) return {};
    EngineDescription& d = *out.engine;
    const int64_t format = engine.whole("format", 0);
    require(format == 1, ErrorCode::model, out.path, ": its header is of format ", format,
            ", this version of trtpose reads format 1; update trtpose or build the engine again");
    d.runtime = engine.string("runtime");
    d.version = engine.string("version");
    d.precision = engine.string("precision");
    const Fields layers = engine.dict("layers");
    for (const auto& [name, count] : layers.entries()) d.layers[name] = layers.whole(count, name.c_str(), 0);
    const Fields device = engine.dict("device");
    d.device = device.string("name");
    d.compute_capability = device.string("compute_capability");
    d.compute_capabilities = engine.strings("compute_capabilities");
    d.hardware_compatibility = engine.string("hardware_compatibility", "none");
    d.version_compatible = engine.flag("version_compatible");
    d.weight_streaming = engine.flag("weight_streaming");
    out.inputs = read_tensors(engine, "inputs");
    out.outputs = read_tensors(engine, "outputs");
    read_profiles(engine, out.inputs, d);
    const Fields onnx = engine.dict("onnx"), memory = engine.dict("memory");
    d.onnx = onnx.string("name");
    d.onnx_sha256 = onnx.string("sha256");
    d.weight_bytes = memory.whole("weights", -1);
    d.activation_bytes = memory.whole("activations", -1);
    d.plugins = engine.strings("plugins");
    d.created = engine.string("created");
    d.trtpose = engine.string("trtpose");
    const Fields plan = engine.dict("plan");
    return {plan.whole("bytes", -1), plan.whole("crc32", -1)};
}

}  // namespace

bool is_engine_file(std::string_view bytes) {
    if (is_plan(bytes)) return true;
    // No ONNX file has a brace here: it is inside the producer's name, which comes first.
    return bytes.size() > kLengthBytes + 1 && bytes[kLengthBytes] == '{' &&
           std::strchr("\"' \n}", bytes[kLengthBytes + 1]) != nullptr;
}

void read_engine_file(ByteSource& bytes, ModelFile& out) {
    out.kind = "engine";
    EngineDescription& engine = out.engine.emplace();
    Literal header;
    CheckSum sum;
    const auto start_at = [&](uint64_t at) {
        return bytes.text(at, std::min<uint64_t>(bytes.size() - at, kPlanStart));
    };
    if (const std::string front = start_at(0); !is_plan(front)) {
        uint32_t length = 0;
        std::memcpy(&length, front.data(), kLengthBytes);
        require(length <= kMaxDescription, ErrorCode::model, out.path, ": its header claims ", length,
                " bytes; the file is damaged, copy or build it again");
        require(length <= bytes.size() - kLengthBytes, ErrorCode::model, out.path, ": the file ends inside its header",
                "; copy or build it again");
        engine.plan_offset = kLengthBytes + length;
        try {
            header = parse_literal(bytes.text(kLengthBytes, length));
            sum = read_description(Fields(&header, ""), out);
        } catch (const std::invalid_argument& error) {
            throw Error(ErrorCode::model, text(out.path, ": its header is unreadable (", error.what(),
                                               "); the file is damaged, copy or build it again"));
        }
    }
    const std::string plan = start_at(engine.plan_offset);
    engine.plan_bytes = bytes.size() - engine.plan_offset;
    require(is_plan(plan), ErrorCode::model, out.path,
            ": no TensorRT plan follows its header; the file is damaged or incomplete, copy or build it again");
    const std::string runtime = plan[0] == 'f' ? "tensorrt" : "rtx";
    require(engine.runtime.empty() || engine.runtime == runtime, ErrorCode::model, out.path,
            ": its header says that it is for ", engine.runtime.substr(0, 40), ", its plan is for ", runtime,
            "; build the engine again");
    engine.runtime = runtime;
    if (engine.version.empty()) engine.version = version_of(plan);
    require(plan.size() >= kPlanStart, ErrorCode::model, out.path,
            ": the file ends inside its plan; copy or build it again");

    for (const auto& [key, value] : Fields(&header, "").entries()) {
        if (key == "trtpose_engine") continue;
        out.metadata[key] = value.string() ? *value.string() : to_json(value);
    }
    require(sum.bytes < 0 || static_cast<uint64_t>(sum.bytes) == engine.plan_bytes, ErrorCode::model, out.path,
            ": its plan has ", engine.plan_bytes, " bytes, its header says ", sum.bytes,
            "; the file is incomplete, copy or build it again");
    Crc32 counted;
    if (sum.crc32 >= 0) bytes.each_part(engine.plan_offset, [&](std::string_view part) { counted.add(part); });
    require(sum.crc32 < 0 || static_cast<uint64_t>(sum.crc32) == counted.sum(), ErrorCode::model, out.path,
            ": the CRC-32 of its plan is not the one in its header; the file is damaged, copy or build it again");
    out.weight_bytes = engine.weight_bytes >= 0 ? engine.weight_bytes : static_cast<int64_t>(engine.plan_bytes);
    out.producer = engine.runtime == "rtx" ? "TensorRT for RTX" : "TensorRT";
    if (!engine.version.empty()) out.producer += " " + engine.version;
}

}  // namespace trtpose
