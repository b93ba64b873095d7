// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/check.hpp"
#include "families/anchor_grid/family.hpp"
#include "families/family.hpp"
#include "families/kapao/family.hpp"
#include "families/movenet/family.hpp"
#include "families/openpose/family.hpp"
#include "families/rows/family.hpp"

namespace trtpose::families {
namespace {

std::vector<const Family*>& registry() {
    static const anchor_grid::AnchorGrid anchor_grid;
    static const kapao::Kapao kapao;
    static const movenet::MoveNet movenet;
    static const openpose::OpenPose openpose;
    static const rows::Rows rows;
    static std::vector<const Family*> all{
        &anchor_grid, &kapao, &movenet, &openpose, &rows,
    };
    return all;
}

}  // namespace

const std::vector<const Family*>& all_families() { return registry(); }

void add_family(const Family& family) {
    require(!find_family(family.name()), ErrorCode::input, "a family named ", family.name(), " is there already");
    registry().push_back(&family);
}

const Family* find_family(const std::string& name) {
    const auto& all = registry();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Family* f) { return f->name() == name; });
    return found == all.end() ? nullptr : *found;
}

const Family& family_of(const ModelSpec& spec) {
    const Family* family = find_family(spec.family);
    require(family != nullptr, ErrorCode::model, "model spec ", spec.name, ": family is '", spec.family, "', expected ",
            family_names());
    return *family;
}

std::string family_names() {
    const auto& all = registry();
    std::string out;
    for (size_t i = 0; i < all.size(); ++i)
        out += (i == 0 ? "" : i + 1 < all.size() ? ", " : " or ") + std::string(all[i]->name());
    return out;
}

}  // namespace trtpose::families
