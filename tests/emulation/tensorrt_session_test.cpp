// SPDX-License-Identifier: Apache-2.0
// The TensorRT backend on the double, without the engine around it: what it reports, refuses and lends, on several
// threads and GPUs. Needs no kernel, so that it runs under ThreadSanitizer too.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "core/cuda_resources.hpp"
#include "support/reference.hpp"
#include "tensorrt/support.hpp"

namespace trtpose::test {
namespace {

using tensorrt_double::Fault;

constexpr bool kStreams = NV_TENSORRT_VERSION >= 100100;   ///< weights
constexpr bool kScratchByShape = NV_TENSORRT_MAJOR >= 10;  ///< not only by profile

size_t numbers(const std::vector<int64_t>& shape) {
    size_t out = 1;
    for (const int64_t d : shape) out *= static_cast<size_t>(d);
    return out;
}

/// Memory and a stream for a session, as the engine gives them.
class Runner {
public:
    explicit Runner(Session& session) : session_(session), device_(session.info().device) {
        EXPECT_EQ((cudaSetDevice)(device_.index), cudaSuccess);
        stream_ = std::make_unique<CudaStream>();
        grow(scratch_, kScratch);  // it stays where it is
    }
    ~Runner() {
        EXPECT_EQ((cudaSetDevice)(device_.index), cudaSuccess);
        EXPECT_EQ((cudaStreamSynchronize)(stream_->get()), cudaSuccess);
        for (DeviceBuffer* buffer : {&input_, &output_, &scratch_}) *buffer = DeviceBuffer();
        stream_.reset();
    }
    const SessionShape& prepare(int batch, Size size) {
        shape_ = &session_.prepare(batch, size);
        const size_t image = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        input_numbers_ = static_cast<size_t>(batch) * image;
        grow(input_, input_numbers_ * sizeof(float));
        grow(output_, numbers(shape_->outputs[0]) * sizeof(float));
        grow(scratch_, shape_->scratch_bytes);
        session_.use_scratch(scratch_.data(), scratch_.size());
        return *shape_;
    }
    void run(cudaStream_t stream = nullptr) {
        const std::vector<void*> outputs = {output_.data()};
        session_.run(input_.data(), outputs, {device_, stream ? stream : stream_->get(), nullptr});
    }
    /// Fill every input with this number's colour, run, and count the people in the first.
    int people(int number) {
        const float value = static_cast<float>(number) / 255;
        const std::vector<float> pixels(input_numbers_, value);
        EXPECT_EQ(cudaMemcpy(input_.data(), pixels.data(), pixels.size() * sizeof(float), cudaMemcpyHostToDevice),
                  cudaSuccess);
        run();
        stream_->synchronize();
        const size_t cells = static_cast<size_t>(shape_->outputs[0][2]);
        std::vector<float> found(numbers(shape_->outputs[0]));
        EXPECT_EQ(cudaMemcpy(found.data(), output_.data(), found.size() * sizeof(float), cudaMemcpyDeviceToHost),
                  cudaSuccess);
        return static_cast<int>(std::count_if(found.begin() + static_cast<ptrdiff_t>(4 * cells),
                                              found.begin() + static_cast<ptrdiff_t>(5 * cells),
                                              [](float score) { return score > 0.5f; }));
    }
    cudaStream_t stream() const { return stream_->get(); }
    const DeviceBuffer& scratch() const { return scratch_; }

private:
    static constexpr size_t kScratch = size_t{4} << 20;
    void grow(DeviceBuffer& buffer, size_t bytes) {
        if (buffer.size() >= bytes) return;
        stream_->synchronize();
        buffer = DeviceBuffer(bytes);
    }
    Session& session_;
    Device device_;
    std::unique_ptr<CudaStream> stream_;
    DeviceBuffer input_, output_, scratch_;
    size_t input_numbers_ = 0;
    const SessionShape* shape_ = nullptr;
};

class TensorRtSessionTest : public TensorRtTest {
protected:
    /// Opening fails with this code and sentence, once, and leaves nothing behind.
    void expect_refused(ErrorCode code, const std::string& part, const std::string& device = "cuda:0") {
        const std::string path = write();
        TRTPOSE_EXPECT_ERROR(open(path, device), code, part);
        EXPECT_EQ(network_->engines, 0);
        EXPECT_EQ(emulation::device_bytes(), 0u);
    }
};

TEST_F(TensorRtSessionTest, ReportsWhatThePlanIs) {
    network_->outputs[0].type = nvinfer1::DataType::kHALF;
    network_->profiles.push_back({{1, 3, 32, 32}, {1, 3, 64, 64}, {1, 3, 64, 64}});
    network_->streamable = 1024;
    const auto session = open();
    const SessionInfo& info = session->info();
    EXPECT_EQ(info.backend, "tensorrt");
    EXPECT_EQ(info.version, library_version_text());
    EXPECT_EQ(info.precision, "fp16");
    EXPECT_EQ(to_string(info.device), "cuda:0");
    EXPECT_EQ(info.input.name, "images");
    EXPECT_EQ(info.input.dtype, DType::f32);
    EXPECT_EQ(info.input.shape, (std::vector<int64_t>{-1, 3, -1, -1}));
    ASSERT_EQ(info.outputs.size(), 1u);
    EXPECT_EQ(info.outputs[0].dtype, DType::f16);
    ASSERT_EQ(info.profiles.size(), 2u);
    EXPECT_EQ(info.profiles[0].max, (std::vector<int64_t>{8, 3, 256, 256}));
    EXPECT_EQ(info.profiles[1].opt, (std::vector<int64_t>{1, 3, 64, 64}));
    EXPECT_EQ(info.streamable_weight_bytes, kStreams ? 1024u : 0u);
    EXPECT_EQ(network_->engines, 1);
    EXPECT_EQ(network_->contexts, 0) << "none before a shape is asked for";
}

TEST_F(TensorRtSessionTest, PrecisionsAreReportedAsBuilt) {
    header_.precision = "fp32";
    EXPECT_EQ(open()->info().precision, "f32");
    header_.precision = "int8";
    EXPECT_EQ(open()->info().precision, "int8");
    EXPECT_EQ(open(write(), "cuda:0", "int8")->info().precision, "int8");
    EXPECT_EQ(open(write(), "cuda:0", "auto")->info().precision, "int8");
    TRTPOSE_EXPECT_ERROR(open(write(), "cuda:0", "fp16"), ErrorCode::input, "was built for int8");
    const std::string bare =
        folder_.write("bare.plan", plan_bytes("ftrt", library_version(), tensorrt_double::add_network(network_)));
    EXPECT_EQ(open(bare)->info().precision, "unknown");
}

TEST_F(TensorRtSessionTest, RunsEveryShapeOfAProfile) {
    const auto session = open();
    Runner runner(*session);
    for (const int batch : {1, 3, 8}) {
        for (const Size size : {Size{32, 32}, Size{64, 96}, Size{256, 256}}) {
            const SessionShape& shape = runner.prepare(batch, size);
            EXPECT_EQ(shape.outputs[0], (std::vector<int64_t>{batch, kFields, (size.height / 8) * (size.width / 8)}));
            EXPECT_EQ(shape.weight_bytes, network_->weights);
            EXPECT_EQ(shape.activation_bytes, shape.scratch_bytes);
            EXPECT_NE(shape.capture_id, 0u);
            EXPECT_EQ(runner.people(2), 2);
        }
    }
    EXPECT_EQ(network_->carried_out, 9);
}

TEST_F(TensorRtSessionTest, ShapesOutsideAreRefusedBeforeTensorRTSeesThem) {
    const auto session = open();
    TRTPOSE_EXPECT_ERROR(session->prepare(9, {64, 96}), ErrorCode::model, "it takes 1×3×32×32 to 8×3×256×256");
    TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 264}), ErrorCode::model, "not 1×3×64×264");
    TRTPOSE_EXPECT_ERROR(session->prepare(0, {64, 96}), ErrorCode::model, "trtpose build MODEL.onnx");
    EXPECT_EQ(network_->contexts_made, 0);

    network_ = double_of(people_, {2, 3, 64, 96});
    const auto fixed = open();
    EXPECT_TRUE(fixed->info().profiles.empty()) << "the input's shape says it all";
    TRTPOSE_EXPECT_ERROR(fixed->prepare(1, {64, 96}), ErrorCode::model, "2×3×64×96 alone");
    Runner runner(*fixed);
    runner.prepare(2, {64, 96});
    EXPECT_EQ(runner.people(3), 3);
}

