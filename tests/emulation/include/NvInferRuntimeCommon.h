// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorRT's header of this name: where plugins are known.
#pragma once

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
};

}  // namespace nvinfer1
