// SPDX-License-Identifier: Apache-2.0
// TensorRT through its Python package, for the session in cpp/src/backends/tensorrt: each function takes the GIL and
// calls its namesake of trtpose.backends.tensorrt.
#include <memory>
#include <string>
#include <utility>

#include "backends/tensorrt/vendor.hpp"
#include "bindings.hpp"
#include "held.hpp"

namespace trtpose::python {
namespace {

using namespace tensorrt;

constexpr const char* kModule = "trtpose.backends.tensorrt";

/// What Python raised, without where. Ctrl-C is raised again when Python goes on.
std::string text_of(py::error_already_set& error) {
    if (error.matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
    const auto type = py::str(error.type().attr("__name__")).cast<std::string>();
    return type + ": " + py::str(error.value()).cast<std::string>();
}

/// With the GIL: what `work` gives, or `otherwise` where it raises.
template <typename Result, typename Work>
Result with_python(Result otherwise, Work&& work) {
    const py::gil_scoped_acquire gil;
    try {
        return work();
    } catch (py::error_already_set& error) {
        note_error(text_of(error));
    } catch (const py::cast_error& error) {
        note_error(error.what());
    }
    return otherwise;
}

/// The same for what has no value that says so. Throws Error(device).
template <typename Work>
auto ask_python(Work&& work) {
    const py::gil_scoped_acquire gil;
    std::string what;
    try {
        return work();
    } catch (py::error_already_set& error) {
        what = text_of(error);
    } catch (const py::cast_error& error) {
        what = error.what();
    }
    throw Error(ErrorCode::device, "TensorRT's Python package: " + what + "; reinstall it, or install another version");
}

uintptr_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

class PythonContext final : public VendorContext {
public:
    explicit PythonContext(py::object context)
        : set_address_(context.attr("set_address")), enqueue_(context.attr("enqueue")), context_(std::move(context)) {}
    int profile() override {
        return ask_python([&] { return context_.call("profile").cast<int>(); });
    }
    bool set_profile(int profile, void* stream) override {
        return with_python(false, [&] { return context_.call("set_profile", profile, address(stream)).cast<bool>(); });
    }
    bool set_input_shape(const std::string& name, const std::vector<int64_t>& shape) override {
        return with_python(false, [&] { return context_.call("set_input_shape", name, shape).cast<bool>(); });
    }
    bool infer_shapes() override {
        return with_python(false, [&] { return context_.call("infer_shapes").cast<bool>(); });
    }
    std::vector<int64_t> shape_of(const std::string& tensor) override {
        return ask_python([&] { return context_.call("shape_of", tensor).cast<std::vector<int64_t>>(); });
    }
    size_t scratch_bytes(int profile, bool streaming) override {
        return ask_python([&] { return context_.call("scratch_bytes", profile, streaming).cast<size_t>(); });
    }
    bool lend(void* data, size_t bytes) override {
        return with_python(false, [&] { return context_.call("lend", address(data), bytes).cast<bool>(); });
    }
    bool set_address(const std::string& tensor, void* data) override {
        return with_python(false, [&] { return set_address_(tensor, address(data)).cast<bool>(); });
    }
    bool enqueue(void* stream) override {
        return with_python(false, [&] { return enqueue_(address(stream)).cast<bool>(); });
    }

private:
    Held set_address_, enqueue_;
    Held context_;
};

DType dtype_of(const std::string& name) {
    return name == "f32" ? DType::f32 : name == "f16" ? DType::f16 : name == "i32" ? DType::i32 : DType::other;
}

class PythonEngine final : public VendorEngine {
public:
    explicit PythonEngine(py::object engine) : engine_(std::move(engine)) {}
    std::vector<VendorTensor> tensors() override {
        return ask_python([&] {
            std::vector<VendorTensor> out;
            using Told = std::tuple<std::string, std::string, std::vector<int64_t>, bool, bool>;
            for (const auto& [name, dtype, shape, input, plain] : engine_.call("tensors").cast<std::vector<Told>>())
                out.push_back({{name, dtype_of(dtype), shape}, input, plain});
            return out;
        });
    }
    int profiles() override {
        return ask_python([&] { return engine_.call("profiles").cast<int>(); });
    }
    ShapeRange profile(int index, const std::string& input) override {
        return ask_python([&] {
            auto ends = engine_.call("profile", index, input).cast<std::vector<std::vector<int64_t>>>();
            ends.resize(3);
            return ShapeRange{ends[0], ends[1], ends[2]};
        });
    }
    std::unique_ptr<VendorContext> make_context() override {
        return with_python(std::unique_ptr<VendorContext>(), [&]() -> std::unique_ptr<VendorContext> {
            py::object context = engine_.call("make_context");
            return context.is_none() ? nullptr : std::make_unique<PythonContext>(std::move(context));
        });
    }
    size_t weight_bytes() override {
        return ask_python([&] { return engine_.call("weight_bytes").cast<size_t>(); });
    }
    size_t streamable_bytes() override {
        return ask_python([&] { return engine_.call("streamable_bytes").cast<size_t>(); });
    }
    bool limit_streamable(size_t bytes) override {
        return with_python(false, [&] { return engine_.call("limit_streamable", bytes).cast<bool>(); });
    }
    bool open_kernels(const std::string& kept) override {
        return with_python(false, [&] { return engine_.call("open_kernels", py::bytes(kept)).cast<bool>(); });
    }
    std::string kernels() override {
        return with_python(std::string(), [&] { return engine_.call("kernels").cast<std::string>(); });
    }

private:
    Held engine_;
};

class PythonRuntime final : public VendorRuntime {
public:
    explicit PythonRuntime(py::object runtime) : runtime_(std::move(runtime)) {}
    void allow_engine_code() override {
        ask_python([&] { return runtime_.call("allow_engine_code").is_none(); });
    }
    bool load_plugins(const std::string& path) override {
        return with_python(false, [&] { return runtime_.call("load_plugins", path).cast<bool>(); });
    }
    std::unique_ptr<VendorEngine> deserialize(const void* plan, size_t bytes) override {
        return with_python(std::unique_ptr<VendorEngine>(), [&]() -> std::unique_ptr<VendorEngine> {
            const auto view = py::memoryview::from_memory(plan, static_cast<py::ssize_t>(bytes));
            py::object engine = runtime_.call("deserialize", view);
            return engine.is_none() ? nullptr : std::make_unique<PythonEngine>(std::move(engine));
        });
    }

private:
    Held runtime_;
};

const char* key_of(Runtime runtime) { return runtime == Runtime::rtx ? "rtx" : "tensorrt"; }

void hear(const std::string& message, bool error) {
    print_message(message.c_str());
    if (error) note_error(message);
}

class Python final : public Vendor {
public:
    Found find(const ModelFile& file) const override {
        const Runtime runtime = runtime_of(*file.engine);
        const std::string& version = file.engine->version;
        const bool rtx = runtime == Runtime::rtx;
        Found out;
        out.wanted = rtx ? "Python package tensorrt_rtx_bindings" : "Python package tensorrt";
        out.remedy = rtx ? "pip install " + requirement("tensorrt_rtx_cu13_libs", version) + " " +
                               requirement("tensorrt_rtx_cu13_bindings", version)
                         : "pip install " + requirement("tensorrt", version);
        out.remedy += std::string(", or build trtpose with TRTPOSE_TENSORRT_INCLUDE_DIR naming the headers of ") +
                      name_of(runtime);
        const auto [found, path, problem] = ask_python([&] {
            return py::module_::import(kModule)
                .attr("find")(key_of(runtime))
                .cast<std::tuple<std::string, std::string, std::string>>();
        });
        out.problem = problem;
        if (found.empty()) return out;
        Library library;
        library.runtime = runtime;
        library.version = parse_version(found);
        library.path = path;
        out.libraries.push_back(library);
        return out;
    }
    Version oldest() const override { return {8, 6, 0}; }
    int interfaces(const Library& library) const override {
        return library.runtime == Runtime::rtx ? 11 : library.version.major;
    }
    std::unique_ptr<VendorRuntime> start(const Library& library) override {
        return with_python(std::unique_ptr<VendorRuntime>(), [&]() -> std::unique_ptr<VendorRuntime> {
            return std::make_unique<PythonRuntime>(
                py::module_::import(kModule).attr("Runtime")(key_of(library.runtime), py::cpp_function(&hear)));
        });
    }
};

}  // namespace

void register_vendor() {
    set_vendor_provider([] { return std::make_shared<Python>(); });
}

}  // namespace trtpose::python