TEST_F(TensorRtSessionTest, TheNarrowestProfileThatFitsIsTaken) {
    network_->profiles = {{{1, 3, 32, 32}, {4, 3, 64, 96}, {8, 3, 128, 128}},
                          {{1, 3, 64, 96}, {1, 3, 64, 96}, {1, 3, 64, 96}},
                          {{1, 3, 32, 32}, {1, 3, 64, 96}, {2, 3, 256, 256}}};
    const auto session = open();
    Runner runner(*session);
    const auto scratch = [&](int batch, Size size) {
        const size_t bytes = runner.prepare(batch, size).scratch_bytes;
        EXPECT_EQ(runner.people(1), 1);
        return bytes;
    };
    const size_t of_small = scratch(1, {64, 96});
    EXPECT_EQ(of_small, kScratchByShape || NV_TENSORRT_MAJOR >= 10 ? network_->scratch({1, 3, 64, 96})
                                                                   : network_->scratch({2, 3, 256, 256}));
    scratch(8, {64, 64});
    scratch(2, {256, 256});
    scratch(1, {64, 96});
    TRTPOSE_EXPECT_ERROR(session->prepare(8, {256, 256}), ErrorCode::model, " or ");
}

TEST_F(TensorRtSessionTest, ShapesKeepTheirContextsUntilOthersPushThemOut) {
    const auto session = open();
    Runner runner(*session);
    std::set<uint64_t> ids;
    constexpr int kKept = 8;
    for (int batch = 1; batch <= kKept; ++batch) ids.insert(runner.prepare(batch, {32, 32}).capture_id);
    EXPECT_EQ(ids.size(), 8u) << "every context has graphs of its own";
    const uint64_t first = runner.prepare(1, {32, 32}).capture_id;
    EXPECT_EQ(ids.count(first), 1u);
    EXPECT_EQ(network_->contexts_made, kKept);
    for (int batch = 1; batch <= kKept; ++batch) EXPECT_EQ(ids.count(session->prepare(batch, {32, 32}).capture_id), 1u);
    EXPECT_EQ(network_->contexts_made, kKept);

    runner.prepare(1, {32, 32});
    runner.run();  // still at work when its context is the one to go
    for (int batch = 1; batch < kKept; ++batch) runner.prepare(batch, {64, 64});
    EXPECT_EQ(session->prepare(1, {32, 32}).capture_id, first);
    for (int batch = 1; batch <= kKept; ++batch) runner.prepare(batch, {64, 64});
    EXPECT_EQ(network_->contexts, kKept);
    const uint64_t again = runner.prepare(1, {32, 32}).capture_id;
    EXPECT_EQ(ids.count(again), 0u) << "a context made anew is another one for graphs";
    EXPECT_EQ(runner.people(3), 3);
}

