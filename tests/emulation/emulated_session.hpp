// SPDX-License-Identifier: Apache-2.0
// The fake network on emulated CUDA: it runs when its stream gets there, and may be captured.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "cuda/emulation.hpp"
#include "support/fake_session.hpp"

namespace trtpose::test {

/// What tests of the pipeline change about it.
struct CudaBehaviour {
    DType input = DType::f32, outputs = DType::f32;
    uint64_t capture_id = 1;       ///< as the session reports it
    bool spoils_captures = false;  ///< does something that no capture allows
    bool throws_in_capture = false;
    std::function<void(cudaStream_t)> also;  ///< what run gives the stream besides
    /// Memory that the network wants to borrow; its rows are written when it runs.
    std::function<size_t(int batch, Size size)> scratch;
    size_t moves = 0;              ///< how often it was lent another address than before
    size_t streamable = 0;         ///< of the weights, what may stay on the host
    size_t kept_away = 0;          ///< what does; streaming it takes as much scratch as a quarter of it
    std::atomic<int> prepared{0};  ///< calls of prepare
    std::atomic<int> sessions{0};  ///< alive
    std::atomic<int> enqueued{0};  ///< calls of run; the network's own count is of what was carried out
};

class EmulatedSession final : public Session {
public:
    EmulatedSession(std::shared_ptr<FakeNetwork> network, std::shared_ptr<CudaBehaviour> behaviour, int device = 0)
        : network_(std::move(network)), behaviour_(std::move(behaviour)) {
        info_.backend = "fake";
        info_.version = "1";
        info_.precision = "f32";
        info_.device = {DeviceType::cuda, device};
        info_.input = network_->input;
        info_.profiles = network_->profiles;
        info_.streamable_weight_bytes = behaviour_->streamable;
        info_.input.dtype = behaviour_->input;
        for (const auto& name : network_->output_names) info_.outputs.push_back({name, behaviour_->outputs, {}});
        ++behaviour_->sessions;
    }
    ~EmulatedSession() override { --behaviour_->sessions; }

    const SessionInfo& info() const override { return info_; }

    const SessionShape& prepare(int batch, Size size) override {
        network_->check_shape(batch, size);
        ++behaviour_->prepared;
        batch_ = batch;
        size_ = size;
        shape_.outputs.clear();
        for (auto& one : network_->shapes(size)) {
            one.insert(one.begin(), batch);
            shape_.outputs.push_back(std::move(one));
        }
        shape_.weight_bytes = network_->weight_bytes - behaviour_->kept_away;
        shape_.scratch_bytes = behaviour_->scratch ? behaviour_->scratch(batch, size) : 0;
        shape_.scratch_bytes += behaviour_->kept_away / 4;
        shape_.activation_bytes = network_->activation_bytes * static_cast<size_t>(batch) + shape_.scratch_bytes;
        shape_.capture_id = behaviour_->capture_id ? behaviour_->capture_id + generation_ : 0;
        lent_ = false;
        return shape_;
    }

    size_t limit_weights(size_t bytes) override {
        EXPECT_GT(behaviour_->streamable, 0u);
        EXPECT_EQ(behaviour_->sessions, 1) << "the weights are everybody's";
        EXPECT_EQ(behaviour_->enqueued, 0);
        // In layers of 4 KiB.
        const size_t away = network_->weight_bytes - std::min(bytes, network_->weight_bytes);
        behaviour_->kept_away = std::min(away, behaviour_->streamable) / 4096 * 4096;
        return network_->weight_bytes - behaviour_->kept_away;
    }

