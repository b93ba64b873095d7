// SPDX-License-Identifier: Apache-2.0
// The TensorRT backend on the double: what a session reports, the shapes it runs, what it lends and captures, and how
// it fails, on several threads and GPUs.
#include "tensorrt_session_test.hpp"

#include <set>
#include <thread>

namespace trtpose::test {
namespace {

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
    for (const bool first_is_off : {true, false}) {
        const std::vector<void*> shifted = {static_cast<char*>(output.data()) + (first_is_off ? 0 : 64)};
        const void* const images = static_cast<char*>(input.data()) + (first_is_off ? 64 : 0);
        TRTPOSE_EXPECT_ERROR(
            session->run(images, shifted, {{DeviceType::cuda, 0}, stream.get(), nullptr}), ErrorCode::input,
            first_is_off ? "memory of 'images' must be aligned to 256" : "memory of 'output' must be aligned to 256");
    }
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

}  // namespace
}  // namespace trtpose::test
