// SPDX-License-Identifier: Apache-2.0
// The double's engines and contexts, between the files that implement it.
#pragma once

#define TRTPOSE_EMULATION_RUNTIME  // what TensorRT calls of CUDA is not what trtpose calls
#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "tensorrt/double.hpp"

namespace tensorrt_double {

/// Note what TensorRT forbids.
void complain(const std::string& what);

nvinfer1::Dims dims_of(const Shape& shape);

/// True, once, if the network is to fail here.
bool take(Network& network, Fault fault);

class Engine;

/// What a context's work needs when its stream gets there, however long the context lives.
struct State {
    std::atomic<bool> alive{true};
    std::atomic<uint64_t> generation{0};  ///< counts what graphs do not survive
};

class Context final : public nvinfer1::IExecutionContext {
public:
    Context(Engine& engine, bool own_memory);
    ~Context() override;
    nvinfer1::ICudaEngine const& getEngine() const noexcept override;
    void setDeviceMemory(void* memory) noexcept override { set_memory(memory, -1); }
    int32_t getOptimizationProfile() const noexcept override { return profile_; }
    bool setOptimizationProfileAsync(int32_t index, cudaStream_t stream) noexcept override;
    bool setInputShape(char const* name, nvinfer1::Dims const& dims) noexcept override;
    nvinfer1::Dims getTensorShape(char const* name) const noexcept override;
    bool setTensorAddress(char const* name, void* data) noexcept override;
    int32_t inferShapes(int32_t count, char const** names) noexcept override;
    bool enqueueV3(cudaStream_t stream) noexcept override;
#if TRTPOSE_DOUBLE_MAJOR >= 10
    size_t updateDeviceMemorySizeForShapes() noexcept override;
#endif
#ifdef TRTPOSE_DOUBLE_V2
    void setDeviceMemoryV2(void* memory, int64_t size) noexcept override { set_memory(memory, size); }
#endif

private:
    void set_memory(void* memory, int64_t size) noexcept;
    bool refuse(const std::string& why) const;

    Engine& engine_;
    std::shared_ptr<State> state_ = std::make_shared<State>();
    int32_t profile_ = 0;
    Shape shape_;
    std::map<std::string, void*> addresses_;
    void* memory_ = nullptr;
    int64_t memory_size_ = -1;  ///< -1: not told
    bool settled_ = false;      ///< nothing is left to do that no capture allows
};

#ifdef TRTPOSE_DOUBLE_RTX
class HostMemory final : public nvinfer1::IHostMemory {
public:
    explicit HostMemory(std::string bytes) : bytes_(std::move(bytes)) {}
    void* data() const noexcept override { return const_cast<char*>(bytes_.data()); }
    std::size_t size() const noexcept override { return bytes_.size(); }

private:
    std::string bytes_;
};

/// Holds one letter for every kernel.
class Cache final : public nvinfer1::IRuntimeCache {
public:
    nvinfer1::IHostMemory* serialize() const noexcept override { return new HostMemory("kernels:" + kernels); }
    bool deserialize(void const* blob, size_t size) noexcept override {
        const std::string bytes(static_cast<const char*>(blob), size);
        if (bytes.rfind("kernels:", 0) != 0) complain("a kernel cache of unknown content");
        kernels = bytes.substr(8);
        return true;
    }
    mutable std::string kernels;
};
#endif

#if TRTPOSE_DOUBLE_MAJOR >= 11
class Config final : public nvinfer1::IRuntimeConfig {
public:
    void setExecutionContextAllocationStrategy(
        nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
        own_memory = strategy != nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;
    }
#ifdef TRTPOSE_DOUBLE_RTX
    nvinfer1::IRuntimeCache* createRuntimeCache() const noexcept override { return new Cache; }
    bool setRuntimeCache(nvinfer1::IRuntimeCache const& given) noexcept override {
        cache = static_cast<const Cache*>(&given);
        return true;
    }
    const Cache* cache = nullptr;
#endif
    bool own_memory = true;
};
#endif

class Engine final : public nvinfer1::ICudaEngine {
public:
    Engine(std::shared_ptr<Network> network_in, nvinfer1::ILogger& logger)
        : network(std::move(network_in)), log(logger) {
        static_cast<void>(cudaGetDevice(&device));
        ++network->engines;
    }
    ~Engine() override {
        if (contexts > 0) complain("an engine was destroyed before its contexts");
        static_cast<void>(cudaFree(weights));
        --network->engines;
    }
    bool load(size_t bytes) {
        static_cast<void>(cudaFree(weights));
        weights = nullptr;
        return bytes == 0 || cudaMalloc(&weights, bytes) == cudaSuccess;
    }
    void say(const std::string& message) const { log.log(nvinfer1::ILogger::Severity::kERROR, message.c_str()); }
    /// True and said so if the network is to fail here.
    bool fails(Fault fault) const {
        if (!take(*network, fault)) return false;
        say(network->failure);
        return true;
    }
    const Tensor* find(const char* name) const {
        for (const auto* list : {&network->inputs, &network->outputs}) {
            for (const auto& tensor : *list) {
                if (tensor.name == name) return &tensor;
            }
        }
        complain(std::string("no tensor '") + name + "'");
        return nullptr;
    }
    bool dynamic() const {
        const Shape& shape = network->inputs[0].shape;
        return std::find(shape.begin(), shape.end(), -1) != shape.end();
    }
    bool streams() const { return budget >= 0 && static_cast<size_t>(budget) < network->streamable; }
    size_t most_scratch(int32_t profile) const {
        const auto& profiles = network->profiles;
        const Shape& shape = profiles.empty() ? network->inputs[0].shape : profiles[static_cast<size_t>(profile)].max;
        return network->scratch(shape) + (streams() ? 512 : 0);
    }

