// SPDX-License-Identifier: Apache-2.0
// The family's own keys of a spec. README.md here says what each means.
#pragma once

#include <cstdint>
#include <vector>

#include "trtpose/math/host_device.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {
class SpecReader;
}

namespace trtpose::movenet {

enum class Form : uint8_t {
    single,        ///< N × 1 × K × 3: y, x, score, divided by the input's height and width
    multi,         ///< N × P × (3K + 5): K of these, then ymin, xmin, ymax, xmax, score
    single_heads,  ///< heatmap K, center 1, regress 2K, offset 2K channels on a grid
    multi_heads,   ///< the four, then box_scale 2 and box_offset 2
};

const char* to_string(Form form);
TRTPOSE_HD bool is_raw(Form form) { return form == Form::single_heads || form == Form::multi_heads; }
TRTPOSE_HD bool is_single(Form form) { return form == Form::single || form == Form::single_heads; }

struct Settings {
    Form form = Form::single;
    bool xy = false;         ///< pairs of channels are (x, y), not (y, x)
    bool activated = false;  ///< heatmap and center are scores already, not logits
    bool rounded = false;    ///< expected places are rounded to cells as int(v + 0.5) does
    float floor = 0;         ///< a keypoint whose heatmap is below is not there
    float softening = 1.8f;  ///< added to the distance that a heatmap is divided by, in cells
    float spread = 0.3f;     ///< of the bell that a heatmap is multiplied by, times the grid's shorter side
    float counted = 0.2f;    ///< keypoints above it count for the person's score
    float cell = 0;          ///< pixels of a cell as the network has them; 0: the stride
    int people = 0;          ///< the greatest centres alone, as the network's own decoding does; 0: all above conf

    /// Of a spec that was checked. Throws Error(model) for one that was not.
    static Settings of(const ModelSpec& spec);
    /// Throws Error(model), by `json`.
    static Settings read(const SpecReader& json);
};

/// Shape of each output; -1 where it is free.
std::vector<std::vector<int64_t>> output_shapes(Form form, int keypoints);

}  // namespace trtpose::movenet
