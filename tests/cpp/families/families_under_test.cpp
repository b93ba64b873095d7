// SPDX-License-Identifier: Apache-2.0
// The families that the contract is held against: one line each.
#include "families/anchor_grid/example.hpp"
#include "families/family_example.hpp"
#include "families/kapao/example.hpp"
#include "families/movenet/example.hpp"
#include "families/openpose/example.hpp"
#include "families/rows/example.hpp"
#include "families/tiny/tiny.hpp"

namespace trtpose::test {

const std::vector<FamilyUnderTest>& families_under_test() {
    static const std::vector<FamilyUnderTest> all{
        {families::find_family("anchor_grid"), anchor_grid_examples()},
        {families::find_family("kapao"), kapao_examples()},
        {families::find_family("movenet"), movenet_examples()},
        {families::find_family("openpose"), openpose_examples()},
        {families::find_family("rows"), rows_examples()},
        {added_tiny_family(), tiny_examples()},
    };
    return all;
}

}  // namespace trtpose::test
