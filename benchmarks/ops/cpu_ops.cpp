// SPDX-License-Identifier: Apache-2.0
// Times the CPU kernels on data given as files, so that another program can be timed on the same data.
//
// trtpose_bench_cpu letterbox FRAME HEIGHT WIDTH SIZE THREADS RUNS
// trtpose_bench_cpu postprocess HEADS SPEC SIZE CONF THREADS RUNS     (HEADS: the raw heads one after another, float32)
//
// Prints one JSON object with milliseconds per run; each run ends in the buffers that the engine would use.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "core/buffer.hpp"
#include "core/thread_pool.hpp"
#include "families/family.hpp"
#include "trtpose/error.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace {

using namespace trtpose;

std::vector<char> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw Error(ErrorCode::input, path + ": cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
}

template <typename F>
std::vector<double> time_runs(int runs, F&& run) {
    constexpr int kWarmUp = 5;
    std::vector<double> out;
    for (int i = 0; i < runs + kWarmUp; ++i) {
        const auto start = std::chrono::steady_clock::now();
        run();
        const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        if (i >= kWarmUp) out.push_back(ms);
    }
    std::sort(out.begin(), out.end());
    return out;
}

void print(const std::vector<double>& ms, const char* more) {
    std::printf("{\"median_ms\": %.6f, \"min_ms\": %.6f, \"p99_ms\": %.6f, \"runs\": %zu%s}\n", ms[ms.size() / 2],
                ms.front(), ms[ms.size() * 99 / 100], ms.size(), more);
}

void letterbox(char** args) {
    const std::vector<char> pixels = read_file(args[0]);
    ImageView frame;
    frame.data = reinterpret_cast<const uint8_t*>(pixels.data());
    frame.height = std::stoi(args[1]);
    frame.width = std::stoi(args[2]);
    const int side = std::stoi(args[3]);
    ThreadPool threads(std::stoi(args[4]));
    const Context context{{}, nullptr, &threads};
    const ops::Letterbox op(ModelSpec{}, {side, side});
    const HostBuffer scratch(op.workspace_bytes(1, {}));
    const HostBuffer output(3 * sizeof(float) * static_cast<size_t>(side) * static_cast<size_t>(side));
    math::Letterbox placement{};
    const auto run = [&] {
        op(Span<const ImageView>(&frame, 1), static_cast<float*>(output.data()), &placement,
           {scratch.data(), scratch.size()}, context);
    };
    print(time_runs(std::stoi(args[5]), run), "");
}

/// Raw heads at one input size, one behind the other in a file.
struct Heads {
    ModelSpec spec;
    std::vector<char> bytes;
    families::OutputShapes outputs;
    std::vector<const void*> data;

    bool of_anchors() const { return spec.family == ModelSpec{}.family; }

    Heads(const std::string& path, const std::string& spec_path, int side) : bytes(read_file(path)) {
        const std::vector<char> json = read_file(spec_path);
        spec = ModelSpec::from_json({json.begin(), json.end()}, spec_path);
        outputs.batch = 1;
        outputs.input = {side, side};
        if (!of_anchors()) {  // all on one grid
            outputs.shapes = families::family_of(spec).default_reader(spec)->outputs();
            for (auto& shape : outputs.shapes) shape = {1, shape[1], side / spec.strides[0], side / spec.strides[0]};
        }
        for (size_t l = 0; of_anchors() && l < spec.strides.size(); ++l) {
            const int64_t cells = side / spec.strides[l];
            outputs.shapes.push_back({1, spec.anchors_per_cell() * spec.fields(), cells, cells});
        }
        const auto* next = reinterpret_cast<const float*>(bytes.data());
        for (const auto& shape : outputs.shapes) {
            data.push_back(next);
            next += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
        }
    }
};

/// How many anchors pass the threshold, which no reader tells.
int count_candidates(const Heads& heads, float conf, const Context& context) {
    const ops::Decode decode(heads.spec);
    const ops::HeadView view = decode.view(heads.outputs.shapes, heads.data, DType::f32, heads.outputs.input);
    const auto n = static_cast<size_t>(view.total_anchors);
    int32_t count = 0;
    std::vector<float> boxes(4 * n), scores(n);
    std::vector<int32_t> classes(n), anchors(n);
    decode(view, conf, {&count, boxes.data(), scores.data(), classes.data(), anchors.data(), view.total_anchors}, {},
           context);
    return count;
}

void postprocess(char** args) {
    const int side = std::stoi(args[2]);
    const Heads heads(args[0], args[1], side);
    Thresholds thresholds;
    thresholds.conf = std::stof(args[3]);
    ThreadPool threads(std::stoi(args[4]));
    const Context context{{}, nullptr, &threads};

    const auto reader = families::family_of(heads.spec).default_reader(heads.spec);
    const families::ReaderMemory memory = reader->plan(heads.outputs, thresholds, {});
    const auto lay_out = [&](Planner& p) {
        const auto m = static_cast<size_t>(thresholds.max_det);
        families::ReadBuffers buffers;
        buffers.held = p.take<char>(memory.held);
        buffers.scratch = {p.take<char>(memory.scratch), memory.scratch};
        buffers.results.counts = p.take<int32_t>(1);
        buffers.results.poses = {p.take<float>(4 * m), p.take<float>(m), p.take<int32_t>(m),
                                 p.take<float>(m * static_cast<size_t>(heads.spec.keypoints) * 3)};
        return buffers;
    };
    Planner measure;
    lay_out(measure);
    const HostBuffer arena(measure.used());
    Planner planner(arena.data());
    const families::ReadBuffers buffers = lay_out(planner);
    const math::Letterbox placement = math::letterbox(side, side, side, side);
    const auto ms = time_runs(std::stoi(args[5]),
                              [&] { reader->read(heads.data, 1, thresholds, &placement, buffers, context, {}); });
    std::string more = ", \"poses\": " + std::to_string(buffers.results.counts[0]);
    if (heads.of_anchors())
        more += ", \"candidates\": " + std::to_string(count_candidates(heads, thresholds.conf, context));
    print(ms, more.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    const std::string what = argc == 8 ? argv[1] : "";
    try {
        if (what == "letterbox") return letterbox(argv + 2), 0;
        if (what == "postprocess") return postprocess(argv + 2), 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    std::fprintf(stderr, "usage: see the head of cpu_ops.cpp\n");
    return 2;
}
