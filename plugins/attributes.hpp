// SPDX-License-Identifier: Apache-2.0
// What a node of type trtpose_decode_nms says: its attributes as TensorRT passes them, checked.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <string>
#include <vector>
// TensorRT's own includes this in the line before.
#include <NvInferRuntimePlugin.h>

#include "trtpose/model_spec.hpp"
#include "trtpose/views.hpp"

namespace trtpose::plugins {

inline constexpr const char* kPluginName = "trtpose_decode_nms";
inline constexpr const char* kPluginVersion = "1";

/// The attributes as they stand in the node; docs/plugin.md explains each.
struct Attributes {
    std::string layout = "heads";
    std::vector<int32_t> strides;
    std::vector<float> anchors;  ///< stride by stride, anchor by anchor: width, height
    int32_t num_classes = 1;
    int32_t num_keypoints = 0;
    int32_t keypoint_dims = 3;
    std::vector<int32_t> imgsz;  ///< height, width; for layouts without a grid
    float conf = 0.25f;
    float iou = 0.65f;
    int32_t max_det = 300;
    int32_t max_candidates = 30000;
    int32_t agnostic = 0;
    std::string nms = "iou";
    std::vector<float> sigmas;

    /// call(name, value) for each.
    template <typename Self, typename Call>
    static void each(Self& self, Call&& call) {
        call("layout", self.layout);
        call("strides", self.strides);
        call("anchors", self.anchors);
        call("num_classes", self.num_classes);
        call("num_keypoints", self.num_keypoints);
        call("keypoint_dims", self.keypoint_dims);
        call("imgsz", self.imgsz);
        call("conf", self.conf);
        call("iou", self.iou);
        call("max_det", self.max_det);
        call("max_candidates", self.max_candidates);
        call("agnostic", self.agnostic);
        call("nms", self.nms);
        call("sigmas", self.sigmas);
    }

    /// Throws Error(input) naming the attribute for one that is unknown or of the wrong type or length.
    static Attributes read(const nvinfer1::PluginFieldCollection& given);

    /// The fields that read() understands; they point into this object.
    std::vector<nvinfer1::PluginField> fields() const;

    /// Names and types alone, for the creator.
    static std::vector<nvinfer1::PluginField> names();

    /// In one line, for the engine inspector.
    std::string to_text() const;

    bool raw() const { return layout == "heads" || layout == "heads5d"; }
    int heads() const { return raw() ? static_cast<int>(strides.size()) : 1; }

    // What the operations take. All throw Error(input) naming the attribute that is wrong.
    ModelSpec spec() const;
    ops::NmsParams nms_params() const;
    /// Throws for a value out of its range.
    void check() const;
};

}  // namespace trtpose::plugins
