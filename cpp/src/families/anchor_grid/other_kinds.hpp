// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "families/family.hpp"
#include "model/ultralytics.hpp"

namespace trtpose::anchor_grid {

/// Whether a map's channels may be the bins of a box's distributions (DFL), a score and keypoints.
bool may_hold_box_bins(int64_t channels);

/// What a file's outputs are where they are of a kind that no spec can describe, by its name; nothing where they may
/// be raw heads or a list of people. `spec` holds what is known of keypoints and classes.
std::optional<families::Recognition> other_kind(const ModelFile& file, const UltralyticsMetadata& metadata,
                                                const ModelSpec& spec);

}  // namespace trtpose::anchor_grid
