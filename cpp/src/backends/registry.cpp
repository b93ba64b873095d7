// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "backends/backend.hpp"
#include "backends/tensorrt/vendor_library.hpp"
#include "core/check.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

/// A shared library of trtpose's own that holds a backend.
struct Module {
    std::string backend;
    std::string file;
    std::string absent;  ///< what to do where this build has none
    std::string remedy;  ///< what to do where it cannot be loaded
};

Module openvino_module() {
    return {"openvino", "libtrtpose_openvino.so", "build it with the vendor's library present",
            "install the OpenVINO that this build was made for: pip install openvino==" TRTPOSE_OPENVINO_VERSION};
}

Module tensorrt_module(int major) {
    const std::string number = std::to_string(major);
    return {"tensorrt", "libtrtpose_tensorrt" + number + ".so",
            "install a build with TensorRT, or build it with CUDA and TRTPOSE_TENSORRT_INCLUDE_DIR naming TensorRT " +
                number + "'s headers",
            "reinstall trtpose"};
}

/// Where modules lie: TRTPOSE_BACKEND_DIR, else beside this library.
std::filesystem::path module_folder() {
    if (const char* folder = std::getenv("TRTPOSE_BACKEND_DIR"); folder && *folder) return folder;
    Dl_info info{};
    ::dladdr(reinterpret_cast<const void*>(&version), &info);
    return info.dli_fname ? std::filesystem::path(info.dli_fname).parent_path() : ".";
}

bool has_tensorrt_module(int major) {
    std::error_code ignored;
    return std::filesystem::exists(module_folder() / tensorrt_module(major).file, ignored);
}

/// Open a backend's module, once. Throws Error(device).
const BackendTable& load(const Module& module) {
    static std::mutex mutex;
    static std::map<std::string, const BackendTable*> loaded;
    const std::lock_guard lock(mutex);
    const BackendTable*& table = loaded[module.file];
    if (table) return *table;
    const auto path = module_folder() / module.file;
    std::error_code ignored;
    require(std::filesystem::exists(path, ignored), ErrorCode::device, "backend ", module.backend,
            ": this build of trtpose has none (no ", path.string(), "); ", module.absent);
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char* why = ::dlerror();
        throw Error(ErrorCode::device, text("backend ", module.backend, ": cannot be loaded (",
                                            why ? why : "unknown reason", "); ", module.remedy));
    }
    const auto entry_point = reinterpret_cast<BackendEntry>(::dlsym(library, kBackendEntry));
    require(entry_point != nullptr, ErrorCode::device, "backend ", module.backend, ": ", path.string(),
            " is not a trtpose module; reinstall trtpose");
    const BackendTable* candidate = entry_point();
    require(std::string(candidate->trtpose_version) == version(), ErrorCode::device, "backend ", module.backend,
            ": the module is of trtpose ", candidate->trtpose_version, ", this is ", version(), "; reinstall trtpose");
    table = candidate;
    return *table;
}

/// The module for an engine file. Throws Error(device).
Module module_for(const ModelFile& file) {
    const tensorrt::Runtime runtime = tensorrt::runtime_of(*file.engine);
    int major = tensorrt::module_for(runtime, tensorrt::major_of(*file.engine), &has_tensorrt_module);
    // Looking for the library costs time: not before it is known that somebody can use it.
    const bool settled = major != 0 && !file.engine->version_compatible;
    if (!settled || has_tensorrt_module(major))
        major = tensorrt::module_for(runtime, tensorrt::library_for(file).version.major, &has_tensorrt_module);
    return tensorrt_module(major);
}

Device parse_device(const std::string& name, Device automatic) {
    if (name == "auto") return automatic;
    if (name == "cpu") return {};
    if (name == "cuda" || name == "gpu") return {DeviceType::cuda, 0};
    if (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
        name.find_first_not_of("0123456789", 5) == name.npos)
        return {DeviceType::cuda, std::stoi(name.substr(5))};
    throw Error(ErrorCode::device, text("device '", name, "' is not known; use auto, cpu, cuda or cuda:N"));
}

}  // namespace

Session::~Session() = default;

void Session::use_scratch(void*, size_t) {}

size_t Session::limit_weights(size_t) {
    throw Error(ErrorCode::budget, text("backend ", info().backend, ": this network cannot stream its weights"));
}

std::vector<BackendStatus> backends() {
    std::vector<BackendStatus> out;
    const auto ask = [&](const char* name, auto&& question) {
        BackendStatus status;
        try {
            status = question();
        } catch (const std::exception& error) {
            status.problem = error.what();
        }
        status.name = name;
        status.available = status.problem.empty();
        out.push_back(std::move(status));
    };
    ask("openvino", [] { return load(openvino_module()).status(); });
    ask("tensorrt", [] { return tensorrt::status(tensorrt::Runtime::tensorrt, &has_tensorrt_module); });
    ask("tensorrt-rtx", [] { return tensorrt::status(tensorrt::Runtime::rtx, &has_tensorrt_module); });
    return out;
}

std::unique_ptr<Session> open_session(const ModelFile& file, const SessionOptions& options) {
    const bool engine = file.kind == "engine";
    const DeviceType home = engine ? DeviceType::cuda : DeviceType::cpu;
    const Device device = parse_device(options.device, Device{home, 0});
    require(device.type == home, ErrorCode::device, "device ", options.device, ": ", file.path,
            engine ? " is an engine, which runs on the GPU through TensorRT; use device cuda:0"
                   : " is an onnx model, which runs on the CPU through openvino; use device cpu or build an engine for "
                     "the GPU from it");
    SessionOptions settled = options;
    settled.device = to_string(device);
    return load(engine ? module_for(file) : openvino_module()).open(file, settled);
}

}  // namespace trtpose
