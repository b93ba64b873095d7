// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

/// Some keypoints with sigmas, and one without.
std::vector<FamilyExample> rows_examples();

}  // namespace trtpose::test
