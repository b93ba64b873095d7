// SPDX-License-Identifier: Apache-2.0
#include "model/literal.hpp"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "support/reference.hpp"

namespace trtpose::test {
namespace {

std::string json_of(const std::string& text) { return to_json(parse_literal(text)); }

TEST(Literal, ReadsJson) {
    EXPECT_EQ(json_of("null"), "null");
    EXPECT_EQ(json_of(" true "), "true");
    EXPECT_EQ(json_of("\t\r\n-12.5e1"), "-125");
    EXPECT_EQ(json_of("0.026"), "0.026");
    EXPECT_EQ(json_of("[1, [2, 3], {}]"), "[1, [2, 3], {}]");
    EXPECT_EQ(json_of(R"({"a": 1, "b": {"c": [true, false, null]}})"), R"({"a": 1, "b": {"c": [true, false, null]}})");
    EXPECT_EQ(json_of("[]"), "[]");
}

TEST(Literal, ReadsPython) {
    EXPECT_EQ(json_of("{0: 'person', 1: 'dog'}"), R"({"0": "person", "1": "dog"})");
    EXPECT_EQ(json_of("(17, 3)"), "[17, 3]");
    EXPECT_EQ(json_of("(17,)"), "[17]");
    EXPECT_EQ(json_of("[True, False, None,]"), "[true, false, null]");
    EXPECT_EQ(json_of(R"("it's")"), R"("it's")");
    EXPECT_EQ(json_of(R"('say "x"')"), R"("say \"x\"")");
    EXPECT_EQ(json_of(R"({'a': 'b'})"), R"({"a": "b"})");
}

TEST(Literal, ReadsEscapes) {
    const std::string text = R"("\n\t\r\b\f\"\'\\\/")";
    EXPECT_EQ(*parse_literal(text).string(), "\n\t\r\b\f\"'\\/");
    EXPECT_EQ(*parse_literal(R"("\u00e9\u20ac\ud83d\ude00\x41")").string(), "é€😀A");
    EXPECT_EQ(*parse_literal(R"("\ud83d")").string(), "\xEF\xBF\xBD") << "half a surrogate pair";
    EXPECT_EQ(quote_json(std::string("a\x01\n\"\\", 5)), R"("a\u0001\u000a\"\\")");
    EXPECT_EQ(*parse_literal(quote_json("Ü\x1f\"")).string(), "Ü\x1f\"");
}

TEST(Literal, FindsEntriesAndTheirText) {
    const std::string text = R"({"a": [1,  2], "b": null})";
    const Literal root = parse_literal(text);
    ASSERT_NE(root.find("a"), nullptr);
    EXPECT_EQ(root.find("a")->source, "[1,  2]");
    EXPECT_TRUE(root.find("b")->is_null());
    EXPECT_EQ(root.find("c"), nullptr);
    EXPECT_EQ(root.find("a")->find("x"), nullptr) << "a list has no entries";
}

TEST(Literal, RefusesWhatIsNeither) {
    for (const char* text : {"",         " ",       "{",         "[",           "(",
                             "[1",       "[1,",     "[1 2]",     "{1}",         "{1:}",
                             "{1:2",     "{:2}",    "{a: 1}",    "'a",          "\"a",
                             "\"\\",     "\"\\q\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud83d\\u0041\"",
                             "tru",      "nan",     "inf",       "-inf",        "NaN",
                             "Infinity", "1 2",     "[1)",       "(1]",         "{1:2]",
                             "1e999",    "+1",      "--1",       "1,2",         "True False",
                             "]",        "\x01",    "a",         "[,]",         "{,}"}) {
        EXPECT_THROW(parse_literal(text), std::invalid_argument) << text;
    }
    EXPECT_THROW(parse_literal(std::string("1\0", 2)), std::invalid_argument);
    EXPECT_THROW(parse_literal(std::string("\0", 1)), std::invalid_argument);
}

TEST(Literal, SaysWhereAndWhat) {
    try {
        parse_literal("[1, 2; 3]");
        FAIL();
    } catch (const std::invalid_argument& error) {
        EXPECT_STREQ(error.what(), "expected ',' or ']' at character 6");
    }
}

TEST(Literal, HostileNestingIsAnErrorNotAnOverflow) {
    for (const char* open : {"[", "(", "{1:", "[{1:("}) {
        std::string deep;
        for (int i = 0; i < 300000; ++i) deep += open;
        EXPECT_THROW(parse_literal(deep), std::invalid_argument);
    }
    std::string within = "1";
    for (int i = 0; i < 20; ++i) within = "[" + within + "]";
    EXPECT_EQ(json_of(within), within);
}

TEST(Literal, RandomTextIsReadOrRefused) {
    std::mt19937 random(seed());
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    const std::string good = R"({"a": [1, -2.5e3, 'x\u00e9'], 2: (True, None), "b": {"c": "\n"}})";
    static constexpr char kAlphabet[] = "{}[]()'\":,\\u0129eE+-. TrueFalsNonx\n";
    int read = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string text = good;
        if (i % 2) {
            for (int change = 0; change < 1 + i % 5; ++change)
                text[random() % text.size()] = kAlphabet[random() % (sizeof(kAlphabet) - 1)];
        } else {
            text[random() % text.size()] = static_cast<char>(random());
        }
        try {
            const std::string json = json_of(text);
            EXPECT_EQ(json_of(json), json) << text;
            ++read;
        } catch (const std::invalid_argument&) {
        }
    }
    EXPECT_GT(read, 100);
}

}  // namespace
}  // namespace trtpose::test
