// SPDX-License-Identifier: Apache-2.0
// TensorRT's part in the tests of the plugin: how its parser and builder create one, question it and write it down.
#pragma once

#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/check.hpp"
#include "plugins/attributes.hpp"
#include "plugins/decode_nms.hpp"
#include "twins.hpp"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace trtpose::test {
using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::IPluginV3;
using nvinfer1::IPluginV3OneBuild;
using nvinfer1::IPluginV3OneCore;
using nvinfer1::IPluginV3OneRuntime;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;
using nvinfer1::TensorRTPhase;

inline constexpr int kOutputs = plugins::kOutputs;

class Lines final : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
public:
    void log(Severity severity, nvinfer1::AsciiChar const* line) noexcept override {
        EXPECT_EQ(severity, Severity::kERROR);
        all += std::string(line) + "\n";
    }
    nvinfer1::ILogger* findLogger() override { return this; }
    std::string all;
};

struct Number final : nvinfer1::IDimensionExpr {
    explicit Number(std::optional<int64_t> v) : value(v) {}
    bool isConstant() const noexcept override { return value.has_value(); }
    int64_t getConstantValue() const noexcept override { return value.value_or(-1); }
    bool isSizeTensor() const noexcept override { return false; }
    std::optional<int64_t> value;
};

class Numbers final : public nvinfer1::IExprBuilder {
public:
    nvinfer1::IDimensionExpr const* constant(int64_t value) noexcept override { return make(value); }
    nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation, nvinfer1::IDimensionExpr const&,
                                              nvinfer1::IDimensionExpr const&) noexcept override {
        return make(std::nullopt);
    }
    const Number* make(std::optional<int64_t> value) { return &all_.emplace_back(value); }

private:
    std::deque<Number> all_;
};

inline Dims dims_of(const std::vector<int64_t>& shape) {
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), dims.d);
    return dims;
}

/// Fields in memory of their own, as after a plan has been read.
class Fields {
public:
    Fields() = default;
    explicit Fields(const nvinfer1::PluginFieldCollection& other) {
        for (int32_t i = 0; i < other.nbFields; ++i) {
            const PluginField& f = other.fields[i];
            const size_t each = f.type == PluginFieldType::kCHAR ? 1 : 4;
            const auto* from = static_cast<const char*>(f.data);
            add(f.name, f.type, std::vector<char>(from, from + each * static_cast<size_t>(f.length)), f.length);
        }
    }
    template <typename T>
    void set(const std::string& name, const std::vector<T>& values) {
        const PluginFieldType type = std::is_same_v<T, float>     ? PluginFieldType::kFLOAT32
                                     : std::is_same_v<T, int32_t> ? PluginFieldType::kINT32
                                     : std::is_same_v<T, int64_t> ? PluginFieldType::kINT64
                                     : std::is_same_v<T, double>  ? PluginFieldType::kFLOAT64
                                                                  : PluginFieldType::kUNKNOWN;
        const auto* from = reinterpret_cast<const char*>(values.data());
        add(name, type, std::vector<char>(from, from + values.size() * sizeof(T)), static_cast<int32_t>(values.size()));
    }
    void set(const std::string& name, int32_t value) { set(name, std::vector<int32_t>{value}); }
    void set(const std::string& name, float value) { set(name, std::vector<float>{value}); }
    void set(const std::string& name, const std::string& value) {
        // As the ONNX parser does it, with the zero at the end.
        std::vector<char> bytes(value.begin(), value.end());
        bytes.push_back(0);
        add(name, PluginFieldType::kCHAR, bytes, static_cast<int32_t>(bytes.size()));
    }
    void drop(const std::string& name) { values_.erase(name); }

    const nvinfer1::PluginFieldCollection* collection() {
        fields_.clear();
        for (const auto& [name, v] : values_)
            fields_.emplace_back(name.c_str(), v.bytes.empty() ? nullptr : v.bytes.data(), v.type, v.length);
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
        return &collection_;
    }

private:
    struct Value {
        PluginFieldType type;
        std::vector<char> bytes;
        int32_t length;
    };
    void add(const std::string& name, PluginFieldType type, std::vector<char> bytes, int32_t length) {
        values_[name] = {type, std::move(bytes), length};
    }
    std::map<std::string, Value> values_;
    std::vector<PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_;
};

