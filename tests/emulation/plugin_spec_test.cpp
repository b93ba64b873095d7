// SPDX-License-Identifier: Apache-2.0
// A node that has the whole model spec in one attribute.
#include "plugin_test.hpp"

namespace trtpose::test {
namespace {

class PluginSpec : public PluginLines {};

TEST_F(PluginSpec, WrongSpecs) {
    const auto expect = [&](const Fields& fields, const std::string& words) {
        SCOPED_TRACE(words);
        for (const auto phase : {TensorRTPhase::kBUILD, TensorRTPhase::kRUNTIME}) {
            EXPECT_EQ(create(fields, phase), nullptr);
            expect_line(words);
        }
    };
    Fields fields = fields_by_spec(scene_);
    fields.set("spec", 3);
    expect(fields, "attribute spec must be a string");
    fields.set("spec", std::string("{\"layout\": "));
    expect(fields, "trtpose_decode_nms: attribute spec: not valid JSON");
    fields.set("spec", std::string("{\"layout\": \"rows\"}"));
    expect(fields, "trtpose_decode_nms: attribute spec: layout is 'rows'");
    fields.set("spec", std::string("{\"layout\": \"heads\"}"));
    expect(fields, "trtpose_decode_nms: attribute spec: the model spec lacks imgsz");
    ModelSpec many = spec_of(scene_);
    many.strides.resize(9, 8);
    many.anchors.resize(9, many.anchors.front());
    fields.set("spec", many.to_json());
    expect(fields, "model spec trtpose_decode_nms: 9 strides, at most 8 are supported");
    fields.set("spec", spec_of(scene_).to_json());
    fields.set("nms", std::string("oks"));
    expect(fields, "nms by OKS needs sigmas");
    fields.set("nms", std::string("iou"));
    fields.set("agnostic", 2);
    expect(fields, "agnostic is 2, expected 0 or 1");
}

TEST_F(PluginSpec, WhatIsSaidTwiceMustAgree) {
    // All of the parts beside the spec, as the spec has them.
    scene_.spec.sigmas = {0.1f, 0.2f, 0.3f};
    Fields both = fields_of(scene_);
    both.set("imgsz", std::vector<int32_t>{scene_.input.height, scene_.input.width});
    both.set("spec", spec_of(scene_).to_json());
    EXPECT_TRUE(create(both)) << lines_.all;

    const auto expect = [&](const char* name, const auto& value, const std::string& words) {
        Fields fields = fields_by_spec(scene_);
        fields.set(name, value);
        EXPECT_EQ(create(fields), nullptr);
        expect_line("attribute " + std::string(name) + " is " + words + "; give the spec alone");
    };
    expect("layout", std::string("heads5d"), "heads5d where attribute spec says heads");
    expect("strides", std::vector<int32_t>{8, 32}, "8,32 where attribute spec says 8,16");
    expect("anchors", std::vector<float>{1, 2, 3, 4}, "1,2,3,4 where attribute spec says 11,17,18,22,22,34,36,44");
    expect("num_classes", 2, "2 where attribute spec says 1");
    expect("num_keypoints", 4, "4 where attribute spec says 3");
    expect("keypoint_dims", 2, "2 where attribute spec says 3");
    expect("imgsz", std::vector<int32_t>{32, 32}, "32,32 where attribute spec says 64,96");
    expect("sigmas", std::vector<float>{0.1f, 0.2f, 0.4f}, "0.1,0.2,0.4 where attribute spec says 0.1,0.2,0.3");
}

TEST_F(PluginSpec, ASpecOfAnyLengthIsKept) {
    ModelSpec spec = spec_of(scene_);
    spec.names = {std::string(100000, 'p') + "é"};
    Fields given = fields_by_spec(scene_);
    given.set("spec", spec.to_json());
    const auto plugin = create(given);
    ASSERT_TRUE(plugin) << lines_.all;
    const auto* const stored = run_side(*plugin).getFieldsToSerialize();
    std::vector<std::string> names;
    for (int32_t i = 0; i < stored->nbFields; ++i) {
        const PluginField& field = stored->fields[i];
        names.emplace_back(field.name);
        if (names.back() != "spec") continue;
        EXPECT_EQ(field.type, PluginFieldType::kCHAR);
        EXPECT_EQ(std::string(static_cast<const char*>(field.data), static_cast<size_t>(field.length)), spec.to_json());
    }
    const std::vector<std::string> expected{"spec", "conf", "iou", "max_det", "max_candidates", "agnostic", "nms"};
    EXPECT_EQ(names, expected);
    const auto again = create(Fields(*stored), TensorRTPhase::kRUNTIME);
    ASSERT_TRUE(again) << lines_.all;
    EXPECT_STREQ(build_side(*again).getMetadataString(), build_side(*plugin).getMetadataString());
}

}  // namespace
}  // namespace trtpose::test
