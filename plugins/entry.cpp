// SPDX-License-Identifier: Apache-2.0
// How the library makes itself known. Programs load plugin libraries in two ways: with IPluginRegistry::loadLibrary
// (trtexec --dynamicPlugins, Python's load_library), which then asks for getCreators(), and with plain dlopen (trtexec
// --staticPlugins, Triton's backend option `plugins`, DeepStream's custom-lib-path), after which nobody asks and the
// library must register by itself.
#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>

#include "plugins/decode_nms.hpp"
#include "plugins/loaded_tensorrt.hpp"
#include "plugins/log.hpp"
#include "trtpose/export.hpp"

namespace trtpose::plugins {
namespace {

/// Never destroyed: registries keep the pointer, and nobody knows which of them is gone first when the process ends.
/// The library stays loaded for the same reason (-z nodelete).
DecodeNmsCreator& creator() {
    static auto* const the_creator = new DecodeNmsCreator;
    return *the_creator;
}

__attribute__((constructor)) void on_load() noexcept {
    using GetRegistry = nvinfer1::IPluginRegistry*();
    try {
        void* const symbol = loaded_symbol("getPluginRegistry");
        // loadLibrary refuses a library whose creators are known already.
        if (!symbol || called_from_library_of(symbol)) return;
        if (nvinfer1::IPluginRegistry* const registry = reinterpret_cast<GetRegistry*>(symbol)())
            registry->registerCreator(creator(), "");
    } catch (...) {
        // Whoever wants the plugin will be told that there is none.
    }
}

}  // namespace
}  // namespace trtpose::plugins

extern "C" {

TRTPOSE_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&trtpose::plugins::creator()};
    count = 1;
    return creators;
}

TRTPOSE_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { trtpose::plugins::set_logger_finder(finder); }

}  // extern "C"
