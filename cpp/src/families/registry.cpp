// SPDX-License-Identifier: Apache-2.0
#include "families/anchor_grid/family.hpp"

namespace trtpose::families {

const std::vector<const Family*>& builtin_families() {
    static const anchor_grid::AnchorGrid anchor_grid;
    static const std::vector<const Family*> all{&anchor_grid};
    return all;
}

const Family& family_of(const ModelSpec&) { return *builtin_families().front(); }

}  // namespace trtpose::families
