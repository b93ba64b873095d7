// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
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
    /// A whole number from `low` to `high`, both exact in JSON; nothing if it is anything else.
    std::optional<int64_t> whole(double low, double high) const;
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

/// The shortest text that reads back as the same number; not by a stream, which would follow the program's locale.
std::string json_number(float value);

/// A list as JSON; `one` gives the text of an entry.
template <typename T, typename F>
std::string json_list(const std::vector<T>& values, F&& one) {
    std::string out = "[";
    for (const auto& value : values) {
        if (out.size() > 1) out += ", ";
        out += one(value);
    }
    return out + "]";
}

/// `text` as a JSON string with its quotes.
std::string quote_json(std::string_view text);

}  // namespace trtpose
