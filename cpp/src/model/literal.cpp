// SPDX-License-Identifier: Apache-2.0
#include "model/literal.hpp"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace trtpose {
namespace {

// Deeper than any spec; keeps hostile input from exhausting the stack.
constexpr int kMaxDepth = 32;

template <typename T>
std::string number_text(T value) {
    char buffer[32];
    const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
    return std::string(buffer, result.ptr);
}

class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Literal document() {
        Literal result = value(0);
        space();
        if (at_ != text_.size()) fail("the end");
        return result;
    }

private:
    [[noreturn]] void fail(const char* expected) const {
        throw std::invalid_argument("expected " + std::string(expected) + " at character " + std::to_string(at_ + 1));
    }

    void space() {
        while (at_ < text_.size() &&
               (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
            ++at_;
    }

    char peek() {
        space();
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    bool take(char c) {
        if (peek() != c) return false;
        ++at_;
        return true;
    }

    bool take_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Literal value(int depth) {
        if (depth > kMaxDepth) fail("less nesting");
        const char c = peek();
        const size_t begin = at_;
        Literal result;
        if (c == '{') {
            result.value = dict(depth);
        } else if (c == '[' || c == '(') {
            result.value = list(depth, c == '[' ? ']' : ')');
        } else if (c == '"' || c == '\'') {
            result.value = string();
        } else if (take_word("true") || take_word("True")) {
            result.value = true;
        } else if (take_word("false") || take_word("False")) {
            result.value = false;
        } else if (take_word("null") || take_word("None")) {
            result.value = nullptr;
        } else {
            result.value = number();
        }
        result.source = text_.substr(begin, at_ - begin);
        return result;
    }

    double number() {
        double result = 0;
        const char* begin = text_.data() + at_;
        const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), result);
        if (error != std::errc() || !std::isfinite(result)) fail("a value");
        at_ += static_cast<size_t>(end - begin);
        return result;
    }

    Literal::List list(int depth, char close) {
        Literal::List result;
        ++at_;
        while (!take(close)) {
            result.push_back(value(depth + 1));
            if (!take(',') && peek() != close) fail(close == ']' ? "',' or ']'" : "',' or ')'");
        }
        return result;
    }

    Literal::Dict dict(int depth) {
        Literal::Dict result;
        ++at_;
        while (!take('}')) {
            const char c = peek();
            std::string key;
            if (c == '"' || c == '\'') {
                key = string();
            } else {
                const size_t begin = at_;
                number();
                key = text_.substr(begin, at_ - begin);
            }
            if (!take(':')) fail("':'");
            result.emplace_back(std::move(key), value(depth + 1));
            if (!take(',') && peek() != '}') fail("',' or '}'");
        }
        return result;
    }

    unsigned hex(int digits) {
        unsigned code = 0;
        for (int i = 0; i < digits; ++i, ++at_) {
            const char c = at_ < text_.size() ? text_[at_] : '\0';
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) fail("a hexadecimal digit");
            code = code * 16 + static_cast<unsigned>(digit);
        }
        return code;
    }

    static void append_utf8(std::string& out, unsigned code) {
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xC0 | (code >> 6));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | (code >> 12));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else {
            out += static_cast<char>(0xF0 | (code >> 18));
            out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
            out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
    }

    std::string string() {
        const char quote = text_[at_++];
        std::string result;
        for (;;) {
            if (at_ >= text_.size()) fail("the closing quote");
            const char c = text_[at_++];
            if (c == quote) return result;
            if (c != '\\') {
                result += c;
                continue;
            }
            if (at_ >= text_.size()) fail("an escaped character");
            switch (const char e = text_[at_++]) {
                case 'n': result += '\n'; break;
                case 't': result += '\t'; break;
                case 'r': result += '\r'; break;
                case 'b': result += '\b'; break;
                case 'f': result += '\f'; break;
                case 'x': append_utf8(result, hex(2)); break;
                case 'u': {
                    unsigned code = hex(4);
                    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
                        at_ += 2;
                        const unsigned low = hex(4);
                        if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair");
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    }
                    append_utf8(result, code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code);
                    break;
                }
                case '"':
                case '\'':
                case '\\':
                case '/': result += e; break;
                default: --at_; fail("a known escape");
            }
        }
    }

    std::string_view text_;
    size_t at_ = 0;
};

}  // namespace

const Literal* Literal::find(std::string_view key) const {
    if (const Dict* entries = dict()) {
        for (const auto& [name, entry] : *entries) {
            if (name == key) return &entry;
        }
    }
    return nullptr;
}

std::optional<int64_t> Literal::whole(double low, double high) const {
    const double* n = number();
    if (!n || *n != std::floor(*n) || *n < low || *n > high) return std::nullopt;
    return static_cast<int64_t>(*n);
}

Literal parse_literal(std::string_view text) { return Parser(text).document(); }

std::string to_json(const Literal& literal) {
    if (literal.is_null()) return "null";
    if (const bool* b = literal.boolean()) return *b ? "true" : "false";
    if (const std::string* s = literal.string()) return quote_json(*s);
    if (const double* n = literal.number()) return number_text(*n);
    std::string out;
    if (const Literal::List* list = literal.list()) {
        for (const auto& entry : *list) out += (out.empty() ? "" : ", ") + to_json(entry);
        return "[" + out + "]";
    }
    for (const auto& [key, entry] : *literal.dict())
        out += (out.empty() ? "" : ", ") + quote_json(key) + ": " + to_json(entry);
    return "{" + out + "}";
}

std::string json_number(float value) { return number_text(value); }

std::string quote_json(std::string_view text) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += "\\u00";
            out += kHex[(c >> 4) & 15];
            out += kHex[c & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

}  // namespace trtpose
