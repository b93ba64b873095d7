// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

/// Networks of a few keypoints: heatmaps and fields apart by our rules, and joined by the reference's.
std::vector<FamilyExample> openpose_examples();

}  // namespace trtpose::test
