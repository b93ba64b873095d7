// SPDX-License-Identifier: Apache-2.0
#include "trtpose/model_spec.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <locale>
#include <random>

#include "model/literal.hpp"
#include "support/files.hpp"
#include "support/reference.hpp"

namespace trtpose::test {
namespace {

const char* const kFull = R"({"trtpose": 1, "name": "net", "layout": "heads", "imgsz": [64, 96], "strides": [8, 16],
 "anchors": [[[4, 5], [6.5, 8]], [[10, 12], [15, 19]]], "outputs": ["p3", "p4"], "names": ["face", "back"],
 "kpt_shape": [5, 3], "kpt_names": ["a", "b"], "skeleton": [[0, 1]], "sigmas": [0.026, 0.1, 0.2, 0.3, 0.4],
 "flip_idx": [1, 0], "color": "bgr", "mean": [1, 2.5, 3], "std": [4, 5, 6], "pad": 0})";

/// `kFull` with one piece of text replaced.
std::string full_with(const std::string& from, const std::string& to) {
    std::string text = kFull;
    const auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return text.replace(at, from.size(), to);
}

ModelSpec parse(const std::string& text) { return ModelSpec::from_json(text, "spec.json"); }

TEST(ModelSpec, ReadsEveryField) {
    const ModelSpec spec = parse(kFull);
    EXPECT_EQ(spec.name, "net");
    EXPECT_EQ(spec.layout, Layout::heads);
    EXPECT_EQ(spec.imgsz, (Size{64, 96}));
    EXPECT_EQ(spec.strides, (std::vector<int>{8, 16}));
    ASSERT_EQ(spec.anchors.size(), 2u);
    EXPECT_EQ(spec.anchors[0][1], (std::pair<float, float>{6.5f, 8.0f}));
    EXPECT_EQ(spec.outputs, (std::vector<std::string>{"p3", "p4"}));
    EXPECT_EQ(spec.names, (std::vector<std::string>{"face", "back"}));
    EXPECT_EQ(spec.keypoints, 5);
    EXPECT_EQ(spec.keypoint_dims, 3);
    EXPECT_EQ(spec.sigmas[0], 0.026f);
    EXPECT_EQ(spec.color, PixelFormat::bgr);
    EXPECT_EQ(spec.mean[1], 2.5f);
    EXPECT_EQ(spec.std[2], 6.0f);
    EXPECT_EQ(spec.pad, 0);
    EXPECT_EQ(spec.max_stride(), 16);
    EXPECT_EQ(spec.anchors_per_cell(), 2);
    EXPECT_EQ(spec.fields(), 5 + 2 + 15);
}

TEST(ModelSpec, LosesNothingOnTheWayThroughJson) {
    const ModelSpec spec = parse(kFull);
    const ModelSpec again = parse(spec.to_json());
    EXPECT_EQ(again.to_json(), spec.to_json());
    EXPECT_EQ(again.layout, spec.layout);
    EXPECT_EQ(again.anchors, spec.anchors);
    EXPECT_EQ(again.sigmas, spec.sigmas);
    EXPECT_EQ(again.extra, spec.extra);
    const std::string json = spec.to_json();
    const Literal root = parse_literal(json);
    EXPECT_EQ(to_json(*root.find("skeleton")), "[[0, 1]]");
    EXPECT_EQ(to_json(*root.find("flip_idx")), "[1, 0]");
    EXPECT_EQ(to_json(*root.find("kpt_names")), R"(["a", "b"])");
}

TEST(ModelSpec, NumbersSurviveBitByBit) {
    std::mt19937 random(seed());
    std::uniform_real_distribution<float> number(1e-6f, 2000.0f);
    ModelSpec spec = parse(kFull);
    for (int i = 0; i < 200; ++i) {
        spec.anchors[0][0] = {number(random), number(random) * 1e-6f};
        spec.sigmas[0] = number(random);
        const ModelSpec again = parse(spec.to_json());
        ASSERT_EQ(again.anchors, spec.anchors) << "seed " << seed();
        ASSERT_EQ(again.sigmas, spec.sigmas);
    }
}

