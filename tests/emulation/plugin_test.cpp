// SPDX-License-Identifier: Apache-2.0
// The plugin as TensorRT uses it, from creation to a run in another process's copy, on emulated CUDA: what it gives is
// what the operations give, bit for bit.
#include "plugin_test.hpp"

#include <cuda_fp16.h>

#include <cmath>
#include <cstring>

#include "cuda/emulation.hpp"

namespace trtpose::test {
namespace {

/// What one run wrote.
struct Written {
    std::vector<int32_t> counts, class_ids;
    std::vector<float> boxes, scores, keypoints;
};

std::vector<uint16_t> halves_of(const std::vector<float>& values) {
    std::vector<uint16_t> bits(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        const __half h = __float2half_rn(values[i]);
        std::memcpy(&bits[i], &h, sizeof(h));
    }
    return bits;
}

class PluginTest : public OnDevice {
protected:
    void SetUp() override {
        OnDevice::SetUp();
        setLoggerFinder(&lines_);
    }
    void TearDown() override { setLoggerFinder(nullptr); }

    /// Run a plugin that has been attached to a context. The scratch memory is as long as asked for and not a byte
    /// longer.
    Written run(IPluginV3& plugin, const Scene& scene, bool half, size_t workspace_bytes, bool announce = true) {
        IPluginV3OneRuntime& runtime = run_side(plugin);
        const auto images = static_cast<size_t>(scene.shapes.front().front());
        const auto slots = images * static_cast<size_t>(scene.nms.max_det);
        const auto pose = static_cast<size_t>(scene.spec.keypoints) * 3;
        std::vector<DeviceArray<float>> floats;
        std::vector<DeviceArray<uint16_t>> halves;
        std::vector<const void*> inputs;
        for (const auto& values : scene.outputs) {
            if (half) {
                halves.push_back(array(halves_of(values)));
                inputs.push_back(halves.back().data());
            } else {
                floats.push_back(array(values));
                inputs.push_back(floats.back().data());
            }
        }
        const auto counts = array<int32_t>(images), classes = array<int32_t>(slots);
        const auto boxes = array<float>(slots * 4), scores = array<float>(slots), points = array<float>(slots * pose);
        void* const outputs[kOutputs] = {counts.data(), boxes.data(), scores.data(), classes.data(), points.data()};
        const auto scratch = array<char>(workspace_bytes);

        std::vector<PluginTensorDesc> in, out(kOutputs);
        for (const auto& shape : scene.shapes)
            in.push_back({dims_of(shape), half ? DataType::kHALF : DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
        const auto inputs_count = static_cast<int32_t>(in.size());
        if (announce) {
            EXPECT_EQ(runtime.onShapeChange(in.data(), inputs_count, out.data(), kOutputs), 0) << lines_.all;
        }
        emulation::listen();
        EXPECT_EQ(runtime.enqueue(in.data(), out.data(), inputs.data(), outputs, scratch.data(),
                                  static_cast<cudaStream_t>(context().stream)),
                  0)
            << lines_.all;
        for (const std::string& call : emulation::heard()) {
            EXPECT_TRUE(call == "cudaGetDevice" || call == "cudaSetDevice" || call == "cudaMemsetAsync" ||
                        call == "cudaFuncSetAttribute" || call == "cudaGetLastError")
                << call << " in enqueue";
        }
        Written w;
        w.counts = counts.get();
        w.class_ids = classes.get();
        w.boxes = boxes.get();
        w.scores = scores.get();
        w.keypoints = points.get();
        return w;
    }

    /// What lies in the slots of poses is what the operations gave, everything else is zero.
    void expect_same_as(const Written& w, const Outcome& expected, const Scene& scene) {
        const auto max_det = static_cast<size_t>(scene.nms.max_det);
        const auto pose = static_cast<size_t>(scene.spec.keypoints) * 3;
        ASSERT_EQ(w.counts.size(), expected.kept.size());
        Outcome found;
        for (size_t n = 0; n < w.counts.size(); ++n) {
            ASSERT_EQ(static_cast<size_t>(w.counts[n]), expected.kept[n].size()) << "image " << n;
            const auto part = [&](auto& to, const auto& from, size_t each) {
                const size_t begin = n * max_det * each, end = (n + 1) * max_det * each;
                const size_t filled = begin + static_cast<size_t>(w.counts[n]) * each;
                const auto at = [&](size_t i) { return from.begin() + static_cast<ptrdiff_t>(i); };
                to.insert(to.end(), at(begin), at(filled));
                EXPECT_TRUE(std::all_of(at(filled), at(end),
                                        [](auto x) { return x == 0 && !std::signbit(static_cast<double>(x)); }));
            };
            part(found.boxes, w.boxes, 4);
            part(found.scores, w.scores, 1);
            part(found.keypoints, w.keypoints, pose);
            part(found.class_ids, w.class_ids, 1);
        }
        ASSERT_TRUE(same_bits(found.boxes, expected.boxes));
        ASSERT_TRUE(same_bits(found.scores, expected.scores));
        ASSERT_TRUE(same_bits(found.keypoints, expected.keypoints));
        ASSERT_EQ(found.class_ids, expected.class_ids);
    }

    /// From the node's attributes to a run, with everything in between done as TensorRT does it.
    void expect_same(const Scene& scene, bool half) { expect_same(scene, half, fields_of(scene)); }
    void expect_same(Scene scene, bool half, const Fields& fields) {
        scene.placements.assign(
            static_cast<size_t>(scene.shapes.front().front()),
            math::letterbox(scene.input.width, scene.input.height, scene.input.width, scene.input.height));
        const Outcome expected = run_scene(device(), scene, half);
        Fields stored;
        size_t bytes = 0;
        {
            const auto given = create(fields);
            ASSERT_TRUE(given) << lines_.all;
            const std::unique_ptr<IPluginV3> copy(given->clone());
            bytes = go_through_build(*copy, scene, half, scene.shapes.front().front() + 2);
            stored = Fields(*run_side(*copy).getFieldsToSerialize());
        }
        const auto deserialised = create(std::move(stored), TensorRTPhase::kRUNTIME);
        ASSERT_TRUE(deserialised) << lines_.all;
        const std::unique_ptr<IPluginV3> attached(run_side(*deserialised).attachToContext(nullptr));
        ASSERT_TRUE(attached);
        expect_same_as(run(*attached, scene, half, bytes), expected, scene);
        EXPECT_EQ(lines_.all, "");
    }

    Lines lines_;
};
TRTPOSE_ON_EVERY_DEVICE(PluginTest);

/// A scene that a plugin may have.
Scene plugin_scene(std::mt19937& random, bool half) {
    while (true) {
        Scene scene = random_scene(random, half);
        if (scene.spec.keypoints > 0) return scene;
    }
}

TEST_P(PluginTest, EqualsTheOperations) {
    std::mt19937 random(seed());
    for (int i = 0; i < 25 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed()));
        expect_same(plugin_scene(random, false), false);
    }
}

TEST_P(PluginTest, EqualsTheOperationsInHalfPrecision) {
    std::mt19937 random(seed() + 1);
    for (int i = 0; i < 25 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed() + 1));
        expect_same(plugin_scene(random, true), true);
    }
}

