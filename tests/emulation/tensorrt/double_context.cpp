// SPDX-License-Identifier: Apache-2.0
// The double's contexts: profiles, shapes, addresses, and a run.
#include <cstring>

#include "cuda/emulation.hpp"
#include "tensorrt/double_engine.hpp"

namespace tensorrt_double {
namespace {

constexpr uintptr_t kAddressAlignment = 256;

Shape shape_of(const nvinfer1::Dims& dims) { return {dims.d, dims.d + std::max<int32_t>(dims.nbDims, 0)}; }

std::string text_of(const Shape& shape) {
    std::string out;
    for (const int64_t d : shape) out += (out.empty() ? "" : "x") + std::to_string(d);
    return out;
}

}  // namespace

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims out{};
    out.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) out.d[i] = static_cast<decltype(out.d[0] + 0)>(shape[i]);
    return out;
}

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

}  // namespace tensorrt_double