inline nvinfer1::IPluginCreatorV3One& creator() {
    int32_t count = 0;
    auto* const* const all = getCreators(count);
    EXPECT_EQ(count, 1);
    EXPECT_STREQ(all[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE");
    return static_cast<nvinfer1::IPluginCreatorV3One&>(*all[0]);
}

inline std::unique_ptr<IPluginV3> create(Fields fields, TensorRTPhase phase = TensorRTPhase::kBUILD) {
    return std::unique_ptr<IPluginV3>(creator().createPlugin("node", fields.collection(), phase));
}

inline IPluginV3OneBuild& build_side(IPluginV3& plugin) {
    return *static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}
inline IPluginV3OneRuntime& run_side(IPluginV3& plugin) {
    return *static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

inline bool has_grid(const Scene& scene) {
    return scene.spec.layout == Layout::heads || scene.spec.layout == Layout::heads5d;
}

inline Fields fields_of(const Scene& scene) {
    Fields fields;
    fields.set("layout", std::string(to_string(scene.spec.layout)));
    fields.set("num_classes", scene.spec.classes());
    fields.set("num_keypoints", scene.spec.keypoints);
    fields.set("keypoint_dims", scene.spec.keypoint_dims);
    if (has_grid(scene)) {
        std::vector<float> anchors;
        for (const auto& level : scene.spec.anchors) {
            for (const auto& [w, h] : level) anchors.insert(anchors.end(), {w, h});
        }
        fields.set("anchors", anchors);
        fields.set("strides", std::vector<int32_t>(scene.spec.strides.begin(), scene.spec.strides.end()));
    } else {
        fields.set("imgsz", std::vector<int32_t>{scene.input.height, scene.input.width});
    }
    fields.set("conf", scene.conf);
    fields.set("iou", scene.nms.threshold);
    fields.set("max_det", scene.nms.max_det);
    fields.set("max_candidates", scene.nms.max_nms);
    fields.set("agnostic", static_cast<int32_t>(scene.nms.agnostic));
    fields.set("nms", std::string(scene.nms.similarity == ops::Similarity::oks ? "oks" : "iou"));
    if (!scene.spec.sigmas.empty()) fields.set("sigmas", scene.spec.sigmas);
    return fields;
}

// What attribute spec stands for.
inline constexpr const char* kParts[] = {"layout",        "strides",       "anchors", "num_classes",
                                         "num_keypoints", "keypoint_dims", "imgsz",   "sigmas"};

inline ModelSpec spec_of(const Scene& scene) {
    ModelSpec spec = scene.spec;
    spec.imgsz = scene.input;
    if (!has_grid(scene)) spec.strides = {1};  // the input need not be a multiple of any
    return spec;
}

/// The same in the form that has all of the spec in one.
inline Fields fields_by_spec(const Scene& scene) {
    Fields fields = fields_of(scene);
    for (const char* part : kParts) fields.drop(part);
    fields.set("spec", spec_of(scene).to_json());
    return fields;
}

/// Tensors as the builder describes them: a ranged batch from 1 to `most`.
struct Described {
    std::vector<DynamicPluginTensorDesc> all;
    int32_t inputs = 0;

    Described(const Scene& scene, bool half, int64_t most, int max_det, int keypoints) {
        const auto add = [&](std::vector<int64_t> shape, DataType type) {
            DynamicPluginTensorDesc d{};
            d.desc.type = type;
            d.desc.format = TensorFormat::kLINEAR;
            shape[0] = 1;
            d.min = d.opt = dims_of(shape);
            shape[0] = most;
            d.max = dims_of(shape);
            shape[0] = -1;
            d.desc.dims = dims_of(shape);
            all.push_back(d);
        };
        for (const auto& shape : scene.shapes) add(shape, half ? DataType::kHALF : DataType::kFLOAT);
        inputs = static_cast<int32_t>(all.size());
        add({0, 1}, DataType::kINT32);
        add({0, max_det, 4}, DataType::kFLOAT);
        add({0, max_det}, DataType::kFLOAT);
        add({0, max_det}, DataType::kINT32);
        add({0, max_det, keypoints, 3}, DataType::kFLOAT);
    }
    const DynamicPluginTensorDesc* outputs() const { return all.data() + inputs; }
};

/// What the builder asks of a plugin before it writes a plan; the bytes of scratch memory.
inline size_t go_through_build(IPluginV3& plugin, const Scene& scene, bool half, int64_t most) {
    IPluginV3OneBuild& build = build_side(plugin);
    EXPECT_EQ(build.getNbOutputs(), kOutputs);
    Described d(scene, half, most, scene.nms.max_det, scene.spec.keypoints);

    std::vector<DataType> in_types(static_cast<size_t>(d.inputs), half ? DataType::kHALF : DataType::kFLOAT);
    DataType out_types[kOutputs];
    EXPECT_EQ(build.getOutputDataTypes(out_types, kOutputs, in_types.data(), d.inputs), 0);
    for (int i = 0; i < kOutputs; ++i) EXPECT_EQ(out_types[i], d.outputs()[i].desc.type) << "output " << i;

    Numbers numbers;
    std::vector<nvinfer1::DimsExprs> in;
    const nvinfer1::IDimensionExpr* batch = numbers.make(std::nullopt);
    for (const auto& shape : scene.shapes) {
        auto& expressions = in.emplace_back();
        expressions.nbDims = static_cast<int32_t>(shape.size());
        for (size_t i = 0; i < shape.size(); ++i) expressions.d[i] = i ? numbers.make(shape[i]) : batch;
    }
    nvinfer1::DimsExprs out[kOutputs];
    EXPECT_EQ(build.getOutputShapes(in.data(), d.inputs, nullptr, 0, out, kOutputs, numbers), 0);
    for (int i = 0; i < kOutputs; ++i) {
        const Dims& expected = d.outputs()[i].desc.dims;
        EXPECT_EQ(out[i].nbDims, expected.nbDims) << "output " << i;
        EXPECT_EQ(out[i].d[0], batch) << "output " << i;
        for (int32_t k = 1; k < expected.nbDims; ++k)
            EXPECT_EQ(out[i].d[k]->getConstantValue(), expected.d[k]) << "output " << i;
    }

    for (int32_t pos = 0; pos < d.inputs + kOutputs; ++pos)
        EXPECT_TRUE(build.supportsFormatCombination(pos, d.all.data(), d.inputs, kOutputs)) << pos;
    EXPECT_EQ(build.configurePlugin(d.all.data(), d.inputs, d.outputs(), kOutputs), 0);
    return build.getWorkspaceSize(d.all.data(), d.inputs, d.outputs(), kOutputs);
}

/// `heads` of two strides on 64 × 96 pixels, all numbers `value`.
inline Scene flat_scene(int batch, float value) {
    Scene scene;
    scene.spec = make_spec(Layout::heads, 2, 2, 1, 3, 3);
    scene.input = {64, 96};
    for (const int stride : scene.spec.strides) {
        const std::vector<int64_t> shape{batch, 2 * scene.spec.fields(), 64 / stride, 96 / stride};
        scene.shapes.push_back(shape);
        scene.outputs.emplace_back(static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3]), value);
    }
    scene.placements.assign(static_cast<size_t>(batch), math::letterbox(96, 64, 96, 64));
    return scene;
}

/// A test that reads what is logged; `scene_` is one that the plugin takes.
class PluginLines : public testing::Test {
protected:
    void SetUp() override { setLoggerFinder(&lines_); }
    void TearDown() override { setLoggerFinder(nullptr); }

    /// Expect the one line logged since the last to hold `words`.
    void expect_line(const std::string& words) {
        EXPECT_NE(lines_.all.find(words), std::string::npos) << '"' << lines_.all << "\" lacks \"" << words << '"';
        EXPECT_EQ(std::count(lines_.all.begin(), lines_.all.end(), '\n'), 1) << lines_.all;
        const auto begins = [&](const char* start) { return lines_.all.rfind(start, 0) == 0; };
        EXPECT_TRUE(begins("trtpose_decode_nms: ") || begins("model trtpose") || begins("model spec trtpose"))
            << lines_.all;
        lines_.all.clear();
    }

    Lines lines_;
    Scene scene_ = flat_scene(1, 0.0f);
};

}  // namespace trtpose::test