TEST_P(PluginTest, EqualsTheOperationsBySpec) {
    std::mt19937 random(seed() + 2);
    for (int i = 0; i < 25 && !HasFatalFailure(); ++i) {
        SCOPED_TRACE("scene " + std::to_string(i) + " of seed " + std::to_string(seed() + 2));
        const Scene scene = plugin_scene(random, i % 2 == 1);
        expect_same(scene, i % 2 == 1, fields_by_spec(scene));
    }
}

TEST_P(PluginTest, NobodyThere) {
    const Scene scene = flat_scene(3, -10.0f);
    expect_same(scene, false);
    const auto plugin = create(fields_of(scene));
    const Written w = run(*plugin, scene, false, go_through_build(*plugin, scene, false, 3));
    EXPECT_EQ(w.counts, std::vector<int32_t>(3, 0));
    EXPECT_TRUE(same_bits(w.keypoints, std::vector<float>(w.keypoints.size(), 0.0f)));
}

TEST_P(PluginTest, MoreCandidatesThanAreConsidered) {
    // Every anchor passes, with one score: the lower anchors are taken.
    Scene scene = flat_scene(2, 3.0f);
    scene.nms.threshold = 1.0f;  // nothing is as alike as that
    scene.nms.max_nms = 50;
    scene.nms.max_det = 100;
    expect_same(scene, false);
    scene.nms.max_nms = 30000;
    scene.nms.max_det = 7;
    expect_same(scene, false);
}

TEST_P(PluginTest, AnyBatchUpToTheLargest) {
    std::mt19937 random(seed());
    const size_t bytes = [&] {
        const Scene largest = flat_scene(4, 0.0f);
        const auto plugin = create(fields_of(largest));
        return go_through_build(*plugin, largest, false, 4);
    }();
    const auto plugin = create(fields_of(flat_scene(1, 0.0f)));
    std::normal_distribution<float> logit(0.0f, 2.0f);
    Scene all = flat_scene(4, 0.0f);
    for (auto& values : all.outputs) {
        for (float& x : values) x = logit(random);
    }
    Written alone;
    for (const int batch : {1, 4, 2, 3}) {
        // The first images of the same batch: slot k is the image alone.
        Scene scene = flat_scene(batch, 0.0f);
        for (size_t l = 0; l < 2; ++l)
            std::copy_n(all.outputs[l].begin(), scene.outputs[l].size(), scene.outputs[l].begin());
        // Once without a word of the new shape.
        const Written w = run(*plugin, scene, false, bytes, batch != 2);
        expect_same_as(w, run_scene(device(), scene, false), scene);
        if (batch == 1) {
            alone = w;
            EXPECT_GT(alone.counts[0], 0);
        }
        EXPECT_TRUE(same_bits(alone.keypoints, {w.keypoints.begin(),
                                                w.keypoints.begin() + static_cast<ptrdiff_t>(alone.keypoints.size())}));
    }
}