TEST_F(TensorRtSessionTest, ScratchIsLentAndMayMove) {
    const auto session = open();
    const SessionShape& shape = session->prepare(2, {64, 96});
    EXPECT_EQ(shape.scratch_bytes, network_->scratch(kScratchByShape ? tensorrt_double::Shape{2, 3, 64, 96}
                                                                     : tensorrt_double::Shape{8, 3, 256, 256}));
    EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
    const CudaStream stream;
    const DeviceBuffer input(2 * 3 * 64 * 96 * sizeof(float)), output(numbers(shape.outputs[0]) * sizeof(float));
    const std::vector<void*> outputs = {output.data()};
    const auto run = [&] {
        session->run(input.data(), outputs, {{DeviceType::cuda, 0}, stream.get(), nullptr});
        stream.synchronize();
    };
    TRTPOSE_EXPECT_ERROR(run(), ErrorCode::device, "no memory was lent");
    const DeviceBuffer first(shape.scratch_bytes + 256), second(shape.scratch_bytes + 256);
    TRTPOSE_EXPECT_ERROR(session->use_scratch(first.data(), shape.scratch_bytes - 1), ErrorCode::budget, "it needs");
    TRTPOSE_EXPECT_ERROR(session->use_scratch(static_cast<char*>(first.data()) + 8, shape.scratch_bytes),
                         ErrorCode::input, "aligned to 256");
    const uint64_t id = shape.capture_id;
    session->use_scratch(first.data(), first.size());
    run();
    session->use_scratch(first.data(), first.size());
    EXPECT_EQ(session->prepare(2, {64, 96}).capture_id, id) << "nothing has changed for a graph";
    session->use_scratch(second.data(), second.size());
    EXPECT_NE(session->prepare(2, {64, 96}).capture_id, id) << "a graph holds the old address";
    run();
}

