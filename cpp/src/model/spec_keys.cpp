// SPDX-License-Identifier: Apache-2.0
#include "model/spec_keys.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace trtpose {
namespace {

constexpr const char* kShared[] = {"trtpose", "name",      "family",   "imgsz", "strides", "outputs",
                                   "names",   "kpt_shape", "sigmas",   "color", "mean",    "std",
                                   "pad",     "placement", "rounding", "sizing"};
/// What Python reads and writes: descriptions of the keypoints, and what a build froze into the engine.
constexpr const char* kPythons[] = {"kpt_names", "skeleton", "flip_idx", "nms"};

/// Letters as people mix them up: small, and without what parts words.
std::string plain(const std::string& key) {
    std::string out;
    for (const char c : key) {
        if (c != '_' && c != '-' && c != ' ') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return out;
}

/// Letters left out, put in, changed, or changed in order with their neighbour (optimal string alignment).
size_t distance(const std::string& a, const std::string& b) {
    std::array<std::vector<size_t>, 3> rows;  // the one before the last, the last, this one
    for (auto& row : rows) row.resize(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) rows[1][j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        rows[2][0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t changed = rows[1][j - 1] + (a[i - 1] != b[j - 1]);
            rows[2][j] = std::min({changed, rows[1][j] + 1, rows[2][j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                rows[2][j] = std::min(rows[2][j], rows[0][j - 2] + 1);
        }
        std::rotate(rows.begin(), rows.begin() + 1, rows.end());
    }
    return rows[1][b.size()];
}

/// One slip in a word of four letters or more, two from eight on: nobody's note is "colour".
bool meant(const std::string& written, const std::string& known) {
    const std::string a = plain(written), b = plain(known);
    const size_t shorter = std::min(a.size(), b.size()), longer = std::max(a.size(), b.size());
    constexpr size_t kShort = 4, kLong = 8, kLongest = 40;
    if (a == b) return true;
    if (longer < kShort || longer > kLongest) return false;
    return distance(a, b) <= (shorter < kLong ? 1u : 2u);
}

bool has(const std::vector<std::string>& keys, const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

/// What says nothing in a file may stand there.
bool is_empty(const Literal& value) {
    return value.is_null() || (value.list() && value.list()->empty()) || (value.string() && value.string()->empty());
}

std::vector<std::string> known_to(const families::Family& family) {
    std::vector<std::string> out = family.keys();
    const auto kept = family.kept_keys();
    out.insert(out.end(), kept.begin(), kept.end());
    return out;
}

}  // namespace

bool is_shared_key(const std::string& key) {
    return std::find(std::begin(kShared), std::end(kShared), key) != std::end(kShared);
}

void check_unread_key(const SpecReader& json, const families::Family& family, const std::string& key,
                      const Literal& value) {
    const std::vector<std::string> own = known_to(family);
    std::vector<std::string> read(std::begin(kShared), std::end(kShared));
    read.insert(read.end(), std::begin(kPythons), std::end(kPythons));
    read.insert(read.end(), own.begin(), own.end());
    if (has(read, key) || is_empty(value)) return;
    std::string others;
    for (const families::Family* other : families::all_families()) {
        if (has(known_to(*other), key)) others += (others.empty() ? "" : ", ") + std::string(other->name());
    }
    if (!others.empty())
        json.fail("'", key, "' is a key of the family ", others, ", and this spec is of the family ", family.name(),
                  ", which does not read it; take it out, or say which \"family\" the network is of");
    for (const std::string& known : read) {
        if (meant(key, known)) json.fail("'", key, "' is no key of a model spec; did you mean '", known, "'?");
    }
}

}  // namespace trtpose
