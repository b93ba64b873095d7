// SPDX-License-Identifier: Apache-2.0
// TensorRT through its headers. Compiled once for each major version of them; the library itself is opened when a plan
// asks for it (vendor_library.hpp), and never called before CUDA has found a GPU: without a driver its entry points
// crash.
#include <string>
#include <utility>

#include "backends/backend.hpp"
#include "backends/tensorrt/api.hpp"
#include "backends/tensorrt/vendor.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace tensorrt {
namespace {

/// Outlives everything made with it, and is called from any thread.
class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        print_message(message);
        if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
        try {
            note_error(message);
        } catch (...) {  // no memory for a message: the call that failed says so itself
        }
    }
};

Logger& logger() {
    static Logger instance;
    return instance;
}

DType dtype_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT: return DType::f32;
        case nvinfer1::DataType::kHALF: return DType::f16;
        case nvinfer1::DataType::kINT32: return DType::i32;
        default: return DType::other;
    }
}

std::vector<int64_t> sizes_of(const nvinfer1::Dims& dims) {
    return dims.nbDims < 0 ? std::vector<int64_t>() : std::vector<int64_t>(dims.d, dims.d + dims.nbDims);
}

nvinfer1::Dims dims_of(const std::vector<int64_t>& shape) {
    nvinfer1::Dims out{};
    out.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) out.d[i] = static_cast<decltype(out.d[0] + 0)>(shape[i]);
    return out;
}

class NativeContext final : public VendorContext {
public:
    NativeContext(nvinfer1::ICudaEngine& engine, nvinfer1::IExecutionContext* context)
        : engine_(engine), context_(context) {}
    int profile() override { return context_->getOptimizationProfile(); }
    bool set_profile(int profile, void* stream) override {
        return context_->setOptimizationProfileAsync(profile, static_cast<cudaStream_t>(stream));
    }
    bool set_input_shape(const std::string& name, const std::vector<int64_t>& shape) override {
        return context_->setInputShape(name.c_str(), dims_of(shape));
    }
    bool infer_shapes() override { return context_->inferShapes(0, nullptr) == 0; }
    std::vector<int64_t> shape_of(const std::string& tensor) override {
        return sizes_of(context_->getTensorShape(tensor.c_str()));
    }
    size_t scratch_bytes(int profile, bool streaming) override {
        return tensorrt::scratch_bytes(engine_, *context_, profile, streaming);
    }
    bool lend(void* data, size_t bytes) override {
        tensorrt::lend(*context_, data, bytes);
        return true;
    }
    bool set_address(const std::string& tensor, void* data) override {
        return context_->setTensorAddress(tensor.c_str(), data);
    }
    bool enqueue(void* stream) override { return context_->enqueueV3(static_cast<cudaStream_t>(stream)); }

private:
    nvinfer1::ICudaEngine& engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

class NativeEngine final : public VendorEngine {
public:
    NativeEngine(const Library& library, nvinfer1::ICudaEngine* engine) : library_(library), engine_(engine) {}
    std::vector<VendorTensor> tensors() override {
        std::vector<VendorTensor> out;
        for (int i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char* name = engine_->getIOTensorName(i);
            VendorTensor tensor;
            tensor.info = {name, dtype_of(engine_->getTensorDataType(name)), sizes_of(engine_->getTensorShape(name))};
            tensor.input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            tensor.plain = engine_->getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR &&
                           engine_->getTensorLocation(name) == nvinfer1::TensorLocation::kDEVICE;
            out.push_back(std::move(tensor));
        }
        return out;
    }
    int profiles() override { return engine_->getNbOptimizationProfiles(); }
    ShapeRange profile(int index, const std::string& input) override {
        const auto end = [&](nvinfer1::OptProfileSelector which) {
            return sizes_of(engine_->getProfileShape(input.c_str(), index, which));
        };
        return {end(nvinfer1::OptProfileSelector::kMIN), end(nvinfer1::OptProfileSelector::kOPT),
                end(nvinfer1::OptProfileSelector::kMAX)};
    }
    std::unique_ptr<VendorContext> make_context() override {
        auto* const context = kernels_ ? kernels_.make_context() : tensorrt::make_context(*engine_);
        return context ? std::make_unique<NativeContext>(*engine_, context) : nullptr;
    }
    size_t weight_bytes() override { return tensorrt::weight_bytes(*engine_, library_); }
    size_t streamable_bytes() override { return tensorrt::streamable_bytes(*engine_); }
    bool limit_streamable(size_t bytes) override { return tensorrt::limit_streamable(*engine_, bytes); }
    bool open_kernels(const std::string& kept) override {
        kernels_ = open_kernel_cache(*engine_, kept);
        return static_cast<bool>(kernels_);
    }
    std::string kernels() override { return kernels_.content(); }

private:
    Library library_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    KernelCache kernels_;  ///< goes before the engine
};

class NativeRuntime final : public VendorRuntime {
public:
    NativeRuntime(const Library& library, nvinfer1::IRuntime* runtime) : library_(library), runtime_(runtime) {}
    void allow_engine_code() override { runtime_->setEngineHostCodeAllowed(true); }
    bool load_plugins(const std::string& path) override {
        return runtime_->getPluginRegistry().loadLibrary(path.c_str()) != nullptr;
    }
    std::unique_ptr<VendorEngine> deserialize(const void* plan, size_t bytes) override {
        auto* const engine = runtime_->deserializeCudaEngine(plan, bytes);
        return engine ? std::make_unique<NativeEngine>(library_, engine) : nullptr;
    }

private:
    Library library_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

class Native final : public Vendor {
public:
    Found find(const ModelFile& file) const override {
        const Runtime runtime = runtime_of(*file.engine);
        return {find_libraries(runtime), name_of(runtime), "", remedy(runtime, file.engine->version)};
    }
    Version oldest() const override { return oldest_library(); }
    int interfaces(const Library&) const override { return TRTPOSE_TENSORRT_API; }
    std::unique_ptr<VendorRuntime> start(const Library& library) override {
        // Told its own version: TensorRT for RTX counts differently, and a minor version newer than the headers is as
        // good.
        auto* const runtime = static_cast<nvinfer1::IRuntime*>(library.create_runtime(&logger(), library.number));
        return runtime ? std::make_unique<NativeRuntime>(library, runtime) : nullptr;
    }
};

std::unique_ptr<Session> open_native(const ModelFile& file, const SessionOptions& options) {
    return open_session(std::make_shared<Native>(), file, options);
}

BackendStatus native_status() {
    const auto here = [](int module) { return module == TRTPOSE_TENSORRT_API; };
    return status(Runtime::tensorrt, here);
}

}  // namespace
}  // namespace tensorrt
}  // namespace trtpose

extern "C" __attribute__((visibility("default"))) const trtpose::BackendTable* trtpose_backend() {
    static const auto oldest = trtpose::tensorrt::oldest_library();
    static const trtpose::BackendTable table{trtpose::version(),
                                             &trtpose::tensorrt::native_status,
                                             &trtpose::tensorrt::open_native,
                                             nullptr,
                                             {oldest.major, oldest.minor, oldest.patch}};
    return &table;
}