TEST_F(TensorRtSessionTest, ShapesAndClonesShareOneScratchInTurn) {
    const auto session = open();
    const auto other = session->clone();
    EXPECT_EQ(network_->engines, 1) << "the weights are shared";
    EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
    const CudaStream stream;
    const size_t bytes = network_->scratch({8, 3, 256, 256});
    const DeviceBuffer scratch(bytes), input(8 * 3 * 256 * 256 * sizeof(float)), output(8 * kFields * 1024 * 4);
    const std::vector<void*> outputs = {output.data()};
    for (int i = 0; i < 6; ++i) {
        Session& one = i % 2 ? *session : *other;
        one.prepare(1 + i, {64, 96});
        one.use_scratch(scratch.data(), scratch.size());
        one.run(input.data(), outputs, {{DeviceType::cuda, 0}, stream.get(), nullptr});
    }
    stream.synchronize();
    EXPECT_EQ(network_->carried_out, 6);
}

TEST_F(TensorRtSessionTest, CapturesWorkFromTheSecondRunOn) {
    const auto session = open();
    Runner runner(*session);
    runner.prepare(2, {64, 96});
    EXPECT_EQ(runner.people(1), 1);
    const CudaStream recorder;
    const CudaGraph graph = CudaGraph::record(recorder.get(), [&] { runner.run(recorder.get()); });
    const int before = network_->carried_out;
    for (int i = 0; i < 3; ++i) graph.launch(runner.stream());
    EXPECT_EQ((cudaStreamSynchronize)(runner.stream()), cudaSuccess);
    EXPECT_EQ(network_->carried_out, before + 3);
    // Other shapes leave this one's context alone.
    runner.prepare(2, {32, 32});
    runner.run();
    graph.launch(runner.stream());
    EXPECT_EQ((cudaStreamSynchronize)(runner.stream()), cudaSuccess);
}

TEST_F(TensorRtSessionTest, WeightsStreamWhereTheVersionCan) {
    network_->weights = 10000;
    network_->streamable = 8000;
    const auto session = open();
    if (!kStreams) {
        TRTPOSE_EXPECT_ERROR(session->limit_weights(0), ErrorCode::budget, "TensorRT 10.1 or newer");
        return;
    }
    EXPECT_EQ(emulation::device_bytes(), 10000u);
    EXPECT_EQ(session->limit_weights(5000), 5000u) << "2000 of them stay in any case";
    EXPECT_EQ(network_->streamed_budget, 3000);
    EXPECT_EQ(emulation::device_bytes(), 5000u);
    {
        Runner runner(*session);
        const SessionShape& shape = runner.prepare(1, {64, 96});
        EXPECT_EQ(shape.weight_bytes, 5000u);
        EXPECT_EQ(shape.capture_id, 0u) << "weights that come from the host cannot be captured";
        EXPECT_EQ(runner.people(2), 2);
        EXPECT_EQ(session->limit_weights(0), 2000u) << "its own contexts go";
        EXPECT_EQ(network_->contexts, 0);
        TRTPOSE_EXPECT_ERROR(session->use_scratch(nullptr, 0), ErrorCode::device, "no shape has been prepared");
        runner.prepare(1, {64, 96});
        EXPECT_EQ(runner.people(3), 3);
        const auto clone = session->clone();
        clone->prepare(1, {64, 96});
        TRTPOSE_EXPECT_ERROR(session->limit_weights(5000), ErrorCode::budget, "another clone");
    }
    EXPECT_EQ(session->limit_weights(50000), 10000u);
    EXPECT_NE(session->prepare(1, {64, 96}).capture_id, 0u);
    network_->fault = Fault::budget;
    TRTPOSE_EXPECT_ERROR(session->limit_weights(0), ErrorCode::budget, "asked to fail");
}

