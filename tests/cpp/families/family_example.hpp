// SPDX-License-Identifier: Apache-2.0
// What the contract wants to know of a family: networks of it, and outputs of which it is known what they hold.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "families/family.hpp"

namespace trtpose::test {

enum class Holds {
    nobody,
    somebody,     ///< here and there, differently for each `random`
    everybody,    ///< wherever there could be one
    not_a_number  ///< in every place
};

/// A network by its spec, at one size of its input.
struct FamilyExample {
    std::string name;  ///< letters, digits and underscores: part of the test's name
    ModelSpec spec;
    Size input;
    std::vector<std::vector<int64_t>> shapes;  ///< of the outputs, for one image
    /// Numbers of one image, output by output.
    std::function<std::vector<std::vector<float>>(Holds, std::mt19937&)> make;
    bool counted = false;  ///< a list has a row for each anchor of the input's grid, or of another output
    int most = 0;          ///< poses of an image that it can give; 0: any number
};

/// Examples of every family that takes part, by the family's name. Those of the tests alone are added to the registry.
struct FamilyUnderTest {
    const families::Family* family;
    std::vector<FamilyExample> examples;
};
const std::vector<FamilyUnderTest>& families_under_test();

}  // namespace trtpose::test
