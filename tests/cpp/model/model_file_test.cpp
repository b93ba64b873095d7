// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <random>

#include "support/files.hpp"
#include "support/onnx_writer.hpp"
#include "support/reference.hpp"
#include "trtpose/engine.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose::test {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

/// What Ultralytics' exporters write.
Metadata ultralytics(const std::string& keypoints = "[17, 3]", const std::string& names = "{0: 'person'}") {
    return {{"task", "pose"}, {"stride", "32"}, {"kpt_shape", keypoints}, {"names", names}, {"imgsz", "[64, 64]"}};
}

class ModelFileTest : public testing::Test {
protected:
    ModelFile read(const std::string& text, const std::string& name = "net.onnx") {
        return read_model_file(folder_.write(name, text));
    }
    FoundSpec find(const OnnxModel& model, const std::string& given = {}) {
        return find_spec(read(model.text()), given);
    }

    TempFolder folder_;
};

OnnxModel head_model() {
    OnnxModel model;
    model.outputs = {{"p3", {1, 3 * 57, 8, 8}}, {"p4", {1, 3 * 57, 4, 4}}};
    model.metadata = {{"trtpose",
                       R"({"trtpose": 1, "layout": "heads", "imgsz": [64, 64], "strides": [8, 16], "names": ["person"],
            "anchors": [[[4, 5], [6, 7], [8, 9]], [[1, 2], [3, 4], [5, 6]]], "kpt_shape": [17, 3],
            "outputs": ["p3", "p4"]})"}};
    model.weights = {onnx_tensor("w", {2, 3}, 1, std::string(24, '\0')), onnx_tensor("q", {5}, 3, "12345"),
                     onnx_tensor("shape", {4}, 7, std::string(32, '\1'))};
    model.nodes = {Proto()
                       .bytes(1, "images")
                       .bytes(2, "p3")
                       .bytes(4, "Conv")
                       .message(5, Proto().bytes(1, "value").message(5, onnx_tensor("c", {2}, 10, "abcd")))};
    return model;
}

TEST_F(ModelFileTest, SaysWhatTheFileHolds) {
    const ModelFile file = read(head_model().text());
    EXPECT_EQ(file.kind, "onnx");
    EXPECT_EQ(file.opset, 17);
    EXPECT_EQ(file.producer, "trtpose tests");
    ASSERT_EQ(file.inputs.size(), 1u);
    EXPECT_EQ(file.inputs[0].name, "images");
    EXPECT_EQ(file.inputs[0].shape, (std::vector<int64_t>{1, 3, 64, 64}));
    EXPECT_EQ(file.inputs[0].dtype, DType::f32);
    ASSERT_EQ(file.outputs.size(), 2u);
    EXPECT_EQ(file.outputs[1].name, "p4");
    // 6 floats, 5 int8 and 2 halves; the int64 list is a shape, not a weight.
    EXPECT_EQ(file.parameters, 13);
    EXPECT_EQ(file.weight_bytes, 24 + 5 + 4);
}

TEST_F(ModelFileTest, OpenSizesAreMinusOne) {
    OnnxModel model = head_model();
    model.inputs[0].second = {-1, 3, 0, -1};
    EXPECT_EQ(read(model.text()).inputs[0].shape, (std::vector<int64_t>{-1, 3, -1, -1}));
}

TEST_F(ModelFileTest, WeightsListedAmongTheInputsAreNone) {
    OnnxModel model = head_model();
    model.inputs.push_back({"w", {2, 3}});
    EXPECT_EQ(read(model.text()).inputs.size(), 1u);
}

TEST_F(ModelFileTest, PackedDimensionsAreRead) {
    OnnxModel model = head_model();
    model.weights = {Proto().bytes(1, "\x02\x03").number(2, 1).bytes(8, "w").bytes(9, std::string(24, '\0'))};
    EXPECT_EQ(read(model.text()).parameters, 6 + 2);
}

