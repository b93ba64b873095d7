// SPDX-License-Identifier: Apache-2.0
#define TRTPOSE_EMULATION_RUNTIME  // what TensorRT calls of CUDA is not what trtpose calls
#include "tensorrt/double.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "cuda/emulation.hpp"

namespace tensorrt_double {
namespace {

constexpr uintptr_t kAddressAlignment = 256;
constexpr size_t kNameAt = 28;
constexpr const char* kNameBegins = "double network ";

std::mutex lock;
std::map<std::string, std::shared_ptr<Network>> networks;
std::vector<std::string> complaints_made;
std::set<std::string> plugins;
int next_name = 0;

void complain(const std::string& what) {
    const std::lock_guard guard(lock);
    complaints_made.push_back(what);
}

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims out{};
    out.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) out.d[i] = static_cast<decltype(out.d[0] + 0)>(shape[i]);
    return out;
}
Shape shape_of(const nvinfer1::Dims& dims) { return {dims.d, dims.d + std::max<int32_t>(dims.nbDims, 0)}; }

std::string text_of(const Shape& shape) {
    std::string out;
    for (const int64_t d : shape) out += (out.empty() ? "" : "x") + std::to_string(d);
    return out;
}

bool take(Network& network, Fault fault) {
    Fault expected = fault;
    return network.fault.compare_exchange_strong(expected, Fault::none);
}

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

Context::Context(Engine& engine, bool own_memory) : engine_(engine) {
    if (own_memory) complain("a context took memory of its own");
    ++engine.contexts;
    ++engine.network->contexts;
    ++engine.network->contexts_made;
#if TRTPOSE_DOUBLE_MAJOR < 10
    const std::lock_guard guard(engine_.mutex);
    if (!engine_.network->shares_profiles && engine_.dynamic() && engine_.profile_users[0] > 0) {
        profile_ = -1;
    } else {
        ++engine_.profile_users[0];
    }
#endif
    if (!engine.dynamic()) shape_ = engine.network->inputs[0].shape;
}

Context::~Context() {
    state_->alive = false;
#if TRTPOSE_DOUBLE_MAJOR < 10
    const std::lock_guard guard(engine_.mutex);
    if (profile_ >= 0) --engine_.profile_users[profile_];
#endif
    --engine_.contexts;
    --engine_.network->contexts;
}

nvinfer1::ICudaEngine const& Context::getEngine() const noexcept { return engine_; }

bool Context::refuse(const std::string& why) const {
    engine_.say(why);
    return false;
}

void Context::set_memory(void* memory, int64_t size) noexcept {
    if (reinterpret_cast<uintptr_t>(memory) % kAddressAlignment) complain("scratch memory is not aligned");
    if (memory_ && (memory != memory_ || size != memory_size_)) ++state_->generation;
    memory_ = memory;
    memory_size_ = size;
    settled_ = false;
}

bool Context::setOptimizationProfileAsync(int32_t index, cudaStream_t stream) noexcept {
    if (engine_.fails(Fault::profile)) return false;
    if (!stream) complain("a profile was set on the default stream");
    if (index < 0 || index >= engine_.getNbOptimizationProfiles()) return refuse("no such profile");
#if TRTPOSE_DOUBLE_MAJOR < 10
    const std::lock_guard guard(engine_.mutex);
    if (!engine_.network->shares_profiles && engine_.profile_users[index] > 0)
        return refuse("the profile is in use by another context");
    if (profile_ >= 0) --engine_.profile_users[profile_];
    ++engine_.profile_users[index];
#endif
    profile_ = index;
    shape_.clear();
    ++state_->generation;
    settled_ = false;
    return true;
}

bool Context::setInputShape(char const* name, nvinfer1::Dims const& dims) noexcept {
    if (engine_.fails(Fault::input_shape)) return false;
    const Tensor* tensor = engine_.find(name);
    if (!tensor) return refuse("no such tensor");
    if (profile_ < 0) return refuse("no profile is set");
    const Shape shape = shape_of(dims);
    const auto& profiles = engine_.network->profiles;
    bool fits = shape.size() == tensor->shape.size();
    for (size_t d = 0; fits && d < shape.size(); ++d) {
        fits = tensor->shape[d] < 0 || tensor->shape[d] == shape[d];
        if (profiles.empty()) continue;
        const Profile& profile = profiles[static_cast<size_t>(profile_)];
        fits = fits && shape[d] >= profile.min[d] && shape[d] <= profile.max[d];
    }
    if (!fits) {
        complain("a shape out of the profile: " + text_of(shape));
        return refuse("the shape is out of the profile");
    }
    if (shape != shape_) {
        shape_ = shape;
        ++state_->generation;
        settled_ = false;
    }
    return true;
}

