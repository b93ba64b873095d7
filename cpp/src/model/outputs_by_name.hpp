// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string_view>

#include "trtpose/model_spec.hpp"

namespace trtpose {

/// A file's outputs, to look up as many names as a spec has; of two with one name the last. `file` must outlive it.
inline std::map<std::string_view, const TensorInfo*> outputs_by_name(const ModelFile& file) {
    std::map<std::string_view, const TensorInfo*> out;
    for (const TensorInfo& output : file.outputs) out[output.name] = &output;
    return out;
}

}  // namespace trtpose
