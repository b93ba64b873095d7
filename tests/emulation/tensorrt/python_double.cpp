// SPDX-License-Identifier: Apache-2.0
// The double under the names of TensorRT's Python package, in each version with what that version has: what trtpose
// calls and nothing else.
#include "tensorrt/python_double.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <string>

#include "tensorrt/double.hpp"

namespace py = pybind11;

namespace trtpose::test {
namespace {

using namespace nvinfer1;

std::atomic<int> calls{0};

struct Counted {
    Counted() { ++calls; }
};
using Counts = py::call_guard<Counted>;
/// As those of TensorRT's functions do that take long.
using Lets = py::call_guard<Counted, py::gil_scoped_release>;

/// A getter as a property takes it, which takes no guard.
template <auto Getter, typename Type, typename Result>
auto counted(Result (Type::*)() const noexcept) {
    return [](const Type& self) {
        ++calls;
        return (self.*Getter)();
    };
}
template <auto Getter>
auto counted() {
    return counted<Getter>(Getter);
}

class PyLogger final : public ILogger {
public:
    void log(Severity severity, AsciiChar const* message) noexcept override {
        const py::gil_scoped_acquire gil;
        ++calls;
        const py::function own = py::get_override(static_cast<const ILogger*>(this), "log");
        own(severity, message);
    }
};

void bind_types(py::module_& m) {
    py::enum_<DataType>(m, "DataType")
        .value("FLOAT", DataType::kFLOAT)
        .value("HALF", DataType::kHALF)
        .value("INT8", DataType::kINT8)
        .value("INT32", DataType::kINT32);
    py::enum_<TensorFormat>(m, "TensorFormat")
        .value("LINEAR", TensorFormat::kLINEAR)
        .value("CHW32", TensorFormat::kCHW32);
    py::enum_<TensorLocation>(m, "TensorLocation")
        .value("DEVICE", TensorLocation::kDEVICE)
        .value("HOST", TensorLocation::kHOST);
    py::enum_<TensorIOMode>(m, "TensorIOMode")
        .value("NONE", TensorIOMode::kNONE)
        .value("INPUT", TensorIOMode::kINPUT)
        .value("OUTPUT", TensorIOMode::kOUTPUT);
#if TRTPOSE_DOUBLE_MAJOR >= 10
    py::enum_<ExecutionContextAllocationStrategy>(m, "ExecutionContextAllocationStrategy")
        .value("STATIC", ExecutionContextAllocationStrategy::kSTATIC)
        .value("ON_PROFILE_CHANGE", ExecutionContextAllocationStrategy::kON_PROFILE_CHANGE)
        .value("USER_MANAGED", ExecutionContextAllocationStrategy::kUSER_MANAGED);
#endif
#ifdef TRTPOSE_DOUBLE_STATISTICS
    py::enum_<EngineStat>(m, "EngineStat").value("TOTAL_WEIGHTS_SIZE", EngineStat::kTOTAL_WEIGHTS_SIZE);
#endif
    py::class_<Dims>(m, "Dims")
        .def("__len__", [](const Dims& dims) { return dims.nbDims; })
        .def("__getitem__", [](const Dims& dims, int index) {
            if (index < 0 || index >= dims.nbDims) throw py::index_error();
            return dims.d[index];
        });
    py::class_<ILogger, PyLogger> logger(m, "ILogger");
    py::enum_<ILogger::Severity>(logger, "Severity")
        .value("INTERNAL_ERROR", ILogger::Severity::kINTERNAL_ERROR)
        .value("ERROR", ILogger::Severity::kERROR)
        .value("WARNING", ILogger::Severity::kWARNING)
        .value("INFO", ILogger::Severity::kINFO)
        .value("VERBOSE", ILogger::Severity::kVERBOSE);
    logger.def(py::init<>());
}

Dims dims_of(const py::tuple& shape) {
    Dims out{};
    out.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) out.d[i] = shape[i].cast<decltype(out.d[0] + 0)>();
    return out;
}

std::vector<std::string> infer_shapes(IExecutionContext& context) {
    const int32_t missing = context.inferShapes(0, nullptr);
    if (missing < 0) throw std::runtime_error("infer_shapes error code: " + std::to_string(missing));
    return std::vector<std::string>(static_cast<size_t>(missing), "images");
}

void bind_context(py::module_& m) {
    py::class_<IExecutionContext> context(m, "IExecutionContext");
    context
        .def(
            "set_optimization_profile_async",
            [](IExecutionContext& self, int profile_index, size_t stream_handle) {
                return self.setOptimizationProfileAsync(profile_index, reinterpret_cast<cudaStream_t>(stream_handle));
            },
            Lets())
        .def_property_readonly("active_optimization_profile", counted<&IExecutionContext::getOptimizationProfile>())
        .def(
            "set_input_shape",
            [](IExecutionContext& self, const std::string& name, const py::tuple& shape) {
                return self.setInputShape(name.c_str(), dims_of(shape));
            },
            Counts())
        .def("get_tensor_shape", &IExecutionContext::getTensorShape, Counts())
        .def(
            "set_tensor_address",
            [](IExecutionContext& self, const std::string& name, size_t memory) {
                return self.setTensorAddress(name.c_str(), reinterpret_cast<void*>(memory));
            },
            Counts())
        .def("infer_shapes", &infer_shapes, Lets())
        .def(
            "execute_async_v3",
            [](IExecutionContext& self, size_t stream_handle) {
                return self.enqueueV3(reinterpret_cast<cudaStream_t>(stream_handle));
            },
            py::arg("stream_handle"), Lets())
        .def_property("device_memory", nullptr, [](IExecutionContext& self, size_t memory) {
            ++calls;
            self.setDeviceMemory(reinterpret_cast<void*>(memory));
        });
#if TRTPOSE_DOUBLE_MAJOR >= 10
    context.def("update_device_memory_size_for_shapes", &IExecutionContext::updateDeviceMemorySizeForShapes, Counts());
#endif
#ifdef TRTPOSE_DOUBLE_V2
    context.def(
        "set_device_memory",
        [](IExecutionContext& self, size_t memory, int64_t size) {
            self.setDeviceMemoryV2(reinterpret_cast<void*>(memory), size);
        },
        Counts());
#endif
}

void bind_memory(py::class_<ICudaEngine>& engine) {
#if TRTPOSE_DOUBLE_MAJOR < 11
    engine.def_property_readonly("device_memory_size", counted<&ICudaEngine::getDeviceMemorySize>());
#endif
#if TRTPOSE_DOUBLE_MAJOR == 10
    engine.def("get_device_memory_size_for_profile", &ICudaEngine::getDeviceMemorySizeForProfile, Counts());
#endif
#ifdef TRTPOSE_DOUBLE_V2
    engine.def("get_device_memory_size_for_profile_v2", &ICudaEngine::getDeviceMemorySizeForProfileV2, Counts());
    engine.def_property_readonly("streamable_weights_size", counted<&ICudaEngine::getStreamableWeightsSize>());
    engine.def_property(
        "weight_streaming_budget_v2",
        [](const ICudaEngine&) -> int64_t { throw std::runtime_error("asked for a budget that may not be there"); },
        [](ICudaEngine& self, int64_t budget) {
            ++calls;
            if (!self.setWeightStreamingBudgetV2(budget))
                throw std::runtime_error("Failed to set the weight streaming budget");
        });
#endif
#ifdef TRTPOSE_DOUBLE_STATISTICS
    engine.def("get_engine_stat", &ICudaEngine::getEngineStat, Counts());
#endif
    static_cast<void>(engine);
}

void bind_engine(py::module_& m) {
    constexpr auto kOwned = py::return_value_policy::take_ownership;
    using Stays = py::keep_alive<0, 1>;
    py::class_<ICudaEngine> engine(m, "ICudaEngine");
    engine.def_property_readonly("num_io_tensors", counted<&ICudaEngine::getNbIOTensors>())
        .def("get_tensor_name", &ICudaEngine::getIOTensorName, Counts())
        .def("get_tensor_mode", &ICudaEngine::getTensorIOMode, Counts())
        .def("get_tensor_dtype", &ICudaEngine::getTensorDataType, Counts())
        .def("get_tensor_shape", &ICudaEngine::getTensorShape, Counts())
        .def("get_tensor_format", &ICudaEngine::getTensorFormat, Counts())
        .def("get_tensor_location", &ICudaEngine::getTensorLocation, Counts())
        .def_property_readonly("num_optimization_profiles", counted<&ICudaEngine::getNbOptimizationProfiles>())
        .def("get_tensor_profile_shape", [](const ICudaEngine& self, const std::string& name, int index) {
            ++calls;
            std::vector<Dims> out;
            for (const auto which : {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX})
                out.push_back(self.getProfileShape(name.c_str(), index, which));
            return out;
        });
#if TRTPOSE_DOUBLE_MAJOR < 10
    engine
        .def(
            "create_execution_context", [](ICudaEngine& self) { return self.createExecutionContext(); }, kOwned,
            Stays(), Lets())
        .def("create_execution_context_without_device_memory", &ICudaEngine::createExecutionContextWithoutDeviceMemory,
             kOwned, Stays(), Lets());
#else
    engine.def(
        "create_execution_context",
        [](ICudaEngine& self, ExecutionContextAllocationStrategy strategy) {
            return self.createExecutionContext(strategy);
        },
        py::arg("strategy") = ExecutionContextAllocationStrategy::kSTATIC, kOwned, Stays(), Lets());
#endif
#if TRTPOSE_DOUBLE_MAJOR >= 11
    engine
        .def(
            "create_execution_context",
            [](ICudaEngine& self, IRuntimeConfig* runtime_config) {
                return self.createExecutionContext(runtime_config);
            },
            py::arg("runtime_config"), kOwned, Stays(), py::keep_alive<0, 2>(), Lets())
        .def("create_runtime_config", &ICudaEngine::createRuntimeConfig, kOwned, Stays(), Counts());
#endif
    bind_memory(engine);
}

void bind_config(py::module_& m) {
#if TRTPOSE_DOUBLE_MAJOR >= 11
    py::class_<IRuntimeConfig> config(m, "IRuntimeConfig");
    config.def("set_execution_context_allocation_strategy", &IRuntimeConfig::setExecutionContextAllocationStrategy,
               Counts());
#ifdef TRTPOSE_DOUBLE_RTX
    constexpr auto kOwned = py::return_value_policy::take_ownership;
    py::class_<IHostMemory>(m, "IHostMemory", py::buffer_protocol()).def_buffer([](IHostMemory& self) {
        return py::buffer_info(static_cast<uint8_t*>(self.data()), static_cast<py::ssize_t>(self.size()), true);
    });
    py::class_<IRuntimeCache>(m, "IRuntimeCache")
        .def("serialize", &IRuntimeCache::serialize, kOwned, Counts())
        .def("deserialize", [](IRuntimeCache& self, const py::buffer& blob) {
            ++calls;
            const py::buffer_info info = blob.request();
            return self.deserialize(info.ptr, static_cast<size_t>(info.size * info.itemsize));
        });
    config.def("create_runtime_cache", &IRuntimeConfig::createRuntimeCache, kOwned, Counts())
        .def("set_runtime_cache", &IRuntimeConfig::setRuntimeCache, py::keep_alive<1, 2>(), Counts());
#endif
#else
    static_cast<void>(m);
#endif
}

void bind_runtime(py::module_& m) {
    py::class_<IPluginRegistry>(m, "IPluginRegistry")
        .def("load_library", [](IPluginRegistry& self, const std::string& path) -> py::object {
            ++calls;
            void* const handle = self.loadLibrary(path.c_str());
            if (!handle) return py::none();
            return py::capsule(handle, "library");
        });
    py::class_<IRuntime>(m, "Runtime")
        .def(py::init([](ILogger& logger) {
                 ++calls;
                 constexpr int32_t kNumber = TRTPOSE_DOUBLE_NUMBER;
                 return static_cast<IRuntime*>(
                     tensorrt_double::tensorrt_double_create_runtime(&logger, kNumber, kNumber));
             }),
             py::keep_alive<1, 2>())
        .def_property(
            "engine_host_code_allowed", [](const IRuntime&) { return false; }, &IRuntime::setEngineHostCodeAllowed)
        .def("get_plugin_registry", &IRuntime::getPluginRegistry, py::return_value_policy::reference_internal, Counts())
        .def(
            "deserialize_cuda_engine",
            [](IRuntime& self, const py::buffer& plan) {
                ++calls;
                const py::buffer_info info = plan.request();
                const py::gil_scoped_release release;
                return self.deserializeCudaEngine(info.ptr, static_cast<size_t>(info.size * info.itemsize));
            },
            py::return_value_policy::take_ownership, py::keep_alive<0, 1>());
}

}  // namespace

void bind_double(py::module_& m) {
    bind_types(m);
    bind_config(m);
    bind_context(m);
    bind_engine(m);
    bind_runtime(m);
}

int python_calls() { return calls; }

}  // namespace trtpose::test