TEST_F(ModelFileTest, OtherKindsOfFilesAreNamed) {
    TRTPOSE_EXPECT_ERROR(read_model_file(folder_ / "none.onnx"), ErrorCode::model, "none.onnx");
    TRTPOSE_EXPECT_ERROR(read_model_file(folder_ / ""), ErrorCode::model, "regular file");
    TRTPOSE_EXPECT_ERROR(read(""), ErrorCode::model, "empty");
    TRTPOSE_EXPECT_ERROR(read("PK\x03\x04rest"), ErrorCode::model, "trtpose export");
    TRTPOSE_EXPECT_ERROR(read("\x80\x02}q"), ErrorCode::model, "trtpose export");
    TRTPOSE_EXPECT_ERROR(read("<?xml version=\"1.0\"?>"), ErrorCode::model, "XML");
    TRTPOSE_EXPECT_ERROR(read("plain text, no model at all"), ErrorCode::model, "not a readable ONNX model");
    TRTPOSE_EXPECT_ERROR(read(std::string(4096, '\0')), ErrorCode::model, "not a readable ONNX model");
    TRTPOSE_EXPECT_ERROR(read(std::string(4096, '\xff')), ErrorCode::model, "not a readable ONNX model");
}

TEST_F(ModelFileTest, APipeIsRefusedNotWaitedFor) {
    const std::string path = folder_ / "pipe.onnx";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    TRTPOSE_EXPECT_ERROR(read_model_file(path), ErrorCode::model, "not a regular file");
}

TEST_F(ModelFileTest, AnEngineFileWithoutASpecIsAnErrorNotACrash) {
    const ModelFile file = read("ftrt and then bytes of a plan", "net.engine");
    EXPECT_EQ(file.kind, "engine");
    TRTPOSE_EXPECT_ERROR(find_spec(file), ErrorCode::model, "inputs and outputs are not known");
    try {
        const Engine engine(folder_ / "net.engine");
        ADD_FAILURE() << "an engine out of nothing";
    } catch (const Error&) {
    }
}

TEST_F(ModelFileTest, PartsThatDoNotFitTogetherAreDamage) {
    const auto refuses = [&](const OnnxModel& model, const char* part) {
        TRTPOSE_EXPECT_ERROR(read(model.text()), ErrorCode::model, part);
    };
    OnnxModel model = head_model();
    model.weights[0] = onnx_tensor("w", {2, 3}, 1, std::string(20, '\0'));
    refuses(model, "'w' has 20 bytes where its shape calls for 24");
    model.weights[0] = onnx_tensor("w", {-2, 3}, 1, std::string(24, '\0'));
    refuses(model, "impossible shape");
    model.weights[0] = onnx_tensor("w", {1ll << 40, 1ll << 40}, 1, std::string(24, '\0'));
    refuses(model, "impossible shape");
    model.weights[0] = onnx_tensor("w", {2, 3}, 77, std::string(24, '\0'));
    refuses(model, "unknown type");
    model.weights[0] = Proto().number(1, 1ull << 39).number(2, 1).bytes(8, "w");
    refuses(model, "larger than the file");
    model = head_model();
    model.inputs.clear();
    refuses(model, "no inputs or no outputs");
    model = head_model();
    model.outputs.clear();
    refuses(model, "no inputs or no outputs");
    model = head_model();
    model.inputs[0].second = {1, 3, 1ll << 40, 64};
    refuses(model, "impossible shape");
    model.inputs[0].second = Dims(40, 1);
    refuses(model, "impossible shape");
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).text()), ErrorCode::model, "no ONNX graph");
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).number(7, 3).text()), ErrorCode::model, "a number where");
    TRTPOSE_EXPECT_ERROR(read(Proto().bytes(1, "x").text()), ErrorCode::model, "a text where");
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).raw("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f").text()),
                         ErrorCode::model, "longer than the file");
    TRTPOSE_EXPECT_ERROR(read(Proto().raw(std::string(30, '\xff')).text()), ErrorCode::model, "64 bits");
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).raw("\x3b").text()), ErrorCode::model, "unknown type");
}

TEST_F(ModelFileTest, GraphsInsideGraphsEnd) {
    // If and Loop carry graphs; a file may nest them without end.
    Proto graph;
    for (int depth = 0; depth < 2000; ++depth)
        graph = Proto().message(1, Proto().message(5, Proto().message(6, graph)));
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).message(7, graph).text()), ErrorCode::model, "nested too deeply");
}