    void use_scratch(void* data, size_t bytes) override {
        EXPECT_GE(bytes, shape_.scratch_bytes);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kScratchAlignment, 0u);
        cudaPointerAttributes attributes{};
        EXPECT_EQ((cudaPointerGetAttributes)(&attributes, data), cudaSuccess);
        EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
        EXPECT_EQ(attributes.device, info_.device.index);
        lent_ = true;
        if (data == scratch_) return;
        // What was captured with the old one must not be launched again.
        scratch_ = data;
        ++behaviour_->moves;
        generation_ += 1000;
        if (shape_.capture_id) shape_.capture_id += 1000;
    }

    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        ++behaviour_->enqueued;
        EXPECT_EQ(outputs.size(), shape_.outputs.size());
        EXPECT_EQ(reinterpret_cast<uintptr_t>(input) % kTensorAlignment, 0u);
        for (const void* output : outputs) EXPECT_EQ(reinterpret_cast<uintptr_t>(output) % kTensorAlignment, 0u);
        EXPECT_EQ(context.device, info_.device);
        EXPECT_NE(context.stream, nullptr) << "never the default stream";
        int current = -1;
        EXPECT_EQ((cudaGetDevice)(&current), cudaSuccess);  // in brackets: not a call of trtpose's
        EXPECT_EQ(current, info_.device.index);
        auto* const stream = static_cast<cudaStream_t>(context.stream);
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        EXPECT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
        const bool capturing = status == cudaStreamCaptureStatusActive;
        if (capturing && behaviour_->throws_in_capture) throw Error(ErrorCode::model, "fake network: not in a capture");
        if (capturing && behaviour_->spoils_captures) static_cast<void>(cudaDeviceSynchronize());
        if (shape_.scratch_bytes) {
            EXPECT_TRUE(lent_) << "no scratch since prepare()";
            EXPECT_EQ(cudaMemsetAsync(scratch_, 0xA5, shape_.scratch_bytes, stream), cudaSuccess);
        }
        emulation::enqueue(stream, [this_network = network_, input,
                                    pointers = std::vector(outputs.begin(), outputs.end()), shapes = shape_.outputs,
                                    batch = batch_, size = size_, in = behaviour_->input, out = behaviour_->outputs] {
            carry_out(*this_network, input, pointers, shapes, batch, size, in, out);
        });
        if (behaviour_->also) behaviour_->also(stream);
        if (network_->fail_next.exchange(false)) throw Error(ErrorCode::model, "fake network: asked to fail");
    }

    std::unique_ptr<Session> clone() const override {
        ++network_->clones;
        return std::make_unique<EmulatedSession>(network_, behaviour_, info_.device.index);
    }

private:
    static void carry_out(FakeNetwork& network, const void* input, const std::vector<void*>& outputs,
                          const std::vector<std::vector<int64_t>>& shapes, int batch, Size size, DType in, DType out) {
        ++network.runs;
        {
            const std::lock_guard lock(network.mutex);
            network.log.emplace_back(batch, size);
        }
        const size_t image = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        for (size_t n = 0; n < static_cast<size_t>(batch); ++n) {
            std::vector<float> pixels(image);
            for (size_t i = 0; i < image; ++i) {
                pixels[i] = in == DType::f16 ? __half2float(static_cast<const __half*>(input)[n * image + i])
                                             : static_cast<const float*>(input)[n * image + i];
            }
            std::vector<std::vector<float>> values;
            std::vector<float*> parts;
            for (const auto& shape : shapes) {
                size_t one = 1;
                for (size_t d = 1; d < shape.size(); ++d) one *= static_cast<size_t>(shape[d]);
                values.emplace_back(one);
            }
            for (auto& one : values) parts.push_back(one.data());
            network.answer(pixels.data(), size, parts);
            for (size_t o = 0; o < outputs.size(); ++o) {
                const size_t first = n * values[o].size();
                for (size_t i = 0; i < values[o].size(); ++i) {
                    if (out == DType::f16) {
                        static_cast<__half*>(outputs[o])[first + i] = __float2half_rn(values[o][i]);
                    } else {
                        static_cast<float*>(outputs[o])[first + i] = values[o][i];
                    }
                }
            }
        }
    }

    std::shared_ptr<FakeNetwork> network_;
    std::shared_ptr<CudaBehaviour> behaviour_;
    SessionInfo info_;
    SessionShape shape_;
    int batch_ = 0;
    Size size_;
    void* scratch_ = nullptr;
    bool lent_ = false;
    uint64_t generation_ = 0;
};

}  // namespace trtpose::test
