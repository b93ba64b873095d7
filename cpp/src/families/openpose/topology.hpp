// SPDX-License-Identifier: Apache-2.0
// Which keypoints a network's maps stand for and which of them its fields join: the family's own fields of a spec, as
// plain numbers that kernels take as they are.
#pragma once

#include <cstdint>

#include "trtpose/model_spec.hpp"

namespace trtpose::openpose {

inline constexpr int kMaxMaps = 64, kMaxLimbs = 64, kMaxFactor = 8;

/// From map `from` to map `to`; the field's x is channel `field`, its y the next.
struct Limb {
    int16_t from, to, field;
};

struct Topology {
    int maps = 0;            ///< keypoints the network knows, without the background behind them
    int limbs = 0;           ///< in the order in which poses are put together
    int filling = 0;         ///< the last of them, which only fill what poses lack
    int keypoints = 0;       ///< of a result
    int factor = 0;          ///< by which maps are enlarged before peaks are sought
    bool joined = false;     ///< one output, heatmaps before fields
    bool reference = false;  ///< the reference's rules, down to where its arithmetic loses people
    Limb limb[kMaxLimbs] = {};
    int16_t map_of[kMaxMaps] = {};  ///< of each keypoint of a result

    int heatmap_channels() const { return maps + 1; }
    int field_channels() const { return 2 * limbs; }
};

/// Throws Error(model) for a spec whose own fields are missing or wrong.
Topology topology_of(const ModelSpec& spec);

}  // namespace trtpose::openpose
