// SPDX-License-Identifier: Apache-2.0
#include "backends/tensorrt/plan.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "backends/tensorrt/messages.hpp"
#include "core/check.hpp"
#include "core/cuda_check.hpp"
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "model/crc32.hpp"
#include "model/regular_file.hpp"

namespace trtpose::tensorrt {
namespace {

bool inside(const ShapeRange& range, const std::vector<int64_t>& shape) {
    for (size_t d = 0; d < shape.size(); ++d) {
        if (shape[d] < range.min[d] || shape[d] > range.max[d]) return false;
    }
    return true;
}

std::string capability(int index) {
    for (const CudaDevice& device : cuda_status().devices) {
        if (device.index == index) return text(device.major, '.', device.minor);
    }
    return {};
}

/// Refuse GPUs that the plan was not made for.
void check_device(const ModelFile& file, const CudaDevice& device) {
    const EngineDescription& engine = *file.engine;
    const std::string has = text(device.major, '.', device.minor);
    const std::string here = text("cuda:", device.index, " (", device.name, ", ", has, ")");
    const auto& listed = engine.compute_capabilities;
    if (!listed.empty()) {
        std::string all;
        for (const auto& one : listed) all += (all.empty() ? "" : ", ") + one;
        require(std::find(listed.begin(), listed.end(), has) != listed.end(), ErrorCode::device, file.path,
                ": it was built for GPUs of compute capability ", all, ", not for ", here,
                "; build it for this one: ", rebuild(file));
        return;
    }
    if (engine.compute_capability.empty()) return;
    const bool fits =
        engine.hardware_compatibility == "ampere_plus" ? device.major >= 8 : engine.compute_capability == has;
    require(fits, ErrorCode::device, file.path, ": it was built for ",
            engine.hardware_compatibility == "ampere_plus"
                ? std::string("GPUs from Ampere on")
                : text(engine.device, ", compute capability ", engine.compute_capability),
            ", not for ", here, "; build it on this machine: ", rebuild(file));
}

void check_precision(const ModelFile& file, const std::string& asked) {
    const std::string& built = file.engine->precision;
    // f32 is what nobody asked for: an engine's precision was chosen when it was built.
    if (asked == "auto" || asked == "f32" || built.empty() || asked == built) return;
    throw Error(ErrorCode::input, text("precision ", asked, ": ", file.path, " was built for ", built,
                                       "; leave the precision out or build another engine"));
}

void load_plugins(const ModelFile& file, Plan& plan) {
    if (file.engine->plugins.empty()) return;
    std::string needed;
    for (const auto& name : file.engine->plugins) needed += (needed.empty() ? "" : ", ") + name;
    std::string path;
    if (const char* chosen = std::getenv("TRTPOSE_PLUGIN"); chosen && *chosen) {
        path = chosen;
    } else {
        path = text(module_folder(), "/libtrtpose_plugin", plan.vendor->interfaces(plan.library), ".so");
    }
    forget_messages();
    if (!plan.runtime->load_plugins(path))
        fail(ErrorCode::device, file.path, ": it needs the plugin ", needed, ", and ", path,
             " cannot be loaded; set TRTPOSE_PLUGIN to the library that has it");
}

/// Throws where trtpose cannot feed or read a tensor as it is.
void check_tensor(const ModelFile& file, const VendorTensor& tensor) {
    const DType dtype = tensor.info.dtype;
    const bool readable = dtype == DType::f32 || dtype == DType::f16 || (!tensor.input && dtype == DType::i32);
    const char* const which = tensor.input ? "input '" : "output '";
    require(readable, ErrorCode::model, file.path, ": its ", which, tensor.info.name,
            "' is neither float32 nor float16; build it with inputs and outputs of these types");
    require(tensor.plain, ErrorCode::model, file.path, ": its ", which, tensor.info.name,
            "' is not laid out row by row on the GPU; build it without formats for inputs and outputs");
}

/// What sizes an input of open shape may have.
void read_profiles(const ModelFile& file, Plan& plan) {
    const auto& shape = plan.info.input.shape;
    if (std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 0; })) return;
    for (int p = 0; p < plan.engine->profiles(); ++p) {
        ShapeRange range = plan.engine->profile(p, plan.info.input.name);
        require(range.min.size() == 4 && range.opt.size() == 4 && range.max.size() == 4, ErrorCode::model, file.path,
                ": profile ", p, " says nothing of its input; build it again: ", plan.rebuild);
        plan.info.profiles.push_back(std::move(range));
    }
}