nvinfer1::Dims Context::getTensorShape(char const* name) const noexcept {
    if (engine_.network->inputs[0].name == name) return dims_of(shape_);
    const auto shapes = engine_.network->shapes(shape_);
    for (size_t i = 0; i < shapes.size(); ++i) {
        if (engine_.network->outputs[i].name == name) return dims_of(shapes[i]);
    }
    nvinfer1::Dims none{};
    none.nbDims = -1;
    return none;
}

bool Context::setTensorAddress(char const* name, void* data) noexcept {
    if (engine_.fails(Fault::address)) return false;
    if (!engine_.find(name)) return refuse("no such tensor");
    if (!data || reinterpret_cast<uintptr_t>(data) % kAddressAlignment)
        complain(std::string("the address of '") + name + "' is not aligned");
    addresses_[name] = data;
    return true;
}

int32_t Context::inferShapes(int32_t, char const**) noexcept {
    if (engine_.fails(Fault::infer)) return -1;
    return shape_.empty() ? 1 : 0;
}

#if TRTPOSE_DOUBLE_MAJOR >= 10
size_t Context::updateDeviceMemorySizeForShapes() noexcept {
    if (shape_.empty()) {
        complain("the size of the scratch memory was asked for before the shape was set");
        return 0;
    }
    return engine_.network->scratch(shape_);
}
#endif

bool Context::enqueueV3(cudaStream_t stream) noexcept {
    Network& network = *engine_.network;
    if (engine_.fails(Fault::enqueue)) return false;
    int device = -1;
    static_cast<void>(cudaGetDevice(&device));
    if (device != engine_.device) complain("enqueueV3 while another GPU was current");
    if (!stream) complain("enqueueV3 on the default stream");
    if (profile_ < 0) return refuse("enqueueV3: no profile is set");
    if (shape_.empty()) return refuse("enqueueV3: no shape is set");
    const size_t need = network.scratch(shape_) + (engine_.streams() ? 512 : 0);
    if (need > 0 && !memory_) {
        complain("enqueueV3 without scratch memory");
        return refuse("enqueueV3: no device memory is set");
    }
    if (memory_size_ >= 0 && static_cast<size_t>(memory_size_) < need) {
        complain("enqueueV3 with too little scratch memory");
        return refuse("enqueueV3: the device memory is too small");
    }
    std::vector<void*> outputs;
    for (const auto* list : {&network.inputs, &network.outputs}) {
        for (const auto& tensor : *list) {
            if (addresses_.count(tensor.name)) continue;
            complain("enqueueV3 without an address for '" + tensor.name + "'");
            return refuse("enqueueV3: no address is set for " + tensor.name);
        }
    }
    for (const auto& tensor : network.outputs) outputs.push_back(addresses_[tensor.name]);
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    static_cast<void>(cudaStreamIsCapturing(stream, &capturing));
    const bool captured = capturing != cudaStreamCaptureStatusNone;
    // TensorRT makes itself ready in the first run after a change, and streams weights from the host.
    if (captured && (!settled_ || engine_.streams())) {
        static_cast<void>(cudaDeviceSynchronize());
        return refuse("enqueueV3: not allowed in a capture");
    }
    settled_ = true;
    ++network.enqueued;
    emulation::enqueue(stream,
                       [state = state_, generation = state_->generation.load(), captured, shape = shape_, outputs,
                        input = addresses_[network.inputs[0].name], net = engine_.network, memory = memory_, need] {
                           if (!state->alive) complain("a context was destroyed before its work was done");
                           if (captured && state->generation != generation)
                               complain("a graph was launched after its context had changed");
                           // Every byte of the scratch is used, and still there at the end.
                           std::memset(memory, 0x5a, need);
                           net->answer(shape, input, outputs);
                           const auto* bytes = static_cast<const unsigned char*>(memory);
                           if (std::any_of(bytes, bytes + need, [](unsigned char byte) { return byte != 0x5a; }))
                               complain("scratch memory was written by somebody else");
                           ++net->carried_out;
                       });
    return true;
}

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
