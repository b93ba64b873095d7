// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"

namespace trtpose::openpose {

/// Networks that give a heatmap for each keypoint and a field for each limb, from which people are put together
/// (OpenPose and Lightweight OpenPose; README.md).
class OpenPose final : public families::Family {
public:
    const char* name() const override { return "openpose"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int most_candidates) const override;

    std::vector<std::string> kept_keys() const override {
        return {"form", "rule", "maps", "limbs", "filling", "keypoint_maps", "enlarge"};
    }
    void check_fields(const SpecReader& json, const ModelSpec& spec) const override;

    std::string misfit(const ModelSpec& spec, const ModelFile& file) const override;
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                    NetworkProbe* probe) const override;
};

}  // namespace trtpose::openpose