void read_tensors(const ModelFile& file, Plan& plan) {
    size_t inputs = 0;
    for (VendorTensor& tensor : plan.engine->tensors()) {
        check_tensor(file, tensor);
        if (!tensor.input) {
            plan.info.outputs.push_back(std::move(tensor.info));
            continue;
        }
        require(++inputs == 1, ErrorCode::model, file.path, ": it has several inputs, expected one");
        require(tensor.info.shape.size() == 4, ErrorCode::model, file.path, ": its input is ",
                shape_text(tensor.info.shape), ", expected N×3×H×W");
        plan.info.input = std::move(tensor.info);
    }
    require(inputs == 1 && !plan.info.outputs.empty(), ErrorCode::model, file.path,
            ": it has no input or no output; build it again: ", plan.rebuild);
    read_profiles(file, plan);
}

/// The plan alone, where TensorRT may read it: pages of our own, so aligned.
PrivateBytes read_plan(const ModelFile& model) {
    const RegularFile file(model.path);
    if (!model.stamp.empty() && model.stamp != file.stamp()) file.changed();
    const EngineDescription& engine = *model.engine;
    PrivateBytes plan(engine.plan_bytes);
    file.read(engine.plan_offset, plan.data(), plan.size());
    file.require_unchanged();
    return plan;
}

/// The GPU that was asked for, which must be one that the plan is for.
int choose_device(const ModelFile& file, const SessionOptions& options) {
    const int index = options.device == "auto" ? 0 : std::stoi(options.device.substr(options.device.find(':') + 1));
    require_cuda_device(index);
    for (const CudaDevice& device : cuda_status().devices) {
        if (device.index == index) check_device(file, device);
    }
    return index;
}

void check_version(const ModelFile& file, const Plan& plan) {
    const Version oldest = plan.vendor->oldest();
    require(plan.library.runtime == Runtime::rtx || !(plan.library.version < oldest), ErrorCode::device, file.path,
            ": TensorRT ", to_string(plan.library.version), " is older than this build of trtpose can use, which is ",
            to_string(oldest), "; install a newer one and build the engine again: ", plan.rebuild);
}

void start_runtime(const ModelFile& file, Plan& plan) {
    forget_messages();
    plan.runtime = plan.vendor->start(plan.library);
    if (!plan.runtime) fail(ErrorCode::device, file.path, ": ", plan.name(), " does not start");
    if (!file.engine->version_compatible) return;
    const char* trusted = std::getenv("TRTPOSE_ALLOW_ENGINE_CODE");
    require(trusted && *trusted && *trusted != '0', ErrorCode::device, file.path,
            ": a version-compatible engine holds code that runs on this machine's processor; set "
            "TRTPOSE_ALLOW_ENGINE_CODE=1 if you trust the file");
    plan.runtime->allow_engine_code();
}

/// TensorRT for RTX compiles for the GPU at hand; what it made before is kept for this plan, version and GPU.
void open_kernels(Plan& plan, std::string_view content, const std::string& capability) {
    plan.kernels_file = KeptFile(text("rtx/", plan.info.version, "-", capability, "-", crc32(content), ".kernels"));
    plan.kernels_kept = plan.kernels_file.read();
    plan.keeps_kernels = plan.engine->open_kernels(plan.kernels_kept);
}