    int32_t getNbIOTensors() const noexcept override {
        return static_cast<int32_t>(network->inputs.size() + network->outputs.size());
    }
    char const* getIOTensorName(int32_t index) const noexcept override {
        const auto i = static_cast<size_t>(index), inputs = network->inputs.size();
        return i < inputs ? network->inputs[i].name.c_str() : network->outputs.at(i - inputs).name.c_str();
    }
    nvinfer1::TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        for (const auto& tensor : network->inputs) {
            if (tensor.name == name) return nvinfer1::TensorIOMode::kINPUT;
        }
        return find(name) ? nvinfer1::TensorIOMode::kOUTPUT : nvinfer1::TensorIOMode::kNONE;
    }
    nvinfer1::DataType getTensorDataType(char const* name) const noexcept override { return find(name)->type; }
    nvinfer1::TensorFormat getTensorFormat(char const* name) const noexcept override { return find(name)->format; }
    nvinfer1::TensorLocation getTensorLocation(char const* name) const noexcept override {
        return find(name)->location;
    }
    nvinfer1::Dims getTensorShape(char const* name) const noexcept override { return dims_of(find(name)->shape); }
    int32_t getNbOptimizationProfiles() const noexcept override {
        return static_cast<int32_t>(std::max<size_t>(network->profiles.size(), 1));
    }
    nvinfer1::Dims getProfileShape(char const*, int32_t index,
                                   nvinfer1::OptProfileSelector select) const noexcept override {
        const Profile& profile = network->profiles.at(static_cast<size_t>(index));
        return dims_of(select == nvinfer1::OptProfileSelector::kMIN   ? profile.min
                       : select == nvinfer1::OptProfileSelector::kOPT ? profile.opt
                                                                      : profile.max);
    }
    nvinfer1::IExecutionContext* make(bool own_memory) {
        int current = -1;
        static_cast<void>(cudaGetDevice(&current));
        if (current != device) complain("a context was made while another GPU was current");
        if (fails(Fault::context)) return nullptr;
        return new Context(*this, own_memory);
    }
#if TRTPOSE_DOUBLE_MAJOR >= 10
    nvinfer1::IExecutionContext* createExecutionContext(
        nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
        return make(strategy != nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
    }
#else
    nvinfer1::IExecutionContext* createExecutionContext() noexcept override { return make(true); }
    nvinfer1::IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept override { return make(false); }
#endif
#if TRTPOSE_DOUBLE_MAJOR < 11
    size_t getDeviceMemorySize() const noexcept override {
        size_t most = 0;
        for (int32_t p = 0; p < getNbOptimizationProfiles(); ++p) most = std::max(most, most_scratch(p));
        return most;
    }
#endif
#if TRTPOSE_DOUBLE_MAJOR == 10
    size_t getDeviceMemorySizeForProfile(int32_t profile) const noexcept override { return most_scratch(profile); }
#endif
#ifdef TRTPOSE_DOUBLE_V2
    int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept override {
        return static_cast<int64_t>(most_scratch(profile));
    }
    int64_t getStreamableWeightsSize() const noexcept override { return static_cast<int64_t>(network->streamable); }
    bool setWeightStreamingBudgetV2(int64_t bytes) noexcept override {
        if (contexts > 0) {
            say("the budget cannot be set while there are contexts");
            return false;
        }
        if (fails(Fault::budget)) return false;
        if (bytes < 0 || static_cast<size_t>(bytes) > network->streamable) {
            complain("a budget out of range");
            return false;
        }
        budget = bytes;
        network->streamed_budget = bytes;
        return load(network->weights - network->streamable + static_cast<size_t>(bytes));
    }
#endif
#if TRTPOSE_DOUBLE_MAJOR >= 11
    nvinfer1::IRuntimeConfig* createRuntimeConfig() noexcept override { return new Config; }
    nvinfer1::IExecutionContext* createExecutionContext(nvinfer1::IRuntimeConfig* config) noexcept override {
        const auto* const own = static_cast<Config*>(config);
#ifdef TRTPOSE_DOUBLE_RTX
        if (!own->cache) complain("a context without the cache");
        if (own->cache && own->cache->kernels.empty()) {
            own->cache->kernels = "k";
            ++network->kernels_compiled;
        }
#endif
        return make(own->own_memory);
    }
#endif
#ifdef TRTPOSE_DOUBLE_STATISTICS
    int64_t getEngineStat(nvinfer1::EngineStat stat) const noexcept override {
        return stat == nvinfer1::EngineStat::kTOTAL_WEIGHTS_SIZE ? static_cast<int64_t>(network->weights) : -1;
    }
#endif

    std::shared_ptr<Network> network;
    nvinfer1::ILogger& log;
    int device = -1;
    void* weights = nullptr;
    int64_t budget = -1;
    std::atomic<int> contexts{0};
    std::map<int32_t, int> profile_users;  ///< before version 10
    std::mutex mutex;
};

}  // namespace tensorrt_double
