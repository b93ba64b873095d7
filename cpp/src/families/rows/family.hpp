// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"

namespace trtpose::rows {

/// Networks that give a row of numbers for each person, boxes and scores in one tensor and keypoints in another, as
/// RTMO is deployed.
class Rows final : public families::Family {
public:
    const char* name() const override { return "rows"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int most_candidates) const override;

    std::vector<std::string> kept_keys() const override { return {"form", "rows", "suppress"}; }
    void check_fields(const SpecReader& json, const ModelSpec& spec) const override;

    std::string misfit(const ModelSpec& spec, const ModelFile& file) const override;
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                    NetworkProbe* probe) const override;
    int64_t most_rows(const ModelSpec& spec) const override;
};

}  // namespace trtpose::rows
