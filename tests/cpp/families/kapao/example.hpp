// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

/// One of each form, and one whose people and keypoint objects are suppressed together.
std::vector<FamilyExample> kapao_examples();

}  // namespace trtpose::test
