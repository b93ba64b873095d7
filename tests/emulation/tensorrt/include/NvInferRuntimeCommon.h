// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorRT's header of this name: where plugins are known.
#pragma once

#include "NvInferPluginBase.h"
#include "NvInferRuntimeBase.h"

namespace nvinfer1 {

class IPluginRegistry {
public:
    using PluginLibraryHandle = void*;
    IPluginRegistry() = default;
    IPluginRegistry(IPluginRegistry const&) = delete;
    IPluginRegistry& operator=(IPluginRegistry const&) & = delete;
    virtual ~IPluginRegistry() noexcept = default;
    virtual PluginLibraryHandle loadLibrary(AsciiChar const* pluginPath) noexcept = 0;
    virtual void deregisterLibrary(PluginLibraryHandle handle) noexcept = 0;
#if NV_TENSORRT_MAJOR >= 10
    virtual bool registerCreator(IPluginCreatorInterface&, AsciiChar const*) noexcept { return false; }
#endif
};

}  // namespace nvinfer1
