// SPDX-License-Identifier: Apache-2.0
// Engine files on TensorRT. Compiled once for each major version of its headers; the library itself is opened when a
// plan asks for it (library.hpp), and never called before CUDA has found a GPU: without a driver its entry points
// crash.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>

#include "backends/backend.hpp"
#include "backends/tensorrt/api.hpp"
#include "backends/tensorrt/kept_file.hpp"
#include "core/check.hpp"
#include "core/cuda_device.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"
#include "model/crc32.hpp"
#include "model/mapped_file.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

// Shapes kept ready, each with a context of its own: a graph captured from a context is good as long as nothing of that
// context is changed. As many as the engine keeps graphs.
constexpr size_t kMaxShapes = 8;
constexpr size_t kMaxReason = 400;
constexpr size_t kPlanAlignment = 16;  ///< below this a plan is moved before TensorRT reads it

thread_local std::string errors;  ///< what TensorRT said in this thread since the last reset

/// Outlives everything made with it, and is called from any thread.
class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        static const bool loud = std::getenv("TRTPOSE_TENSORRT_LOG") != nullptr;
        if (loud) std::fprintf(stderr, "TensorRT: %s\n", message);
        if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
        try {
            if (errors.size() < kMaxReason) errors += (errors.empty() ? "" : "; ") + std::string(message);
        } catch (...) {  // no memory for a message: the call that failed says so itself
        }
    }
};

Logger& logger() {
    static Logger instance;
    return instance;
}

std::string reason() {
    if (errors.empty()) return "it gives no reason";
    std::string out = errors.substr(0, kMaxReason);
    std::replace(out.begin(), out.end(), '\n', ' ');
    return out;
}

/// Throw with what TensorRT said. `code` is for anything but a lack of memory.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, const Args&... args) {
    const std::string why = reason();
    static constexpr const char* kNoMemory[] = {"out of memory", "OutOfMemory", "Insufficient memory"};
    const bool memory = std::any_of(std::begin(kNoMemory), std::end(kNoMemory),
                                    [&](const char* phrase) { return why.find(phrase) != std::string::npos; });
    throw Error(memory ? ErrorCode::budget : code, text(args..., " (", why, ")"));
}

std::vector<int64_t> shape_of(const nvinfer1::Dims& dims) {
    return dims.nbDims < 0 ? std::vector<int64_t>() : std::vector<int64_t>(dims.d, dims.d + dims.nbDims);
}

nvinfer1::Dims input_dims(int batch, Size size) {
    nvinfer1::Dims out{};
    out.nbDims = 4;
    out.d[0] = batch;
    out.d[1] = 3;
    out.d[2] = size.height;
    out.d[3] = size.width;
    return out;
}

DType dtype_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT: return DType::f32;
        case nvinfer1::DataType::kHALF: return DType::f16;
        case nvinfer1::DataType::kINT32: return DType::i32;
        default: return DType::other;
    }
}

uint64_t next_capture_id() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

/// What clones share: the plan, opened once.
struct Plan {
    std::string path, rebuild;
    tensorrt::Library library;
    SessionInfo info;
    size_t weight_bytes = 0, fixed_weight_bytes = 0;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::mutex mutex;         ///< for what changes below and in the engine
    size_t contexts = 0;      ///< that exist
    size_t streamed_out = 0;  ///< of the weights, bytes that stay on the host

    tensorrt::KernelCache kernels;
    tensorrt::KeptFile kernels_file;
    std::string kernels_kept;  ///< what the file holds

    ~Plan() {
        try {
            const CudaDeviceGuard guard(info.device.index);
            keep_kernels();
            kernels = {};
            engine.reset();
            runtime.reset();
            static_cast<void>(cudaGetLastError());
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }
    std::string name() const {
        return text(library.runtime == tensorrt::Runtime::rtx ? "TensorRT for RTX " : "TensorRT ", info.version);
    }
    int profile_for(const std::vector<int64_t>& shape) const;
    nvinfer1::IExecutionContext* make_context() {
        return kernels ? kernels.make_context() : tensorrt::make_context(*engine);
    }
    /// What was compiled since the last time goes to the user's cache folder.
    void keep_kernels() {
        if (!kernels) return;
        std::string content = kernels.content();
        if (content == kernels_kept) return;
        kernels_file.write(content);
        kernels_kept = std::move(content);
    }
};

bool inside(const ShapeRange& range, const std::vector<int64_t>& shape) {
    for (size_t d = 0; d < shape.size(); ++d) {
        if (shape[d] < range.min[d] || shape[d] > range.max[d]) return false;
    }
    return true;
}

/// The profile made for the least that still takes the shape.
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

class TensorRtSession final : public Session {
public:
    explicit TensorRtSession(std::shared_ptr<Plan> plan) : plan_(std::move(plan)) {}

