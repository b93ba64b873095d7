// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "model/crc32.hpp"
#include "support/engine_writer.hpp"
#include "support/files.hpp"
#include "support/reference.hpp"
#include "trtpose/engine.hpp"

namespace trtpose::test {
namespace {

const std::string kPlan = plan_bytes("ftrt", {10, 13, 0, 35}, "the plan itself, which nobody but TensorRT reads");

const char* const kSpec = R"({"trtpose": 1, "layout": "channels_first", "imgsz": [64, 96], "strides": [8],
    "names": ["person"], "kpt_shape": [2, 3], "name": "people", "skeleton": [[0, 1]]})";

EngineHeader full() {
    EngineHeader header;
    header.spec = kSpec;
    header.more = R"(, "layers": {"fp32": 3, "fp16": 140}, "device": {"name": "NVIDIA X", "compute_capability": "8.6"},
        "compute_capabilities": [], "hardware_compatibility": "ampere_plus", "version_compatible": true,
        "weight_streaming": true, "onnx": {"name": "people.onnx", "sha256": "ab"},
        "memory": {"weights": 4096, "activations": null}, "plugins": ["trtpose_decode_nms/1"],
        "created": "2026-01-02T03:04:05Z", "trtpose": "0.1.0")";
    return header;
}

class EngineFileTest : public testing::Test {
protected:
    ModelFile read(const std::string& bytes) { return read_model_file(folder_.write("net.engine", bytes)); }
    /// True if it was read; any refusal is an Error(model) with a sentence.
    bool read_or_refuse(const std::string& bytes) {
        try {
            const ModelFile file = read(bytes);
            if (file.inputs.empty()) return true;
            find_spec(file);
            return true;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::model) << error.what();
            EXPECT_NE(std::string(error.what()).find("net.engine"), std::string::npos) << error.what();
            return false;
        }
    }
    TempFolder folder_;
};

TEST(Crc32, IsTheOneOfZlib) {
    EXPECT_EQ(crc32(""), 0u);
    EXPECT_EQ(crc32("123456789"), 0xCBF43926u);
    // Every length around the step of eight bytes against the same bit by bit.
    std::string bytes;
    for (int n = 0; n < 70; ++n) {
        uint32_t slow = ~0u;
        for (const char c : bytes) {
            slow ^= static_cast<unsigned char>(c);
            for (int bit = 0; bit < 8; ++bit) slow = (slow >> 1) ^ (slow & 1 ? 0xEDB88320u : 0);
        }
        EXPECT_EQ(crc32(bytes), ~slow) << n;
        bytes += static_cast<char>(n * 37 + 11);
    }
}

TEST_F(EngineFileTest, SaysWhatTheHeaderHolds) {
    const std::string bytes = full().file(kPlan);
    const ModelFile file = read(bytes);
    EXPECT_EQ(file.kind, "engine");
    EXPECT_EQ(file.producer, "TensorRT 10.13.0.35");
    EXPECT_EQ(file.weight_bytes, 4096);
    ASSERT_EQ(file.inputs.size(), 1u);
    EXPECT_EQ(file.inputs[0].name, "images");
    EXPECT_EQ(file.inputs[0].dtype, DType::f32);
    EXPECT_EQ(file.inputs[0].shape, (std::vector<int64_t>{-1, 3, 64, 96}));
    ASSERT_EQ(file.outputs.size(), 1u);
    EXPECT_EQ(file.metadata.at("task"), "pose");
    EXPECT_EQ(file.metadata.at("kpt_shape"), "[2, 3]");
    EXPECT_EQ(file.metadata.at("names"), R"({"0": "person"})");
    EXPECT_EQ(file.metadata.count("trtpose_engine"), 0u);

    ASSERT_TRUE(file.engine);
    const EngineDescription& engine = *file.engine;
    EXPECT_EQ(engine.runtime, "tensorrt");
    EXPECT_EQ(engine.version, "10.13.0.35");
    EXPECT_EQ(engine.precision, "fp16");
    EXPECT_EQ(engine.layers.at("fp16"), 140);
    EXPECT_EQ(engine.device, "NVIDIA X");
    EXPECT_EQ(engine.compute_capability, "8.6");
    EXPECT_EQ(engine.hardware_compatibility, "ampere_plus");
    EXPECT_TRUE(engine.version_compatible);
    EXPECT_TRUE(engine.weight_streaming);
    ASSERT_EQ(engine.profiles.size(), 1u);
    EXPECT_EQ(engine.profiles[0].at("images").max, (std::vector<int64_t>{4, 3, 64, 96}));
    EXPECT_EQ(engine.onnx, "people.onnx");
    EXPECT_EQ(engine.onnx_sha256, "ab");
    EXPECT_EQ(engine.plan_offset, bytes.size() - kPlan.size());
    EXPECT_EQ(engine.plan_bytes, kPlan.size());
    EXPECT_EQ(engine.weight_bytes, 4096);
    EXPECT_EQ(engine.activation_bytes, -1);
    EXPECT_EQ(engine.plugins, std::vector<std::string>{"trtpose_decode_nms/1"});
    EXPECT_EQ(engine.created, "2026-01-02T03:04:05Z");

    const FoundSpec found = find_spec(file);
    EXPECT_EQ(found.origin, "metadata of trtpose");
    EXPECT_EQ(found.spec.keypoints, 2);
    EXPECT_NE(found.spec.to_json().find("[[0, 1]]"), std::string::npos) << "unused keys are kept";
}

