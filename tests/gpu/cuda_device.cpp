// SPDX-License-Identifier: Apache-2.0
// The operations' tests on the machine's first GPU.
#include "core/cuda_device.hpp"

#include <cuda_runtime.h>

#include "support/test_device.hpp"

namespace trtpose::test {
namespace {

class CudaDeviceUnderTest final : public TestDevice {
public:
    CudaDeviceUnderTest() { EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess); }
    ~CudaDeviceUnderTest() override { EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess); }
    Context context() override { return {{DeviceType::cuda, 0}, stream_, nullptr}; }
    void* allocate(size_t bytes) override {
        void* block = nullptr;
        EXPECT_EQ(cudaMalloc(&block, bytes ? bytes : 1), cudaSuccess);
        EXPECT_EQ(cudaMemset(block, kUnwritten, bytes), cudaSuccess);
        EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);  // the stream of the tests does not wait for the default one
        return block;
    }
    void release(void* block) override { EXPECT_EQ(cudaFree(block), cudaSuccess); }
    void upload(void* to, const void* from, size_t bytes) override {
        EXPECT_EQ(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
        EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    }
    void download(void* to, const void* from, size_t bytes) override {
        EXPECT_EQ(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    }
    void synchronize() override { EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess); }

private:
    cudaStream_t stream_ = nullptr;
};

const RegisterDevice kCuda({"cuda", [](std::string* why) -> std::unique_ptr<TestDevice> {
                                const CudaStatus status = cuda_status();
                                if (status.devices.empty()) {
                                    *why = "no GPU: " + status.problem;
                                    return nullptr;
                                }
                                return std::make_unique<CudaDeviceUnderTest>();
                            }});

}  // namespace
}  // namespace trtpose::test
