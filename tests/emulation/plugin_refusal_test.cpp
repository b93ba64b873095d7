// SPDX-License-Identifier: Apache-2.0
// What the plugin refuses: attributes, inputs, shapes and formats, each with a sentence in TensorRT's log.
#include <cmath>
#include <variant>

#include "plugin_test.hpp"

namespace trtpose::test {
namespace {

class PluginRefusal : public PluginLines {};

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
    const std::vector<std::string> expected{
        "layout", "strides", "anchors", "num_classes", "num_keypoints",  "keypoint_dims", "imgsz", "sigmas",
        "spec",   "conf",    "iou",     "max_det",     "max_candidates", "agnostic",      "nms"};
    EXPECT_EQ(names, expected);
}

class PluginInputs : public PluginRefusal {
protected:
    std::unique_ptr<IPluginV3> plugin_ = create(fields_of(scene_));
    IPluginV3OneBuild& build_ = build_side(*plugin_);
    Described described_{scene_, false, 2, 300, 3};
};

TEST_F(PluginInputs, WrongNumbersAndTypes) {
    DataType types[kOutputs];
    const DataType floats[] = {DataType::kFLOAT, DataType::kFLOAT, DataType::kFLOAT};
    EXPECT_NE(build_.getOutputDataTypes(types, kOutputs, floats, 3), 0);
    expect_line("3 inputs where layout heads has 2, one for each of strides");
    EXPECT_NE(build_.getOutputDataTypes(types, 4, floats, 2), 0);
    expect_line("4 outputs, expected 5");
    const DataType mixed[] = {DataType::kFLOAT, DataType::kHALF};
    EXPECT_NE(build_.getOutputDataTypes(types, kOutputs, mixed, 2), 0);
    expect_line("input 1 is of another type than the first");
    const DataType brain[] = {DataType::kBF16, DataType::kBF16};
    EXPECT_NE(build_.getOutputDataTypes(types, kOutputs, brain, 2), 0);
    expect_line("input 0 is neither float32 nor float16");
}

TEST_F(PluginInputs, WrongShapes) {
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
        return build_.getOutputShapes(in.data(), static_cast<int32_t>(in.size()), nullptr, shape_inputs, out, kOutputs,
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
}

TEST_F(PluginInputs, GridsThatAreNotOfOneInput) {
    Described& d = described_;
    EXPECT_EQ(build_.configurePlugin(d.all.data(), 2, d.outputs(), kOutputs), 0);
    Described odd = d;
    odd.all[1].max.d[2] = 5;
    EXPECT_NE(build_.configurePlugin(odd.all.data(), 2, odd.outputs(), kOutputs), 0);
    expect_line("output 1 has shape 2×30×5×6");
    EXPECT_EQ(build_.getWorkspaceSize(odd.all.data(), 2, odd.outputs(), kOutputs), 0u);
    expect_line("output 1 has shape");
    odd = d;
    odd.all[0].max.d[2] = int64_t{1} << 40;
    EXPECT_NE(build_.configurePlugin(odd.all.data(), 2, odd.outputs(), kOutputs), 0);
    expect_line("an input of ");
}

TEST_F(PluginInputs, OnlyLinearHeadsOfOneType) {
    // All linear, heads of one type, outputs of theirs.
    Described& d = described_;
    const auto supported = [&](int32_t pos, auto&& change) {
        Described changed = d;
        change(changed.all[static_cast<size_t>(pos)].desc);
        return build_.supportsFormatCombination(pos, changed.all.data(), 2, kOutputs);
    };
    for (int32_t pos = 0; pos < 2 + kOutputs; ++pos) {
        EXPECT_TRUE(supported(pos, [](PluginTensorDesc&) {}));
        EXPECT_FALSE(supported(pos, [](PluginTensorDesc& t) { t.format = TensorFormat::kCHW32; }));
        EXPECT_FALSE(supported(pos, [](PluginTensorDesc& t) { t.type = DataType::kINT8; }));
        EXPECT_EQ(supported(pos, [](PluginTensorDesc& t) { t.type = DataType::kHALF; }), pos == 0);
    }
    EXPECT_FALSE(build_.supportsFormatCombination(7, d.all.data(), 2, kOutputs));
    EXPECT_FALSE(build_.supportsFormatCombination(0, d.all.data(), 2, 4));
}

TEST_F(PluginInputs, WrongShapesAndFormatsAtRunTime) {
    IPluginV3OneRuntime& runtime = run_side(*plugin_);
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