TEST_F(TensorRtSessionTest, FixedWeightsCannotStream) {
    TRTPOSE_EXPECT_ERROR(open()->limit_weights(0), ErrorCode::budget, "it cannot stream its weights");
}

TEST_F(TensorRtSessionTest, EveryFailureOfTheLibraryIsASentenceAndNothingIsLeft) {
    network_->fault = Fault::start;
    expect_refused(ErrorCode::device, "does not start");
    network_->fault = Fault::deserialize;
    network_->failure = "Serialization assertion failed.\nVersion tag does not match";
    expect_refused(ErrorCode::model,
                   "refuses its plan; build it again on this machine: trtpose build MODEL.onnx "
                   "--runtime tensorrt --fp16 (Serialization assertion failed. Version tag");
    network_->failure = "asked to fail";

    // A second profile, so that one must be chosen.
    network_->profiles.push_back({{1, 3, 64, 96}, {1, 3, 64, 96}, {1, 3, 64, 96}});
    const auto session = open();
    for (const auto& [fault, code] : {std::pair{Fault::context, ErrorCode::device},
                                      {Fault::input_shape, ErrorCode::model},
                                      {Fault::infer, ErrorCode::model}}) {
        network_->fault = fault;
        TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 96}), code, "asked to fail");
        EXPECT_EQ(network_->contexts, 0);
    }
    if (NV_TENSORRT_MAJOR >= 10) {  // before, it is tried again when others have made room
        network_->fault = Fault::profile;
        TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 96}), ErrorCode::device, "asked to fail");
    }
    network_->fault = Fault::context;
    network_->failure = "Error Code 2: OutOfMemory (no memory for the context)";
    TRTPOSE_EXPECT_ERROR(session->prepare(1, {64, 96}), ErrorCode::budget, "OutOfMemory");
    network_->failure = "asked to fail";

    Runner runner(*session);
    runner.prepare(1, {64, 96});
    network_->fault = Fault::address;
    TRTPOSE_EXPECT_ERROR(runner.run(), ErrorCode::model, "asked to fail");
    network_->fault = Fault::enqueue;
    TRTPOSE_EXPECT_ERROR(runner.run(), ErrorCode::device, "cannot run it (asked to fail)");
    EXPECT_EQ(runner.people(2), 2) << "and then it works";
}

TEST_F(TensorRtSessionTest, AFailureInAnotherShapeLeavesTheCurrentOne) {
    const auto session = open();
    Runner runner(*session);
    runner.prepare(1, {64, 96});
    EXPECT_THROW(session->prepare(99, {64, 96}), Error);
    EXPECT_EQ(runner.people(1), 1);
}

TEST_F(TensorRtSessionTest, WeightsThatDoNotFitAreABudgetMatter) {
    emulation::set_devices(1, 2048);
    expect_refused(ErrorCode::budget, "out of memory");
}

TEST_F(TensorRtSessionTest, UnknownPlansAreRefusedWithWhatTheLibrarySays) {
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

TEST_F(TensorRtSessionTest, WithoutADriverTensorRTIsNotCalled) {
    const std::string path = write();
    emulation::set_devices(0);
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "no NVIDIA driver");
}

