// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace trtpose {

/// A value of JSON or of Python's literals: what metadata of models is written in. Ultralytics' exporters write str()
/// of Python objects, trtpose writes JSON; the two differ in quotes, True/False/None, tuples and keys that are numbers,
/// and one reader takes both.
struct Literal {
    using List = std::vector<Literal>;
    using Dict = std::vector<std::pair<std::string, Literal>>;  ///< in file order; keys that are numbers as text
    std::variant<std::nullptr_t, bool, double, std::string, List, Dict> value = nullptr;
    std::string_view source;  ///< the text it was read from

    bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }
    const bool* boolean() const { return std::get_if<bool>(&value); }
    const double* number() const { return std::get_if<double>(&value); }
    const std::string* string() const { return std::get_if<std::string>(&value); }
    const List* list() const { return std::get_if<List>(&value); }
    const Dict* dict() const { return std::get_if<Dict>(&value); }
    /// The entry of a dict, or null.
    const Literal* find(std::string_view key) const;
};

/// Parse all of `text`, which must outlive the result. Throws std::invalid_argument with the position and what was
/// expected there.
Literal parse_literal(std::string_view text);

/// A value as JSON, whatever it was written in.
std::string to_json(const Literal& value);

/// `text` as a JSON string with its quotes.
std::string quote_json(std::string_view text);

}  // namespace trtpose
