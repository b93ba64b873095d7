// SPDX-License-Identifier: Apache-2.0
// A TensorRT library as far as a plugin library sees one when it is loaded: a registry and a logger.
#include <NvInferRuntime.h>
#include <NvInferRuntimePlugin.h>
#include <dlfcn.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

using nvinfer1::IPluginCreatorInterface;
using nvinfer1::IPluginCreatorV3One;

class Registry final : public nvinfer1::IPluginRegistry {
public:
    PluginLibraryHandle loadLibrary(nvinfer1::AsciiChar const* path) noexcept override {
        void* const library = dlopen(path, RTLD_LAZY);
        if (!library) return nullptr;
        using GetCreators = IPluginCreatorInterface* const*(int32_t&);
        auto* const get = reinterpret_cast<GetCreators*>(dlsym(library, "getCreators"));
        if (!get || !dlsym(library, "setLoggerFinder")) return nullptr;
        int32_t count = 0;
        auto* const* const creators = get(count);
        for (int32_t i = 0; i < count; ++i) {
            if (knows(*creators[i])) return nullptr;
        }
        for (int32_t i = 0; i < count; ++i) all.push_back(creators[i]);
        return library;
    }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    bool registerCreator(IPluginCreatorInterface& creator, nvinfer1::AsciiChar const*) noexcept override {
        if (knows(creator)) return false;
        all.push_back(&creator);
        return true;
    }
    std::vector<IPluginCreatorInterface*> all;

private:
    static const char* name_of(IPluginCreatorInterface& creator) {
        return static_cast<IPluginCreatorV3One&>(creator).getPluginName();
    }
    bool knows(IPluginCreatorInterface& creator) const {
        for (auto* const other : all) {
            if (std::strcmp(name_of(*other), name_of(creator)) == 0) return true;
        }
        return false;
    }
};

class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity, nvinfer1::AsciiChar const* line) noexcept override { lines += std::string(line) + "\n"; }
    std::string lines;
};

Registry& registry() {
    static Registry one;
    return one;
}
Logger& logger() {
    static Logger one;
    return one;
}

}  // namespace

#define SEEN extern "C" __attribute__((visibility("default")))
SEEN nvinfer1::IPluginRegistry* getPluginRegistry() noexcept { return &registry(); }
SEEN nvinfer1::ILogger* getLogger() noexcept { return &logger(); }
SEEN bool load_plugin_library(const char* path) { return registry().loadLibrary(path) != nullptr; }
SEEN int creators_known() { return static_cast<int>(registry().all.size()); }
SEEN bool create_without_fields() {
    return static_cast<IPluginCreatorV3One*>(registry().all.front())
        ->createPlugin("node", nullptr, nvinfer1::TensorRTPhase::kBUILD);
}
SEEN const char* lines_logged() { return logger().lines.c_str(); }
