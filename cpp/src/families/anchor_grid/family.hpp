// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"

namespace trtpose::anchor_grid {

/// Networks that say for each anchor of each cell of a grid whether somebody is there and where (YOLO-Pose and its
/// kin).
class AnchorGrid final : public families::Family {
public:
    const char* name() const override { return "anchor_grid"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int most_candidates) const override;

    std::vector<std::string> keys() const override { return {"layout", "anchors"}; }
    void read_fields(const SpecReader& json, ModelSpec& spec) const override;
    void check_fields(const SpecReader& json, const ModelSpec& spec) const override;
    std::vector<std::pair<std::string, std::string>> write_fields(const ModelSpec& spec) const override;

    ScoredRows scored_rows(const ModelSpec& spec) const override;
    std::string misfit(const ModelSpec& spec, const ModelFile& file) const override;
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                    NetworkProbe* probe) const override;
};

}  // namespace trtpose::anchor_grid
