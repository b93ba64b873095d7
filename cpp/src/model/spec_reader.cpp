// SPDX-License-Identifier: Apache-2.0
#include "model/spec_reader.hpp"

#include <cmath>
#include <limits>

namespace trtpose {
namespace {

std::string shown(const Literal& value) {
    constexpr size_t kMost = 60;
    std::string out(value.source.substr(0, kMost));
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < 32) c = ' ';
    }
    return value.source.size() > kMost ? out + "..." : out;
}

}  // namespace

const Literal& SpecReader::need(const char* key) const {
    const Literal* value = find(key);
    if (!value) fail("the model spec lacks ", key);
    return *value;
}

double SpecReader::number(const Literal& value, const char* key) const {
    const double* n = value.number();
    if (!n) fail(key, " holds ", shown(value), " where a number is expected");
    if (std::abs(*n) > std::numeric_limits<float>::max()) fail(key, " holds ", shown(value), ", beyond float32");
    return *n;
}

int SpecReader::whole(const Literal& value, const char* key, int low, int high) const {
    number(value, key);
    const auto n = value.whole(low, high);
    if (!n) fail(key, " holds ", shown(value), " where a whole number from ", low, " to ", high, " is expected");
    return static_cast<int>(*n);
}

std::string SpecReader::string(const Literal& value, const char* key) const {
    const std::string* s = value.string();
    if (!s) fail(key, " holds ", shown(value), " where a text is expected");
    return *s;
}

const Literal::List& SpecReader::list(const Literal& value, const char* key) const {
    const Literal::List* l = value.list();
    if (!l) fail(key, " holds ", shown(value), " where a list is expected");
    return *l;
}

const Literal::List& SpecReader::pair(const Literal& value, const char* key) const {
    const auto& l = list(value, key);
    if (l.size() != 2) fail(key, " holds ", shown(value), " where two numbers are expected");
    return l;
}

std::vector<std::vector<std::pair<float, float>>> SpecReader::pairs(const Literal& value, const char* key) const {
    std::vector<std::vector<std::pair<float, float>>> out;
    for (const auto& entry : list(value, key)) {
        auto& pairs = out.emplace_back();
        for (const auto& two : list(entry, key)) {
            const auto& side = pair(two, key);
            pairs.emplace_back(static_cast<float>(number(side[0], key)), static_cast<float>(number(side[1], key)));
        }
    }
    return out;
}

}  // namespace trtpose