TEST_F(ModelFileTest, SizesThatAddUpBeyondAllNumbersAreRefused) {
    // Weights kept outside the file may claim any size: half a million of 2^44 bytes exceed 64 bits.
    Proto graph;
    const Proto weight = Proto().number(1, 1ull << 40).number(2, 15).number(14, 1);
    for (int i = 0; i < (1 << 19) + 10; ++i) graph.message(5, weight);
    graph.message(11, onnx_value("images", {1, 3, 64, 64})).message(12, onnx_value("out", {1, 56, 84}));
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).message(7, graph).text()), ErrorCode::model, "weights");
}

// -------------------------------------------------------------------------------------------------- finding the spec

TEST_F(ModelFileTest, OwnMetadataComesBeforeANeighbour) {
    folder_.write("net.json", "{");
    const FoundSpec found = find(head_model());
    EXPECT_EQ(found.origin, "metadata of trtpose");
    EXPECT_EQ(found.spec.layout, Layout::heads);
    EXPECT_EQ(found.spec.name, "net");
}

TEST_F(ModelFileTest, WhatTheCallerGivesComesFirst) {
    const std::string json = R"({"layout": "heads", "name": "given", "imgsz": [64, 64], "strides": [8, 16],
        "names": ["a"], "anchors": [[[4, 5]], [[1, 2]]], "kpt_shape": [3, 2]})";
    EXPECT_EQ(find(head_model(), json).origin, "the caller");
    EXPECT_EQ(find(head_model(), json).spec.keypoints, 3);
    const std::string path = folder_.write("mine.json", json);
    EXPECT_EQ(find(head_model(), path).origin, "file " + path);
    TRTPOSE_EXPECT_ERROR(find(head_model(), folder_ / "missing.json"), ErrorCode::model, "missing.json");
    TRTPOSE_EXPECT_ERROR(find(head_model(), folder_ / ""), ErrorCode::model, "cannot read the model spec");
}

TEST_F(ModelFileTest, ANeighbourIsFoundByItself) {
    OnnxModel model = head_model();
    const std::string json = model.metadata[0].second;
    model.metadata.clear();
    const std::string path = folder_.write("net.json", json);
    EXPECT_EQ(find(model).origin, "file " + path);
    folder_.write("net.json", "not json");
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "net.json");
}

TEST_F(ModelFileTest, ASpecThatDoesNotFitIsRefused) {
    OnnxModel model = head_model();
    model.outputs[1].first = "other";
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "no output 'p4'");
    model = head_model();
    model.inputs[0].second = {1, 3, 72, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "largest stride 16");
    model.inputs[0].second = {1, 1, 64, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "expected N×3×H×W");
    model.inputs[0].second = {3, 64, 64};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "expected N×3×H×W");
    model = head_model();
    model.inputs.push_back({"more", {1}});
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "2 inputs");
    const std::string three = R"({"layout": "heads", "imgsz": [64, 64], "strides": [8, 16, 32], "names": ["a"],
        "anchors": [[[4, 5]], [[1, 2]], [[1, 2]]], "kpt_shape": [17, 3]})";
    TRTPOSE_EXPECT_ERROR(find(head_model(), three), ErrorCode::model, "needs 3 outputs");
    model = head_model();
    model.outputs = {{"num_dets", {1, 1}},
                     {"boxes", {1, 300, 4}},
                     {"scores", {1, 300}},
                     {"classes", {1, 300}},
                     {"keypoints", {1, 300, 17, 3}}};
    TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, "decode and NMS are inside of it");
}

struct Inferred {
    const char* what;
    Dims input;
    std::vector<std::pair<std::string, Dims>> outputs;
    Metadata metadata;
    const char* layout;  ///< or, if it is refused, part of the message
    std::vector<int> strides;
};

