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
#include "trtpose/error.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/letterbox.hpp"
#include "trtpose/ops/nms.hpp"

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

void postprocess(char** args) {
    const std::vector<char> data = read_file(args[0]);
    const std::vector<char> json = read_file(args[1]);
    const ModelSpec spec = ModelSpec::from_json({json.begin(), json.end()}, args[1]);
    const int side = std::stoi(args[2]);
    const float conf = std::stof(args[3]);
    ThreadPool threads(std::stoi(args[4]));
    const Context context{{}, nullptr, &threads};

    std::vector<std::vector<int64_t>> shapes;
    std::vector<const float*> heads;
    const auto* next = reinterpret_cast<const float*>(data.data());
    for (const int stride : spec.strides) {
        shapes.push_back({1, spec.anchors_per_cell() * spec.fields(), side / stride, side / stride});
        heads.push_back(next);
        next += std::accumulate(shapes.back().begin(), shapes.back().end(), int64_t{1}, std::multiplies<>());
    }
    const ops::Decode decode(spec);
    const ops::NmsParams params;
    const ops::Nms nms(params);
    const ops::HeadView view = decode.view(shapes, heads, {side, side});

    const auto lay_out = [&](Planner& p, ops::Candidates& c, ops::Detections& d, ops::PoseArrays& o, Workspace& w) {
        const auto n = static_cast<size_t>(view.total_anchors), m = static_cast<size_t>(params.max_det);
        c = {p.take<int32_t>(1), p.take<float>(4 * n), p.take<float>(n),
             p.take<int32_t>(n), p.take<int32_t>(n),   view.total_anchors};
        d = {p.take<int32_t>(1), p.take<int32_t>(m), params.max_det};
        o = {p.take<float>(4 * m), p.take<float>(m), p.take<int32_t>(m),
             p.take<float>(m * static_cast<size_t>(spec.keypoints) * 3)};
        w.bytes = std::max(nms.workspace_bytes(1, view.total_anchors, {}), decode.workspace_bytes(view, {}));
        w.data = p.take<char>(w.bytes);
    };
    ops::Candidates candidates;
    ops::Detections kept;
    ops::PoseArrays poses;
    Workspace workspace;
    Planner measure;
    lay_out(measure, candidates, kept, poses, workspace);
    const HostBuffer arena(measure.used());
    Planner planner(arena.data());
    lay_out(planner, candidates, kept, poses, workspace);
    const math::Letterbox placement = math::letterbox(side, side, side, side);
    const auto run = [&] {
        decode(view, conf, candidates, workspace, context);
        nms(candidates, 1, nullptr, kept, workspace, context);
        decode.poses(view, candidates, kept, &placement, poses, context);
    };
    const auto ms = time_runs(std::stoi(args[5]), run);
    print(ms, (", \"candidates\": " + std::to_string(candidates.counts[0]) +
               ", \"poses\": " + std::to_string(kept.counts[0]))
                  .c_str());
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
