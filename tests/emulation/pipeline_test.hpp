// SPDX-License-Identifier: Apache-2.0
// What the suites of the engine's CUDA path stand on: an engine around a network made of a function, on emulated CUDA.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "emulated_session.hpp"
#include "support/files.hpp"
#include "support/people.hpp"
#include "support/reference.hpp"

namespace trtpose::test {

inline constexpr Size kSize{64, 96};

/// Bytes in the memory of a GPU.
class OnGpu {
public:
    explicit OnGpu(const void* bytes, size_t count) {
        EXPECT_EQ((cudaMalloc)(&data_, count), cudaSuccess);
        EXPECT_EQ(cudaMemcpy(data_, bytes, count, cudaMemcpyHostToDevice), cudaSuccess);
    }
    ~OnGpu() { EXPECT_EQ((cudaFree)(data_), cudaSuccess); }
    OnGpu(const OnGpu&) = delete;
    OnGpu& operator=(const OnGpu&) = delete;
    void* data() const { return data_; }

private:
    void* data_ = nullptr;
};

template <typename T>
std::vector<T> download(const T* data, size_t count) {
    std::vector<T> out(count);
    EXPECT_EQ(cudaMemcpy(out.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return out;
}

class PipelineTest : public testing::Test {
protected:
    void SetUp() override {
        emulation::reset();
        emulation::set_devices(2);
    }
    void TearDown() override {
        emulation::fail_call_number(0, 0);
        emulation::heard();
        emulation::reset();
        emulation::set_schedule(0);
        EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
        EXPECT_EQ(emulation::device_bytes(), 0u) << "memory of the GPU was not given back";
    }

    Engine make(EngineOptions options = {}, int device = 0) {
        options.threads = 1;
        return Engine(std::make_unique<EmulatedSession>(network_, behaviour_, device), spec_, options);
    }
    static EngineOptions batch_of(int batch) {
        EngineOptions options;
        options.batch = batch;
        return options;
    }
    /// What the CPU finds.
    std::vector<Poses> expected(const std::vector<ImageView>& views, EngineOptions options = {}) {
        options.threads = 1;
        options.vram_budget = 0;
        Engine engine(std::make_unique<FakeSession>(network_), spec_, options);
        auto out = engine.infer(views);
        network_->taken_runs();
        network_->runs = 0;
        return out;
    }
    /// Every pixel counts: the network's answer is a sum of all of them.
    void let_every_pixel_count() {
        network_->answer = [](const float* image, Size size, const std::vector<float*>& outputs) {
            const auto cells = static_cast<size_t>((size.height / 8) * (size.width / 8));
            std::fill_n(outputs[0], kFields * cells, 0.0f);
            const float row[] = {40, 30, 8, 16, 0.5f};
            for (size_t f = 0; f < 5; ++f) outputs[0][f * cells] = row[f];
            const size_t numbers = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
            for (size_t i = 0; i < numbers; ++i)
                outputs[0][(5 + i % 6) * cells] += image[i] * static_cast<float>(i % 13);
        };
    }
    static std::vector<Frame> mixed(int count) {
        std::vector<Frame> frames;
        for (int i = 0; i < count; ++i) frames.emplace_back(i * 3 + 1, 40 + 17 * (i % 5), 30 + 23 * (i % 4));
        return frames;
    }
    static std::vector<ImageView> views(const std::vector<Frame>& frames) {
        std::vector<ImageView> out;
        for (const auto& frame : frames) out.push_back(frame.view);
        return out;
    }
    static void expect_equal(const std::vector<Poses>& got, const std::vector<Poses>& wanted) {
        ASSERT_EQ(got.size(), wanted.size());
        for (size_t i = 0; i < got.size(); ++i) {
            SCOPED_TRACE(i);
            expect_same(got[i], wanted[i]);
        }
    }
    static size_t count_of(const std::vector<std::string>& calls, const std::string& name) {
        return static_cast<size_t>(std::count(calls.begin(), calls.end(), name));
    }
    /// Position of the n-th call of that name, counted from 0.
    static size_t place_of(const std::vector<std::string>& calls, const std::string& name, int n) {
        for (size_t i = 0; i < calls.size(); ++i) {
            if (calls[i] == name && n-- == 0) return i;
        }
        ADD_FAILURE() << "no such " << name;
        return 0;
    }
    static int current_device() {
        int device = -1;
        EXPECT_EQ((cudaGetDevice)(&device), cudaSuccess);
        return device;
    }

    std::shared_ptr<FakeNetwork> network_ = people_network();
    std::shared_ptr<CudaBehaviour> behaviour_ = std::make_shared<CudaBehaviour>();
    ModelSpec spec_ = people_spec();
};

}  // namespace trtpose::test
