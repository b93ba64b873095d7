// SPDX-License-Identifier: Apache-2.0
// Engines of real TensorRT on a real GPU: outputs against ONNX Runtime's, memory against the plan, graphs against plain
// runs, clones in threads. The engines are those of the folder TRTPOSE_GPU_ENGINES, which prepare_engines.py fills.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "core/cuda_resources.hpp"
#include "trtpose/engine.hpp"
#include "trtpose/network_times.hpp"

namespace trtpose::test {
namespace {

namespace fs = std::filesystem;

constexpr double kMiB = 1024.0 * 1024.0;

std::vector<fs::path> files(const std::string& ending) {
    std::vector<fs::path> out;
    const char* folder = std::getenv("TRTPOSE_GPU_ENGINES");
    if (!folder || !fs::is_directory(folder)) return out;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.size() > ending.size() && name.compare(name.size() - ending.size(), ending.size(), ending) == 0)
            out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
}

std::vector<float> floats(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<float> out(bytes.size() / sizeof(float));
    std::copy_n(bytes.data(), out.size() * sizeof(float), reinterpret_cast<char*>(out.data()));
    return out;
}

double free_mib() {
    size_t free_bytes = 0, total = 0;
    cuda_check(cudaDeviceSynchronize(), "finish what is at work");
    cuda_check(cudaMemGetInfo(&free_bytes, &total), "ask for the free memory");
    return static_cast<double>(free_bytes) / kMiB;
}

/// A picture of smooth shapes: noise alone shows a network nobody.
struct Picture {
    std::vector<uint8_t> bytes;
    ImageView view;
    Picture(unsigned seed, int width, int height)
        : bytes(3 * static_cast<size_t>(width) * static_cast<size_t>(height)) {
        std::mt19937 random(seed);
        for (int i = 0; i < 40; ++i) {
            const int x = static_cast<int>(random() % static_cast<unsigned>(width)),
                      y = static_cast<int>(random() % static_cast<unsigned>(height)),
                      w = 1 + static_cast<int>(random() % static_cast<unsigned>(width / 2)),
                      h = 1 + static_cast<int>(random() % static_cast<unsigned>(height / 2));
            const uint32_t color = static_cast<uint32_t>(random());
            for (int row = y; row < std::min(height, y + h); ++row) {
                for (int column = x; column < std::min(width, x + w); ++column) {
                    uint8_t* pixel = &bytes[3 * (static_cast<size_t>(row) * static_cast<size_t>(width) +
                                                 static_cast<size_t>(column))];
                    for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(color >> (8 * c));
                }
            }
        }
        view = {bytes.data(), width, height, 0, PixelFormat::bgr, {}};
    }
};

std::vector<Picture> pictures() {
    std::vector<Picture> out;
    for (unsigned i = 0; i < 7; ++i)
        out.emplace_back(i, 320 + static_cast<int>(i) * 97, 240 + static_cast<int>(i) * 53);
    return out;
}

std::vector<ImageView> views(const std::vector<Picture>& all) {
    std::vector<ImageView> out;
    for (const auto& one : all) out.push_back(one.view);
    return out;
}

/// A threshold low enough that something is always found.
EngineOptions loose() {
    EngineOptions options;
    options.device = "cuda";
    options.precision = "auto";
    options.conf = 0.01f;
    return options;
}

void expect_same(const std::vector<Poses>& found, const std::vector<Poses>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        SCOPED_TRACE(i);
        EXPECT_EQ(found[i].count, expected[i].count);
        EXPECT_EQ(found[i].boxes, expected[i].boxes);
        EXPECT_EQ(found[i].scores, expected[i].scores);
        EXPECT_EQ(found[i].class_ids, expected[i].class_ids);
        EXPECT_EQ(found[i].keypoints, expected[i].keypoints);
    }
}

struct EngineFileTest : ::testing::TestWithParam<fs::path> {};
struct OutputsTest : ::testing::TestWithParam<fs::path> {};

std::string name_of(const ::testing::TestParamInfo<fs::path>& info) {
    std::string name = info.param.stem().string();
    for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
}

TEST(TensorRt, ThereAreEngines) {
    if (!std::getenv("TRTPOSE_GPU_ENGINES"))
        GTEST_SKIP() << "no engines: tools/gpu_test.sh tensorrt builds them and names their folder";
    EXPECT_FALSE(files(".engine").empty()) << "none could be built; see engines.json";
}

using Values = std::vector<float>;

