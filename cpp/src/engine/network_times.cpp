// SPDX-License-Identifier: Apache-2.0
#include "trtpose/network_times.hpp"

#include <cstdint>
#include <cstring>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "engine/pipeline.hpp"
#include "engine/stopwatch.hpp"
#include "trtpose/between_runs.hpp"

#if TRTPOSE_WITH_CUDA
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#endif

namespace trtpose {
namespace {

/// What the network reads and writes at one shape, as parts of one block; null while only measuring.
struct Tensors {
    char* scratch = nullptr;
    char* input = nullptr;
    std::vector<void*> outputs;
    size_t input_bytes = 0, bytes = 0;
};

Tensors lay_out(const SessionInfo& info, const SessionShape& shape, int batch, Size size, void* base) {
    Planner planner(base);
    Tensors t;
    t.scratch = planner.take<char>((shape.scratch_bytes + kScratchAlignment - 1) / kScratchAlignment *
                                   kScratchAlignment);  // first, for its alignment
    t.input_bytes = static_cast<size_t>(batch) * 3 * static_cast<size_t>(size.height) *
                    static_cast<size_t>(size.width) * size_of(info.input.dtype);
    t.input = planner.take<char>(engine::tensor_room(t.input_bytes));
    for (size_t i = 0; i < shape.outputs.size(); ++i)
        t.outputs.push_back(planner.take<char>(
            engine::tensor_room(engine::product(shape.outputs[i]) * size_of(info.outputs[i].dtype))));
    t.bytes = planner.used();
    return t;
}

/// Noise between 0 and 1 of the input's type: a network may be faster on zeros.
std::vector<char> noise(size_t bytes, DType dtype) {
    std::vector<char> out(bytes);
    uint32_t state = 1;
    const auto next = [&] { return state = state * 1664525u + 1013904223u; };
    if (dtype == DType::f16) {
        // Bit patterns of halves from 0.25 to 1: exponents 13 and 14, any mantissa.
        for (size_t i = 0; i + 2 <= bytes; i += 2) {
            const auto half = static_cast<uint16_t>(((13u + (next() >> 31)) << 10) | (next() >> 22));
            std::memcpy(&out[i], &half, sizeof(half));
        }
    } else {
        for (size_t i = 0; i + 4 <= bytes; i += 4) {
            const float value = static_cast<float>(next() >> 8) * 0x1p-24f;
            std::memcpy(&out[i], &value, sizeof(value));
        }
    }
    return out;
}

NetworkTimes time_on_cpu(Session& session, const SessionShape& shape, int batch, Size size, int runs, int warmup) {
    const HostBuffer block(lay_out(session.info(), shape, batch, size, nullptr).bytes);
    const Tensors t = lay_out(session.info(), shape, batch, size, block.data());
    const std::vector<char> pixels = noise(t.input_bytes, session.info().input.dtype);
    std::memcpy(t.input, pixels.data(), pixels.size());
    const Context context{session.info().device, nullptr, nullptr};
    NetworkTimes times;
    engine::Stopwatch whole;
    for (int i = 0; i < warmup + runs; ++i) {
        BetweenRuns::ask();
        if (i == warmup) whole.lap();
        engine::Stopwatch watch;
        session.run(t.input, t.outputs, context);
        if (i >= warmup) times.single.push_back(watch.lap());
    }
    times.back_to_back = whole.lap() / runs;
    return times;
}

#if TRTPOSE_WITH_CUDA
NetworkTimes time_on_gpu(Session& session, const SessionShape& shape, int batch, Size size, int runs, int warmup) {
    const Device device = session.info().device;
    require_cuda_device(device.index);
    const CudaDeviceGuard guard(device.index);
    const DeviceBuffer block(lay_out(session.info(), shape, batch, size, nullptr).bytes);
    const Tensors t = lay_out(session.info(), shape, batch, size, block.data());
    const std::vector<char> pixels = noise(t.input_bytes, session.info().input.dtype);
    const CudaStream stream;
    cuda_check(cudaMemcpyAsync(t.input, pixels.data(), pixels.size(), cudaMemcpyHostToDevice, stream.get()), "upload");
    stream.synchronize();
    if (shape.scratch_bytes) session.use_scratch(t.scratch, shape.scratch_bytes);
    const Context context{device, stream.get(), nullptr};
    const CudaEvent begun(true), done(true);
    NetworkTimes times;
    const auto enqueue = [&] { session.run(t.input, t.outputs, context); };
    for (int i = 0; i < warmup + runs; ++i) {
        engine::Stopwatch watch;
        begun.record(stream.get());
        enqueue();
        done.record(stream.get());
        stream.synchronize();
        const double ms = watch.lap();
        if (i < warmup) continue;
        times.single.push_back(ms);
        times.device.push_back(elapsed_ms(begun, done));
    }
    const auto all_at_once = [&](const auto& one) {
        engine::Stopwatch watch;
        for (int i = 0; i < runs; ++i) one();
        stream.synchronize();
        return watch.lap() / runs;
    };
    times.back_to_back = all_at_once(enqueue);
    if (shape.capture_id == 0) return times;
    CudaGraph graph;
    try {
        graph = CudaGraph::record(stream.get(), enqueue);
    } catch (const Error&) {
        static_cast<void>(cudaGetLastError());
        return times;
    }
    const auto launch = [&] { graph.launch(stream.get()); };
    for (int i = 0; i < warmup + runs; ++i) {
        engine::Stopwatch watch;
        launch();
        stream.synchronize();
        if (i >= warmup) times.graph.push_back(watch.lap());
    }
    times.graph_back_to_back = all_at_once(launch);
    return times;
}
#endif

}  // namespace

NetworkTimes time_network(Session& session, int batch, Size size, int runs, int warmup) {
    require(runs >= 1 && warmup >= 0, ErrorCode::input, "runs is ", runs, " and warmup ", warmup,
            "; expected at least 1 and 0");
    require(batch >= 1 && size.height >= 1 && size.width >= 1, ErrorCode::input, "batch ", batch, " at ", size.height,
            "×", size.width, " is not a shape");
    const SessionShape shape = session.prepare(batch, size);
#if TRTPOSE_WITH_CUDA
    if (session.info().device.type == DeviceType::cuda) return time_on_gpu(session, shape, batch, size, runs, warmup);
#endif
    return time_on_cpu(session, shape, batch, size, runs, warmup);
}

}  // namespace trtpose
