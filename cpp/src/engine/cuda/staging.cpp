// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/staging.hpp"

#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>

#include "core/check.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::engine {

Staging::Staging(const EngineParts& engine, TensorTypes types, const Streams& streams, const PipelineMemory& memory)
    : engine_(engine), device_(engine.session.info().device), types_(types), streams_(streams), memory_(memory) {}

size_t Staging::check_call(const Call& call) {
    last_maker_ = nullptr;
    bool from_gpu = call.input.data && call.input.device.type == DeviceType::cuda;
    size_t largest = call.input.data ? check_input(call.input) : 0;
    for (size_t i = 0; i < call.frames.size(); ++i) {
        const ImageView& frame = call.frames[i];
        if (!on_gpu(frame)) {
            largest = std::max(largest, packed_bytes(frame));
            continue;
        }
        from_gpu = true;
        check_pointer(frame.data, text("frame ", i));
        if (frame.chroma) check_pointer(frame.chroma, text("frame ", i));
    }
    if (from_gpu) wait_for(streams_.input.get());
    return largest;
}

/// The bytes of a staging buffer that one of its images takes.
size_t Staging::check_input(const InputView& input) const {
    if (input.device.type == DeviceType::cuda) {
        check_pointer(input.data, "the letterboxed input");
        require(input.dtype == types_.input, ErrorCode::input, "the letterboxed input is ", to_string(input.dtype),
                ", the network's is ", to_string(types_.input), "; convert it on the GPU");
        return 0;
    }
    require(input.dtype == types_.input || (input.dtype == DType::f32 && types_.input == DType::f16), ErrorCode::input,
            "a letterboxed input is ", to_string(input.dtype), ", expected ", to_string(types_.input));
    return types_.image_bytes({input.height, input.width});
}

void Staging::check_pointer(const void* data, const std::string& what) const {
    cudaPointerAttributes attributes{};
    cuda_check(cudaPointerGetAttributes(&attributes, data), "look up a pointer");
    require(attributes.type != cudaMemoryTypeUnregistered, ErrorCode::input, what,
            ": its memory is not a GPU's, though it was given as ", to_string(device_));
    require(attributes.type != cudaMemoryTypeDevice || attributes.device == device_.index, ErrorCode::input, what,
            ": its memory is on cuda:", attributes.device, ", the engine on ", to_string(device_));
}

/// Let the work from now on wait for what `stream` has been given.
void Staging::wait_for(cudaStream_t stream) {
    handover_.record(stream);
    handover_.hold(compute());
}

void Staging::wait_for_maker(void* stream) {
    // Neighbours mostly come from the same stream.
    if (!stream || stream == last_maker_) return;
    wait_for(cuda_stream(stream));
    last_maker_ = stream;
}

void Staging::wait_for_readers() {
    for (Buffer& buffer : buffers_) buffer.consumed.synchronize();
}

Staging::Buffer& Staging::next_buffer() {
    const size_t i = uses_++ % buffers_.size();
    Buffer& buffer = buffers_[i];
    buffer.uploaded.synchronize();
    buffer.host = memory_.staging_on_host(i);
    buffer.device = memory_.staging_on_device(i);
    return buffer;
}

void Staging::send(const Buffer& buffer, size_t bytes) {
    buffer.consumed.hold(upload());
    cuda_check(cudaMemcpyAsync(buffer.device, buffer.host, bytes, cudaMemcpyHostToDevice, upload()), "upload");
    buffer.uploaded.record(upload());
    buffer.uploaded.hold(compute());
}

void Staging::stage(const Call& call, const Run& run) {
    if (call.input.data) {
        stage_input(call.input, run);
    } else {
        stage_frames(call.frames.subspan(run.first, static_cast<size_t>(run.count)), run);
    }
}

void Staging::stage_frames(Span<const ImageView> frames, const Run& run) {
    const ops::Letterbox letterbox(engine_.spec, run.size);
    const ShapeBuffers& shape = memory_.buffers();
    for (size_t first = 0; first < frames.size();) {
        Buffer& buffer = next_buffer();
        // Descriptions first, then the pixels.
        size_t used = align_up(letterbox.workspace_bytes(frames.size() - first, device_));
        views_.clear();
        for (size_t i = first; i < frames.size(); ++i) {
            if (on_gpu(frames[i])) {
                wait_for_maker(frames[i].stream);
                views_.push_back(frames[i]);
                continue;
            }
            const size_t bytes = packed_bytes(frames[i]);
            if (used + bytes > memory_.staging_bytes()) break;
            views_.push_back(packer_.add(frames[i], buffer.host + used, buffer.device + used, device_));
            used = align_up(used + bytes);
        }
        packer_.copy(engine_.threads);
        letterbox.describe(views_, buffer.host);
        send(buffer, used);
        letterbox.run(buffer.device, static_cast<int>(views_.size()),
                      static_cast<char*>(shape.input) + first * types_.image_bytes(run.size), types_.input,
                      shape.placements + first, {device_, compute(), nullptr});
        buffer.consumed.record(compute());
        first += views_.size();
    }
}

void Staging::stage_input(const InputView& input, const Run& run) {
    const size_t one = types_.image_bytes(run.size), numbers = one / size_of(types_.input);
    const auto count = static_cast<size_t>(run.count);
    const auto* from = static_cast<const char*>(input.data) + run.first * numbers * size_of(input.dtype);
    auto* const to = static_cast<char*>(memory_.buffers().input);
    const bool from_gpu = input.device.type == DeviceType::cuda;
    const auto copy = [&](void* there, const void* here, size_t bytes, const char* what) {
        cuda_check(cudaMemcpyAsync(there, here, bytes, cudaMemcpyDeviceToDevice, compute()), what);
    };
    if (from_gpu) {
        wait_for_maker(input.stream);
        copy(to, from, count * one, "copy an input");
    }
    const math::Letterbox place = math::letterbox(run.size.width, run.size.height, run.size.width, run.size.height);
    for (size_t first = 0; first < count;) {
        Buffer& buffer = next_buffer();
        auto* const places = reinterpret_cast<math::Letterbox*>(buffer.host);
        const size_t pixels_at = align_up((count - first) * sizeof(place));
        const size_t pieces =
            from_gpu ? count
                     : std::min(count - first, std::max<size_t>((memory_.staging_bytes() - pixels_at) / one, 1));
        std::fill_n(places, pieces, place);
        if (!from_gpu)
            copy_numbers(from + first * numbers * size_of(input.dtype), input.dtype, pieces * numbers,
                         buffer.host + pixels_at);
        send(buffer, from_gpu ? pixels_at : pixels_at + pieces * one);
        copy(memory_.buffers().placements + first, buffer.device, pieces * sizeof(place), "copy placements");
        if (!from_gpu) copy(to + first * one, buffer.device + pixels_at, pieces * one, "copy an input");
        buffer.consumed.record(compute());
        first += pieces;
    }
}

void Staging::copy_numbers(const char* from, DType dtype, size_t count, char* to) const {
    const size_t each = size_of(dtype);
    in_parts(engine_.threads, count, each, [&](size_t first, size_t last) {
        if (dtype == types_.input) {
            std::memcpy(to + first * each, from + first * each, (last - first) * each);
            return;
        }
        const auto* numbers = reinterpret_cast<const float*>(from);
        auto* halves = reinterpret_cast<__half*>(to);
        for (size_t i = first; i < last; ++i) halves[i] = __float2half_rn(numbers[i]);
    });
}

}  // namespace trtpose::engine
