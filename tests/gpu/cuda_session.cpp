// SPDX-License-Identifier: Apache-2.0
// The network made of a function, on the machine's first GPU: its input is brought to the host, the function runs there
// as a host function of the stream, and its outputs are brought back. All of it may be captured.
#include <cuda_runtime.h>

#include <deque>

#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "support/fake_session.hpp"

namespace trtpose::test {
namespace {

class CudaSession final : public Session {
public:
    explicit CudaSession(std::shared_ptr<FakeNetwork> network) : network_(std::move(network)) {
        info_.backend = "fake";
        info_.version = "1";
        info_.precision = "f32";
        info_.device = {DeviceType::cuda, 0};
        info_.input = network_->input;
        for (const auto& name : network_->output_names) info_.outputs.push_back({name, DType::f32, {}});
    }

    const SessionInfo& info() const override { return info_; }

    const SessionShape& prepare(int batch, Size size) override {
        const auto fits = [](int64_t has, int wanted) { return has < 0 || has == wanted; };
        const auto& shape = network_->input.shape;
        EXPECT_TRUE(fits(shape[0], batch) && fits(shape[2], size.height) && fits(shape[3], size.width))
            << "asked for " << batch << "×3×" << size.height << "×" << size.width;
        for (Place& place : places_) {
            if (place.batch == batch && place.size == size) {
                current_ = &place;
                return place.shape;
            }
        }
        const CudaDeviceGuard guard(0);
        Place& place = places_.emplace_back();
        place.network = network_.get();
        place.batch = batch;
        place.size = size;
        for (auto& one : network_->shapes(size)) {
            one.insert(one.begin(), batch);
            place.shape.outputs.push_back(std::move(one));
        }
        place.shape.weight_bytes = network_->weight_bytes;
        place.shape.activation_bytes = network_->activation_bytes * static_cast<size_t>(batch);
        // The addresses on the host are recorded with a graph, and belong to this shape for good.
        place.shape.capture_id = places_.size();
        place.input = PinnedBuffer(static_cast<size_t>(batch) * 3 * static_cast<size_t>(size.height) *
                                   static_cast<size_t>(size.width) * sizeof(float));
        for (const auto& one : place.shape.outputs) {
            size_t bytes = sizeof(float);
            for (const int64_t side : one) bytes *= static_cast<size_t>(side);
            place.outputs.emplace_back(bytes);
        }
        current_ = &place;
        return place.shape;
    }

    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        EXPECT_EQ(outputs.size(), current_->outputs.size());
        EXPECT_EQ(context.device, info_.device);
        EXPECT_NE(context.stream, nullptr) << "never the default stream";
        auto* const stream = static_cast<cudaStream_t>(context.stream);
        cuda_check(
            cudaMemcpyAsync(current_->input.data(), input, current_->input.size(), cudaMemcpyDeviceToHost, stream),
            "bring the input to the host");
        cuda_check(cudaLaunchHostFunc(stream, &answer, current_), "have the network answered");
        for (size_t i = 0; i < outputs.size(); ++i) {
            cuda_check(cudaMemcpyAsync(outputs[i], current_->outputs[i].data(), current_->outputs[i].size(),
                                       cudaMemcpyHostToDevice, stream),
                       "bring the outputs to the GPU");
        }
        if (network_->fail_next.exchange(false)) throw Error(ErrorCode::model, "fake network: asked to fail");
    }

    std::unique_ptr<Session> clone() const override {
        ++network_->clones;
        return std::make_unique<CudaSession>(network_);
    }

private:
    /// One shape: what will come out, and the host's side of it.
    struct Place {
        FakeNetwork* network = nullptr;
        int batch = 0;
        Size size;
        SessionShape shape;
        PinnedBuffer input;
        std::vector<PinnedBuffer> outputs;
    };

    static void CUDART_CB answer(void* data) {
        const auto& place = *static_cast<const Place*>(data);
        FakeNetwork& network = *place.network;
        ++network.runs;
        {
            const std::lock_guard lock(network.mutex);
            network.log.emplace_back(place.batch, place.size);
        }
        const size_t image = 3 * static_cast<size_t>(place.size.height) * static_cast<size_t>(place.size.width);
        for (size_t n = 0; n < static_cast<size_t>(place.batch); ++n) {
            std::vector<float*> parts;
            for (const PinnedBuffer& output : place.outputs) {
                const size_t each = output.size() / sizeof(float) / static_cast<size_t>(place.batch);
                parts.push_back(static_cast<float*>(output.data()) + n * each);
            }
            network.answer(static_cast<const float*>(place.input.data()) + n * image, place.size, parts);
        }
    }

    std::shared_ptr<FakeNetwork> network_;
    SessionInfo info_;
    std::deque<Place> places_;  // a graph holds the address of its own
    Place* current_ = nullptr;
};

}  // namespace

std::unique_ptr<Session> make_fake_session(std::shared_ptr<FakeNetwork> network) {
    return std::make_unique<CudaSession>(std::move(network));
}

bool fake_sessions_are_on_cuda() { return true; }

}  // namespace trtpose::test