TEST(ModelSpec, TheProgramsLocaleDoesNotShow) {
    struct Comma : std::numpunct<char> {
        char do_decimal_point() const override { return ','; }
        char do_thousands_sep() const override { return '.'; }
        std::string do_grouping() const override { return "\3"; }
    };
    const std::string before = parse(kFull).to_json();
    const std::locale old = std::locale::global(std::locale(std::locale::classic(), new Comma));
    const std::string json = parse(full_with("[4, 5]", "[1234.5, 5]")).to_json();
    std::locale::global(old);
    EXPECT_NE(json.find("[1234.5, 5]"), json.npos) << json;
    EXPECT_NE(before.find("0.026"), before.npos) << before;
}

TEST(ModelSpec, DefaultsStandForWhatIsLeftOut) {
    const ModelSpec spec = parse(
        R"({"layout": "channels_first", "imgsz": [256, 256], "strides": [8, 16, 32], "names": ["person"],
            "kpt_shape": [17, 2]})");
    EXPECT_EQ(spec.color, PixelFormat::rgb);
    EXPECT_EQ(spec.pad, 114);
    EXPECT_EQ(spec.mean[0], 0.0f);
    EXPECT_EQ(spec.std[0], 255.0f);
    EXPECT_TRUE(spec.outputs.empty());
    EXPECT_TRUE(spec.sigmas.empty());
    EXPECT_EQ(spec.keypoint_dims, 2);
}

TEST(ModelSpec, ThePlainFormOfInputIsWhatIsNotSaid) {
    const ModelSpec plain = parse(kFull);
    EXPECT_EQ(plain.letterbox, math::LetterboxForm{});
    EXPECT_EQ(plain.letterbox.placement, math::Placement::center);
    EXPECT_EQ(plain.letterbox.rounding, math::Rounding::nearest);
    EXPECT_EQ(plain.letterbox.sizing, math::Sizing::fit);
    // A file of today's usual form stays one that older versions read, in the same words.
    const std::string json = plain.to_json();
    EXPECT_NE(json.find("\"trtpose\": 1"), json.npos);
    for (const char* key : {"placement", "rounding", "sizing"}) EXPECT_EQ(json.find(key), json.npos) << json;
    EXPECT_EQ(parse(full_with("\"pad\": 0", R"("pad": 0, "placement": "center", "sizing": "fit")")).to_json(), json);
}

TEST(ModelSpec, AnotherFormOfInputIsOfAVersionThatOlderReadersRefuse) {
    const std::pair<const char*, math::LetterboxForm> forms[] = {
        {R"("pad": 0, "placement": "top_left")", {math::Placement::top_left}},
        {R"("pad": 0, "rounding": "down")", {math::Placement::center, math::Rounding::down}},
        {R"("pad": 0, "sizing": "height")", {math::Placement::center, math::Rounding::nearest, math::Sizing::height}},
    };
    for (const auto& [text, form] : forms) {
        const ModelSpec spec = parse(full_with("\"pad\": 0", text));
        EXPECT_EQ(spec.letterbox, form);
        const std::string json = spec.to_json();
        EXPECT_NE(json.find("\"trtpose\": 2"), json.npos) << json;
        EXPECT_EQ(parse(json).letterbox, form);
        EXPECT_EQ(parse(json).to_json(), json);
    }
}

TEST(ModelSpec, AFormOfInputThatIsNotKnownIsRefused) {
    const std::pair<const char*, const char*> cases[] = {
        {R"("placement": "bottom_right")", "placement is 'bottom_right', expected center or top_left"},
        {R"("placement": 1)", "placement"},
        {R"("rounding": "up")", "rounding is 'up', expected nearest or down"},
        {R"("sizing": "width")", "sizing is 'width', expected fit, height or stretch"},
    };
    for (const auto& [text, part] : cases)
        TRTPOSE_EXPECT_ERROR(parse(full_with("\"pad\": 0", text)), ErrorCode::model, part);
}

