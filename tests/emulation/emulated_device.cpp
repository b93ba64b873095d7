// SPDX-License-Identifier: Apache-2.0
// The operations' tests on emulated CUDA, the threads once in order and once shuffled.
#include <cuda_runtime.h>

#include "cuda/emulation.hpp"
#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

class EmulatedDevice final : public TestDevice {
public:
    explicit EmulatedDevice(uint64_t seed) {
        emulation::reset();
        emulation::set_devices(1);
        emulation::set_schedule(seed);
        EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    }
    ~EmulatedDevice() override {
        EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
        EXPECT_EQ(emulation::fault(), "");
        emulation::set_schedule(0);
    }
    Context context() override { return {{DeviceType::cuda, 0}, stream_, nullptr}; }
    void* allocate(size_t bytes) override {
        void* block = nullptr;
        EXPECT_EQ(cudaMalloc(&block, bytes ? bytes : 1), cudaSuccess);
        EXPECT_EQ(cudaMemset(block, kUnwritten, bytes), cudaSuccess);
        return block;
    }
    void release(void* block) override { EXPECT_EQ(cudaFree(block), cudaSuccess); }
    void upload(void* to, const void* from, size_t bytes) override {
        EXPECT_EQ(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    }
    void download(void* to, const void* from, size_t bytes) override {
        EXPECT_EQ(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    }
    void synchronize() override { EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << emulation::fault(); }

private:
    cudaStream_t stream_ = nullptr;
};

const RegisterDevice kInOrder({"emulated_cuda", [](std::string*) { return std::make_unique<EmulatedDevice>(0); }});
const RegisterDevice kShuffled({"emulated_cuda_shuffled",
                                [](std::string*) { return std::make_unique<EmulatedDevice>(20240611); }});

}  // namespace
}  // namespace trtpose::test
