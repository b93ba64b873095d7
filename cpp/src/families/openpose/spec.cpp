// SPDX-License-Identifier: Apache-2.0
// The family's own fields of a spec.
#include <algorithm>
#include <set>

#include "core/check.hpp"
#include "families/openpose/family.hpp"
#include "families/openpose/topology.hpp"
#include "model/literal.hpp"
#include "model/spec_reader.hpp"

namespace trtpose::openpose {
namespace {

constexpr const char* kForms[] = {"maps", "joined"};
constexpr const char* kRules[] = {"own", "reference"};
constexpr int kFactors[] = {1, 2, 4, kMaxFactor};

/// Which of two words a text is; the first where the key is missing.
bool second_of(const SpecReader& json, const char* key, const char* const (&words)[2]) {
    const Literal* value = json.find(key);
    if (!value) return false;
    const std::string word = json.string(*value, key);
    if (word != words[0] && word != words[1]) json.fail(key, " is '", word, "', expected ", words[0], " or ", words[1]);
    return word == words[1];
}

void read_limbs(const SpecReader& json, Topology& t) {
    const auto& limbs = json.list(json.need("limbs"), "limbs");
    if (limbs.empty() || limbs.size() > kMaxLimbs)
        json.fail("limbs has ", limbs.size(), " entries, expected 1 to ", kMaxLimbs);
    t.limbs = static_cast<int>(limbs.size());
    for (size_t i = 0; i < limbs.size(); ++i) {
        const auto& numbers = json.list(limbs[i], "limbs");
        if (numbers.size() != 3) json.fail("limbs needs three numbers for each: from, to, channel of the field's x");
        t.limb[i] = {static_cast<int16_t>(json.whole(numbers[0], "limbs", 0, t.maps - 1)),
                     static_cast<int16_t>(json.whole(numbers[1], "limbs", 0, t.maps - 1)),
                     static_cast<int16_t>(json.whole(numbers[2], "limbs", 0, t.field_channels() - 2))};
        if (t.limb[i].from == t.limb[i].to)
            json.fail("limbs: number ", i, " joins keypoint ", t.limb[i].to, " to itself");
    }
    if (const Literal* value = json.find("filling")) t.filling = json.whole(*value, "filling", 0, t.limbs - 1);
}

/// Each peak belongs to one pose at most where limbs grow trees: a limb's second keypoint has been in none before it.
void check_order(const SpecReader& json, const Topology& t) {
    std::set<int> seen, filled;
    for (int i = 0; i < t.limbs; ++i) {
        const Limb& limb = t.limb[i];
        if (i >= t.limbs - t.filling) {
            if (!filled.insert(limb.from).second || !filled.insert(limb.to).second)
                json.fail("limbs: number ", i, " fills a keypoint that another one fills already");
            continue;
        }
        if (seen.count(limb.to))
            json.fail("limbs: number ", i, " ends in keypoint ", limb.to,
                      ", which is in one before it; poses grow from their first keypoints outwards");
        seen.insert(limb.from);
        seen.insert(limb.to);
    }
}

void read_maps(const SpecReader& json, const ModelSpec& spec, Topology& t) {
    const auto& maps = json.list(json.need("keypoint_maps"), "keypoint_maps");
    if (maps.size() != static_cast<size_t>(spec.keypoints) || maps.size() > kMaxMaps)
        json.fail("keypoint_maps has ", maps.size(), " numbers for ", spec.keypoints, " keypoints, of which there are ",
                  kMaxMaps, " at most");
    t.keypoints = spec.keypoints;
    for (size_t k = 0; k < maps.size(); ++k)
        t.map_of[k] = static_cast<int16_t>(json.whole(maps[k], "keypoint_maps", 0, t.maps - 1));
}

Topology read_topology(const SpecReader& json, const ModelSpec& spec) {
    Topology t;
    t.joined = second_of(json, "form", kForms);
    t.reference = second_of(json, "rule", kRules);
    t.maps = json.whole(json.need("maps"), "maps", 2, kMaxMaps);
    read_limbs(json, t);
    check_order(json, t);
    read_maps(json, spec, t);
    t.factor = 4;
    if (const Literal* value = json.find("enlarge")) t.factor = json.whole(*value, "enlarge", 1, kMaxFactor);
    if (std::find(std::begin(kFactors), std::end(kFactors), t.factor) == std::end(kFactors))
        json.fail("enlarge is ", t.factor, ", expected 1, 2, 4 or ", kMaxFactor);
    if (spec.strides.size() != 1) json.fail("strides has ", spec.strides.size(), " numbers, maps have one stride");
    if (spec.keypoint_dims != 3)
        json.fail("kpt_shape has ", spec.keypoint_dims, " numbers for each keypoint, expected 3");
    if (spec.classes() != 1) json.fail("names has ", spec.classes(), " classes, maps are of one");
    return t;
}

}  // namespace

void OpenPose::check_fields(const SpecReader& json, const ModelSpec& spec) const {
    static_cast<void>(read_topology(json, spec));
}

Topology topology_of(const ModelSpec& spec) {
    const std::string json = spec.to_json();
    const Literal root = parse_literal(json);
    return read_topology(SpecReader(root, "model spec " + spec.name), spec);
}

}  // namespace trtpose::openpose