TEST(ModelSpec, EveryErrorNamesTheFileAndTheField) {
    struct Case {
        std::string text, part;
    };
    const Case cases[] = {
        {"", "not valid JSON"},
        {"{", "not valid JSON"},
        {"[1]", "a model spec is a JSON object"},
        {"3", "a model spec is a JSON object"},
        {"{}", "lacks layout"},
        {full_with("\"trtpose\": 1", "\"trtpose\": 3"), "version 3"},
        {full_with("\"trtpose\": 1", "\"trtpose\": \"1\""), "trtpose"},
        {full_with("\"heads\"", "\"head\""), "layout is 'head'"},
        {full_with("\"heads\"", "3"), "layout holds 3"},
        {full_with("[64, 96]", "[64]"), "imgsz"},
        {full_with("[64, 96]", "64"), "imgsz"},
        {full_with("[64, 96]", "[0, 96]"), "imgsz"},
        {full_with("[64, 96]", "[64.5, 96]"), "imgsz"},
        {full_with("[64, 96]", "[-64, 96]"), "imgsz"},
        {full_with("[64, 96]", "[1e9, 96]"), "imgsz"},
        {full_with("[64, 96]", "[72, 96]"), "no multiple of the largest stride 16"},
        {full_with("[64, 96]", "[\"64\", 96]"), "imgsz"},
        {full_with("\"strides\": [8, 16]", "\"strides\": []"), "strides is empty"},
        {full_with("\"strides\": [8, 16]", "\"strides\": [0, 16]"), "strides"},
        {full_with("\"strides\": [8, 16]", "\"strides\": [8]"), "anchors has 2 levels for 1 strides"},
        {full_with("\"strides\": [8, 16]", "\"stride\": [8, 16]"), "did you mean 'strides'?"},
        {full_with("\"anchors\"", "\"anchor\""), "did you mean 'anchors'?"},
        {full_with("[[4, 5], [6.5, 8]]", "[[4, 5]]"), "as many pairs"},
        {full_with("[[4, 5], [6.5, 8]]", "[]"), "as many pairs"},
        {full_with("[4, 5]", "[4, 5, 6]"), "two numbers"},
        {full_with("[4, 5]", "4"), "anchors holds 4"},
        {full_with("[4, 5]", "[4, \"5\"]"), "anchors"},
        {full_with("[\"face\", \"back\"]", "[]"), "names is empty"},
        {full_with("[\"face\", \"back\"]", "[1]"), "names holds 1"},
        {full_with("[\"face\", \"back\"]", "\"face\""), "names"},
        {full_with("[5, 3]", "[5, 4]"), "kpt_shape"},
        {full_with("[5, 3]", "[0, 3]"), "kpt_shape"},
        {full_with("[5, 3]", "[5000, 3]"), "kpt_shape"},
        {full_with("[5, 3]", "[6, 3]"), "sigmas has 5 numbers for 6 keypoints"},
        {full_with("[5, 3]", "null"), "kpt_shape"},
        {full_with("0.026", "0"), "sigmas must be positive"},
        {full_with("0.026", "true"), "sigmas"},
        {full_with("\"bgr\"", "\"gray\""), "color is 'gray'"},
        {full_with("[1, 2.5, 3]", "[1, 2]"), "mean"},
        {full_with("[4, 5, 6]", "[4, 5, 0]"), "std must be above 0"},
        {full_with("[4, 5, 6]", "[4, 5, -1]"), "std must be above 0"},
        {full_with("[4, 5, 6]", "[4, 5, \"6\"]"), "std"},
        {full_with("\"pad\": 0", "\"pad\": 256"), "pad"},
        {full_with("\"pad\": 0", "\"pad\": -1"), "pad"},
        {full_with("\"pad\": 0", "\"pad\": 0.5"), "pad"},
        {full_with("\"net\"", "[]"), "name holds []"},
        {full_with("[\"p3\", \"p4\"]", "[3]"), "outputs"},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.text);
        TRTPOSE_EXPECT_ERROR(parse(c.text), ErrorCode::model, c.part);
        TRTPOSE_EXPECT_ERROR(parse(c.text), ErrorCode::model, "spec.json: ");
    }
}

