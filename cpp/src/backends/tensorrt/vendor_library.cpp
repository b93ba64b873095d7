// SPDX-License-Identifier: Apache-2.0
#include "backends/tensorrt/vendor_library.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include "core/check.hpp"
#include "core/cuda_device.hpp"

namespace trtpose::tensorrt {
namespace {

namespace fs = std::filesystem;

constexpr int kRtxInterfaces = 11;

/// A library's own count: up to 8 major * 1000 + minor * 100 + patch, later with two digits each.
Version decode(Runtime runtime, int number) {
    if (runtime == Runtime::tensorrt && number < 100000) return {number / 1000, number / 100 % 10, number % 100};
    return {number / 10000, number / 100 % 100, number % 100};
}

std::vector<std::string> file_names(Runtime runtime) {
    if (runtime == Runtime::rtx) return {"libtensorrt_rtx.so.1"};
    std::vector<std::string> out;
    for (auto major = kModules.rbegin(); major != kModules.rend(); ++major)
        out.push_back("libnvinfer.so." + std::to_string(*major));
    return out;
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

/// Folders of Python packages: those that trtpose's Python side names, and the one this library is installed in.
std::vector<fs::path> package_folders() {
    std::vector<fs::path> out;
    std::istringstream named(environment("TRTPOSE_PACKAGE_PATH"));
    for (std::string folder; std::getline(named, folder, ':');) {
        if (!folder.empty()) out.emplace_back(folder);
    }
    out.push_back((fs::path(module_folder()) / ".." / "..").lexically_normal());
    return out;
}

/// Files to try; what has no folder is left to the system's search.
std::vector<fs::path> candidates(Runtime runtime) {
    std::vector<fs::path> folders, out;
    const auto names = file_names(runtime);
    const auto add_root = [&](const char* variable) {
        const std::string root = environment(variable);
        if (root.empty()) return;
        for (const char* part : {"lib", "lib64", "targets/x86_64-linux-gnu/lib", "targets/aarch64-linux-gnu/lib", ""})
            folders.push_back(fs::path(root) / part);
    };
    std::error_code ignored;
    if (const std::string chosen = environment("TRTPOSE_TENSORRT_LIB"); !chosen.empty()) {
        if (fs::is_directory(chosen, ignored)) {
            folders.emplace_back(chosen);
        } else {
            out.emplace_back(chosen);
        }
    }
    if (runtime == Runtime::rtx) add_root("TENSORRT_RTX_ROOT");
    add_root("TENSORRT_ROOT");
    for (const auto& packages : package_folders()) {
        if (runtime == Runtime::rtx) {
            folders.push_back(packages / "tensorrt_rtx_libs");
        } else {
            folders.push_back(packages / "tensorrt_libs");
            folders.push_back(packages / "tensorrt");  // where the packages of 8 keep them
        }
    }
    for (const auto& folder : folders) {
        for (const auto& name : names) {
            if (fs::exists(folder / name, ignored)) out.push_back(folder / name);
        }
    }
    for (const auto& name : names) out.emplace_back(name);
    return out;
}

}  // namespace

const char* name_of(Runtime runtime) { return runtime == Runtime::rtx ? "TensorRT for RTX" : "TensorRT"; }

Version parse_version(const std::string& text) {
    Version out;
    if (std::sscanf(text.c_str(), "%d.%d.%d", &out.major, &out.minor, &out.patch) < 1) out = {};
    return out;
}

std::string to_string(const Version& version) { return text(version.major, '.', version.minor, '.', version.patch); }

std::string module_folder() {
    Dl_info self{};
    ::dladdr(reinterpret_cast<const void*>(&module_folder), &self);
    return self.dli_fname ? fs::path(self.dli_fname).parent_path().string() : ".";
}

std::vector<Library> find_libraries(Runtime runtime) {
    std::vector<Library> out;
    std::set<void*> seen;
    for (const auto& path : candidates(runtime)) {
        void* handle = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
        if (!handle || !seen.insert(handle).second) continue;
        const auto version = reinterpret_cast<int32_t (*)()>(::dlsym(handle, "getInferLibVersion"));
        Library library;
        library.create_runtime =
            reinterpret_cast<void* (*)(void*, int32_t)>(::dlsym(handle, "createInferRuntime_INTERNAL"));
        if (!version || !library.create_runtime) continue;
        library.runtime = runtime;
        library.number = version();
        library.version = decode(runtime, library.number);
        Dl_info where{};
        ::dladdr(reinterpret_cast<const void*>(version), &where);
        library.path = where.dli_fname ? where.dli_fname : path.string();
        // TRTPOSE_TENSORRT_LIB may name a file of the other kind.
        if ((fs::path(library.path).filename().string().find("rtx") != std::string::npos) == (runtime == Runtime::rtx))
            out.push_back(library);
    }
    return out;
}

Runtime runtime_of(const EngineDescription& engine) {
    return engine.runtime == "rtx" ? Runtime::rtx : Runtime::tensorrt;
}

int major_of(const EngineDescription& engine) { return parse_version(engine.version).major; }

int module_for(Runtime runtime, int major, bool (*has)(int module)) {
    return runtime == Runtime::tensorrt ? major : has(kRtxModule) ? kRtxModule : kRtxInterfaces;
}

std::string rebuild(const ModelFile& file) {
    const std::string model = file.engine->onnx.empty() ? "MODEL.onnx" : file.engine->onnx;
    std::string out = "trtpose build " + model + " --runtime " + file.engine->runtime;
    const std::string& precision = file.engine->precision;
    if (precision == "fp16" || precision == "int8" || precision == "fp32") out += " --" + precision;
    return out;
}

std::string requirement(const std::string& package, const std::string& version) {
    if (version.empty()) return package;
    // Version 8 is published with three numbers.
    return package + "==" + (version.rfind("8.", 0) == 0 ? to_string(parse_version(version)) : version);
}

std::string remedy(Runtime runtime, const std::string& version) {
    const bool rtx = runtime == Runtime::rtx;
    return text("pip install ", requirement(rtx ? "tensorrt_rtx_cu13_libs" : "tensorrt", version), ", or set ",
                rtx ? "TENSORRT_RTX_ROOT" : "TENSORRT_ROOT", " or TRTPOSE_TENSORRT_LIB to where it is installed");
}

bool serves(const Library& library, const EngineDescription& engine) {
    const Version made = parse_version(engine.version);
    if (made == Version{}) return true;  // the library will say
    if (library.version == made) return true;
    if (!engine.version_compatible || library.version < made) return false;
    // Version-compatible plans go one major version up: 8 to 10, 10 to 11.
    return library.version.major == made.major || library.version.major == (made.major < 10 ? 10 : made.major + 1);
}

Library choose_library(const ModelFile& file, const Found& found) {
    const EngineDescription& engine = *file.engine;
    for (const Library& library : found.libraries) {
        if (serves(library, engine)) return library;
    }
    const Runtime runtime = runtime_of(engine);
    const std::string needed = engine.version.empty() ? name_of(runtime) : name_of(runtime) + (" " + engine.version);
    require(!found.libraries.empty(), ErrorCode::device, file.path, ": it needs ", needed, ", and no ", found.wanted,
            " was found", found.problem.empty() ? "" : " (" + found.problem + ")", "; ", found.remedy);
    std::string others;
    for (const Library& library : found.libraries)
        others += (others.empty() ? "" : ", ") + to_string(library.version) + " (" + library.path + ")";
    throw Error(ErrorCode::device, text(file.path, ": it was built with ", needed, ", found is ", others,
                                        "; build it again (", rebuild(file), ") or get that version: ", found.remedy));
}

Library library_for(const ModelFile& file) {
    const Runtime runtime = runtime_of(*file.engine);
    return choose_library(file, {find_libraries(runtime), name_of(runtime), "", remedy(runtime, file.engine->version)});
}

BackendStatus status(Runtime runtime, bool (*has_module)(int module)) {
    BackendStatus out;
    std::string lacking;
    bool served = false;
    for (const Library& library : find_libraries(runtime)) {
        const int module = module_for(runtime, library.version.major, has_module);
        served = served || has_module(module);
        if (!has_module(module) && lacking.empty())
            lacking = text("this build of trtpose has no module for ", name_of(runtime), ' ',
                           to_string(library.version), " (", library.path,
                           "); build it with TRTPOSE_TENSORRT_INCLUDE_DIR naming headers of version ", module);
        out.version += (out.version.empty() ? "" : ", ") + to_string(library.version);
    }
    const CudaStatus cuda = cuda_status();
    for (const auto& device : cuda.devices)
        out.devices.push_back(text("cuda:", device.index, ": ", device.name, ", compute capability ", device.major, '.',
                                   device.minor, ", ", device.total_bytes >> 20, " MiB"));
    if (out.version.empty()) {
        out.problem = text("no ", name_of(runtime), " was found: ", remedy(runtime, ""));
    } else if (!served) {
        out.problem = lacking;
    } else {
        out.problem = cuda.problem;
    }
    out.available = out.problem.empty();
    return out;
}

}  // namespace trtpose::tensorrt