void measure_weights(const ModelFile& file, Plan& plan) {
    plan.info.streamable_weight_bytes = plan.engine->streamable_bytes();
    plan.weight_bytes = plan.engine->weight_bytes();
    if (plan.weight_bytes == 0) plan.weight_bytes = static_cast<size_t>(file.weight_bytes);
    plan.weight_bytes = std::max(plan.weight_bytes, plan.info.streamable_weight_bytes);
    plan.fixed_weight_bytes = plan.weight_bytes - plan.info.streamable_weight_bytes;
}

}  // namespace

std::shared_ptr<Plan> open_plan(std::shared_ptr<Vendor> vendor, const ModelFile& file, const SessionOptions& options) {
    require(file.engine.has_value(), ErrorCode::model, file.path, ": is no engine file");
    auto plan = std::make_shared<Plan>();
    plan->path = file.path;
    plan->rebuild = rebuild(file);
    plan->vendor = std::move(vendor);
    plan->library = choose_library(file, plan->vendor->find(file));
    check_version(file, *plan);
    const int index = choose_device(file, options);
    plan->info.device = {DeviceType::cuda, index};
    check_precision(file, options.precision);

    const bool rtx = plan->library.runtime == Runtime::rtx;
    const std::string& precision = file.engine->precision;
    plan->info.backend = rtx ? "tensorrt-rtx" : "tensorrt";
    plan->info.version = to_string(plan->library.version);
    plan->info.precision = precision == "fp32" ? "f32" : precision.empty() ? "unknown" : precision;
    const CudaDeviceGuard guard(index);
    const PrivateBytes plan_bytes = read_plan(file);
    start_runtime(file, *plan);
    load_plugins(file, *plan);
    forget_messages();
    plan->engine = plan->runtime->deserialize(plan_bytes.data(), plan_bytes.size());
    if (!plan->engine)
        fail(ErrorCode::model, file.path, ": ", plan->name(),
             " refuses its plan; build it again on this machine: ", plan->rebuild);
    read_tensors(file, *plan);
    if (rtx) open_kernels(*plan, plan_bytes.bytes(), capability(index));
    measure_weights(file, *plan);
    return plan;
}

Plan::~Plan() {
    try {
        const CudaDeviceGuard guard(info.device.index);
        keep_kernels();
        engine.reset();
        runtime.reset();
        static_cast<void>(cudaGetLastError());
    } catch (const Error&) {
        // A GPU that is gone wants nothing back.
    }
}

std::string Plan::name() const {
    return text(library.runtime == Runtime::rtx ? "TensorRT for RTX " : "TensorRT ", info.version);
}

void Plan::keep_kernels() {
    if (!keeps_kernels) return;
    std::string content = engine->kernels();
    if (content == kernels_kept) return;
    kernels_file.write(content);
    kernels_kept = std::move(content);
}

int Plan::profile_for(const std::vector<int64_t>& shape) const {
    const auto& profiles = info.profiles;
    if (profiles.empty()) {
        const auto& fixed = info.input.shape;
        bool fits = true;
        for (size_t d = 0; d < shape.size(); ++d) fits = fits && (fixed[d] < 0 || fixed[d] == shape[d]);
        require(fits, ErrorCode::model, path, ": it takes ", shape_text(fixed), " alone, not ", shape_text(shape),
                "; build it for that: ", rebuild);
        return 0;
    }
    int best = -1;
    double least = 0;
    for (size_t p = 0; p < profiles.size(); ++p) {
        if (!inside(profiles[p], shape)) continue;
        double numbers = 1;
        for (const int64_t d : profiles[p].max) numbers *= static_cast<double>(d);
        if (best < 0 || numbers < least) {
            best = static_cast<int>(p);
            least = numbers;
        }
    }
    std::string ranges;
    for (const ShapeRange& range : profiles)
        ranges += (ranges.empty() ? "" : " or ") + shape_text(range.min) + " to " + shape_text(range.max);
    require(best >= 0, ErrorCode::model, path, ": it takes ", ranges, ", not ", shape_text(shape),
            "; build it for a wider range: ", rebuild);
    return best;
}

}  // namespace trtpose::tensorrt
