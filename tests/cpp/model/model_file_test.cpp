// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <random>

#include "support/model_files.hpp"
#include "support/reference.hpp"
#include "trtpose/engine.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/own_nms.hpp"

namespace trtpose::test {
namespace {

class ModelFileTest : public WithModelFiles {};

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

TEST_F(ModelFileTest, AnNmsOfItsOwnBoundsTheFrames) {
    const auto most = [&](const std::string& args, const std::string& batch) {
        OnnxModel model = head_model();
        if (!args.empty()) model.metadata.emplace_back("args", args);
        if (!batch.empty()) model.metadata.emplace_back("batch", batch);
        return frames_of_own_nms(read(model.text()));
    };
    EXPECT_EQ(most("", ""), 0);
    EXPECT_EQ(most("", "4"), 0);
    EXPECT_EQ(most("{'nms': None, 'batch': 4}", "4"), 0);
    EXPECT_EQ(most("{'nms': False}", "4"), 0) << "end to end";
    EXPECT_EQ(most("{'data': None, 'nms': True, 'dynamic': True}", "4"), 4);
    EXPECT_EQ(most(R"({"nms": true})", "1"), 1);
    for (const char* batch : {"", "None", "0", "-2", "1.5", "'x'", "[1"})
        EXPECT_EQ(most("{'nms': True}", batch), 1) << batch;
    for (const char* args : {"x", "{'nms': 1}", "{'nms'", "[True]", "True", "nms"})
        EXPECT_EQ(most(args, "4"), 0) << args;
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
    TRTPOSE_EXPECT_ERROR(read_model_file(folder_ / ""), ErrorCode::model, "not a regular file but a folder");
    TRTPOSE_EXPECT_ERROR(read(""), ErrorCode::model, "empty");
    TRTPOSE_EXPECT_ERROR(read("PK\x03\x04rest"), ErrorCode::model, "trtpose export");
    TRTPOSE_EXPECT_ERROR(read("\x80\x02}q"), ErrorCode::model, "trtpose export");
    const auto archive = [&](const std::string& entry) {
        std::string header = "PK\x03\x04" + std::string(22, '\0');
        header += static_cast<char>(entry.size());
        return header + std::string(3, '\0') + entry + "content";
    };
    TRTPOSE_EXPECT_ERROR(read(archive("yolo/data.pkl")), ErrorCode::model, "this is a PyTorch checkpoint; turn it");
    TRTPOSE_EXPECT_ERROR(read(archive("20230831/end2end.onnx")), ErrorCode::model,
                         "this is an archive (zip), its first entry '20230831/end2end.onnx'; unpack it, and give");
    TRTPOSE_EXPECT_ERROR(read(archive("\x1b[2J")), ErrorCode::model, "this is an archive (zip); unpack it");
    TRTPOSE_EXPECT_ERROR(read(archive(std::string(200, 'x')).substr(0, 60)), ErrorCode::model, "(zip); unpack it");
    TRTPOSE_EXPECT_ERROR(read(std::string("\x1c\0\0\0TFL3\0\0", 10)), ErrorCode::model,
                         "TensorFlow Lite; convert it to ONNX first");
    TRTPOSE_EXPECT_ERROR(read("\x89HDF\r\n\x1a\n"), ErrorCode::model, "HDF5, as Keras writes models");
    TRTPOSE_EXPECT_ERROR(read("\x1f\x8b\x08 packed"), ErrorCode::model, "packed by gzip; unpack it");
    TRTPOSE_EXPECT_ERROR(read("version https://git-lfs.github.com/spec/v1"), ErrorCode::model, "git lfs pull");
    TRTPOSE_EXPECT_ERROR(read("<!DOCTYPE html>"), ErrorCode::model, "this is a web page");
    TRTPOSE_EXPECT_ERROR(read("<?xml version=\"1.0\"?>"), ErrorCode::model, "XML");
    TRTPOSE_EXPECT_ERROR(read("plain text, no model at all"), ErrorCode::model, "not a readable ONNX model");
    TRTPOSE_EXPECT_ERROR(read(std::string(4096, '\0')), ErrorCode::model, "not a readable ONNX model");
    TRTPOSE_EXPECT_ERROR(read(std::string(4096, '\xff')), ErrorCode::model, "not a readable ONNX model");
}

TEST_F(ModelFileTest, APipeIsRefusedNotWaitedFor) {
    const std::string path = folder_ / "pipe.onnx";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    TRTPOSE_EXPECT_ERROR(read_model_file(path), ErrorCode::model,
                         "not a regular file but a pipe; write its content into one, or give");
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
    TRTPOSE_EXPECT_ERROR(read(Proto().number(1, 8).message(7, graph).text()), ErrorCode::model, "nothing says which");
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