    ~TensorRtSession() override {
        try {
            const CudaDeviceGuard guard(plan_->info.device.index);
            forget(shapes_.begin(), shapes_.end());
            static_cast<void>(cudaGetLastError());
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }

    const SessionInfo& info() const override { return plan_->info; }

    const SessionShape& prepare(int batch, Size size) override {
        const CudaDeviceGuard guard(plan_->info.device.index);
        const auto found = std::find_if(shapes_.begin(), shapes_.end(),
                                        [&](const Shape& s) { return s.batch == batch && s.size == size; });
        if (found != shapes_.end()) {
            shapes_.splice(shapes_.begin(), shapes_, found);
        } else {
            Shape fresh = make_shape(batch, size);
            if (shapes_.size() == kMaxShapes) {
                settle();
                forget(std::prev(shapes_.end()), shapes_.end());
            }
            shapes_.push_front(std::move(fresh));
        }
        return shapes_.front().report;
    }

    void use_scratch(void* data, size_t bytes) override {
        Shape& shape = current();
        const size_t needed = shape.report.scratch_bytes;
        require(bytes >= needed, ErrorCode::budget, plan_->path, ": ", bytes,
                " bytes were lent for its intermediate tensors, it needs ", needed);
        if (needed == 0 || data == shape.scratch) return;
        require(reinterpret_cast<uintptr_t>(data) % kScratchAlignment == 0, ErrorCode::input, plan_->path,
                ": the memory lent for its intermediate tensors must be aligned to ", kScratchAlignment, " bytes");
        const CudaDeviceGuard guard(plan_->info.device.index);
        tensorrt::lend(*shape.context, data, needed);
        // Graphs hold the old address.
        if (shape.scratch && shape.report.capture_id) shape.report.capture_id = next_capture_id();
        shape.scratch = data;
    }

    size_t limit_weights(size_t bytes) override {
        Plan& plan = *plan_;
        const size_t streamable = plan.info.streamable_weight_bytes;
        require(
            streamable > 0, ErrorCode::budget, plan.path,
            ": it cannot stream its weights; build it with weight streaming (TensorRT 10.1 or newer): ", plan.rebuild);
        const CudaDeviceGuard guard(plan.info.device.index);
        forget(shapes_.begin(), shapes_.end());
        const std::lock_guard lock(plan.mutex);
        require(plan.contexts == 0, ErrorCode::budget, plan.path,
                ": its weights are in use by another clone; set the budget before cloning");
        const size_t fixed = plan.fixed_weight_bytes;
        const size_t kept = bytes > fixed ? std::min(bytes - fixed, streamable) : 0;
        errors.clear();
        if (!tensorrt::limit_streamable(*plan.engine, kept))
            fail(ErrorCode::budget, plan.path, ": ", plan.name(), " cannot keep only ", kept, " of ", streamable,
                 " bytes of its weights on the GPU");
        plan.streamed_out = streamable - kept;
        return fixed + kept;
    }

    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        Shape& shape = current();
        Plan& plan = *plan_;
        require(shape.report.scratch_bytes == 0 || shape.scratch, ErrorCode::device, plan.path,
                ": no memory was lent for its intermediate tensors");
        auto* const stream = static_cast<cudaStream_t>(context.stream);
        cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
        cuda_check(cudaStreamIsCapturing(stream, &capturing), "look at a stream");
        if (capturing == cudaStreamCaptureStatusNone) {
            stream_ = stream;
            used_ = true;
        }
        errors.clear();
        const auto set = [&](const std::string& name, void* data) {
            if (!shape.context->setTensorAddress(name.c_str(), data))
                fail(ErrorCode::model, plan.path, ": ", plan.name(), " does not take the memory of '", name, "'");
        };
        set(plan.info.input.name, const_cast<void*>(input));
        for (size_t i = 0; i < outputs.size(); ++i) set(plan.info.outputs[i].name, outputs[i]);
        if (!shape.context->enqueueV3(stream)) fail(ErrorCode::device, plan.path, ": ", plan.name(), " cannot run it");
    }

