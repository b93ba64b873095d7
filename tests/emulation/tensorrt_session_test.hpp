// SPDX-License-Identifier: Apache-2.0
// Sessions of the TensorRT backend on the double, without the engine around them. They need no kernel, so that their
// suites run under ThreadSanitizer too.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/cuda_resources.hpp"
#include "tensorrt/support.hpp"

namespace trtpose::test {

using tensorrt_double::Fault;

inline constexpr bool kStreams = NV_TENSORRT_VERSION >= 100100;   ///< weights
inline constexpr bool kScratchByShape = NV_TENSORRT_MAJOR >= 10;  ///< not only by profile

inline size_t numbers(const std::vector<int64_t>& shape) {
    size_t out = 1;
    for (const int64_t d : shape) out *= static_cast<size_t>(d);
    return out;
}

/// Memory and a stream for a session, as the engine gives them.
class Runner {
public:
    explicit Runner(Session& session) : session_(session), device_(session.info().device) {
        EXPECT_EQ((cudaSetDevice)(device_.index), cudaSuccess);
        stream_ = std::make_unique<CudaStream>();
        grow(scratch_, kScratch);  // it stays where it is
    }
    ~Runner() {
        EXPECT_EQ((cudaSetDevice)(device_.index), cudaSuccess);
        EXPECT_EQ((cudaStreamSynchronize)(stream_->get()), cudaSuccess);
        for (DeviceBuffer* buffer : {&input_, &output_, &scratch_}) *buffer = DeviceBuffer();
        stream_.reset();
    }
    const SessionShape& prepare(int batch, Size size) {
        shape_ = &session_.prepare(batch, size);
        const size_t image = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        input_numbers_ = static_cast<size_t>(batch) * image;
        grow(input_, input_numbers_ * sizeof(float));
        grow(output_, numbers(shape_->outputs[0]) * sizeof(float));
        grow(scratch_, shape_->scratch_bytes);
        session_.use_scratch(scratch_.data(), scratch_.size());
        return *shape_;
    }
    void run(cudaStream_t stream = nullptr) {
        const std::vector<void*> outputs = {output_.data()};
        session_.run(input_.data(), outputs, {device_, stream ? stream : stream_->get(), nullptr});
    }
    /// Fill every input with this number's colour, run, and count the people in the first.
    int people(int number) {
        const float value = static_cast<float>(number) / 255;
        const std::vector<float> pixels(input_numbers_, value);
        EXPECT_EQ(cudaMemcpy(input_.data(), pixels.data(), pixels.size() * sizeof(float), cudaMemcpyHostToDevice),
                  cudaSuccess);
        run();
        stream_->synchronize();
        const size_t cells = static_cast<size_t>(shape_->outputs[0][2]);
        std::vector<float> found(numbers(shape_->outputs[0]));
        EXPECT_EQ(cudaMemcpy(found.data(), output_.data(), found.size() * sizeof(float), cudaMemcpyDeviceToHost),
                  cudaSuccess);
        return static_cast<int>(std::count_if(found.begin() + static_cast<ptrdiff_t>(4 * cells),
                                              found.begin() + static_cast<ptrdiff_t>(5 * cells),
                                              [](float score) { return score > 0.5f; }));
    }
    cudaStream_t stream() const { return stream_->get(); }
    const DeviceBuffer& scratch() const { return scratch_; }

private:
    static constexpr size_t kScratch = size_t{4} << 20;
    void grow(DeviceBuffer& buffer, size_t bytes) {
        if (buffer.size() >= bytes) return;
        stream_->synchronize();
        buffer = DeviceBuffer(bytes);
    }
    Session& session_;
    Device device_;
    std::unique_ptr<CudaStream> stream_;
    DeviceBuffer input_, output_, scratch_;
    size_t input_numbers_ = 0;
    const SessionShape* shape_ = nullptr;
};

class TensorRtSessionTest : public TensorRtTest {
protected:
    /// Opening fails with this code and sentence, once, and leaves nothing behind.
    void expect_refused(ErrorCode code, const std::string& part, const std::string& device = "cuda:0") {
        const std::string path = write();
        TRTPOSE_EXPECT_ERROR(open(path, device), code, part);
        EXPECT_EQ(network_->engines, 0);
        EXPECT_EQ(emulation::device_bytes(), 0u);
    }
};

}  // namespace trtpose::test