/// Names and values of a network's outputs for `images`.
std::vector<std::pair<std::string, Values>> run_engine(const fs::path& path, int batch, Size size,
                                                       const Values& images) {
    SessionOptions options;
    options.device = "cuda";
    options.precision = "auto";
    const auto session = open_session(read_model_file(path.string()), options);
    const SessionShape shape = session->prepare(batch, size);
    const CudaStream stream;
    const DeviceBuffer scratch(std::max<size_t>(shape.scratch_bytes, 1));
    if (shape.scratch_bytes) session->use_scratch(scratch.data(), shape.scratch_bytes);
    EXPECT_EQ(session->info().input.dtype, DType::f32);
    const DeviceBuffer given(images.size() * sizeof(float));
    cuda_check(cudaMemcpy(given.data(), images.data(), given.size(), cudaMemcpyHostToDevice), "upload");
    std::vector<DeviceBuffer> buffers;
    std::vector<void*> outputs;
    for (const auto& one : shape.outputs) {
        size_t bytes = sizeof(float);
        for (const int64_t side : one) bytes *= static_cast<size_t>(side);
        outputs.push_back(buffers.emplace_back(bytes).data());
    }
    session->run(given.data(), outputs, {session->info().device, stream.get(), nullptr});
    stream.synchronize();
    std::vector<std::pair<std::string, Values>> out;
    for (size_t i = 0; i < outputs.size(); ++i) {
        const TensorInfo& output = session->info().outputs[i];
        EXPECT_EQ(output.dtype, DType::f32) << output.name;
        Values values(buffers[i].size() / sizeof(float));
        cuda_check(cudaMemcpy(values.data(), buffers[i].data(), buffers[i].size(), cudaMemcpyDeviceToHost), "download");
        out.emplace_back(output.name, std::move(values));
    }
    return out;
}

/// Root mean square of the difference, relative to that of the values.
double relative_difference(const Values& values, const Values& expected) {
    double error = 0, power = 0;
    for (size_t k = 0; k < values.size(); ++k) {
        const double wanted = static_cast<double>(expected[k]);
        error += (static_cast<double>(values[k]) - wanted) * (static_cast<double>(values[k]) - wanted);
        power += wanted * wanted;
    }
    return std::sqrt(error / std::max(power, 1e-30));
}

TEST_P(OutputsTest, TheNetworkGivesWhatOnnxRuntimeGives) {
    std::ifstream list(GetParam());
    int batch = 0;
    Size size;
    list >> batch >> size.height >> size.width;
    std::map<std::string, Values> expected;
    std::string name, file;
    for (size_t count = 0; list >> name >> file >> count;) {
        expected[name] = floats(GetParam().parent_path() / file);
        ASSERT_EQ(expected[name].size(), count) << file;
    }
    fs::path input = GetParam();
    const Values images = floats(input.replace_extension(".input"));
    ASSERT_EQ(images.size(),
              static_cast<size_t>(batch) * 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width));
    const std::string stem = GetParam().stem().string();
    int compared = 0;
    for (const fs::path& path : files(".engine")) {
        const std::string engine_name = path.stem().string();
        if (engine_name.rfind(stem + "-", 0) != 0) continue;
        SCOPED_TRACE(engine_name);
        // FP32 adds in another order; FP16 keeps 11 bits of every activation, INT8 8 of the range of a whole tensor.
        const bool fp32 = engine_name.find("-fp32") != std::string::npos;
        const bool fp16 = engine_name.find("-fp16") != std::string::npos;
        const double tolerance = fp32 ? 1e-4 : fp16 ? 2e-2 : 0.3;
        for (const auto& [output, values] : run_engine(path, batch, size, images)) {
            ASSERT_EQ(expected.count(output), 1u) << output;
            ASSERT_EQ(values.size(), expected[output].size()) << output;
            const double relative = relative_difference(values, expected[output]);
            std::printf("%s %s: relative difference %.2e\n", engine_name.c_str(), output.c_str(), relative);
            EXPECT_LE(relative, tolerance) << output;
            ++compared;
        }
    }
    EXPECT_GT(compared, 0) << "no engine of this model was built";
}

