// SPDX-License-Identifier: Apache-2.0
// The plugin as TensorRT uses it, from creation to a run in another process's copy, on emulated CUDA: what it gives is
// what the operations give, bit for bit.
#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <variant>

#include "core/check.hpp"
#include "cuda/emulation.hpp"
#include "plugins/attributes.hpp"
#include "plugins/decode_nms.hpp"
#include "twins.hpp"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace trtpose::test {
namespace {

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

constexpr int kOutputs = plugins::kOutputs;

// ---- TensorRT's part -----------------------------------------------------------------------------------------------

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

Dims dims_of(const std::vector<int64_t>& shape) {
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

nvinfer1::IPluginCreatorV3One& creator() {
    int32_t count = 0;
    auto* const* const all = getCreators(count);
    EXPECT_EQ(count, 1);
    EXPECT_STREQ(all[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE");
    return static_cast<nvinfer1::IPluginCreatorV3One&>(*all[0]);
}

std::unique_ptr<IPluginV3> create(Fields fields, TensorRTPhase phase = TensorRTPhase::kBUILD) {
    return std::unique_ptr<IPluginV3>(creator().createPlugin("node", fields.collection(), phase));
}

IPluginV3OneBuild& build_side(IPluginV3& plugin) {
    return *static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}
IPluginV3OneRuntime& run_side(IPluginV3& plugin) {
    return *static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

Fields fields_of(const Scene& scene) {
    Fields fields;
    fields.set("layout", std::string(to_string(scene.spec.layout)));
    fields.set("num_classes", scene.spec.classes());
    fields.set("num_keypoints", scene.spec.keypoints);
    fields.set("keypoint_dims", scene.spec.keypoint_dims);
    if (scene.spec.layout == Layout::heads || scene.spec.layout == Layout::heads5d) {
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
size_t go_through_build(IPluginV3& plugin, const Scene& scene, bool half, int64_t most) {
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

/// What one run wrote.
struct Written {
    std::vector<int32_t> counts, class_ids;
    std::vector<float> boxes, scores, keypoints;
};

std::vector<uint16_t> halves_of(const std::vector<float>& values) {
    std::vector<uint16_t> bits(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        const __half h = __float2half_rn(values[i]);
        std::memcpy(&bits[i], &h, sizeof(h));
    }
    return bits;
}

class PluginTest : public OnDevice {
protected:
    void SetUp() override {
        OnDevice::SetUp();
        setLoggerFinder(&lines_);
    }
    void TearDown() override { setLoggerFinder(nullptr); }

    /// Run a plugin that has been attached to a context. The scratch memory is as long as asked for and not a byte
    /// longer.
    Written run(IPluginV3& plugin, const Scene& scene, bool half, size_t workspace_bytes, bool announce = true) {
        IPluginV3OneRuntime& runtime = run_side(plugin);
        const auto images = static_cast<size_t>(scene.shapes.front().front());
        const auto slots = images * static_cast<size_t>(scene.nms.max_det);
        const auto pose = static_cast<size_t>(scene.spec.keypoints) * 3;
        std::vector<DeviceArray<float>> floats;
        std::vector<DeviceArray<uint16_t>> halves;
        std::vector<const void*> inputs;
        for (const auto& values : scene.outputs) {
            if (half) {
                halves.push_back(array(halves_of(values)));
                inputs.push_back(halves.back().data());
            } else {
                floats.push_back(array(values));
                inputs.push_back(floats.back().data());
            }
        }
        const auto counts = array<int32_t>(images), classes = array<int32_t>(slots);
        const auto boxes = array<float>(slots * 4), scores = array<float>(slots), points = array<float>(slots * pose);
        void* const outputs[kOutputs] = {counts.data(), boxes.data(), scores.data(), classes.data(), points.data()};
        const auto scratch = array<char>(workspace_bytes);

        std::vector<PluginTensorDesc> in, out(kOutputs);
        for (const auto& shape : scene.shapes)
            in.push_back({dims_of(shape), half ? DataType::kHALF : DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
        const auto inputs_count = static_cast<int32_t>(in.size());
        if (announce) {
            EXPECT_EQ(runtime.onShapeChange(in.data(), inputs_count, out.data(), kOutputs), 0) << lines_.all;
        }
        emulation::listen();
        EXPECT_EQ(runtime.enqueue(in.data(), out.data(), inputs.data(), outputs, scratch.data(),
                                  static_cast<cudaStream_t>(context().stream)),
                  0)
            << lines_.all;
        for (const std::string& call : emulation::heard()) {
            EXPECT_TRUE(call == "cudaGetDevice" || call == "cudaSetDevice" || call == "cudaMemsetAsync" ||
                        call == "cudaFuncSetAttribute" || call == "cudaGetLastError")
                << call << " in enqueue";
        }
        Written w;
        w.counts = counts.get();
        w.class_ids = classes.get();
        w.boxes = boxes.get();
        w.scores = scores.get();
        w.keypoints = points.get();
        return w;
    }

    /// What lies in the slots of poses is what the operations gave, everything else is zero.
    void expect_same_as(const Written& w, const Outcome& expected, const Scene& scene) {
        const auto max_det = static_cast<size_t>(scene.nms.max_det);
        const auto pose = static_cast<size_t>(scene.spec.keypoints) * 3;
        ASSERT_EQ(w.counts.size(), expected.kept.size());
        Outcome found;
        for (size_t n = 0; n < w.counts.size(); ++n) {
            ASSERT_EQ(static_cast<size_t>(w.counts[n]), expected.kept[n].size()) << "image " << n;
            const auto part = [&](auto& to, const auto& from, size_t each) {
                const size_t begin = n * max_det * each, end = (n + 1) * max_det * each;
                const size_t filled = begin + static_cast<size_t>(w.counts[n]) * each;
                const auto at = [&](size_t i) { return from.begin() + static_cast<ptrdiff_t>(i); };
                to.insert(to.end(), at(begin), at(filled));
                EXPECT_TRUE(std::all_of(at(filled), at(end),
                                        [](auto x) { return x == 0 && !std::signbit(static_cast<double>(x)); }));
            };
            part(found.boxes, w.boxes, 4);
            part(found.scores, w.scores, 1);
            part(found.keypoints, w.keypoints, pose);
            part(found.class_ids, w.class_ids, 1);
        }
        ASSERT_TRUE(same_bits(found.boxes, expected.boxes));
        ASSERT_TRUE(same_bits(found.scores, expected.scores));
        ASSERT_TRUE(same_bits(found.keypoints, expected.keypoints));
        ASSERT_EQ(found.class_ids, expected.class_ids);
    }

    /// From the node's attributes to a run, with everything in between done as TensorRT does it.
    void expect_same(Scene scene, bool half) {
        scene.placements.assign(
            static_cast<size_t>(scene.shapes.front().front()),
            math::letterbox(scene.input.width, scene.input.height, scene.input.width, scene.input.height));
        const Outcome expected = run_scene(device(), scene, half);
        Fields stored;
        size_t bytes = 0;
        {
            const auto given = create(fields_of(scene));
            ASSERT_TRUE(given) << lines_.all;
            const std::unique_ptr<IPluginV3> copy(given->clone());
            bytes = go_through_build(*copy, scene, half, scene.shapes.front().front() + 2);
            stored = Fields(*run_side(*copy).getFieldsToSerialize());
        }
        const auto deserialised = create(std::move(stored), TensorRTPhase::kRUNTIME);
        ASSERT_TRUE(deserialised) << lines_.all;
        const std::unique_ptr<IPluginV3> attached(run_side(*deserialised).attachToContext(nullptr));
        ASSERT_TRUE(attached);
        expect_same_as(run(*attached, scene, half, bytes), expected, scene);
        EXPECT_EQ(lines_.all, "");
    }

    Lines lines_;
};
TRTPOSE_ON_EVERY_DEVICE(PluginTest);

/// A scene that a plugin may have.
Scene plugin_scene(std::mt19937& random, bool half) {
    while (true) {
        Scene scene = random_scene(random, half);
        if (scene.spec.keypoints > 0) return scene;
    }
}

TEST_P(PluginTest, EqualsTheOperations) {
    std::mt19937 random(seed());
    for (int i = 0; i < 25 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed()));
        expect_same(plugin_scene(random, false), false);
    }
}

TEST_P(PluginTest, EqualsTheOperationsInHalfPrecision) {
    std::mt19937 random(seed() + 1);
    for (int i = 0; i < 25 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed() + 1));
        expect_same(plugin_scene(random, true), true);
    }
}

/// `heads` of two strides on 64 × 96 pixels, all numbers `value`.
Scene flat_scene(int batch, float value) {
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

TEST_P(PluginTest, NobodyThere) {
    const Scene scene = flat_scene(3, -10.0f);
    expect_same(scene, false);
    const auto plugin = create(fields_of(scene));
    const Written w = run(*plugin, scene, false, go_through_build(*plugin, scene, false, 3));
    EXPECT_EQ(w.counts, std::vector<int32_t>(3, 0));
    EXPECT_TRUE(same_bits(w.keypoints, std::vector<float>(w.keypoints.size(), 0.0f)));
}

TEST_P(PluginTest, MoreCandidatesThanAreConsidered) {
    // Every anchor passes, with one score: the lower anchors are taken.
    Scene scene = flat_scene(2, 3.0f);
    scene.nms.threshold = 1.0f;  // nothing is as alike as that
    scene.nms.max_nms = 50;
    scene.nms.max_det = 100;
    expect_same(scene, false);
    scene.nms.max_nms = 30000;
    scene.nms.max_det = 7;
    expect_same(scene, false);
}

TEST_P(PluginTest, AnyBatchUpToTheLargest) {
    std::mt19937 random(seed());
    const size_t bytes = [&] {
        const Scene largest = flat_scene(4, 0.0f);
        const auto plugin = create(fields_of(largest));
        return go_through_build(*plugin, largest, false, 4);
    }();
    const auto plugin = create(fields_of(flat_scene(1, 0.0f)));
    std::normal_distribution<float> logit(0.0f, 2.0f);
    Scene all = flat_scene(4, 0.0f);
    for (auto& values : all.outputs) {
        for (float& x : values) x = logit(random);
    }
    Written alone;
    for (const int batch : {1, 4, 2, 3}) {
        // The first images of the same batch: slot k is the image alone.
        Scene scene = flat_scene(batch, 0.0f);
        for (size_t l = 0; l < 2; ++l)
            std::copy_n(all.outputs[l].begin(), scene.outputs[l].size(), scene.outputs[l].begin());
        // Once without a word of the new shape.
        const Written w = run(*plugin, scene, false, bytes, batch != 2);
        expect_same_as(w, run_scene(device(), scene, false), scene);
        if (batch == 1) {
            alone = w;
            EXPECT_GT(alone.counts[0], 0);
        }
        EXPECT_TRUE(same_bits(alone.keypoints, {w.keypoints.begin(),
                                                w.keypoints.begin() + static_cast<ptrdiff_t>(alone.keypoints.size())}));
    }
}

TEST_P(PluginTest, ClonesStandAlone) {
    const Scene scene = flat_scene(1, 1.0f);
    auto first = create(fields_of(scene));
    const std::unique_ptr<IPluginV3> second(first->clone());
    auto* const fields = run_side(*second).getFieldsToSerialize();
    const std::string metadata = build_side(*first).getMetadataString();
    EXPECT_NE(metadata.find("conf=0.25"), std::string::npos) << metadata;
    first.reset();
    EXPECT_EQ(Fields(*fields).collection()->nbFields, fields->nbFields);
    EXPECT_EQ(build_side(*second).getMetadataString(), metadata);
    const size_t bytes = go_through_build(*second, scene, false, 1);
    expect_same_as(run(*second, scene, false, bytes), run_scene(device(), scene, false), scene);
    // One of a plugin that knows its shapes knows them too.
    const std::unique_ptr<IPluginV3> third(second->clone());
    expect_same_as(run(*third, scene, false, bytes, false), run_scene(device(), scene, false), scene);
}

TEST_P(PluginTest, GoesIntoAGraph) {
    // Captured once, launched with other numbers.
    Scene scene = flat_scene(2, 1.0f);
    const auto plugin = create(fields_of(scene));
    const size_t bytes = go_through_build(*plugin, scene, false, 2);
    std::vector<DeviceArray<float>> heads;
    std::vector<const void*> inputs;
    std::vector<PluginTensorDesc> in, out(kOutputs);
    for (size_t l = 0; l < 2; ++l) {
        heads.push_back(array(scene.outputs[l]));
        inputs.push_back(heads.back().data());
        in.push_back({dims_of(scene.shapes[l]), DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
    }
    const size_t slots = 2 * static_cast<size_t>(scene.nms.max_det);
    const auto counts = array<int32_t>(2), classes = array<int32_t>(slots);
    const auto boxes = array<float>(slots * 4), scores = array<float>(slots), points = array<float>(slots * 9);
    void* const outputs[kOutputs] = {counts.data(), boxes.data(), scores.data(), classes.data(), points.data()};
    const auto scratch = array<char>(bytes);
    auto* const stream = static_cast<cudaStream_t>(context().stream);
    ASSERT_EQ(run_side(*plugin).onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(run_side(*plugin).enqueue(in.data(), out.data(), inputs.data(), outputs, scratch.data(), stream), 0);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
    std::mt19937 random(seed());
    std::normal_distribution<float> logit(0.0f, 2.0f);
    for (int i = 0; i < 3; ++i) {
        for (size_t l = 0; l < 2; ++l) {
            for (float& x : scene.outputs[l]) x = logit(random);
            device().upload(heads[l].data(), scene.outputs[l].data(), scene.outputs[l].size() * sizeof(float));
        }
        ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
        expect_same_as({counts.get(), classes.get(), boxes.get(), scores.get(), points.get()},
                       run_scene(device(), scene, false), scene);
    }
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_P(PluginTest, FailuresOfCudaAreReported) {
    const Scene scene = flat_scene(1, 1.0f);
    const auto plugin = create(fields_of(scene));
    const size_t bytes = go_through_build(*plugin, scene, false, 1);
    for (uint64_t number = 1;; ++number) {
        SCOPED_TRACE("call " + std::to_string(number));
        lines_.all.clear();
        const auto head_8 = array(scene.outputs[0]), head_16 = array(scene.outputs[1]);
        const void* const inputs[] = {head_8.data(), head_16.data()};
        const auto everything = array<float>(300 * (4 + 1 + 1 + 9) + 16);
        float* const at = everything.data();
        void* const outputs[kOutputs] = {at, at + 16, at + 16 + 1200, at + 16 + 1500, at + 16 + 1800};
        const auto scratch = array<char>(bytes);
        std::vector<PluginTensorDesc> in, out(kOutputs);
        for (const auto& shape : scene.shapes)
            in.push_back({dims_of(shape), DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
        ASSERT_EQ(run_side(*plugin).onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
        emulation::fail_call_number(number, cudaErrorInvalidValue);
        const int32_t status = run_side(*plugin).enqueue(in.data(), out.data(), inputs, outputs, scratch.data(),
                                                         static_cast<cudaStream_t>(context().stream));
        const bool failed = emulation::failed_a_call();
        emulation::fail_call_number(0, 0);
        device().synchronize();
        if (!failed) {
            EXPECT_EQ(status, 0) << lines_.all;
            EXPECT_GT(number, 5u);
            break;
        }
        EXPECT_NE(status, 0);
        EXPECT_NE(lines_.all.find("CUDA could not"), std::string::npos) << lines_.all;
    }
}

// ---- What is refused -----------------------------------------------------------------------------------------------

class PluginRefusal : public testing::Test {
protected:
    void SetUp() override { setLoggerFinder(&lines_); }
    void TearDown() override { setLoggerFinder(nullptr); }

    /// Expect the one line logged since the last to hold `words`.
    void expect_line(const std::string& words) {
        EXPECT_NE(lines_.all.find(words), std::string::npos) << '"' << lines_.all << "\" lacks \"" << words << '"';
        EXPECT_EQ(std::count(lines_.all.begin(), lines_.all.end(), '\n'), 1) << lines_.all;
        EXPECT_EQ(lines_.all.rfind("trtpose_decode_nms: ", 0) == 0 || lines_.all.rfind("model trtpose", 0) == 0, true)
            << lines_.all;
        lines_.all.clear();
    }

    Lines lines_;
    Scene scene_ = flat_scene(1, 0.0f);
};

TEST_F(PluginRefusal, WrongAttributes) {
    struct Case {
        std::string name;
        std::variant<int32_t, float, std::string, std::vector<int32_t>, std::vector<float>> value;
        std::string words;
    };
    const Case cases[] = {
        {"layout", "rows", "layout is \"rows\""},
        {"layout", 3, "attribute layout must be a string"},
        {"layout", "decoded", "imgsz must be the height and the width"},
        {"strides", std::vector<int32_t>{}, "strides has 0 numbers"},
        {"strides", std::vector<int32_t>{8, 0}, "strides holds 0"},
        {"strides", std::vector<int32_t>(9, 8), "strides has 9 numbers"},
        {"strides", std::vector<float>{8, 16}, "attribute strides must be a list of whole numbers"},
        {"anchors", std::vector<float>{1, 2, 3}, "anchors has 3 numbers"},
        {"anchors", std::vector<float>{}, "anchors has 0 numbers"},
        {"anchors", std::vector<float>(2 * 2 * 9, 5.0f), "anchors has 9 for each stride"},
        {"anchors", std::vector<float>{1, 2, 3, -4}, "anchors holds -4"},
        {"anchors", std::vector<float>{1, 2, 3, NAN}, "anchors holds"},
        {"num_classes", 0, "num_classes is 0"},
        {"num_classes", std::vector<int32_t>{1, 2}, "attribute num_classes must be a whole number"},
        {"num_keypoints", 0, "num_keypoints is 0"},
        {"num_keypoints", -3, "num_keypoints is -3"},
        {"keypoint_dims", 4, "keypoint_dims is 4"},
        {"conf", 1.5f, "conf is 1.5"},
        {"conf", NAN, "conf is"},
        {"conf", "high", "attribute conf must be a number"},
        {"iou", -0.1f, "iou is -0.1"},
        {"max_det", 0, "max_det is 0"},
        {"max_det", 30001, "max_det is 30001"},
        {"max_candidates", 0, "max_candidates is 0"},
        {"agnostic", 2, "agnostic is 2"},
        {"nms", "giou", "nms is \"giou\""},
        {"nms", "oks", "nms by OKS needs sigmas"},
        {"sigmas", std::vector<float>{0.1f}, "sigmas has 1 numbers for 3 keypoints"},
        {"sigmas", std::vector<float>{0.1f, 0, 0.1f}, "sigmas holds 0"},
        {"threshold", 0.5f, "attribute threshold is unknown"},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.name);
        Fields fields = fields_of(scene_);
        std::visit([&](const auto& value) { fields.set(c.name, value); }, c.value);
        for (const auto phase : {TensorRTPhase::kBUILD, TensorRTPhase::kRUNTIME}) {
            EXPECT_EQ(create(fields, phase), nullptr);
            expect_line(c.words);
        }
    }
    EXPECT_EQ(creator().createPlugin("node", nullptr, TensorRTPhase::kBUILD), nullptr);
    expect_line("no fields were given");
    Fields none;
    EXPECT_EQ(create(none), nullptr);
    expect_line("num_keypoints is 0");
}

TEST_F(PluginRefusal, NumbersOfOtherTypesAreUnderstood) {
    Fields fields = fields_of(scene_);
    fields.set("strides", std::vector<int64_t>{8, 16});
    fields.set("conf", std::vector<double>{0.5});
    fields.set("iou", 1);
    fields.set("plugin_version", std::string("1"));
    const auto plugin = create(fields);
    ASSERT_TRUE(plugin) << lines_.all;
    const std::string text = build_side(*plugin).getMetadataString();
    EXPECT_NE(text.find("conf=0.5 iou=1 "), std::string::npos) << text;
    fields.set("max_det", std::vector<int64_t>{int64_t{1} << 40});
    EXPECT_EQ(create(fields), nullptr);
    expect_line("attribute max_det must be a whole number");
}

TEST_F(PluginRefusal, NamesItself) {
    EXPECT_STREQ(creator().getPluginName(), "trtpose_decode_nms");
    EXPECT_STREQ(creator().getPluginVersion(), "1");
    EXPECT_STREQ(creator().getPluginNamespace(), "");
    const auto plugin = create(fields_of(scene_));
    const auto& core = *static_cast<IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
    EXPECT_STREQ(core.getPluginName(), "trtpose_decode_nms");
    EXPECT_STREQ(core.getPluginVersion(), "1");
    EXPECT_STREQ(core.getPluginNamespace(), "");
    // The parser looks up just these in a node.
    std::vector<std::string> names;
    const auto* const fields = creator().getFieldNames();
    for (int32_t i = 0; i < fields->nbFields; ++i) names.emplace_back(fields->fields[i].name);
    const std::vector<std::string> expected{"layout",         "strides",  "anchors", "num_classes", "num_keypoints",
                                            "keypoint_dims",  "imgsz",    "conf",    "iou",         "max_det",
                                            "max_candidates", "agnostic", "nms",     "sigmas"};
    EXPECT_EQ(names, expected);
}

TEST_F(PluginRefusal, WrongInputs) {
    const auto plugin = create(fields_of(scene_));
    IPluginV3OneBuild& build = build_side(*plugin);
    DataType types[kOutputs];
    const DataType floats[] = {DataType::kFLOAT, DataType::kFLOAT, DataType::kFLOAT};
    EXPECT_NE(build.getOutputDataTypes(types, kOutputs, floats, 3), 0);
    expect_line("3 inputs where layout heads has 2, one for each of strides");
    EXPECT_NE(build.getOutputDataTypes(types, 4, floats, 2), 0);
    expect_line("4 outputs, expected 5");
    const DataType mixed[] = {DataType::kFLOAT, DataType::kHALF};
    EXPECT_NE(build.getOutputDataTypes(types, kOutputs, mixed, 2), 0);
    expect_line("input 1 is of another type than the first");
    const DataType brain[] = {DataType::kBF16, DataType::kBF16};
    EXPECT_NE(build.getOutputDataTypes(types, kOutputs, brain, 2), 0);
    expect_line("input 0 is neither float32 nor float16");

    Numbers numbers;
    const auto shapes = [&](std::vector<std::vector<int64_t>> all, int32_t shape_inputs = 0) {
        std::vector<nvinfer1::DimsExprs> in;
        for (const auto& shape : all) {
            auto& expressions = in.emplace_back();
            expressions.nbDims = static_cast<int32_t>(shape.size());
            for (size_t i = 0; i < shape.size(); ++i)
                expressions.d[i] = numbers.make(shape[i] < 0 ? std::nullopt : std::optional<int64_t>(shape[i]));
        }
        nvinfer1::DimsExprs out[kOutputs];
        return build.getOutputShapes(in.data(), static_cast<int32_t>(in.size()), nullptr, shape_inputs, out, kOutputs,
                                     numbers);
    };
    const int64_t channels = scene_.shapes[0][1];
    EXPECT_EQ(shapes({{-1, channels, -1, -1}, {-1, channels, -1, -1}}), 0);
    EXPECT_NE(shapes({{-1, channels, -1, -1}, {-1, channels + 1, -1, -1}}), 0);
    expect_line("input 1 has shape ?×31×?×?, layout heads with 1 class(es) and 3 keypoints expects ?×30×?×?");
    EXPECT_NE(shapes({{-1, channels, -1}, {-1, channels, -1, -1}}), 0);
    expect_line("input 0 has shape ?×30×?");
    EXPECT_NE(shapes({{-1, channels, -1, -1}, {-1, channels, -1, -1}}, 1), 0);
    expect_line("1 inputs are shapes");

    // The grids must be of one input.
    Described d(scene_, false, 2, 300, 3);
    EXPECT_EQ(build.configurePlugin(d.all.data(), 2, d.outputs(), kOutputs), 0);
    Described odd = d;
    odd.all[1].max.d[2] = 5;
    EXPECT_NE(build.configurePlugin(odd.all.data(), 2, odd.outputs(), kOutputs), 0);
    expect_line("output 1 has shape 2×30×5×6");
    EXPECT_EQ(build.getWorkspaceSize(odd.all.data(), 2, odd.outputs(), kOutputs), 0u);
    expect_line("output 1 has shape");
    odd = d;
    odd.all[0].max.d[2] = int64_t{1} << 40;
    EXPECT_NE(build.configurePlugin(odd.all.data(), 2, odd.outputs(), kOutputs), 0);
    expect_line("an input of ");

    // Formats: all linear, heads of one type, outputs of theirs.
    const auto supported = [&](int32_t pos, auto&& change) {
        Described changed = d;
        change(changed.all[static_cast<size_t>(pos)].desc);
        return build.supportsFormatCombination(pos, changed.all.data(), 2, kOutputs);
    };
    for (int32_t pos = 0; pos < 2 + kOutputs; ++pos) {
        EXPECT_TRUE(supported(pos, [](PluginTensorDesc&) {}));
        EXPECT_FALSE(supported(pos, [](PluginTensorDesc& t) { t.format = TensorFormat::kCHW32; }));
        EXPECT_FALSE(supported(pos, [](PluginTensorDesc& t) { t.type = DataType::kINT8; }));
        EXPECT_EQ(supported(pos, [](PluginTensorDesc& t) { t.type = DataType::kHALF; }), pos == 0);
    }
    EXPECT_FALSE(build.supportsFormatCombination(7, d.all.data(), 2, kOutputs));
    EXPECT_FALSE(build.supportsFormatCombination(0, d.all.data(), 2, 4));

    // And at run time.
    IPluginV3OneRuntime& runtime = run_side(*plugin);
    std::vector<PluginTensorDesc> in, out(kOutputs);
    for (const auto& shape : scene_.shapes)
        in.push_back({dims_of(shape), DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
    EXPECT_EQ(runtime.onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
    in[1].dims.d[3] = 7;
    EXPECT_NE(runtime.onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
    expect_line("output 1 has shape 1×30×4×7");
    EXPECT_NE(runtime.enqueue(in.data(), out.data(), nullptr, nullptr, nullptr, nullptr), 0);
    expect_line("output 1 has shape 1×30×4×7");
    in[1].dims.d[3] = 6;
    in[1].format = TensorFormat::kCHW4;
    EXPECT_NE(runtime.onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
    expect_line("input 1 is not linear");
    in[1].format = TensorFormat::kLINEAR;
    EXPECT_NE(runtime.enqueue(in.data(), out.data(), nullptr, nullptr, nullptr, nullptr), 0);
    expect_line("enqueue was given no workspace");
}

}  // namespace
}  // namespace trtpose::test
