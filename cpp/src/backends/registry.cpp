// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "backends/backend.hpp"
#include "backends/own_process.hpp"
#include "backends/tensorrt/vendor.hpp"
#include "backends/tensorrt/vendor_library.hpp"
#include "core/check.hpp"
#include "core/cuda_device.hpp"
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

Module tensorrt_module(int major, tensorrt::Runtime runtime = tensorrt::Runtime::tensorrt) {
    const std::string number = std::to_string(major);
    return {"tensorrt", "libtrtpose_tensorrt" + number + ".so",
            "install a build with TensorRT, or build it with CUDA and TRTPOSE_TENSORRT_INCLUDE_DIR naming TensorRT " +
                number + "'s headers; from Python, TensorRT's package is enough: pip install " +
                (runtime == tensorrt::Runtime::rtx ? "tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings" : "tensorrt"),
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
    const auto path = module_folder() / module.file;
    const BackendTable*& table = loaded[path.string()];
    if (table) return *table;
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

struct Provider {
    std::mutex mutex;
    tensorrt::VendorProvider make;
};

Provider& provider() {
    static Provider instance;
    return instance;
}

/// TensorRT through Python; null in a program without.
std::shared_ptr<tensorrt::Vendor> python_vendor() {
    tensorrt::VendorProvider make;
    {
        const std::lock_guard lock(provider().mutex);
        make = provider().make;
    }
    return make ? make() : nullptr;
}

/// Whether this build has a module that can call a library.
bool module_serves(const tensorrt::Library& library) {
    const int module = tensorrt::module_for(library.runtime, library.version.major, &has_tensorrt_module);
    if (!has_tensorrt_module(module)) return false;
    try {
        const auto& oldest = load(tensorrt_module(module)).oldest;
        return library.runtime == tensorrt::Runtime::rtx ||
               !(library.version < tensorrt::Version{oldest[0], oldest[1], oldest[2]});
    } catch (const Error&) {
        return false;  // said when nothing else serves either
    }
}

/// Whether a library that is there runs the plan, and a module can call it.
bool native_serves(const EngineDescription& engine) {
    // Looking for the library costs time: not before it is known that somebody can use it.
    const auto& all = tensorrt::kModules;
    if (!has_tensorrt_module(tensorrt::kRtxModule) && std::none_of(all.begin(), all.end(), &has_tensorrt_module))
        return false;
    const auto found = tensorrt::find_libraries(tensorrt::runtime_of(engine));
    return std::any_of(found.begin(), found.end(), [&](const tensorrt::Library& library) {
        return tensorrt::serves(library, engine) && module_serves(library);
    });
}

bool python_serves(const ModelFile& file, const tensorrt::Vendor& python) {
    const auto found = python.find(file).libraries;
    return std::any_of(found.begin(), found.end(),
                       [&](const tensorrt::Library& library) { return tensorrt::serves(library, *file.engine); });
}

/// Whether an engine file goes to Python: where no module serves it, or TRTPOSE_TENSORRT_SESSION says so.
bool goes_to_python(const ModelFile& file, const tensorrt::Vendor* python) {
    const char* const value = std::getenv("TRTPOSE_TENSORRT_SESSION");
    const std::string chosen = value ? value : "";
    require(chosen.empty() || chosen == "native" || chosen == "python", ErrorCode::input, "TRTPOSE_TENSORRT_SESSION '",
            chosen, "': use native or python, or leave it out for whichever serves the file");
    require(chosen != "python" || python, ErrorCode::device, file.path,
            ": TRTPOSE_TENSORRT_SESSION asks for a session through Python, and this program has no Python; leave it "
            "out");
    if (!chosen.empty() || !python || native_serves(*file.engine)) return chosen == "python";
    const auto runtime = tensorrt::runtime_of(*file.engine);
    const int module = tensorrt::module_for(runtime, tensorrt::major_of(*file.engine), &has_tensorrt_module);
    // Where neither serves it, the module knows more ways to get a library.
    return !has_tensorrt_module(module) || python_serves(file, *python);
}

std::unique_ptr<Session> open_in_python(std::shared_ptr<tensorrt::Vendor> python, const ModelFile& file,
                                        const SessionOptions& options) {
#if TRTPOSE_WITH_CUDA
    return tensorrt::open_session(std::move(python), file, options);
#else
    tensorrt::choose_library(file, python->find(file));
    require_cuda_device(std::stoi(options.device.substr(options.device.find(':') + 1)));
    return nullptr;  // a build without CUDA has no device
#endif
}

/// The module for an engine file. Throws Error(device).
Module module_for(const ModelFile& file) {
    const tensorrt::Runtime runtime = tensorrt::runtime_of(*file.engine);
    int major = tensorrt::module_for(runtime, tensorrt::major_of(*file.engine), &has_tensorrt_module);
    // Looking for the library costs time: not before it is known that somebody can use it.
    const bool settled = major != 0 && !file.engine->version_compatible;
    if (!settled || has_tensorrt_module(major))
        major = tensorrt::module_for(runtime, tensorrt::library_for(file).version.major, &has_tensorrt_module);
    return tensorrt_module(major, runtime);
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

void Session::give_room(int64_t) {}

void Session::leave_out_low_rows(const ScoredRows&) {}

void Session::set_least_score(float) {}

void Session::start(const void* input, Span<void* const> outputs, const Context& context) {
    run(input, outputs, context);
}

void Session::wait() {}

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
    if (engine) {
        const auto python = python_vendor();
        if (goes_to_python(file, python.get())) return in_own_process(open_in_python(python, file, settled));
        return in_own_process(load(module_for(file)).open_engine(file, settled));
    }
    const BackendTable& openvino = load(openvino_module());
    return in_own_process(openvino.open_onnx(file, OnnxContent(file.path, file.stamp), settled));
}

void tensorrt::set_vendor_provider(VendorProvider make) {
    const std::lock_guard lock(provider().mutex);
    provider().make = std::move(make);
}

}  // namespace trtpose
