// SPDX-License-Identifier: Apache-2.0
// The TensorRT backend on the double: which files it opens, with which library, and what it refuses.
#include <atomic>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#include "support/reference.hpp"
#include "tensorrt_session_test.hpp"

namespace trtpose::test {
namespace {

class TensorRtOpeningTest : public TensorRtSessionTest {};

TEST_F(TensorRtOpeningTest, WeightsThatDoNotFitAreABudgetMatter) {
    emulation::set_devices(1, 2048);
    expect_refused(ErrorCode::budget, "out of memory");
}

TEST_F(TensorRtOpeningTest, UnknownPlansAreRefusedWithWhatTheLibrarySays) {
    const std::string path =
        folder_.write("other.engine", header_.file(plan_bytes("ftrt", library_version(), "no network of the double")));
    try {
        open(path);
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::model);
        EXPECT_NE(std::string(error.what()).find("magic tag does not match"), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find("a warning"), std::string::npos) << error.what();
    }
}

TEST_F(TensorRtOpeningTest, WithoutADriverTensorRTIsNotCalled) {
    const std::string path = write();
    emulation::set_devices(0);
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "no NVIDIA driver");
}

TEST_F(TensorRtOpeningTest, EnginesOfOtherGpusAreRefused) {
    // The emulated GPUs have compute capability 7.5.
    header_.more = R"(, "device": {"name": "NVIDIA A10", "compute_capability": "8.6"})";
    expect_refused(ErrorCode::device, "it was built for NVIDIA A10, compute capability 8.6, not for cuda:0");
    header_.more += R"(, "hardware_compatibility": "ampere_plus", "onnx": {"name": "x.onnx"})";
    expect_refused(ErrorCode::device, "GPUs from Ampere on, not for cuda:0");
    expect_refused(ErrorCode::device, "trtpose build x.onnx --runtime tensorrt --fp16");
    header_.more = R"(, "compute_capabilities": ["8.0", "8.6"])";
    expect_refused(ErrorCode::device, "compute capability 8.0, 8.6, not for cuda:0");
    header_.more = R"(, "device": {"name": "emulated", "compute_capability": "7.5"})";
    EXPECT_NE(open(), nullptr);
    expect_refused(ErrorCode::device, "this machine has 2 GPU(s)", "cuda:2");
}

TEST_F(TensorRtOpeningTest, TheLibraryMustBeThereAndOfTheVersion) {
    header_.version = "10.9.4.7";
    const std::string found = "found is " + library_version_text();
    expect_refused(ErrorCode::device, found);
    expect_refused(ErrorCode::device, "pip install tensorrt==10.9.4.7");
    expect_refused(ErrorCode::device, "build it again (trtpose build MODEL.onnx --runtime tensorrt --fp16)");
    header_.version = "8.6.9.1";
    expect_refused(ErrorCode::device, "pip install tensorrt==8.6.9,");
    const TempFolder empty;
    const Environment nowhere("TRTPOSE_TENSORRT_LIB", empty / "");
    expect_refused(ErrorCode::device, "TensorRT 8.6.9.1");
}

#if NV_TENSORRT_MAJOR >= 11  // whose interfaces TensorRT for RTX has
TEST_F(TensorRtOpeningTest, PlansForRtxGoToTheLibraryForRtx) {
    header_.runtime = "rtx";
    header_.version = "1.7.1.116";
    header_.more = R"(, "compute_capabilities": ["7.5", "8.6"])";
    const auto session = open();
    EXPECT_EQ(session->info().backend, "tensorrt-rtx");
    EXPECT_EQ(session->info().version, "1.7.1");
    Runner runner(*session);
    runner.prepare(2, {64, 96});
    EXPECT_EQ(runner.people(3), 3);
    header_.version = "1.2.0.1";
    TRTPOSE_EXPECT_ERROR(open(write()), ErrorCode::device, "pip install tensorrt_rtx_cu13_libs==1.2.0.1");
}
#endif

#if NV_TENSORRT_MAJOR > 8  // nothing older is served
TEST_F(TensorRtOpeningTest, VersionCompatiblePlansRunOnNewerLibrariesIfTrusted) {
    const int older = NV_TENSORRT_MAJOR == 11 ? 10 : 8;
    header_.version = older == 8 ? "8.6.1.6" : "10.13.0.35";
    expect_refused(ErrorCode::device, "it was built with");
    header_.more = R"(, "version_compatible": true)";
    expect_refused(ErrorCode::device, "TRTPOSE_ALLOW_ENGINE_CODE=1");
    const Environment trusted("TRTPOSE_ALLOW_ENGINE_CODE", "1");
    EXPECT_NE(open(), nullptr);
    EXPECT_TRUE(network_->host_code_allowed);
    header_.version = NV_TENSORRT_MAJOR == 11 ? "8.6.1.6" : "10.99.0.0";
    expect_refused(ErrorCode::device, "it was built with");
}
#endif

