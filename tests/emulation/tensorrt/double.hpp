// SPDX-License-Identifier: Apache-2.0
// A double of TensorRT: networks made of a function, behind the interfaces of include/NvInferRuntime.h. It complains
// about what TensorRT forbids, fails where a test says so, and takes GPU memory for the weights as TensorRT does.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tensorrt_double {

using Shape = std::vector<int64_t>;

struct Tensor {
    std::string name;
    nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
    Shape shape;  ///< -1 where it depends on the input's
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR;
    nvinfer1::TensorLocation location = nvinfer1::TensorLocation::kDEVICE;
};

struct Profile {
    Shape min, opt, max;
};

/// Where a network fails, once.
enum class Fault : uint8_t { none, start, deserialize, context, profile, input_shape, infer, address, enqueue, budget };

/// A network that plans of this process name.
struct Network {
    std::vector<Tensor> inputs, outputs;
    std::vector<Profile> profiles;  ///< empty: one without ranges
    /// Shapes of the outputs for an input.
    std::function<std::vector<Shape>(const Shape& input)> shapes;
    /// Carried out when the stream gets there.
    std::function<void(const Shape& shape, const void* input, const std::vector<void*>& outputs)> answer;
    size_t weights = 4096, streamable = 0;  ///< bytes
    size_t scratch_per_number = 2;          ///< bytes of scratch for each number of the input
    bool shares_profiles = true;            ///< before version 10: built for it
    std::atomic<Fault> fault{Fault::none};
    std::string failure = "asked to fail";  ///< what the logger hears then
    // What happened.
    std::atomic<int> engines{0}, contexts{0}, contexts_made{0}, enqueued{0}, carried_out{0}, plugins_loaded{0};
    std::atomic<bool> host_code_allowed{false};
    std::atomic<int64_t> streamed_budget{-1};
    std::atomic<int> kernels_compiled{0};  ///< by TensorRT for RTX: those that its cache did not have

    size_t scratch(const Shape& input) const;
};

/// Make a network known; the bytes behind a plan's first 28 that name it.
std::string add_network(std::shared_ptr<Network> network);
/// Make a network known as what a whole plan holds, such as a real one, of whatever runtime.
void add_network(const std::string& plan, std::shared_ptr<Network> network);
void forget_networks();

/// What was done that TensorRT forbids, in words, since the last call.
std::vector<std::string> complaints();

/// Plugin libraries that can be loaded; everything else cannot.
void allow_plugin(const std::string& path);

/// What createInferRuntime_INTERNAL does, in the library of whatever version it was called.
extern "C" void* tensorrt_double_create_runtime(void* logger, int32_t told, int32_t own) noexcept;

}  // namespace tensorrt_double