TEST(ModelSpec, AKeyThatWasMeantOtherwiseIsNotPassedOver) {
    const std::pair<const char*, const char*> cases[] = {
        {R"("colour": "rgb")", "'colour' is no key of a model spec; did you mean 'color'?"},
        {R"("Mean": [0, 0, 0])", "did you mean 'mean'?"},
        {R"("paddings": 0, "padd": 0)", "did you mean 'pad'?"},
        {R"("sdt": [1, 1, 1], "stdd": [1, 1, 1])", "did you mean 'std'?"},
        {R"("placment": "top_left")", "did you mean 'placement'?"},
        {R"("flip-idx": [1, 0])", "did you mean 'flip_idx'?"},
        {R"("output": ["p3", "p4"])", "did you mean 'outputs'?"},
        {R"("form": "heads")",
         "'form' is a key of the family kapao, movenet, openpose, rows, and this spec is of the "
         "family anchor_grid, which does not read it"},
        {R"("zero_unreplaced": true)", "'zero_unreplaced' is a key of the family kapao"},
        {R"("pad": 1)", "'pad' stands there twice"},
    };
    for (const auto& [keys, part] : cases) {
        const std::string text = full_with("\"pad\": 0", std::string("\"pad\": 0, ") + keys);
        TRTPOSE_EXPECT_ERROR(parse(text), ErrorCode::model, part);
    }
    // What is like no key says nothing of what is missing.
    TRTPOSE_EXPECT_ERROR(parse(full_with("\"strides\"", "\"cells\"")), ErrorCode::model, "lacks strides");
    TRTPOSE_EXPECT_ERROR(parse(full_with("\"anchors\"", "\"boxes\"")), ErrorCode::model, "anchors has 0 levels");
}

TEST(ModelSpec, NotesAndWhatIsEmptyAreKept) {
    for (const char* keys : {R"("note": "of mine", "licence": "MIT", "date": 2026, "path": "x", "a": 1)",
                             R"("form": "", "limbs": [], "colour": null)", R"("nms": {"conf": 0.3})"}) {
        const std::string json = parse(full_with("\"pad\": 0", std::string("\"pad\": 0, ") + keys)).to_json();
        EXPECT_NE(json.find(keys), json.npos) << json;
    }
}

TEST(ModelSpec, NumbersBeyondFloatAreRefused) {
    // 1e300 is a number in JSON and an infinity in float32: no anchor, mean or sigma of a network.
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"[4, 5]", "[1e300, 5]"},
                                                                                   {"0.026", "1e300"},
                                                                                   {"[1, 2.5, 3]", "[1e300, 2, 3]"},
                                                                                   {"[4, 5, 6]", "[4, 5, 1e300]"}}) {
        SCOPED_TRACE(to);
        TRTPOSE_EXPECT_ERROR(parse(full_with(from, to)), ErrorCode::model, "1e300");
    }
}

TEST(ModelSpec, LongValuesAreShownShortened) {
    const std::string noise(5000, 'x');
    try {
        parse(full_with("[64, 96]", "\"" + noise + "\""));
        FAIL();
    } catch (const Error& error) {
        EXPECT_LT(std::string(error.what()).size(), 300u);
    }
}

/// A damaged spec is refused with Error(model), or reads as a spec that survives the way through JSON.
bool read_or_refuse(const std::string& text) {
    try {
        const ModelSpec spec = parse(text);
        const std::string json = spec.to_json();
        EXPECT_EQ(parse(json).to_json(), json);
        return true;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::model) << error.what();
        return false;
    }
}

TEST(ModelSpec, TruncatedAtEveryByte) {
    const std::string text = kFull;
    for (size_t length = 0; length < text.size(); ++length)
        EXPECT_FALSE(read_or_refuse(text.substr(0, length))) << "length " << length;
}

TEST(ModelSpec, FlippedBits) {
    std::mt19937 random(seed());
    std::printf("seed %u\n", seed());
    int read = 0;
    constexpr int kRounds = 3000;
    for (int i = 0; i < kRounds; ++i) {
        std::string text = kFull;
        for (int flips = 0; flips < 1 + i % 4; ++flips)
            text[random() % text.size()] ^= static_cast<char>(1 << (random() % 8));
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << i << ": " << text);
        read += read_or_refuse(text);
        if (HasFailure()) return;
    }
    EXPECT_GT(read, 0);
    EXPECT_LT(read, kRounds);
}

}  // namespace
}  // namespace trtpose::test
