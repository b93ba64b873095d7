// SPDX-License-Identifier: Apache-2.0
// Where the versions of TensorRT differ, as far as running a plan goes. Everything else of the backend is the same text
// for 8.6, 10, 11 and TensorRT for RTX (docs/tensorrt.md).
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "backends/tensorrt/vendor_library.hpp"

// The headers of TensorRT for RTX count its own versions; its interfaces are those of 11.
#if NV_TENSORRT_MAJOR < 8
#define TRTPOSE_TENSORRT_API 11
#define TRTPOSE_TENSORRT_FROM(major, minor) 1
#else
#define TRTPOSE_TENSORRT_API NV_TENSORRT_MAJOR
#define TRTPOSE_TENSORRT_FROM(major, minor) \
    (NV_TENSORRT_MAJOR > (major) || (NV_TENSORRT_MAJOR == (major) && NV_TENSORRT_MINOR >= (minor)))
#endif

namespace trtpose::tensorrt {

/// The oldest library that has every function called here: tables of functions grow within a major version.
inline Version oldest_library() {
#if TRTPOSE_TENSORRT_FROM(10, 1) && TRTPOSE_TENSORRT_API == 10
    return {10, 1, 0};
#elif TRTPOSE_TENSORRT_API == 8
    return {8, 6, 0};
#else
    return {TRTPOSE_TENSORRT_API, 0, 0};
#endif
}

/// Whether several contexts may use one profile; before 10 only in plans that were built for it.
inline constexpr bool kSharesProfiles = TRTPOSE_TENSORRT_API >= 10;

/// A context without memory for its intermediate tensors.
inline nvinfer1::IExecutionContext* make_context(nvinfer1::ICudaEngine& engine) {
#if TRTPOSE_TENSORRT_API >= 10
    return engine.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
#else
    return engine.createExecutionContextWithoutDeviceMemory();
#endif
}

/// Bytes a context wants for its intermediate tensors, profile and shape being set.
inline size_t scratch_bytes(const nvinfer1::ICudaEngine& engine, nvinfer1::IExecutionContext& context, int profile,
                            bool streaming) {
#if TRTPOSE_TENSORRT_FROM(10, 1)
    const auto most = static_cast<size_t>(engine.getDeviceMemorySizeForProfileV2(profile));
#elif TRTPOSE_TENSORRT_API >= 10
    const size_t most = engine.getDeviceMemorySizeForProfile(profile);
#else
    const size_t most = engine.getDeviceMemorySize();
    static_cast<void>(profile);
#endif
#if TRTPOSE_TENSORRT_API >= 10
    // A small shape of a wide profile wants less; what streaming adds is in the profile's figure alone.
    const size_t now = streaming || most == 0 ? 0 : context.updateDeviceMemorySizeForShapes();
    return now > 0 && now < most ? now : most;
#else
    static_cast<void>(context);
    static_cast<void>(streaming);
    return most;
#endif
}

/// Lend a context its memory.
inline void lend(nvinfer1::IExecutionContext& context, void* data, size_t bytes) {
#if TRTPOSE_TENSORRT_FROM(10, 1)
    context.setDeviceMemoryV2(data, static_cast<int64_t>(bytes));
#else
    context.setDeviceMemory(data);
    static_cast<void>(bytes);
#endif
}

/// Bytes of the weights that may stay on the host; 0: none.
inline size_t streamable_bytes(const nvinfer1::ICudaEngine& engine) {
#if TRTPOSE_TENSORRT_FROM(10, 1)
    const int64_t bytes = engine.getStreamableWeightsSize();
    return bytes > 0 ? static_cast<size_t>(bytes) : 0;
#else
    static_cast<void>(engine);
    return 0;
#endif
}

/// Keep at most `bytes` of the streamable weights on the device.
inline bool limit_streamable(nvinfer1::ICudaEngine& engine, size_t bytes) {
#if TRTPOSE_TENSORRT_FROM(10, 1)
    return engine.setWeightStreamingBudgetV2(static_cast<int64_t>(bytes));
#else
    static_cast<void>(engine);
    static_cast<void>(bytes);
    return false;
#endif
}

/// Bytes of all weights; 0: the library does not tell.
inline size_t weight_bytes(const nvinfer1::ICudaEngine& engine, const Library& library) {
#if TRTPOSE_TENSORRT_FROM(10, 14)
    const bool has = library.runtime == Runtime::rtx || !(library.version < Version{10, 14, 0});
    const int64_t bytes = has ? engine.getEngineStat(nvinfer1::EngineStat::kTOTAL_WEIGHTS_SIZE) : 0;
    return bytes > 0 ? static_cast<size_t>(bytes) : 0;
#else
    static_cast<void>(engine);
    static_cast<void>(library);
    return 0;
#endif
}

/// What TensorRT for RTX compiled for the card, to be kept for the next time. The calls are in its own headers alone:
/// a module made with TensorRT's leaves it empty, and the card compiles at every start.
struct KernelCache {
    std::function<nvinfer1::IExecutionContext*()> make_context;  ///< as tensorrt::make_context, with the cache
    std::function<std::string()> content;
    explicit operator bool() const { return static_cast<bool>(make_context); }
};

template <typename Config, typename = void>
struct HasKernelCache : std::false_type {};
template <typename Config>
struct HasKernelCache<Config, std::void_t<decltype(std::declval<Config&>().createRuntimeCache())>> : std::true_type {};

/// A cache that begins with what an earlier one held. Must go before the engine does.
template <typename Engine>
KernelCache open_kernel_cache(Engine& engine, const std::string& kept) {
    KernelCache out;
#if TRTPOSE_TENSORRT_FROM(10, 11)
    using Config = std::remove_pointer_t<decltype(engine.createRuntimeConfig())>;
    if constexpr (HasKernelCache<Config>::value) {
        const std::shared_ptr<Config> config(engine.createRuntimeConfig());
        if (!config) return out;
        config->setExecutionContextAllocationStrategy(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
        const std::shared_ptr cache = [&] {
            using Cache = std::remove_pointer_t<decltype(config->createRuntimeCache())>;
            return std::shared_ptr<Cache>(config->createRuntimeCache());
        }();
        if (!cache) return out;
        if (!kept.empty()) static_cast<void>(cache->deserialize(kept.data(), kept.size()));
        if (!config->setRuntimeCache(*cache)) return out;
        out.make_context = [config, cache, &engine] { return engine.createExecutionContext(config.get()); };
        out.content = [cache] {
            const std::unique_ptr<nvinfer1::IHostMemory> bytes(cache->serialize());
            return bytes ? std::string(static_cast<const char*>(bytes->data()), bytes->size()) : std::string();
        };
    }
#else
    static_cast<void>(engine);
    static_cast<void>(kept);
#endif
    return out;
}

}  // namespace trtpose::tensorrt
