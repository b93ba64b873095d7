// SPDX-License-Identifier: Apache-2.0
// A network made of a function, so that the engine is tested without a vendor library.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "trtpose/error.hpp"
#include "trtpose/session.hpp"

namespace trtpose::test {

/// What a session and its clones share.
struct FakeNetwork {
    using Shape = std::vector<int64_t>;

    TensorInfo input{"images", DType::f32, {-1, 3, -1, -1}};
    std::vector<std::string> output_names = {"output"};
    /// Shapes of the outputs for one input of this size, without the batch.
    std::function<std::vector<Shape>(Size)> shapes;
    /// Fill one image's part of each output. `image` is 3 × height × width.
    std::function<void(const float* image, Size size, const std::vector<float*>& outputs)> answer;
    size_t weight_bytes = 1000, activation_bytes = 2000;
    std::vector<ShapeRange> profiles;  ///< as the session reports them

    std::atomic<int> runs{0}, clones{0};
    bool in_threads = true;              ///< start() returns at once, and the work is done by another thread
    std::atomic<bool> fail_next{false};  ///< the next run throws Error(model)

    std::vector<std::pair<int, Size>> taken_runs() {
        const std::lock_guard lock(mutex);
        return std::exchange(log, {});
    }
    /// What a real network would refuse.
    void check_shape(int batch, Size size) const {
        const int64_t wanted[] = {batch, 3, size.height, size.width};
        const auto within = [&](const ShapeRange& p) {
            for (size_t i = 0; i < 4; ++i) {
                if (wanted[i] < p.min[i] || wanted[i] > p.max[i]) return false;
            }
            return true;
        };
        bool fits = profiles.empty() || std::any_of(profiles.begin(), profiles.end(), within);
        for (size_t i = 0; i < 4; ++i) fits &= input.shape[i] < 0 || input.shape[i] == wanted[i];
        EXPECT_TRUE(fits) << "asked for " << batch << "×3×" << size.height << "×" << size.width;
    }
    std::mutex mutex;
    std::vector<std::pair<int, Size>> log;  ///< batch and size of every run
};

class FakeSession final : public Session {
public:
    explicit FakeSession(std::shared_ptr<FakeNetwork> network) : network_(std::move(network)) {
        info_.backend = "fake";
        info_.version = "1";
        info_.precision = "f32";
        info_.input = network_->input;
        info_.profiles = network_->profiles;
        for (const auto& name : network_->output_names) info_.outputs.push_back({name, DType::f32, {}});
    }

    const SessionInfo& info() const override { return info_; }

    const SessionShape& prepare(int batch, Size size) override {
        network_->check_shape(batch, size);
        batch_ = batch;
        size_ = size;
        shape_.outputs.clear();
        for (auto& one : network_->shapes(size)) {
            one.insert(one.begin(), batch);
            shape_.outputs.push_back(std::move(one));
        }
        shape_.weight_bytes = network_->weight_bytes;
        shape_.activation_bytes = network_->activation_bytes * static_cast<size_t>(batch);
        return shape_;
    }

    void run(const void* images, Span<void* const> outputs, const Context& context) override {
        const auto* input = static_cast<const float*>(images);
        EXPECT_FALSE(running_.exchange(true)) << "a session serves one thread at a time";
        EXPECT_EQ(outputs.size(), shape_.outputs.size());
        EXPECT_EQ(reinterpret_cast<uintptr_t>(input) % kAlignment, 0u);
        EXPECT_EQ(context.device, info_.device);
        ++network_->runs;
        {
            const std::lock_guard lock(network_->mutex);
            network_->log.emplace_back(batch_, size_);
        }
        const size_t image = 3 * static_cast<size_t>(size_.height) * static_cast<size_t>(size_.width);
        for (int n = 0; n < batch_; ++n) {
            std::vector<float*> parts;
            for (size_t o = 0; o < outputs.size(); ++o) {
                size_t one = 1;
                for (size_t d = 1; d < shape_.outputs[o].size(); ++d) one *= static_cast<size_t>(shape_.outputs[o][d]);
                parts.push_back(static_cast<float*>(outputs[o]) + static_cast<size_t>(n) * one);
            }
            network_->answer(input + static_cast<size_t>(n) * image, size_, parts);
        }
        running_ = false;
        if (network_->fail_next.exchange(false)) throw Error(ErrorCode::model, "fake network: asked to fail");
    }

    void start(const void* images, Span<void* const> outputs, const Context& context) override {
        if (!network_->in_threads) return Session::start(images, outputs, context);
        EXPECT_FALSE(pending_.valid()) << "the work before has not been waited for";
        pending_ = std::async(std::launch::async, [=] { run(images, outputs, context); });
    }
    void wait() override {
        if (pending_.valid()) pending_.get();
    }

    std::unique_ptr<Session> clone() const override {
        ++network_->clones;
        return std::make_unique<FakeSession>(network_);
    }

private:
    std::shared_ptr<FakeNetwork> network_;
    SessionInfo info_;
    SessionShape shape_;
    int batch_ = 0;
    Size size_;
    std::atomic<bool> running_{false};
    std::future<void> pending_;
};

/// A fake session on the device of the program that the tests of the engine are linked into.
std::unique_ptr<Session> make_fake_session(std::shared_ptr<FakeNetwork> network);
bool fake_sessions_are_on_cuda();

}  // namespace trtpose::test
