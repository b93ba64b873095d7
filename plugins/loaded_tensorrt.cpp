// SPDX-License-Identifier: Apache-2.0
#include "plugins/loaded_tensorrt.hpp"

#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <string>

namespace trtpose::plugins {

void* loaded_symbol(const char* name) {
    const std::string library = "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
    void* const handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (!handle) return nullptr;
    void* const symbol = dlsym(handle, name);
    dlclose(handle);  // the reference just taken
    return symbol;
}

bool called_from_library_of(const void* address) {
    Dl_info library{};
    if (!dladdr(address, &library)) return false;
    void* frames[64];
    const int count = backtrace(frames, 64);
    for (int i = 0; i < count; ++i) {
        Dl_info caller{};
        if (dladdr(frames[i], &caller) && caller.dli_fbase == library.dli_fbase) return true;
    }
    return false;
}

}  // namespace trtpose::plugins
