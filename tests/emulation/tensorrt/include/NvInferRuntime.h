// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorRT's header of this name: the part of the interfaces for running plans that trtpose uses, with
// the same signatures in each version and nothing a version does not have. double.cpp implements them.
#pragma once

#include "NvInferRuntimeCommon.h"

namespace nvinfer1 {

class ICudaEngine;

class INoCopy {
public:
    INoCopy(INoCopy const&) = delete;
    INoCopy& operator=(INoCopy const&) = delete;
    virtual ~INoCopy() = default;

protected:
    INoCopy() = default;
};

enum class TensorLocation : int32_t { kDEVICE = 0, kHOST = 1 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };

#if TRTPOSE_DOUBLE_MAJOR >= 10
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0, kON_PROFILE_CHANGE = 1, kUSER_MANAGED = 2 };
#endif

#if TRTPOSE_DOUBLE_MAJOR >= 11 || (TRTPOSE_DOUBLE_MAJOR == 10 && NV_TENSORRT_MINOR >= 14)
#define TRTPOSE_DOUBLE_STATISTICS 1
enum class EngineStat : int32_t { kTOTAL_WEIGHTS_SIZE = 0, kSTRIPPED_WEIGHTS_SIZE = 1 };
#endif

#if TRTPOSE_DOUBLE_MAJOR >= 11 || (TRTPOSE_DOUBLE_MAJOR == 10 && NV_TENSORRT_MINOR >= 1)
#define TRTPOSE_DOUBLE_V2 1
#endif

class IHostMemory : public INoCopy {
public:
    virtual void* data() const noexcept = 0;
    virtual std::size_t size() const noexcept = 0;
};

#ifdef TRTPOSE_DOUBLE_RTX
class IRuntimeCache : public INoCopy {
public:
    virtual IHostMemory* serialize() const noexcept = 0;
    virtual bool deserialize(void const* blob, size_t size) noexcept = 0;
};
#endif

#if TRTPOSE_DOUBLE_MAJOR >= 11
class IRuntimeConfig : public INoCopy {
public:
    virtual void setExecutionContextAllocationStrategy(ExecutionContextAllocationStrategy strategy) noexcept = 0;
#ifdef TRTPOSE_DOUBLE_RTX
    virtual IRuntimeCache* createRuntimeCache() const noexcept = 0;
    virtual bool setRuntimeCache(IRuntimeCache const& cache) noexcept = 0;
#endif
};
#endif

class IExecutionContext : public INoCopy {
public:
    virtual ICudaEngine const& getEngine() const noexcept = 0;
    virtual void setDeviceMemory(void* memory) noexcept = 0;
    virtual int32_t getOptimizationProfile() const noexcept = 0;
    virtual bool setOptimizationProfileAsync(int32_t profileIndex, cudaStream_t stream) noexcept = 0;
    virtual bool setInputShape(char const* tensorName, Dims const& dims) noexcept = 0;
    virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;
    virtual bool setTensorAddress(char const* tensorName, void* data) noexcept = 0;
    virtual int32_t inferShapes(int32_t nbMaxNames, char const** tensorNames) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
#if TRTPOSE_DOUBLE_MAJOR >= 10
    virtual size_t updateDeviceMemorySizeForShapes() noexcept = 0;
#endif
#ifdef TRTPOSE_DOUBLE_V2
    virtual void setDeviceMemoryV2(void* memory, int64_t size) noexcept = 0;
#endif
};

class ICudaEngine : public INoCopy {
public:
    virtual int32_t getNbIOTensors() const noexcept = 0;
    virtual char const* getIOTensorName(int32_t index) const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(char const* tensorName) const noexcept = 0;
    virtual DataType getTensorDataType(char const* tensorName) const noexcept = 0;
    virtual TensorFormat getTensorFormat(char const* tensorName) const noexcept = 0;
    virtual TensorLocation getTensorLocation(char const* tensorName) const noexcept = 0;
    virtual Dims getTensorShape(char const* tensorName) const noexcept = 0;
    virtual int32_t getNbOptimizationProfiles() const noexcept = 0;
    virtual Dims getProfileShape(char const* tensorName, int32_t profileIndex,
                                 OptProfileSelector select) const noexcept = 0;
#if TRTPOSE_DOUBLE_MAJOR >= 10
    virtual IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept = 0;
#else
    virtual IExecutionContext* createExecutionContext() noexcept = 0;
    virtual IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept = 0;
#endif
#if TRTPOSE_DOUBLE_MAJOR < 11
    virtual size_t getDeviceMemorySize() const noexcept = 0;
#endif
#if TRTPOSE_DOUBLE_MAJOR == 10
    virtual size_t getDeviceMemorySizeForProfile(int32_t profileIndex) const noexcept = 0;
#endif
#ifdef TRTPOSE_DOUBLE_V2
    virtual int64_t getDeviceMemorySizeForProfileV2(int32_t profileIndex) const noexcept = 0;
    virtual int64_t getStreamableWeightsSize() const noexcept = 0;
    virtual bool setWeightStreamingBudgetV2(int64_t gpuMemoryBudget) noexcept = 0;
#endif
#if TRTPOSE_DOUBLE_MAJOR >= 11
    virtual IRuntimeConfig* createRuntimeConfig() noexcept = 0;
    virtual IExecutionContext* createExecutionContext(IRuntimeConfig* runtimeConfig) noexcept = 0;
#endif
#ifdef TRTPOSE_DOUBLE_STATISTICS
    virtual int64_t getEngineStat(EngineStat stat) const noexcept = 0;
#endif
};

class IRuntime : public INoCopy {
public:
    virtual ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept = 0;
    virtual IPluginRegistry& getPluginRegistry() noexcept = 0;
    virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
};

}  // namespace nvinfer1

extern "C" TENSORRTAPI void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept;