    std::unique_ptr<Session> clone() const override { return std::make_unique<TensorRtSession>(plan_); }

private:
    struct Shape {
        int batch = 0, profile = 0;
        Size size;
        std::unique_ptr<nvinfer1::IExecutionContext> context;
        SessionShape report;
        void* scratch = nullptr;  ///< what is lent
    };

    Shape& current() {
        require(!shapes_.empty(), ErrorCode::device, plan_->path, ": no shape has been prepared");
        return shapes_.front();
    }

    /// Wait for what was given to the GPU: plain runs and the graphs captured from them go by the same stream.
    void settle() {
        if (used_) cuda_check(cudaStreamSynchronize(stream_), "finish the work of a stream");
    }

    void forget(std::list<Shape>::iterator first, std::list<Shape>::iterator last) {
        const std::lock_guard lock(plan_->mutex);
        plan_->contexts -= static_cast<size_t>(std::distance(first, last));
        shapes_.erase(first, last);
    }

    Shape make_shape(int batch, Size size) {
        Plan& plan = *plan_;
        Shape shape;
        shape.batch = batch;
        shape.size = size;
        const nvinfer1::Dims dims = input_dims(batch, size);
        shape.profile = plan.profile_for(shape_of(dims));
        const std::string what =
            text(plan.path, ": ", plan.name(), " cannot prepare it for ", shape_text(shape_of(dims)));
        const std::lock_guard lock(plan.mutex);  // contexts of an engine are made one at a time
        errors.clear();
        shape.context.reset(plan.make_context());
        if (!shape.context) fail(ErrorCode::device, what);
        if (!plan.info.profiles.empty() && !choose_profile(shape)) {
            fail(ErrorCode::device, what,
                 tensorrt::kSharesProfiles ? ""
                                           : ": a profile serves one shape or clone at a time unless the engine is "
                                             "built for sharing, as trtpose build does");
        }
        const char* name = plan.info.input.name.c_str();
        if (!shape.context->setInputShape(name, dims)) fail(ErrorCode::model, what);
        if (shape.context->inferShapes(0, nullptr) != 0) fail(ErrorCode::model, what);
        for (const TensorInfo& output : plan.info.outputs) {
            auto sizes = shape_of(shape.context->getTensorShape(output.name.c_str()));
            const bool known = std::all_of(sizes.begin(), sizes.end(), [](int64_t d) { return d >= 0; });
            require(known && !sizes.empty(), ErrorCode::model, plan.path, ": the size of output '", output.name,
                    "' depends on the picture; export the network without its own NMS or with a fixed number of "
                    "detections");
            shape.report.outputs.push_back(std::move(sizes));
        }
        const bool streaming = plan.streamed_out > 0;
        shape.report.weight_bytes = plan.weight_bytes - std::min(plan.streamed_out, plan.weight_bytes);
        shape.report.scratch_bytes = tensorrt::scratch_bytes(*plan.engine, *shape.context, shape.profile, streaming);
        shape.report.activation_bytes = shape.report.scratch_bytes;
        // Weights that come from the host while the network runs cannot be captured.
        shape.report.capture_id = streaming ? 0 : next_capture_id();
        ++plan.contexts;
        plan.keep_kernels();
        return shape;
    }

    /// Set a new context's profile and wait until it is in place. Older plans lend a profile to one context alone: then
    /// the one of this session that has it makes room.
    bool choose_profile(Shape& shape) {
        if (shape.context->getOptimizationProfile() == shape.profile) return true;
        const CudaStream stream;
        bool done = shape.context->setOptimizationProfileAsync(shape.profile, stream.get());
        if (!done && !tensorrt::kSharesProfiles) {
            settle();
            for (auto other = shapes_.begin(); other != shapes_.end();) {
                const auto next = std::next(other);
                if (other->profile == shape.profile) {
                    shapes_.erase(other);
                    --plan_->contexts;
                }
                other = next;
            }
            errors.clear();
            done = shape.context->setOptimizationProfileAsync(shape.profile, stream.get());
        }
        stream.synchronize();
        return done;
    }

