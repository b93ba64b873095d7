// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trtpose/model_spec.hpp"

namespace trtpose {

/// Refuse a half of what finds a person with one network and looks at the cut-out picture with another, where its
/// outputs tell it. Throws Error(model).
void check_one_stage(const ModelFile& file);

}  // namespace trtpose
