// SPDX-License-Identifier: Apache-2.0
// What a node of type trtpose_decode_nms says: its attributes as TensorRT passes them, checked.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <string>
#include <vector>
// TensorRT's own includes this in the line before.
#include <NvInferRuntimePlugin.h>

#include "families/anchor_grid/spec_attributes.hpp"
#include "trtpose/options.hpp"
#include "trtpose/views.hpp"

namespace trtpose::plugins {

inline constexpr const char* kPluginName = "trtpose_decode_nms";
inline constexpr const char* kPluginVersion = "1";

/// The attributes as they stand in the node; docs/plugin.md explains each.
struct Attributes {
    std::string spec;                      ///< JSON of the model spec; empty: the ones that it stands for
    anchor_grid::SpecAttributes in_parts;  ///< what is read of the spec, given in one way or the other
    float conf = Thresholds{}.conf;
    float iou = Thresholds{}.iou;
    int32_t max_det = Thresholds{}.max_det;
    int32_t max_candidates = ops::NmsParams{}.max_nms;
    int32_t agnostic = 0;
    std::string nms = "iou";

    /// call(name, value) for each that `spec` stands for.
    template <typename Self, typename Call>
    static void each_part(Self& parts, Call&& call) {
        call("layout", parts.layout);
        call("strides", parts.strides);
        call("anchors", parts.anchors);
        call("num_classes", parts.num_classes);
        call("num_keypoints", parts.num_keypoints);
        call("keypoint_dims", parts.keypoint_dims);
        call("imgsz", parts.imgsz);
        call("sigmas", parts.sigmas);
    }
    /// call(name, value) for each that it does not stand for.
    template <typename Self, typename Call>
    static void each_other(Self& self, Call&& call) {
        call("spec", self.spec);
        call("conf", self.conf);
        call("iou", self.iou);
        call("max_det", self.max_det);
        call("max_candidates", self.max_candidates);
        call("agnostic", self.agnostic);
        call("nms", self.nms);
    }
    /// call(name, value, least, most, what is expected) for each of these that is a number.
    template <typename Call>
    void each_bounded(Call&& call) const {
        call("conf", conf, 0.0f, 1.0f, "0 to 1");
        call("iou", iou, 0.0f, 1.0f, "0 to 1");
        call("max_det", max_det, 1, EngineOptions::kMaxMaxDet, "1 to " + std::to_string(EngineOptions::kMaxMaxDet));
        call("max_candidates", max_candidates, 1, 1 << 30, "at least 1");
        call("agnostic", agnostic, 0, 1, "0 or 1");
    }

    /// Throws Error(input) naming the attribute for one that is unknown, of the wrong type or length, or not what the
    /// spec says.
    static Attributes read(const nvinfer1::PluginFieldCollection& given);

    /// The fields that read() understands; they point into this object.
    std::vector<nvinfer1::PluginField> fields() const;

    /// Names and types alone, for the creator.
    static std::vector<nvinfer1::PluginField> names();

    /// In one line, for the engine inspector.
    std::string to_text() const;

    /// Throws Error(input) naming the attribute that is out of its range.
    ModelSpec checked_spec() const;
    Thresholds thresholds() const { return {conf, iou, max_det, agnostic != 0, nms == "oks"}; }
};

}  // namespace trtpose::plugins
