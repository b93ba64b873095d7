// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family.hpp"
#include "families/kapao/options.hpp"
#include "families/kapao/predictions.hpp"

namespace trtpose::kapao {

/// Where the numbers of outputs of these shapes are, without data. Throws Error(model) where they do not fit the spec.
Predictions view_of(const ModelSpec& spec, Form form, const families::OutputShapes& outputs);

/// Put the outputs' data in.
void place_data(Form form, Span<const void* const> outputs, Predictions& all);

}  // namespace trtpose::kapao
