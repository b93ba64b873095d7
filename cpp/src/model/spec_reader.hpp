// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "model/literal.hpp"

namespace trtpose {

/// Reads the fields of a model spec's JSON and says in every error which file and field it is about.
class SpecReader {
public:
    /// `root`, which is kept by reference, is a dict; `source` names the file.
    SpecReader(const Literal& root, std::string source) : root_(root), source_(std::move(source)) {}

    template <typename... Args>
    [[noreturn]] void fail(const Args&... args) const {
        throw Error(ErrorCode::model, text(source_, ": ", args..., "; docs/conventions.md describes the model spec"));
    }

    const std::string& source() const { return source_; }
    const Literal::Dict& entries() const { return *root_.dict(); }
    const Literal* find(const char* key) const {
        asked_.insert(key);
        return root_.find(key);
    }
    const Literal& need(const char* key) const;
    /// The keys that were looked for.
    const std::set<std::string>& asked() const { return asked_; }

    double number(const Literal& value, const char* key) const;
    int whole(const Literal& value, const char* key, int low, int high) const;
    std::string string(const Literal& value, const char* key) const;
    const Literal::List& list(const Literal& value, const char* key) const;
    /// A list of two.
    const Literal::List& pair(const Literal& value, const char* key) const;
    /// A list of lists of two numbers, as anchors are written.
    std::vector<std::vector<std::pair<float, float>>> pairs(const Literal& value, const char* key) const;

private:
    const Literal& root_;
    std::string source_;
    mutable std::set<std::string> asked_;
};

}  // namespace trtpose