    std::shared_ptr<Plan> plan_;
    std::list<Shape> shapes_;  ///< latest used first; the first is the current one
    cudaStream_t stream_ = nullptr;
    bool used_ = false;
};

// ---- Opening --------------------------------------------------------------------------------------------------------

std::string capability(const CudaStatus& machine, int index) {
    for (const CudaDevice& device : machine.devices) {
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
                "; build it for this one: ", tensorrt::rebuild(file));
        return;
    }
    if (engine.compute_capability.empty()) return;
    const bool fits =
        engine.hardware_compatibility == "ampere_plus" ? device.major >= 8 : engine.compute_capability == has;
    require(fits, ErrorCode::device, file.path, ": it was built for ",
            engine.hardware_compatibility == "ampere_plus"
                ? std::string("GPUs from Ampere on")
                : text(engine.device, ", compute capability ", engine.compute_capability),
            ", not for ", here, "; build it on this machine: ", tensorrt::rebuild(file));
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
        path = text(tensorrt::module_folder(), "/libtrtpose_plugin", TRTPOSE_TENSORRT_API, ".so");
    }
    errors.clear();
    if (!plan.runtime->getPluginRegistry().loadLibrary(path.c_str()))
        fail(ErrorCode::device, file.path, ": it needs the plugin ", needed, ", and ", path,
             " cannot be loaded; set TRTPOSE_PLUGIN to the library that has it");
}

void read_tensors(const ModelFile& file, Plan& plan) {
    nvinfer1::ICudaEngine& engine = *plan.engine;
    size_t inputs = 0;
    for (int i = 0; i < engine.getNbIOTensors(); ++i) {
        const char* name = engine.getIOTensorName(i);
        const bool input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        const DType dtype = dtype_of(engine.getTensorDataType(name));
        const bool readable = dtype == DType::f32 || dtype == DType::f16 || (!input && dtype == DType::i32);
        require(readable, ErrorCode::model, file.path, ": its ", input ? "input '" : "output '", name,
                "' is neither float32 nor float16; build it with inputs and outputs of these types");
        require(engine.getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR &&
                    engine.getTensorLocation(name) == nvinfer1::TensorLocation::kDEVICE,
                ErrorCode::model, file.path, ": its ", input ? "input '" : "output '", name,
                "' is not laid out row by row on the GPU; build it without formats for inputs and outputs");
        TensorInfo info{name, dtype, shape_of(engine.getTensorShape(name))};
        if (!input) {
            plan.info.outputs.push_back(std::move(info));
            continue;
        }
        require(++inputs == 1, ErrorCode::model, file.path, ": it has several inputs, expected one");
        require(info.shape.size() == 4, ErrorCode::model, file.path, ": its input is ", shape_text(info.shape),
                ", expected N×3×H×W");
        plan.info.input = std::move(info);
    }
    require(inputs == 1 && !plan.info.outputs.empty(), ErrorCode::model, file.path,
            ": it has no input or no output; build it again: ", plan.rebuild);
    const auto& shape = plan.info.input.shape;
    if (std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 0; })) return;
    for (int p = 0; p < engine.getNbOptimizationProfiles(); ++p) {
        const auto end = [&](nvinfer1::OptProfileSelector which) {
            return shape_of(engine.getProfileShape(plan.info.input.name.c_str(), p, which));
        };
        ShapeRange range{end(nvinfer1::OptProfileSelector::kMIN), end(nvinfer1::OptProfileSelector::kOPT),
                         end(nvinfer1::OptProfileSelector::kMAX)};
        require(range.min.size() == 4 && range.opt.size() == 4 && range.max.size() == 4, ErrorCode::model, file.path,
                ": profile ", p, " says nothing of its input; build it again: ", plan.rebuild);
        plan.info.profiles.push_back(std::move(range));
    }
}

/// The plan's bytes, where TensorRT may read them.
class PlanBytes {
public:
    PlanBytes(const MappedFile& file, const ModelFile& model) {
        const EngineDescription& engine = *model.engine;
        const std::string_view all = file.bytes();
        require(engine.plan_offset + engine.plan_bytes <= all.size(), ErrorCode::model, model.path,
                ": the file has changed while it was being read; copy or build it again");
        bytes_ = all.substr(engine.plan_offset, engine.plan_bytes);
        // Behind a header of any length; trtpose build pads its own.
        if (reinterpret_cast<uintptr_t>(bytes_.data()) % kPlanAlignment == 0) return;
        copy_.assign(bytes_.begin(), bytes_.end());
        bytes_ = {copy_.data(), copy_.size()};
    }
    const void* data() const { return bytes_.data(); }
    size_t size() const { return bytes_.size(); }

private:
    std::string_view bytes_;
    std::vector<char> copy_;
};