TEST_F(TensorRtOpeningTest, TensorsThatCannotBeFedOrReadAreRefused) {
    const auto broken = [&](auto&& change, const char* part) {
        network_ = double_of(people_);
        change(*network_);
        expect_refused(ErrorCode::model, part);
    };
    using tensorrt_double::Network;
    broken([](Network& n) { n.inputs[0].type = nvinfer1::DataType::kINT8; }, "its input 'images' is neither float32");
    broken([](Network& n) { n.inputs[0].type = nvinfer1::DataType::kINT32; }, "its input 'images' is neither float32");
    broken([](Network& n) { n.outputs[0].type = nvinfer1::DataType::kINT8; }, "its output 'output' is neither float32");
    broken([](Network& n) { n.inputs[0].format = nvinfer1::TensorFormat::kCHW32; }, "not laid out row by row");
    broken([](Network& n) { n.outputs[0].location = nvinfer1::TensorLocation::kHOST; }, "not laid out row by row");
    broken([](Network& n) { n.inputs.push_back({"more", nvinfer1::DataType::kFLOAT, {1, 3, 8, 8}}); },
           "several inputs");
    broken([](Network& n) { n.inputs[0].shape = {-1, 3, 64}; }, "its input is ?×3×64");
    broken([](Network& n) { n.outputs.clear(); }, "no input or no output");
    broken([](Network& n) { n.profiles[0].opt.clear(); }, "profile 0 says nothing");
    network_ = double_of(people_);
    network_->shapes = [](const auto&) { return std::vector<tensorrt_double::Shape>{{1, kFields, -1}}; };
    const auto session = open();
    TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 96}), ErrorCode::model, "depends on the picture");
}

TEST_F(TensorRtOpeningTest, PluginsAreLoadedBeforeThePlan) {
    header_.more = R"(, "plugins": ["trtpose_decode_nms/1"])";
    expect_refused(ErrorCode::device, "it needs the plugin trtpose_decode_nms/1");
    expect_refused(ErrorCode::device, "libtrtpose_plugin" + std::to_string(NV_TENSORRT_MAJOR) + ".so cannot be loaded");
    tensorrt_double::allow_plugin("/somewhere/plugin.so");
    const Environment plugin("TRTPOSE_PLUGIN", "/somewhere/plugin.so");
    EXPECT_NE(open(), nullptr);
}

TEST_F(TensorRtOpeningTest, APlanBehindAHeaderOfAnyLengthIsReadAligned) {
    for (int i = 0; i < 17; ++i) {
        header_.more += " ";
        EXPECT_NE(open(), nullptr);
    }
}

TEST_F(TensorRtOpeningTest, AFileThatShrinksMeanwhileIsAnError) {
    const std::string path = write();
    const ModelFile file = read_model_file(path);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    SessionOptions options;
    options.device = "cuda:0";
    TRTPOSE_EXPECT_ERROR(open_double(file, options), ErrorCode::model, "has changed");
}

TEST_F(TensorRtOpeningTest, SessionsAreOpenedAtTheSameTime) {
    const std::string path = write();
    std::vector<std::thread> threads;
    std::atomic<int> failed{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 5; ++round) {
                if (i == 0) {
                    try {
                        open(path, "cuda:7");
                    } catch (const Error&) {
                        continue;
                    }
                }
                const auto session = open(path);
                failed += session->prepare(1 + round, {64, 96}).outputs[0][0] != 1 + round;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failed, 0);
}

TEST_F(TensorRtOpeningTest, DamagedFilesAreOpenedOrRefused) {
    std::printf("seed %u\n", seed());
    std::mt19937 random(seed());
    header_.more = R"(, "device": {"name": "emulated", "compute_capability": "7.5"}, "plugins": [])";
    const std::string path = write();
    std::ifstream in(path, std::ios::binary);
    const std::string whole((std::istreambuf_iterator<char>(in)), {});
    int opened = 0;
    constexpr int kRounds = 1500;
    for (int i = 0; i < kRounds; ++i) {
        SCOPED_TRACE(testing::Message() << "seed " << seed() << " round " << i);
        std::string bytes = whole;
        bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
        if (i % 3 == 0) bytes.resize(random() % bytes.size());
        try {
            opened += open(folder_.write("damaged.engine", bytes)) != nullptr;
        } catch (const Error& error) {
            EXPECT_FALSE(std::string(error.what()).empty());
        }
        if (HasFailure()) return;
    }
    EXPECT_GT(opened, 0);
    EXPECT_LT(opened, kRounds);
}

}  // namespace
}  // namespace trtpose::test
