// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"

namespace trtpose::movenet {

/// MoveNet and its reproductions: a heatmap of centres, and for each person the cell of each keypoint's heatmap that is
/// high and near to where the centre expects it.
class MoveNet final : public families::Family {
public:
    const char* name() const override { return "movenet"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int most_candidates) const override;

    std::vector<std::string> kept_keys() const override {
        return {"form", "pairs", "activated", "rounded", "floor", "softening", "spread", "counted", "cell", "people"};
    }
    void check_fields(const SpecReader& json, const ModelSpec& spec) const override;

    std::string misfit(const ModelSpec& spec, const ModelFile& file) const override;
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                    NetworkProbe* probe) const override;
    bool adopts(const ModelFile& file) const override;
};

}  // namespace trtpose::movenet