std::unique_ptr<Session> open(const ModelFile& file, const SessionOptions& options) {
    require(file.engine.has_value(), ErrorCode::model, file.path, ": is no engine file");
    const EngineDescription& engine = *file.engine;
    auto plan = std::make_shared<Plan>();
    plan->path = file.path;
    plan->rebuild = tensorrt::rebuild(file);
    plan->library = tensorrt::library_for(file);
    const bool rtx = plan->library.runtime == tensorrt::Runtime::rtx;
    const tensorrt::Version oldest = tensorrt::oldest_library();
    require(rtx || !(plan->library.version < oldest), ErrorCode::device, file.path, ": TensorRT ",
            to_string(plan->library.version), " is older than this build of trtpose can use, which is ",
            to_string(oldest), "; install a newer one and build the engine again: ", plan->rebuild);
    const int index = options.device == "auto" ? 0 : std::stoi(options.device.substr(options.device.find(':') + 1));
    plan->info.device = {DeviceType::cuda, index};
    require_cuda_device(index);
    const CudaStatus machine = cuda_status();
    for (const CudaDevice& device : machine.devices) {
        if (device.index == index) check_device(file, device);
    }
    check_precision(file, options.precision);

    plan->info.backend = rtx ? "tensorrt-rtx" : "tensorrt";
    plan->info.version = to_string(plan->library.version);
    plan->info.precision = engine.precision == "fp32" ? "f32" : engine.precision.empty() ? "unknown" : engine.precision;
    const CudaDeviceGuard guard(index);
    const MappedFile mapped(file.path);
    const PlanBytes bytes(mapped, file);
    errors.clear();
    // Told its own version: TensorRT for RTX counts differently, and a minor version newer than the headers is as good.
    plan->runtime.reset(
        static_cast<nvinfer1::IRuntime*>(plan->library.create_runtime(&logger(), plan->library.number)));
    if (!plan->runtime) fail(ErrorCode::device, file.path, ": ", plan->name(), " does not start");
    if (engine.version_compatible) {
        const char* trusted = std::getenv("TRTPOSE_ALLOW_ENGINE_CODE");
        require(trusted && *trusted && *trusted != '0', ErrorCode::device, file.path,
                ": a version-compatible engine holds code that runs on this machine's processor; set "
                "TRTPOSE_ALLOW_ENGINE_CODE=1 if you trust the file");
        plan->runtime->setEngineHostCodeAllowed(true);
    }
    load_plugins(file, *plan);
    errors.clear();
    plan->engine.reset(plan->runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    if (!plan->engine)
        fail(ErrorCode::model, file.path, ": ", plan->name(),
             " refuses its plan; build it again on this machine: ", plan->rebuild);
    read_tensors(file, *plan);
    if (rtx) {
        const std::string_view content(static_cast<const char*>(bytes.data()), bytes.size());
        plan->kernels_file = tensorrt::KeptFile(
            text("rtx/", plan->info.version, "-", capability(machine, index), "-", crc32(content), ".kernels"));
        plan->kernels_kept = plan->kernels_file.read();
        plan->kernels = tensorrt::open_kernel_cache(*plan->engine, plan->kernels_kept);
    }
    plan->info.streamable_weight_bytes = tensorrt::streamable_bytes(*plan->engine);
    plan->weight_bytes = tensorrt::weight_bytes(*plan->engine, plan->library);
    if (plan->weight_bytes == 0) plan->weight_bytes = static_cast<size_t>(file.weight_bytes);
    plan->weight_bytes = std::max(plan->weight_bytes, plan->info.streamable_weight_bytes);
    plan->fixed_weight_bytes = plan->weight_bytes - plan->info.streamable_weight_bytes;
    return std::make_unique<TensorRtSession>(std::move(plan));
}

BackendStatus status() {
    const auto here = [](int module) { return module == TRTPOSE_TENSORRT_API; };
    return tensorrt::status(tensorrt::Runtime::tensorrt, here);
}

}  // namespace
}  // namespace trtpose

extern "C" __attribute__((visibility("default"))) const trtpose::BackendTable* trtpose_backend() {
    static const trtpose::BackendTable table{trtpose::version(), &trtpose::status, &trtpose::open};
    return &table;
}