TEST_F(TensorRtSessionTest, EnginesOfOtherGpusAreRefused) {
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

TEST_F(TensorRtSessionTest, TheLibraryMustBeThereAndOfTheVersion) {
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

TEST_F(TensorRtSessionTest, TheLibraryIsFoundWhereItMayBe) {
    const std::string path = write();
    const std::string file = std::string(TRTPOSE_DOUBLE_FOLDER) + "/libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
    {
        const Environment by_file("TRTPOSE_TENSORRT_LIB", file);
        EXPECT_NE(open(path), nullptr);
    }
    const TempFolder place;
    const Environment elsewhere("TRTPOSE_TENSORRT_LIB", place / "");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "TensorRT");
    for (const char* folder : {"lib", "tensorrt_libs", "tensorrt"}) {
        std::filesystem::create_directory(place / folder);
        std::filesystem::create_symlink(
            file, place / (std::string(folder) + "/" + std::filesystem::path(file).filename().string()));
        const Environment root("TENSORRT_ROOT", folder == std::string("lib") ? place / "" : "");
        const Environment packages("TRTPOSE_PACKAGE_PATH",
                                   folder == std::string("lib") ? "" : "/nowhere:" + place / "");
        EXPECT_NE(open(path), nullptr) << folder;
        std::filesystem::remove_all(place / folder);
    }
    // Something else of that name is passed over.
    place.write(std::filesystem::path(file).filename().string(), "no library");
    const Environment packages("TRTPOSE_PACKAGE_PATH", TRTPOSE_DOUBLE_FOLDER "/..");
    TRTPOSE_EXPECT_ERROR(open(path), ErrorCode::device, "TensorRT");
}

#if NV_TENSORRT_MAJOR >= 11  // whose interfaces TensorRT for RTX has
TEST_F(TensorRtSessionTest, PlansForRtxGoToTheLibraryForRtx) {
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
TEST_F(TensorRtSessionTest, VersionCompatiblePlansRunOnNewerLibrariesIfTrusted) {
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

TEST_F(TensorRtSessionTest, TensorsThatCannotBeFedOrReadAreRefused) {
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

TEST_F(TensorRtSessionTest, PluginsAreLoadedBeforeThePlan) {
    header_.more = R"(, "plugins": ["trtpose_decode_nms/1"])";
    expect_refused(ErrorCode::device, "it needs the plugin trtpose_decode_nms/1");
    expect_refused(ErrorCode::device, "libtrtpose_plugin" + std::to_string(NV_TENSORRT_MAJOR) + ".so cannot be loaded");
    tensorrt_double::allow_plugin("/somewhere/plugin.so");
    const Environment plugin("TRTPOSE_PLUGIN", "/somewhere/plugin.so");
    EXPECT_NE(open(), nullptr);
}

TEST_F(TensorRtSessionTest, APlanBehindAHeaderOfAnyLengthIsReadAligned) {
    for (int i = 0; i < 17; ++i) {
        header_.more += " ";
        EXPECT_NE(open(), nullptr);
    }
}

TEST_F(TensorRtSessionTest, AFileThatShrinksMeanwhileIsAnError) {
    const std::string path = write();
    const ModelFile file = read_model_file(path);
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    SessionOptions options;
    options.device = "cuda:0";
    TRTPOSE_EXPECT_ERROR(trtpose_backend()->open(file, options), ErrorCode::model, "has changed");
}

TEST_F(TensorRtSessionTest, EachGpuHasItsOwn) {
    const std::string path = write();
    const auto on_first = open(path, "cuda:0"), on_second = open(path, "cuda:1");
    EXPECT_EQ(network_->engines, 2);
    Runner first(*on_first), second(*on_second);
    EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
    on_second->prepare(1, {64, 96});
    int current = -1;
    EXPECT_EQ((cudaGetDevice)(&current), cudaSuccess);
    EXPECT_EQ(current, 0) << "the caller's GPU is still current";
    EXPECT_EQ((cudaSetDevice)(1), cudaSuccess);
    second.prepare(1, {64, 96});
    EXPECT_EQ(second.people(2), 2);
    EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
    first.prepare(1, {64, 96});
    EXPECT_EQ(first.people(3), 3);
}

#if NV_TENSORRT_MAJOR < 10  // later they always are
TEST_F(TensorRtSessionTest, ProfilesThatAreNotSharedServeOneShapeAtATime) {
    network_->shares_profiles = false;
    const auto session = open();
    Runner runner(*session);
    const uint64_t first = runner.prepare(1, {64, 96}).capture_id;
    runner.run();
    const uint64_t second = runner.prepare(2, {64, 96}).capture_id;
    EXPECT_NE(first, second);
    EXPECT_EQ(network_->contexts, 1);
    EXPECT_EQ(runner.people(2), 2);
    EXPECT_NE(runner.prepare(1, {64, 96}).capture_id, first);
    EXPECT_EQ(runner.people(3), 3);
    const auto clone = session->clone();
    TRTPOSE_EXPECT_ERROR(clone->prepare(1, {64, 96}), ErrorCode::device, "one shape or clone at a time");
}
#endif

TEST_F(TensorRtSessionTest, ClonesRunAtTheSameTime) {
    const auto session = open();
    std::vector<std::unique_ptr<Session>> clones;
    for (int i = 0; i < 4; ++i) clones.push_back(session->clone());
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (size_t i = 0; i < clones.size(); ++i) {
        threads.emplace_back([&, i] {
            Runner runner(*clones[i]);
            for (int round = 0; round < 10; ++round) {
                runner.prepare(1 + round % 3, round % 2 ? Size{64, 96} : Size{32, 32});
                const int number = static_cast<int>(i + static_cast<size_t>(round)) % 4;
                wrong += runner.people(number) != number;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST_F(TensorRtSessionTest, SessionsAreOpenedAtTheSameTime) {
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

TEST_F(TensorRtSessionTest, DamagedFilesAreOpenedOrRefused) {
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

TEST_F(TensorRtSessionTest, StatusTellsWhatIsThereWithoutCallingTensorRT) {
    const BackendStatus status = trtpose_backend()->status();
    EXPECT_NE(status.version.find(library_version_text()), std::string::npos);
    EXPECT_TRUE(status.available) << status.problem;
    ASSERT_EQ(status.devices.size(), 2u);
    EXPECT_NE(status.devices[0].find("compute capability 7.5"), std::string::npos);
    emulation::set_devices(0);
    const BackendStatus without = trtpose_backend()->status();
    EXPECT_FALSE(without.available);
    EXPECT_NE(without.version.find(library_version_text()), std::string::npos) << "found all the same";
    EXPECT_NE(without.problem.find("no NVIDIA driver"), std::string::npos);
    emulation::set_devices(2);
    // The registry knows both kinds and that this program has no modules beside it.
    const Environment folder("TRTPOSE_BACKEND_DIR", folder_ / "");
    std::map<std::string, BackendStatus> all;
    for (const auto& one : backends()) all[one.name] = one;
    EXPECT_EQ(all.size(), 3u);
    EXPECT_NE(all["tensorrt"].problem.find("no module for TensorRT"), std::string::npos) << all["tensorrt"].problem;
    EXPECT_FALSE(all["tensorrt"].available);
    EXPECT_EQ(all.count("tensorrt-rtx"), 1u);
    EXPECT_FALSE(all["tensorrt-rtx"].problem.empty());
}

TEST_F(TensorRtSessionTest, WithoutAModuleTheRegistrySaysSo) {
    const Environment folder("TRTPOSE_BACKEND_DIR", folder_ / "");
    const ModelFile file = read_model_file(write());
    const std::string name = "libtrtpose_tensorrt" + std::to_string(NV_TENSORRT_MAJOR) + ".so";
    TRTPOSE_EXPECT_ERROR(open_session(file, {}), ErrorCode::device, name);
    SessionOptions cpu;
    cpu.device = "cpu";
    TRTPOSE_EXPECT_ERROR(open_session(file, cpu), ErrorCode::device, "runs on the GPU");
}

}  // namespace
}  // namespace trtpose::test
