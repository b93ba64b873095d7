// SPDX-License-Identifier: Apache-2.0
// Engine files whose plan is a network of the double, and sessions on them.
#pragma once

#include <cuda_fp16.h>

#include <cstdlib>

#include "backends/backend.hpp"
#include "cuda/emulation.hpp"
#include "support/engine_writer.hpp"
#include "support/files.hpp"
#include "support/people.hpp"
#include "tensorrt/double.hpp"

namespace trtpose::test {

/// A variable of the environment, as it was when the test ends.
class Environment {
public:
    Environment(const char* name, const std::string& value) : name_(name) {
        if (const char* before = std::getenv(name)) before_ = before;
        ::setenv(name, value.c_str(), 1);
    }
    ~Environment() {
        if (before_.empty()) {
            ::unsetenv(name_);
        } else {
            ::setenv(name_, before_.c_str(), 1);
        }
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

private:
    const char* name_;
    std::string before_;
};

inline std::vector<int> library_version() {
    const int number = TRTPOSE_DOUBLE_NUMBER;
    if (NV_TENSORRT_MAJOR == 8) return {number / 1000, number / 100 % 10, number % 100, 0};
    return {number / 10000, number / 100 % 100, number % 100, 0};
}
inline std::string library_version_text() {
    const auto v = library_version();
    return std::to_string(v[0]) + "." + std::to_string(v[1]) + "." + std::to_string(v[2]);
}

/// The double's network that answers as the people's network of support/people.hpp does.
inline std::shared_ptr<tensorrt_double::Network> double_of(std::shared_ptr<FakeNetwork> people,
                                                           tensorrt_double::Shape input = {-1, 3, -1, -1},
                                                           nvinfer1::DataType type = nvinfer1::DataType::kFLOAT) {
    using tensorrt_double::Shape;
    auto out = std::make_shared<tensorrt_double::Network>();
    out->inputs = {{"images", type, input}};
    out->outputs = {{"output", type, {-1, kFields, -1}}};
    if (std::find(input.begin(), input.end(), -1) != input.end())
        out->profiles = {{{1, 3, 32, 32}, {1, 3, 64, 96}, {8, 3, 256, 256}}};
    out->shapes = [people](const Shape& shape) {
        Shape one = people->shapes({static_cast<int>(shape[2]), static_cast<int>(shape[3])})[0];
        one.insert(one.begin(), shape[0]);
        return std::vector<Shape>{one};
    };
    out->answer = [people, type](const Shape& shape, const void* input_data, const std::vector<void*>& outputs) {
        const Size size{static_cast<int>(shape[2]), static_cast<int>(shape[3])};
        const size_t image = 3 * static_cast<size_t>(shape[2] * shape[3]);
        const auto one = people->shapes(size)[0];
        std::vector<float> pixels(image), answer(static_cast<size_t>(one[0] * one[1]));
        const bool half = type == nvinfer1::DataType::kHALF;
        for (size_t n = 0; n < static_cast<size_t>(shape[0]); ++n) {
            for (size_t i = 0; i < image; ++i)
                pixels[i] = half ? __half2float(static_cast<const __half*>(input_data)[n * image + i])
                                 : static_cast<const float*>(input_data)[n * image + i];
            people->answer(pixels.data(), size, {answer.data()});
            for (size_t i = 0; i < answer.size(); ++i) {
                const size_t at = n * answer.size() + i;
                if (half) {
                    static_cast<__half*>(outputs[0])[at] = __float2half_rn(answer[i]);
                } else {
                    static_cast<float*>(outputs[0])[at] = answer[i];
                }
            }
        }
    };
    return out;
}

/// Through the module that the program has, or through Python, which is where the registry looks without one.
std::unique_ptr<Session> open_double(const ModelFile& file, const SessionOptions& options);

class TensorRtTest : public testing::Test {
protected:
    void SetUp() override {
        emulation::reset();
        emulation::set_devices(2);
        network_ = double_of(people_);
        header_.version = library_version_text() + ".0";
        header_.precision = "fp16";
        header_.inputs = header_.outputs = header_.profiles = "[]";  // the library tells them
    }
    void TearDown() override {
        EXPECT_EQ(network_->contexts, 0);
        EXPECT_EQ(network_->engines, 0);
        for (const auto& complaint : tensorrt_double::complaints()) ADD_FAILURE() << complaint;
        tensorrt_double::forget_networks();
        emulation::fail_call_number(0, 0);
        emulation::reset();
        emulation::set_schedule(0);
        emulation::set_devices(2);
        EXPECT_EQ((cudaSetDevice)(0), cudaSuccess);
        EXPECT_EQ(emulation::device_bytes(), 0u) << "memory of the GPU was not given back";
    }

    /// Write an engine file of the network.
    std::string write(const std::string& name = "people.engine") {
        const std::string plan = plan_bytes(header_.runtime == "rtx" ? "vtrt" : "ftrt", library_version(),
                                            tensorrt_double::add_network(network_));
        EngineHeader header = header_;
        header.more += R"(, "memory": {"weights": )" + std::to_string(network_->weights) + "}";
        return folder_.write(name, header.file(plan));
    }
    std::unique_ptr<Session> open(const std::string& path, const std::string& device = "cuda:0",
                                  const std::string& precision = "f32") {
        SessionOptions options;
        options.device = device;
        options.precision = precision;
        return open_double(read_model_file(path), options);
    }
    std::unique_ptr<Session> open() { return open(write()); }

    TempFolder folder_;
    EngineHeader header_;
    std::shared_ptr<FakeNetwork> people_ = people_network();
    std::shared_ptr<tensorrt_double::Network> network_;
    Environment library_{"TRTPOSE_TENSORRT_LIB", TRTPOSE_DOUBLE_FOLDER};
};

}  // namespace trtpose::test