TEST_F(ModelFileTest, InfersWhatNamesAndShapesLeaveNoDoubtAbout) {
    const int64_t cells3 = 64 + 16 + 4, cells4 = cells3 + 1;  // 64 × 64
    const Dims square = {1, 3, 64, 64};
    const Inferred cases[] = {
        {"Ultralytics", square, {{"output0", {1, 56, cells3}}}, ultralytics(), "channels_first", {8, 16, 32}},
        {"Ultralytics, four strides",
         square,
         {{"output0", {1, 56, cells4}}},
         ultralytics(),
         "channels_first",
         {8, 16, 32, 64}},
        {"Ultralytics, five keypoints, two classes",
         square,
         {{"output0", {1, 4 + 2 + 15, cells3}}},
         ultralytics("[5, 3]", "['a', 'b']"),
         "channels_first",
         {8, 16, 32}},
        {"Ultralytics, two numbers per keypoint",
         square,
         {{"output0", {1, 4 + 1 + 34, cells3}}},
         ultralytics("[17, 2]"),
         "channels_first",
         {8, 16, 32}},
        {"Ultralytics, open sizes",
         {-1, 3, -1, -1},
         {{"output0", {-1, 56, -1}}},
         ultralytics(),
         "channels_first",
         {8, 16, 32}},
        {"no metadata, channels first", square, {{"output0", {1, 56, cells3}}}, {}, "channels_first", {8, 16, 32}},
        {"decoded, three strides", square, {{"output", {1, 3 * cells3, 57}}}, {}, "decoded", {8, 16, 32}},
        {"decoded, four strides", square, {{"output", {1, 3 * cells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"decoded, open batch", {-1, 3, 64, 64}, {{"output", {-1, 3 * cells4, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"decoded by its name", square, {{"output", {1, -1, 57}}}, {}, "decoded", {8, 16, 32, 64}},
        {"end to end",
         square,
         {{"output0", {1, 300, 57}}},
         [] {
             auto m = ultralytics();
             m.push_back({"end2end", "True"});
             return m;
         }(),
         "final",
         {8, 16, 32}},
        {"raw heads",
         square,
         {{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}, {"d", {1, 171, 1, 1}}},
         {},
         "heads",
         {8, 16, 32, 64}},
        {"raw heads of five dimensions",
         square,
         {{"a", {1, 3, 8, 8, 57}}, {"b", {1, 3, 4, 4, 57}}, {"c", {1, 3, 2, 2, 57}}, {"d", {1, 3, 1, 1, 57}}},
         {},
         "heads5d",
         {8, 16, 32, 64}},

        {"300 rows of 57", square, {{"output0", {1, 300, 57}}}, {}, "layout decoded", {}},
        {"raw heads of three strides",
         square,
         {{"a", {1, 171, 8, 8}}, {"b", {1, 171, 4, 4}}, {"c", {1, 171, 2, 2}}},
         {},
         "anchors are not known",
         {}},
        {"raw heads of another width", square, {{"a", {1, 63, 8, 8}}}, {}, "anchors are not known", {}},
        {"no layout at all", square, {{"x", {1, 10, 10}}}, {}, "fits no layout", {}},
        {"one dimension", square, {{"x", {10}}}, {}, "no layout", {}},
        {"no shape", square, {{"x", {}}}, {}, "no layout", {}},
        {"open size, nothing said", {1, 3, -1, -1}, {{"x", {1, 56, -1}}}, {}, "input size is open", {}},
        {"an input of two dimensions", {1, 3}, {{"x", {1, 56, 84}}}, {}, "not N×3×H×W", {}},
        {"open count without metadata", square, {{"x", {1, 56, -1}}}, {}, "fits no layout", {}},
        {"another task", square, {{"x", {1, 84, cells3}}}, {{"task", "detect"}}, "task 'pose'", {}},
        {"unreadable metadata",
         square,
         {{"x", {1, 56, cells3}}},
         {{"task", "pose"}, {"kpt_shape", "[17, "}},
         "kpt_shape",
         {}},
        {"metadata of another type", square, {{"x", {1, 56, cells3}}}, {{"kpt_shape", "17"}}, "kpt_shape", {}},
        {"no keypoints", square, {{"x", {1, 56, cells3}}}, {{"kpt_shape", "[0, 3]"}}, "kpt_shape", {}},
        {"names that are numbers", square, {{"x", {1, 56, cells3}}}, ultralytics("[17, 3]", "[1]"), "names", {}},
        {"a size no stride divides", {1, 3, 70, 70}, {{"x", {1, 56, 84}}}, {}, "multiple", {}},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.what);
        OnnxModel model;
        model.inputs = {{"images", c.input}};
        model.outputs = c.outputs;
        model.metadata = c.metadata;
        if (c.strides.empty()) {
            TRTPOSE_EXPECT_ERROR(find(model), ErrorCode::model, c.layout);
            continue;
        }
        try {
            const FoundSpec found = find(model);
            EXPECT_STREQ(to_string(found.spec.layout), c.layout);
            EXPECT_EQ(found.spec.strides, c.strides);
            EXPECT_EQ(found.origin, c.metadata.empty() ? "names and shapes" : "metadata of Ultralytics");
            EXPECT_EQ(found.spec.imgsz, (Size{64, 64}));
            // What was inferred can be written down and read again.
            EXPECT_EQ(ModelSpec::from_json(found.spec.to_json(), "again").to_json(), found.spec.to_json());
        } catch (const Error& error) {
            ADD_FAILURE() << error.what();
        }
    }
}

// ------------------------------------------------------------------------------------------------------ damaged files

/// A damaged file is refused with Error(model), or what was read of it can be used.
bool read_or_refuse(const std::string& path) {
    try {
        const ModelFile file = read_model_file(path);
        const FoundSpec found = find_spec(file);
        EXPECT_FALSE(found.spec.strides.empty());
        EXPECT_FALSE(ModelSpec::from_json(found.spec.to_json(), "again").names.empty());
        return true;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::model) << error.what();
        EXPECT_FALSE(std::string(error.what()).empty());
        return false;
    }
}

TEST_F(ModelFileTest, TruncatedAtEveryByte) {
    for (const bool with_metadata : {true, false}) {
        OnnxModel model = head_model();
        if (!with_metadata) {
            model.metadata = ultralytics();
            model.outputs = {{"output0", {1, 56, 84}}};
        }
        const std::string text = model.text();
        ASSERT_TRUE(read_or_refuse(folder_.write("whole.onnx", text)));
        // Metadata stands behind the graph: a file cut between two entries is whole and says less.
        const size_t graph_end = text.find("trtpose tests") + text.substr(text.find("trtpose tests")).size() / 3;
        for (size_t length = 0; length < text.size(); ++length) {
            const bool read = read_or_refuse(folder_.write("cut.onnx", text.substr(0, length)));
            EXPECT_FALSE(read && length < graph_end) << "length " << length;
        }
    }
}

TEST_F(ModelFileTest, FlippedBits) {
    std::mt19937 random(seed());
    std::printf("seed %u\n", seed());
    int read = 0;
    constexpr int kRounds = 3000;
    OnnxModel coco;
    coco.outputs = {{"output0", {1, 56, 84}}};
    coco.metadata = ultralytics();
    const std::string texts[] = {head_model().text(), coco.text()};
    for (int i = 0; i < kRounds; ++i) {
        std::string text = texts[i % 2];
        for (int flips = 0; flips < 1 + i % 3; ++flips)
            text[random() % text.size()] ^= static_cast<char>(1 << (random() % 8));
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << i);
        read += read_or_refuse(folder_.write("flipped.onnx", text));
        if (HasFailure()) return;
    }
    EXPECT_GT(read, 0);
    EXPECT_LT(read, kRounds);
}

TEST_F(ModelFileTest, RandomBytes) {
    std::mt19937 random(seed());
    for (int i = 0; i < 1000; ++i) {
        std::string text(random() % 200, '\0');
        for (auto& c : text) c = static_cast<char>(random());
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << i);
        EXPECT_FALSE(read_or_refuse(folder_.write("noise.onnx", text)));
    }
}

TEST_F(ModelFileTest, EnormousTensorsAreRefusedOrMerelyWrong) {
    for (const int64_t side : {65536ll, 1ll << 20, 2147483646ll, 2147483647ll}) {
        OnnxModel model;
        model.inputs = {{"images", {1, 3, side, side}}};
        for (const Dims& shape : {Dims{1, 56, side}, Dims{1, side, 57}, Dims{side, side, side},
                                  Dims{1, 171, side, side}, Dims{side, side, side, side, side}}) {
            model.outputs = {{"output", shape}};
            for (const auto& metadata : {Metadata{}, ultralytics("[4096, 3]")}) {
                model.metadata = metadata;
                EXPECT_FALSE(read_or_refuse(folder_.write("big.onnx", model.text()))) << side;
            }
        }
    }
}

}  // namespace
}  // namespace trtpose::test
