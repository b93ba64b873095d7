// SPDX-License-Identifier: Apache-2.0
// The networks that the double knows, and the runtime that opens them.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "tensorrt/double_engine.hpp"

namespace tensorrt_double {
namespace {

constexpr size_t kNameAt = 28;
constexpr const char* kNameBegins = "double network ";

std::mutex lock;
std::map<std::string, std::shared_ptr<Network>> networks;
std::vector<std::string> complaints_made;
std::set<std::string> plugins;
int next_name = 0;

class Registry final : public nvinfer1::IPluginRegistry {
public:
    explicit Registry(nvinfer1::ILogger& logger) : log_(logger) {}
    PluginLibraryHandle loadLibrary(nvinfer1::AsciiChar const* path) noexcept override {
        const std::lock_guard guard(lock);
        if (plugins.count(path)) return &log_;
        log_.log(nvinfer1::ILogger::Severity::kERROR, "cannot open the plugin library");
        return nullptr;
    }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}

private:
    nvinfer1::ILogger& log_;
};

class Runtime final : public nvinfer1::IRuntime {
public:
    explicit Runtime(nvinfer1::ILogger& logger) : log_(logger), registry_(logger) {}
    nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        if (reinterpret_cast<uintptr_t>(blob) % 16) complain("a plan is not aligned");
        const std::string name =
            size > kNameAt ? std::string(static_cast<const char*>(blob) + kNameAt, size - kNameAt) : std::string();
        std::shared_ptr<Network> network;
        {
            const std::lock_guard guard(lock);
            const auto found = networks.find(name);
            if (found != networks.end()) network = found->second;
        }
        if (!network || take(*network, Fault::deserialize)) {
            log_.log(nvinfer1::ILogger::Severity::kWARNING, "a warning, which nobody wants in an error");
            log_.log(nvinfer1::ILogger::Severity::kERROR,
                     network ? network->failure.c_str() : "magic tag does not match");
            return nullptr;
        }
        network->host_code_allowed = allowed_;
        auto engine = std::make_unique<Engine>(network, log_);
        if (!engine->load(network->weights)) {
            engine->say("Requested size was too large: out of memory");
            return nullptr;
        }
        return engine.release();
    }
    nvinfer1::IPluginRegistry& getPluginRegistry() noexcept override { return registry_; }
    void setEngineHostCodeAllowed(bool allowed) noexcept override { allowed_ = allowed; }

private:
    nvinfer1::ILogger& log_;
    Registry registry_;
    bool allowed_ = false;
};

}  // namespace

void complain(const std::string& what) {
    const std::lock_guard guard(lock);
    complaints_made.push_back(what);
}

bool take(Network& network, Fault fault) {
    Fault expected = fault;
    return network.fault.compare_exchange_strong(expected, Fault::none);
}

size_t Network::scratch(const Shape& input) const {
    size_t numbers = 1;
    for (const int64_t d : input) numbers *= static_cast<size_t>(d);
    return (numbers * scratch_per_number + 255) / 256 * 256;
}

std::string add_network(std::shared_ptr<Network> network) {
    const std::lock_guard guard(lock);
    std::string name = kNameBegins + std::to_string(next_name++);
    networks.emplace(name, std::move(network));
    return name;
}

void add_network(const std::string& plan, std::shared_ptr<Network> network) {
    const std::lock_guard guard(lock);
    networks[plan.substr(std::min(plan.size(), kNameAt))] = std::move(network);
}

void forget_networks() {
    const std::lock_guard guard(lock);
    networks.clear();
    plugins.clear();
}

std::vector<std::string> complaints() {
    const std::lock_guard guard(lock);
    return std::exchange(complaints_made, {});
}

void allow_plugin(const std::string& path) {
    const std::lock_guard guard(lock);
    plugins.insert(path);
}

extern "C" __attribute__((visibility("default"))) void* tensorrt_double_create_runtime(void* logger, int32_t told,
                                                                                       int32_t own) noexcept {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        // What TensorRT gives without a driver: nothing that can be used or deleted.
        complain("TensorRT was called without a driver");
        return reinterpret_cast<void*>(uintptr_t{0x228});
    }
    auto& log = *static_cast<nvinfer1::ILogger*>(logger);
    if (told != own) {
        log.log(nvinfer1::ILogger::Severity::kERROR, "the program is of another version of TensorRT");
        return nullptr;
    }
    {
        const std::lock_guard guard(lock);
        for (auto& [name, network] : networks) {
            if (take(*network, Fault::start)) return nullptr;
        }
    }
    return static_cast<nvinfer1::IRuntime*>(new Runtime(log));
}

}  // namespace tensorrt_double
