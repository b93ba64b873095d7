// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "trtpose/model_spec.hpp"

namespace trtpose {

/// What Ultralytics' exporters write beside the graph, as far as it is there.
struct UltralyticsMetadata {
    bool present = false;  ///< whether it tells the keypoints
    bool end2end = false;
    int stride = 0;  ///< the largest; 0: not said
    Size imgsz;      ///< {}: not said
    int keypoints = 0, dims = 0;
    std::vector<std::string> names;      ///< of classes
    std::vector<std::string> kpt_names;  ///< of keypoints; empty: not said. Numbers where the classes' names differ

    /// Throws Error(model) where an entry is unreadable or the network is for another task.
    static UltralyticsMetadata of(const ModelFile& file);
};

}  // namespace trtpose
