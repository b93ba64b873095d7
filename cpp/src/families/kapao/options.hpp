// SPDX-License-Identifier: Apache-2.0
// What a spec of KAPAO says beside the fields that all specs have.
#pragma once

#include "model/spec_reader.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::kapao {

/// How far the numbers in a network's outputs are decoded.
enum class Form : uint8_t {
    heads,      ///< per stride N × (A·F) × h × w, before the sigmoid
    heads5d,    ///< per stride N × A × h × w × F, before the sigmoid
    decoded,    ///< N × M × F, boxes and keypoints in input pixels
    sigmoid,    ///< N × M × F, behind the sigmoid and nothing else
    undecoded,  ///< N × M × F, boxes in input pixels, keypoints behind the sigmoid and nothing else
};

inline bool is_raw(Form form) { return form == Form::heads || form == Form::heads5d; }

const char* to_string(Form form);

/// Thresholds that calls do not name, and choices.
struct Options {
    Form form = Form::heads;
    double conf_kp = 0.2;          ///< keypoint objects are kept above it
    double iou_kp = 0.25;          ///< of those of a class, suppressed where the overlap is above
    double conf_kp_person = 0.3;   ///< people above it get keypoint objects
    double overwrite_tol = 50;     ///< frame pixels below which one replaces a keypoint
    int max_objects = 300;         ///< kept of a suppression
    bool fusion = true;            ///< keypoint objects replace keypoints
    bool round_boxes = false;      ///< to whole pixels, half to even
    bool zero_unreplaced = false;  ///< confidence of keypoints that none replaced: 0 in place of (1 + score)/2
};

/// Throws Error(model), by `json`.
Options read_options(const SpecReader& json);

/// Those of a spec, from its `extra`. Throws Error(model).
Options options_of(const ModelSpec& spec);

/// Numbers of an anchor: box, objectness, a score for the person and one for each keypoint, two coordinates of each.
inline int64_t fields_of(int keypoints) { return 6 + int64_t{3} * keypoints; }

inline size_t output_count(const ModelSpec& spec, Form form) { return is_raw(form) ? spec.strides.size() : 1; }

/// Shape of each output; -1 where the spec leaves it open.
std::vector<int64_t> output_shape(const ModelSpec& spec, Form form);

}  // namespace trtpose::kapao