TEST_F(EngineFileTest, ReadsTheFilesOfUltralytics) {
    const std::string header = R"({"description": "Ultralytics YOLO pose model", "task": "pose", "stride": 32,
        "batch": 1, "imgsz": [64, 96], "names": {"0": "person"}, "kpt_shape": [17, 3], "args": {"half": true}})";
    ModelFile file = read(with_length(header, plan_bytes("ftrt", {8, 6, 1, 6}, "plan")));
    EXPECT_EQ(file.engine->runtime, "tensorrt");
    EXPECT_EQ(file.engine->version, "8.6.1.6");
    EXPECT_EQ(file.engine->precision, "");
    EXPECT_TRUE(file.inputs.empty()) << "only the library knows them";
    // What the engine does once the library has told them.
    file.inputs = {{"images", DType::f32, {1, 3, 64, 96}}};
    file.outputs = {{"output0", DType::f32, {1, 56, 126}}};
    const FoundSpec found = find_spec(file);
    EXPECT_EQ(found.origin, "metadata of Ultralytics");
    EXPECT_EQ(found.spec.layout, Layout::channels_first);
}

TEST_F(EngineFileTest, ReadsBarePlans) {
    const ModelFile rtx = read(plan_bytes("vtrt", {1, 7, 1, 116}, "plan"));
    EXPECT_EQ(rtx.engine->runtime, "rtx");
    EXPECT_EQ(rtx.engine->version, "1.7.1.116");
    EXPECT_EQ(rtx.producer, "TensorRT for RTX 1.7.1.116");
    EXPECT_EQ(rtx.engine->plan_offset, 0u);
    // Another layout of the plan: nothing is guessed.
    std::string other = plan_bytes("ftrt", {10, 0, 0, 0}, "plan");
    other[4] = 1;
    EXPECT_EQ(read(other).engine->version, "");
}

TEST_F(EngineFileTest, ALengthMayLookLikeAnything) {
    // Among them the first bytes of PyTorch's files, of archives and of text.
    for (const uint32_t length : {0x80u, 0x180u, 0x4b50u, 0x3f3cu, 0x0a08u}) {
        std::string header = R"({"task": "pose"})";
        header.resize(length, ' ');
        EXPECT_EQ(read(with_length(header, kPlan)).engine->version, "10.13.0.35") << length;
    }
}

TEST_F(EngineFileTest, DamageIsFoundBeforeALibrarySeesIt) {
    const std::string whole = full().file(kPlan);
    std::string flipped = whole;
    flipped.back() ^= 1;
    TRTPOSE_EXPECT_ERROR(read(flipped), ErrorCode::model, "CRC-32");
    TRTPOSE_EXPECT_ERROR(read(whole.substr(0, whole.size() - 1)), ErrorCode::model, "its header says");
    TRTPOSE_EXPECT_ERROR(read(whole + "x"), ErrorCode::model, "its header says");
    TRTPOSE_EXPECT_ERROR(read(whole.substr(0, 40)), ErrorCode::model, "ends inside its header");
    TRTPOSE_EXPECT_ERROR(read(whole.substr(0, whole.size() - kPlan.size())), ErrorCode::model, "no TensorRT plan");
    TRTPOSE_EXPECT_ERROR(read("ftrt"), ErrorCode::model, "ends inside its plan");
    std::string huge = whole;
    huge[3] = '\x7f';
    TRTPOSE_EXPECT_ERROR(read(huge), ErrorCode::model, "claims");
    EngineHeader other = full();
    other.runtime = "rtx";
    TRTPOSE_EXPECT_ERROR(read(other.file(kPlan)), ErrorCode::model, "its plan is for tensorrt");
}

