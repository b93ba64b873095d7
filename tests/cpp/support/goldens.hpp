// SPDX-License-Identifier: Apache-2.0
// Reference values that other programs computed, as support/export_goldens.py writes them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trtpose::test {

/// An array of one of the five types; the other vectors are empty.
struct GoldenArray {
    std::vector<int64_t> shape;
    std::vector<float> floats;
    std::vector<uint8_t> bytes;
    std::vector<int32_t> ints;
    std::vector<double> doubles;
    std::vector<int64_t> longs;
};

using Goldens = std::map<std::string, GoldenArray>;

/// The arrays of NAME.bin, or null where the build had no reference values; `why` then says why.
const Goldens* find_goldens(const std::string& name, std::string* why);

}  // namespace trtpose::test

/// Reference values as `variable`; without them the test is skipped, with the reason.
#define TRTPOSE_GOLDENS_OR_SKIP(variable, name)                                                  \
    std::string variable##_missing;                                                              \
    const auto* const variable##_found = trtpose::test::find_goldens(name, &variable##_missing); \
    if (!variable##_found) GTEST_SKIP() << variable##_missing;                                   \
    const trtpose::test::Goldens& variable = *variable##_found
