// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

/// One of each layout.
std::vector<FamilyExample> anchor_grid_examples();

}  // namespace trtpose::test
