// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "backends/backend.hpp"
#include "core/check.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

/// Every backend trtpose knows, built or not.
struct Entry {
    const char* name;
    const char* module;  ///< file name of its shared library
    const char* kind;    ///< of model file it opens
    DeviceType device;
    const char* remedy;  ///< what to do when the module or its vendor library is missing
};

constexpr Entry kBackends[] = {
    {"openvino", "libtrtpose_openvino.so", "onnx", DeviceType::cpu,
     "install the OpenVINO that this build was made for: pip install openvino==" TRTPOSE_OPENVINO_VERSION},
};

/// Where modules lie: TRTPOSE_BACKEND_DIR, else beside this library.
std::filesystem::path module_folder() {
    if (const char* folder = std::getenv("TRTPOSE_BACKEND_DIR"); folder && *folder) return folder;
    Dl_info info{};
    ::dladdr(reinterpret_cast<const void*>(&version), &info);
    return info.dli_fname ? std::filesystem::path(info.dli_fname).parent_path() : ".";
}

/// Open a backend's module, once. Throws Error(device).
const BackendTable& load(const Entry& entry) {
    static std::mutex mutex;
    static const BackendTable* loaded[std::size(kBackends)] = {};
    const std::lock_guard lock(mutex);
    const BackendTable*& table = loaded[&entry - kBackends];
    if (table) return *table;
    const auto path = module_folder() / entry.module;
    std::error_code ignored;
    require(std::filesystem::exists(path, ignored), ErrorCode::device, "backend ", entry.name,
            ": this build of trtpose has none (no ", path.string(), "); build it with the vendor's library present");
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char* why = ::dlerror();
        throw Error(ErrorCode::device, text("backend ", entry.name, ": cannot be loaded (",
                                            why ? why : "unknown reason", "); ", entry.remedy));
    }
    const auto entry_point = reinterpret_cast<BackendEntry>(::dlsym(library, kBackendEntry));
    require(entry_point != nullptr, ErrorCode::device, "backend ", entry.name, ": ", path.string(),
            " is not a trtpose module; reinstall trtpose");
    const BackendTable* candidate = entry_point();
    require(std::string(candidate->trtpose_version) == version(), ErrorCode::device, "backend ", entry.name,
            ": the module is of trtpose ", candidate->trtpose_version, ", this is ", version(), "; reinstall trtpose");
    table = candidate;
    return *table;
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
    for (const Entry& entry : kBackends) {
        BackendStatus status;
        try {
            status = load(entry).status();
            status.available = true;
        } catch (const std::exception& error) {
            status.problem = error.what();
        }
        status.name = entry.name;
        out.push_back(std::move(status));
    }
    return out;
}

std::unique_ptr<Session> open_session(const ModelFile& file, const SessionOptions& options) {
    for (const Entry& entry : kBackends) {
        if (file.kind != entry.kind) continue;
        const Device device = parse_device(options.device, Device{entry.device, 0});
        require(device.type == entry.device, ErrorCode::device, "device ", options.device, ": ", file.path, " is an ",
                file.kind, " model, which runs on the ", entry.device == DeviceType::cpu ? "CPU" : "GPU", " through ",
                entry.name, "; use device ", to_string(Device{entry.device, 0}),
                entry.device == DeviceType::cpu ? " or build an engine for the GPU from it" : "");
        return load(entry).open(file, options);
    }
    throw Error(ErrorCode::device,
                text(file.path, ": this build of trtpose has no backend for ", file.kind,
                     " files; it was built without TensorRT, give the ONNX model to run on the CPU"));
}

}  // namespace trtpose
