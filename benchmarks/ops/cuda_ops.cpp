// SPDX-License-Identifier: Apache-2.0
// Times the CUDA operations, each beside the bytes it cannot do without. Prints one JSON object a line.
//
// trtpose_bench_cuda [quick]
//
// Every case is recorded as a CUDA graph that holds it kRepeats times, so that the time is the GPU's and not the
// launching's; the median of several launches, divided by the repeats.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "core/cuda_check.hpp"
#include "core/cuda_device.hpp"
#include "families/family.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/letterbox.hpp"
#include "trtpose/ops/nms.hpp"

namespace {

using namespace trtpose;

constexpr int kRepeats = 20;
constexpr int kLaunches = 15;
const Device kGpu{DeviceType::cuda, 0};

/// Device memory for the length of the program.
template <typename T>
T* device(size_t count) {
    void* block = nullptr;
    cuda_check(cudaMalloc(&block, std::max<size_t>(count * sizeof(T), 1)), "take memory");
    return static_cast<T*>(block);
}

template <typename T>
T* device(const std::vector<T>& values) {
    T* block = device<T>(values.size());
    cuda_check(cudaMemcpy(block, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "upload");
    return block;
}

class Bench {
public:
    Bench() { cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream"); }
    Context context() const { return {kGpu, stream_, nullptr}; }
    void wait() const { cuda_check(cudaStreamSynchronize(stream_), "wait"); }

    /// Microseconds of one run of `work`.
    double time(const std::function<void()>& work) {
        work();
        wait();
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t exec = nullptr;
        cuda_check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "record");
        for (int i = 0; i < kRepeats; ++i) work();
        cuda_check(cudaStreamEndCapture(stream_, &graph), "end the recording");
        cuda_check(cudaGraphInstantiate(&exec, graph, 0), "make the graph");
        cudaEvent_t start = nullptr, stop = nullptr;
        cuda_check(cudaEventCreate(&start), "make an event");
        cuda_check(cudaEventCreate(&stop), "make an event");
        std::vector<double> times;
        for (int i = 0; i < kLaunches + 3; ++i) {
            cuda_check(cudaEventRecord(start, stream_), "record an event");
            cuda_check(cudaGraphLaunch(exec, stream_), "launch the graph");
            cuda_check(cudaEventRecord(stop, stream_), "record an event");
            wait();
            float ms = 0;
            cuda_check(cudaEventElapsedTime(&ms, start, stop), "read the time");
            if (i >= 3) times.push_back(ms * 1000.0 / kRepeats);
        }
        cuda_check(cudaEventDestroy(start), "end an event");
        cuda_check(cudaEventDestroy(stop), "end an event");
        cuda_check(cudaGraphExecDestroy(exec), "end the graph");
        cuda_check(cudaGraphDestroy(graph), "end the graph");
        std::sort(times.begin(), times.end());
        return times[times.size() / 2];
    }

private:
    cudaStream_t stream_ = nullptr;
};

void print(const std::string& op, int batch, const std::string& what, double us, double bytes, int candidates = -1,
           int kept = -1) {
    std::printf("{\"op\": \"%s\", \"batch\": %d, \"case\": \"%s\", \"us\": %.2f, \"us_per_image\": %.3f, ", op.c_str(),
                batch, what.c_str(), us, us / batch);
    if (candidates >= 0) std::printf("\"candidates\": %d, ", candidates);
    if (kept >= 0) std::printf("\"kept\": %d, ", kept);
    std::printf("\"floor_bytes\": %.0f, \"gb_per_s\": %.1f}\n", bytes, bytes / us / 1000);
    std::fflush(stdout);
}

void letterbox(Bench& bench, int batch, int width, int height, int side, PixelFormat format, DType dtype) {
    const size_t frame_bytes =
        static_cast<size_t>(width) * static_cast<size_t>(height) * 3 / (format == PixelFormat::nv12 ? 2 : 1);
    std::vector<uint8_t> bytes(frame_bytes);
    std::mt19937 random(1);
    for (auto& b : bytes) b = static_cast<uint8_t>(random());
    std::vector<ImageView> frames(static_cast<size_t>(batch));
    for (auto& frame : frames) {  // each its own memory: nothing is in the cache because another frame had it
        frame.data = device(bytes);
        frame.width = width;
        frame.height = height;
        frame.format = format;
        frame.device = kGpu;
    }
    const ops::Letterbox op(ModelSpec{}, {side, side});
    std::vector<char> described(op.workspace_bytes(frames.size(), kGpu));
    op.describe(frames, described.data());
    const char* descriptions = device(described);
    const size_t count = frames.size() * 3 * static_cast<size_t>(side) * static_cast<size_t>(side);
    char* output = device<char>(count * size_of(dtype));
    auto* placements = device<math::Letterbox>(frames.size());
    const double us = bench.time([&] { op.run(descriptions, batch, output, dtype, placements, bench.context()); });
    // Reads every byte of the frames, which shrinking by more than two need not.
    print("letterbox", batch,
          std::to_string(width) + "x" + std::to_string(height) + (format == PixelFormat::nv12 ? " nv12" : " bgr") +
              " to " + std::to_string(side) + " " + to_string(dtype),
          us, static_cast<double>(frames.size() * frame_bytes + count * size_of(dtype)));
    for (auto& frame : frames) cuda_check(cudaFree(const_cast<uint8_t*>(frame.data)), "free");
    cuda_check(cudaFree(output), "free");
}

/// YOLOv7-w6-pose's heads with groups of neighbouring anchors that see the same person.
struct Heads {
    ModelSpec spec;
    std::vector<std::vector<int64_t>> shapes;
    std::vector<std::vector<float>> values;
};

Heads make_heads(int side, int people, int anchors_each) {
    Heads heads;
    heads.spec.name = "bench";
    heads.spec.names = {"person"};
    heads.spec.keypoints = 17;
    heads.spec.strides = {8, 16, 32, 64};
    heads.spec.anchors = {{{19, 27}, {44, 40}, {38, 94}},
                          {{96, 68}, {86, 152}, {180, 137}},
                          {{140, 301}, {303, 264}, {238, 542}},
                          {{436, 615}, {739, 380}, {925, 792}}};
    const auto fields = static_cast<size_t>(heads.spec.fields());
    std::mt19937 random(2);
    std::normal_distribution<float> small(0.0f, 0.3f);
    for (const int stride : heads.spec.strides) {
        const int cells = side / stride;
        heads.shapes.push_back({1, 3 * static_cast<int64_t>(fields), cells, cells});
        auto& v = heads.values.emplace_back(3 * fields * static_cast<size_t>(cells) * static_cast<size_t>(cells));
        for (auto& x : v) x = small(random);
        for (size_t a = 0; a < 3; ++a) {
            float* objectness = v.data() + (a * fields + 4) * static_cast<size_t>(cells) * static_cast<size_t>(cells);
            std::fill_n(objectness, cells * cells, -12.0f);
        }
    }
    std::uniform_real_distribution<float> logit(-1.0f, 3.0f);
    for (int p = 0; p < people; ++p) {
        const size_t level = p % 8 < 5 ? 0 : p % 8 < 7 ? 1 : 2;
        const int cells = side / heads.spec.strides[level];
        const auto plane = static_cast<size_t>(cells) * static_cast<size_t>(cells);
        const int cx = static_cast<int>(random() % static_cast<unsigned>(cells));
        const int cy = static_cast<int>(random() % static_cast<unsigned>(cells));
        const int reach = static_cast<int>(std::sqrt(anchors_each / 3.0)) / 2 + 1;
        for (int i = 0; i < anchors_each; ++i) {
            const int x = std::clamp(cx + static_cast<int>(random() % static_cast<unsigned>(2 * reach + 1)) - reach, 0,
                                     cells - 1);
            const int y = std::clamp(cy + static_cast<int>(random() % static_cast<unsigned>(2 * reach + 1)) - reach, 0,
                                     cells - 1);
            const size_t at = static_cast<size_t>(y) * static_cast<size_t>(cells) + static_cast<size_t>(x);
            float* fields_of = heads.values[level].data() + (random() % 3) * fields * plane + at;
            fields_of[4 * plane] = logit(random);
            fields_of[5 * plane] = 4.0f;
        }
    }
    return heads;
}

/// The heads on the device, `batch` times, as float32 or float16.
struct Outputs : families::OutputShapes {
    std::vector<const void*> data;

    Outputs(const Heads& heads, int images, int side, bool in_f16) {
        batch = images;
        dtype = in_f16 ? DType::f16 : DType::f32;
        input = {side, side};
        shapes = heads.shapes;
        for (auto& shape : shapes) shape[0] = images;
        for (const auto& values : heads.values)
            data.push_back(in_f16 ? repeated<__half>(values) : repeated<float>(values));
    }
    ~Outputs() {
        for (const void* block : data) cudaFree(const_cast<void*>(block));
    }
    Outputs(const Outputs&) = delete;
    Outputs& operator=(const Outputs&) = delete;

private:
    template <typename T>
    const void* repeated(const std::vector<float>& values) const {
        std::vector<T> all;
        for (int n = 0; n < batch; ++n) {
            for (const float x : values) {
                if constexpr (std::is_same_v<T, float>) {
                    all.push_back(x);
                } else {
                    all.push_back(__float2half_rn(x));
                }
            }
        }
        return device(all);
    }
};

/// The operations one by one.
struct Operations {
    ops::Decode decode;
    ops::HeadView view;
    ops::NmsParams params;
    ops::Nms nms;
    ops::Candidates candidates;
    ops::Detections kept;

    Operations(const ModelSpec& spec, const Outputs& outputs)
        : decode(spec), view(decode.view(outputs.shapes, outputs.data, outputs.dtype, outputs.input)), nms(params) {
        const auto images = static_cast<size_t>(outputs.batch);
        const size_t all = images * static_cast<size_t>(view.total_anchors);
        candidates = {device<int32_t>(images), device<float>(4 * all), device<float>(all),
                      device<int32_t>(all),    device<int32_t>(all),   view.total_anchors};
        kept = {device<int32_t>(images), device<int32_t>(images * static_cast<size_t>(params.max_det)), params.max_det};
    }
};

ops::PoseArrays pose_arrays(size_t slots, int keypoints) {
    return {device<float>(4 * slots), device<float>(slots), device<int32_t>(slots),
            device<float>(slots * static_cast<size_t>(keypoints) * 3)};
}

void postprocess(Bench& bench, int batch, int side, int people, int anchors_each, float conf, bool half) {
    const Heads heads = make_heads(side, people, anchors_each);
    const Outputs outputs(heads, batch, side, half);
    const Operations ops(heads.spec, outputs);
    Thresholds thresholds;
    thresholds.conf = conf;
    const auto reader = families::family_of(heads.spec).default_reader(heads.spec);
    const families::ReaderMemory memory = reader->plan(outputs, thresholds, kGpu);
    const auto images = static_cast<size_t>(batch);
    const ops::PoseArrays poses = pose_arrays(images * static_cast<size_t>(thresholds.max_det), heads.spec.keypoints);
    const families::ReadBuffers buffers{
        device<char>(memory.held), {device<char>(memory.scratch), memory.scratch}, {device<int32_t>(images), poses}};
    const math::Letterbox* placements =
        device(std::vector<math::Letterbox>(images, math::letterbox(1920, 1080, side, side)));
    const Context context = bench.context();
    const auto run_decode = [&] { ops.decode(ops.view, conf, ops.candidates, {}, context); };
    const auto run_nms = [&] { ops.nms(ops.candidates, batch, nullptr, ops.kept, {}, context); };
    const auto run_poses = [&] { ops.decode.poses(ops.view, ops.candidates, ops.kept, placements, poses, context); };
    const auto run_both = [&] {
        run_decode();
        run_nms();
    };
    run_both();
    bench.wait();
    int32_t found = 0, left = 0;
    cuda_check(cudaMemcpy(&found, ops.candidates.counts, sizeof(found), cudaMemcpyDeviceToHost), "download");
    cuda_check(cudaMemcpy(&left, ops.kept.counts, sizeof(left), cudaMemcpyDeviceToHost), "download");

    const std::string what =
        std::to_string(side) + " conf " + std::to_string(conf).substr(0, 5) + " " + to_string(outputs.dtype);
    const double n = batch, element = static_cast<double>(size_of(outputs.dtype));
    // Objectness of all anchors, the other fields of the candidates before their keypoints, and what is written of
    // them.
    const double decode_bytes = n * (ops.view.total_anchors * element + found * (5 * element + 28));
    const double nms_bytes = n * (found * 28.0 + left * 4.0);
    const double poses_bytes = n * left * (heads.spec.keypoints * 3 * (element + 4.0) + 2 * 24.0);
    print("decode", batch, what, bench.time(run_decode), decode_bytes, found);
    print("nms", batch, what, bench.time(run_nms), nms_bytes, found, left);
    print("poses", batch, what, bench.time(run_poses), poses_bytes, found, left);
    print("decode+nms", batch, what, bench.time(run_both), decode_bytes + nms_bytes, found, left);
    // As the engine does it.
    const auto read = [&] { reader->read(outputs.data, batch, thresholds, placements, buffers, context, {}); };
    print("decode+nms+poses", batch, what, bench.time(read), decode_bytes + nms_bytes + poses_bytes, found, left);
}

}  // namespace

int main(int argc, char** argv) {
    const bool quick = argc > 1 && std::string(argv[1]) == "quick";
    try {
        require_cuda_device(0);
        const CudaDevice gpu = cuda_status().devices.front();
        std::printf("{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"driver\": %d, \"runtime\": %d}\n",
                    gpu.name.c_str(), gpu.major, gpu.minor, cuda_status().driver, cuda_status().runtime);
        Bench bench;
        if (quick) {  // that it runs, and nothing else
            letterbox(bench, 2, 64, 48, 32, PixelFormat::nv12, DType::f16);
            postprocess(bench, 2, 64, 3, 30, 0.25f, true);
            return 0;
        }
        for (const int batch : {1, 8, 32}) {
            for (const DType dtype : {DType::f32, DType::f16}) {
                letterbox(bench, batch, 1920, 1080, 960, PixelFormat::bgr, dtype);
                letterbox(bench, batch, 1920, 1080, 960, PixelFormat::nv12, dtype);
            }
            letterbox(bench, batch, 3840, 2160, 960, PixelFormat::bgr, DType::f32);
            letterbox(bench, batch, 640, 480, 960, PixelFormat::bgr, DType::f32);
            for (const bool f16 : {false, true}) {
                postprocess(bench, batch, 960, 3, 10, 0.25f, f16);
                postprocess(bench, batch, 960, 60, 45, 0.25f, f16);
                postprocess(bench, batch, 960, 400, 60, 0.001f, f16);
            }
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