/// What an engine takes beyond its first, which pays for the context and the libraries' code, is what it planned.
TEST_P(EngineFileTest, TakesWhatItPlanned) {
    const Picture picture(1, 1920, 1080);
    const auto use = [&](Engine& engine) {
        const std::vector<ImageView> batch(static_cast<size_t>(engine.batch()), picture.view);
        for (int i = 0; i < 3; ++i) static_cast<void>(engine.infer(batch));
    };
    Engine first(GetParam().string(), loose());
    use(first);
    const double before = free_mib();
    Engine second(GetParam().string(), loose());
    use(second);
    const double taken = before - free_mib();
    const MemoryPlan plan = second.memory();
    const double planned = static_cast<double>(plan.total()) / kMiB;
    std::printf("%s: planned %.1f MiB (weights %.1f, activations %.1f), taken %.1f MiB\n",
                GetParam().filename().c_str(), planned, static_cast<double>(plan.weights) / kMiB,
                static_cast<double>(plan.activations) / kMiB, taken);
    // cudaMalloc takes blocks of 2 MiB, and a graph, a context and its streams have memory of their own.
    EXPECT_LE(taken, 1.10 * planned + 48);
    EXPECT_GE(taken, 0.5 * planned - 48) << "the plan holds the user to much more than is needed";
    const double between = free_mib();
    Engine clone = second.clone();
    use(clone);
    const double cloned = between - free_mib();
    const double own = planned - static_cast<double>(plan.weights) / kMiB;
    std::printf("%s: a clone takes %.1f MiB\n", GetParam().filename().c_str(), cloned);
    EXPECT_LE(cloned, 1.10 * own + 48) << "a clone has weights of its own";
}

TEST_P(EngineFileTest, GraphsGiveWhatPlainRunsGive) {
    const auto all = pictures();
    const auto frames = views(all);
    Engine engine(GetParam().string(), loose());
    const Thresholds thresholds = engine.thresholds();
    int poses = 0;
    for (const ImageView& frame : frames) {
        Engine fresh = engine.clone();  // its first run of a shape is never a graph
        const auto plain = fresh.infer({&frame, 1}, thresholds);
        for (int i = 0; i < 4; ++i) expect_same(engine.infer({&frame, 1}, thresholds), plain);
        poses += plain[0].count;
    }
    EXPECT_GT(poses, 0) << "nothing was compared";
}

TEST_P(EngineFileTest, SlotKOfABatchIsTheFrameAlone) {
    Engine engine(GetParam().string(), loose());
    const auto all = pictures();
    const auto frames = views(all);
    const auto together = engine.infer(frames);
    ASSERT_EQ(together.size(), frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
        SCOPED_TRACE(i);
        const auto alone = engine.infer({&frames[i], 1});
        // TensorRT may take another kernel for another batch; the best pose is the same to a small part of a pixel.
        if (engine.batch() == 1) {
            expect_same({together[i]}, alone);
        } else if (alone[0].count > 0 && together[i].count > 0) {
            EXPECT_NEAR(together[i].scores[0], alone[0].scores[0], 2e-3);
        }
    }
}

TEST_P(EngineFileTest, ClonesRunInThreads) {
    const auto all = pictures();
    const auto frames = views(all);
    Engine engine(GetParam().string(), loose());
    const auto expected = engine.infer(frames);
    std::vector<Engine> engines;
    for (int i = 0; i < 3; ++i) engines.push_back(engine.clone());
    std::vector<std::thread> threads;
    std::vector<std::string> failures(engines.size());
    std::vector<std::vector<Poses>> found(engines.size());
    for (size_t i = 0; i < engines.size(); ++i) {
        threads.emplace_back([&, i] {
            try {
                for (int k = 0; k < 15; ++k) found[i] = engines[i].infer(frames);
            } catch (const std::exception& error) {
                failures[i] = error.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    for (size_t i = 0; i < engines.size(); ++i) {
        EXPECT_EQ(failures[i], "");
        expect_same(found[i], expected);
    }
}

TEST_P(EngineFileTest, ATooSmallBudgetIsRefusedWithTheNumbers) {
    EngineOptions options = loose();
    options.vram_budget = size_t{1} << 20;
    try {
        const Engine engine(GetParam().string(), options);
        ADD_FAILURE() << "opened within 1 MiB";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::budget) << error.what();
        EXPECT_NE(std::string(error.what()).find("MiB"), std::string::npos) << error.what();
    }
}

TEST_P(EngineFileTest, TheNetworkAloneIsTimed) {
    SessionOptions options;
    options.device = "cuda";
    options.precision = "auto";
    const ModelFile file = read_model_file(GetParam().string());
    const auto session = open_session(file, options);
    const Engine engine(GetParam().string(), loose());
    const NetworkTimes times = time_network(*session, engine.batch(), engine.imgsz(), 10, 2);
    EXPECT_EQ(times.device.size(), 10u);
    EXPECT_GT(*std::min_element(times.device.begin(), times.device.end()), 0.0);
    EXPECT_EQ(times.graph.size(), 10u) << "the network could not be captured";
}

INSTANTIATE_TEST_SUITE_P(Folder, OutputsTest, ::testing::ValuesIn(files(".outputs")), name_of);
INSTANTIATE_TEST_SUITE_P(Folder, EngineFileTest, ::testing::ValuesIn(files(".engine")), name_of);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OutputsTest);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EngineFileTest);

}  // namespace
}  // namespace trtpose::test