TEST_F(EngineFileTest, HeadersOfTheWrongTypesAreRefused) {
    const auto refused = [&](const EngineHeader& header, const char* part) {
        TRTPOSE_EXPECT_ERROR(read(header.file(kPlan)), ErrorCode::model, part);
    };
    EngineHeader header = full();
    header.inputs = "7";
    refused(header, "trtpose_engine.inputs");
    header = full();
    header.inputs = R"([{"name": "images", "dtype": "float32", "shape": [1.5, 3, 64, 96]}])";
    refused(header, "whole number");
    header.inputs = R"([{"name": "images", "dtype": "float32", "shape": [1, 3, 99999999999, 96]}])";
    refused(header, "shape");
    header = full();
    header.profiles = R"([{"images": {"min": [2, 3, 64, 96], "opt": [1, 3, 64, 96], "max": [4, 3, 64, 96]}}])";
    refused(header, "a range of each input's shape");
    header.profiles = R"([{"others": {"min": [1, 3, 64, 96], "opt": [1, 3, 64, 96], "max": [4, 3, 64, 96]}}])";
    refused(header, "a range of each input's shape");
    header = full();
    header.more = R"(, "device": "a GPU")";
    refused(header, "trtpose_engine.device");
    header.more = R"(, "layers": {"fp16": -1})";
    refused(header, "trtpose_engine.layers.fp16");
    header.more = R"(, "plugins": [1])";
    refused(header, "a list of texts");
    header.more = R"(, "version_compatible": "yes")";
    refused(header, "true or false");
    TRTPOSE_EXPECT_ERROR(read(with_length(R"({"trtpose_engine": {"format": 2}})", kPlan)), ErrorCode::model,
                         "format 2");
    TRTPOSE_EXPECT_ERROR(read(with_length(R"({"task": )", kPlan)), ErrorCode::model, "unreadable");
    EXPECT_EQ(read(with_length("{}", kPlan)).engine->version, "10.13.0.35");
}

TEST_F(EngineFileTest, TruncatedAtEveryByte) {
    const std::string whole = full().file(kPlan);
    ASSERT_TRUE(read_or_refuse(whole));
    for (size_t length = 5; length < whole.size(); ++length) {
        if (read_or_refuse(whole.substr(0, length))) ADD_FAILURE() << "length " << length;
        if (HasFailure()) return;
    }
}

TEST_F(EngineFileTest, DamagedHeadersAreReadOrRefused) {
    std::printf("seed %u\n", seed());
    std::mt19937 random(seed());
    constexpr int kRounds = 4000;
    const std::string whole = full().file(kPlan);
    const size_t header = whole.size() - kPlan.size();
    int read = 0;
    for (int i = 0; i < kRounds; ++i) {
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << i);
        std::string bytes = whole;
        const size_t at = random() % header, other = random() % header;
        switch (i % 4) {
            case 0: bytes[at] ^= static_cast<char>(1 << (random() % 8)); break;
            case 1: bytes[at] = "0123456789{}[]\",:-e."[random() % 20]; break;  // still JSON, now and then
            case 2: std::swap(bytes[at], bytes[other]); break;
            default: bytes.erase(std::min(at, other), std::max(at, other) - std::min(at, other)); break;
        }
        read += read_or_refuse(bytes);
        if (HasFailure()) return;
    }
    EXPECT_GT(read, 0);
    EXPECT_LT(read, kRounds);
}

TEST_F(EngineFileTest, AnEngineOutOfNothingIsAnError) {
    read(kPlan);
    try {
        const Engine engine(folder_ / "net.engine");
        ADD_FAILURE() << "an engine out of nothing";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::device) << error.what();
    }
}

}  // namespace
}  // namespace trtpose::test
