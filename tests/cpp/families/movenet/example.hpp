// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "families/family_example.hpp"

namespace trtpose::test {

std::vector<FamilyExample> movenet_examples();

}  // namespace trtpose::test
