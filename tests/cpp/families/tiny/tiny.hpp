// SPDX-License-Identifier: Apache-2.0
// A family of the tests alone: rows of a score and keypoints in input pixels, which need no suppression. As small as a
// family can be, and all that one needs.
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

/// The family, which this adds to the registry when it is first asked for.
const families::Family* added_tiny_family();

std::vector<FamilyExample> tiny_examples();

}  // namespace trtpose::test
