// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"

namespace trtpose::kapao {

/// Networks that find people with their keypoints and single keypoints as objects, which are then fused (KAPAO, McNally
/// et al., 2022).
class Kapao final : public families::Family {
public:
    const char* name() const override { return "kapao"; }
    std::unique_ptr<families::PoseReader> reader(const ModelSpec& spec, int most_candidates) const override;

    std::vector<std::string> keys() const override { return {"anchors"}; }
    std::vector<std::string> kept_keys() const override {
        return {"form",          "thresholds",  "conf_kp", "iou_kp",      "conf_kp_person",
                "overwrite_tol", "max_objects", "fusion",  "round_boxes", "zero_unreplaced"};
    }
    void read_fields(const SpecReader& json, ModelSpec& spec) const override;
    void check_fields(const SpecReader& json, const ModelSpec& spec) const override;
    std::vector<std::pair<std::string, std::string>> write_fields(const ModelSpec& spec) const override;

    std::string misfit(const ModelSpec& spec, const ModelFile& file) const override;
    families::Recognition recognise(const ModelFile& file, const UltralyticsMetadata& metadata,
                                    NetworkProbe* probe) const override;
};

}  // namespace trtpose::kapao