TEST_P(PluginTest, ClonesStandAlone) {
    const Scene scene = flat_scene(1, 1.0f);
    auto first = create(fields_of(scene));
    const std::unique_ptr<IPluginV3> second(first->clone());
    auto* const fields = run_side(*second).getFieldsToSerialize();
    const std::string metadata = build_side(*first).getMetadataString();
    EXPECT_NE(metadata.find("conf=0.25"), std::string::npos) << metadata;
    first.reset();
    EXPECT_EQ(Fields(*fields).collection()->nbFields, fields->nbFields);
    EXPECT_EQ(build_side(*second).getMetadataString(), metadata);
    const size_t bytes = go_through_build(*second, scene, false, 1);
    expect_same_as(run(*second, scene, false, bytes), run_scene(device(), scene, false), scene);
    // One of a plugin that knows its shapes knows them too.
    const std::unique_ptr<IPluginV3> third(second->clone());
    expect_same_as(run(*third, scene, false, bytes, false), run_scene(device(), scene, false), scene);
}

TEST_P(PluginTest, GoesIntoAGraph) {
    // Captured once, launched with other numbers.
    Scene scene = flat_scene(2, 1.0f);
    const auto plugin = create(fields_of(scene));
    const size_t bytes = go_through_build(*plugin, scene, false, 2);
    std::vector<DeviceArray<float>> heads;
    std::vector<const void*> inputs;
    std::vector<PluginTensorDesc> in, out(kOutputs);
    for (size_t l = 0; l < 2; ++l) {
        heads.push_back(array(scene.outputs[l]));
        inputs.push_back(heads.back().data());
        in.push_back({dims_of(scene.shapes[l]), DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
    }
    const size_t slots = 2 * static_cast<size_t>(scene.nms.max_det);
    const auto counts = array<int32_t>(2), classes = array<int32_t>(slots);
    const auto boxes = array<float>(slots * 4), scores = array<float>(slots), points = array<float>(slots * 9);
    void* const outputs[kOutputs] = {counts.data(), boxes.data(), scores.data(), classes.data(), points.data()};
    const auto scratch = array<char>(bytes);
    auto* const stream = static_cast<cudaStream_t>(context().stream);
    ASSERT_EQ(run_side(*plugin).onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(run_side(*plugin).enqueue(in.data(), out.data(), inputs.data(), outputs, scratch.data(), stream), 0);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
    std::mt19937 random(seed());
    std::normal_distribution<float> logit(0.0f, 2.0f);
    for (int i = 0; i < 3; ++i) {
        for (size_t l = 0; l < 2; ++l) {
            for (float& x : scene.outputs[l]) x = logit(random);
            device().upload(heads[l].data(), scene.outputs[l].data(), scene.outputs[l].size() * sizeof(float));
        }
        ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
        expect_same_as({counts.get(), classes.get(), boxes.get(), scores.get(), points.get()},
                       run_scene(device(), scene, false), scene);
    }
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_P(PluginTest, FailuresOfCudaAreReported) {
    const Scene scene = flat_scene(1, 1.0f);
    const auto plugin = create(fields_of(scene));
    const size_t bytes = go_through_build(*plugin, scene, false, 1);
    for (uint64_t number = 1;; ++number) {
        SCOPED_TRACE("call " + std::to_string(number));
        lines_.all.clear();
        const auto head_8 = array(scene.outputs[0]), head_16 = array(scene.outputs[1]);
        const void* const inputs[] = {head_8.data(), head_16.data()};
        const auto everything = array<float>(300 * (4 + 1 + 1 + 9) + 16);
        float* const at = everything.data();
        void* const outputs[kOutputs] = {at, at + 16, at + 16 + 1200, at + 16 + 1500, at + 16 + 1800};
        const auto scratch = array<char>(bytes);
        std::vector<PluginTensorDesc> in, out(kOutputs);
        for (const auto& shape : scene.shapes)
            in.push_back({dims_of(shape), DataType::kFLOAT, TensorFormat::kLINEAR, -1.0f});
        ASSERT_EQ(run_side(*plugin).onShapeChange(in.data(), 2, out.data(), kOutputs), 0);
        emulation::fail_call_number(number, cudaErrorInvalidValue);
        const int32_t status = run_side(*plugin).enqueue(in.data(), out.data(), inputs, outputs, scratch.data(),
                                                         static_cast<cudaStream_t>(context().stream));
        const bool failed = emulation::failed_a_call();
        emulation::fail_call_number(0, 0);
        device().synchronize();
        if (!failed) {
            EXPECT_EQ(status, 0) << lines_.all;
            EXPECT_GT(number, 5u);
            break;
        }
        EXPECT_NE(status, 0);
        EXPECT_NE(lines_.all.find("CUDA could not"), std::string::npos) << lines_.all;
    }
}

}  // namespace
}  // namespace trtpose::test
