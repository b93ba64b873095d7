// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"
#include "gil.hpp"
#include "trtpose/own_nms.hpp"

namespace trtpose::python {
namespace {

py::object text(const std::string& bytes) {
    return py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(bytes.data(), static_cast<py::ssize_t>(bytes.size()), "replace"));
}

py::list tensors(const std::vector<TensorInfo>& infos) {
    py::list out;
    for (const auto& info : infos) {
        py::dict one;
        one["name"] = text(info.name);
        one["dtype"] = to_string(info.dtype);
        one["shape"] = info.shape;
        out.append(std::move(one));
    }
    return out;
}

py::dict description(const EngineDescription& engine) {
    py::dict out, layers;
    for (const auto& [precision, count] : engine.layers) layers[text(precision)] = count;
    py::list profiles;
    for (const auto& profile : engine.profiles) {
        py::dict inputs;
        for (const auto& [name, range] : profile) {
            py::dict one;
            one["min"] = range.min;
            one["opt"] = range.opt;
            one["max"] = range.max;
            inputs[text(name)] = one;
        }
        profiles.append(std::move(inputs));
    }
    const auto texts = [](const std::vector<std::string>& values) {
        py::list list;
        for (const auto& value : values) list.append(text(value));
        return list;
    };
    const auto bytes = [](int64_t count) { return count < 0 ? py::object(py::none()) : py::int_(count); };
    out["runtime"] = engine.runtime;
    out["version"] = text(engine.version);
    out["precision"] = text(engine.precision);
    out["layers"] = layers;
    out["device"] = text(engine.device);
    out["compute_capability"] = text(engine.compute_capability);
    out["compute_capabilities"] = texts(engine.compute_capabilities);
    out["hardware_compatibility"] = text(engine.hardware_compatibility);
    out["version_compatible"] = engine.version_compatible;
    out["weight_streaming"] = engine.weight_streaming;
    out["profiles"] = profiles;
    out["onnx"] = text(engine.onnx);
    out["onnx_sha256"] = text(engine.onnx_sha256);
    out["plan_bytes"] = engine.plan_bytes;
    out["weight_bytes"] = bytes(engine.weight_bytes);
    out["activation_bytes"] = bytes(engine.activation_bytes);
    out["plugins"] = texts(engine.plugins);
    out["created"] = text(engine.created);
    out["trtpose"] = text(engine.trtpose);
    return out;
}

/// The spec as JSON and where it came from.
std::pair<py::object, std::string> spec_of(const std::string& path, const std::string& spec) {
    FoundSpec found;
    {
        const ReleasedGil released;
        const ModelFile file = read_model_file(path);
        found = find_spec(file, spec, make_probe(file).get());
    }
    return {text(found.spec.to_json()), found.origin};
}

/// The bytes of a checked ONNX file, read into the object that Python gets.
py::object onnx_bytes(const std::string& path) {
    py::object out;
    {
        const py::gil_scoped_release release;
        read_onnx(path, [&](size_t size) {
            const py::gil_scoped_acquire acquire;
            out = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(size)));
            if (!out) throw py::error_already_set();
            return PyBytes_AS_STRING(out.ptr());
        });
    }
    return out;
}

void register_onnx(py::module_& m) {
    m.def("read_onnx", &onnx_bytes, py::arg("path"),
          "The bytes of an ONNX file, checked, with the weights of files beside it taken in. Raises ModelError.");
    m.def(
        "check_onnx",
        [](const py::bytes& content, const std::string& name) {
            const std::string_view bytes(content);
            const py::gil_scoped_release release;
            check_onnx(bytes.data(), bytes.size(), name);
        },
        py::arg("content"), py::arg("name"),
        "Check an ONNX model in memory, which has all of its weights in it. Raises ModelError.");
}

}  // namespace

void register_files(py::module_& m) {
    m.def("version", &version, "Version of the library, as major.minor.patch.");
    m.def("cuda_version", &cuda_version, "The CUDA version of this build, 13000 for 13.0; 0: built without.");
    m.def(
        "read_model_file",
        [](const std::string& path) {
            ModelFile file;
            {
                const ReleasedGil released;
                file = read_model_file(path);
            }
            py::dict out, metadata;
            for (const auto& [key, value] : file.metadata) metadata[text(key)] = text(value);
            out["path"] = file.path;
            out["kind"] = file.kind;
            out["inputs"] = tensors(file.inputs);
            out["outputs"] = tensors(file.outputs);
            out["metadata"] = metadata;
            out["parameters"] = file.parameters;
            out["weight_bytes"] = file.weight_bytes;
            out["opset"] = file.opset;
            out["producer"] = text(file.producer);
            out["most_frames"] = frames_of_own_nms(file);
            out["engine"] = file.engine ? py::object(description(*file.engine)) : py::none();
            return out;
        },
        py::arg("path"),
        "What a model file says of itself; 'engine' is None and 'most_frames' 0 where there is none. Raises "
        "ModelError.");
    register_onnx(m);
    m.def("find_spec", &spec_of, py::arg("path"), py::arg("spec") = "",
          "The model spec of a file as JSON, and where it came from. Raises ModelError.");
    m.def(
        "normalise_spec",
        [](const std::string& json, const std::string& source) {
            return text(ModelSpec::from_json(json, source).to_json());
        },
        py::arg("json"), py::arg("source"), "Check a model spec and return it with every field. Raises ModelError.");
    m.def(
        "backends",
        [] {
            py::list out;
            for (const auto& status : backends()) {
                py::dict one;
                one["name"] = status.name;
                one["available"] = status.available;
                one["version"] = status.version;
                one["devices"] = status.devices;
                one["problem"] = status.problem;
                out.append(std::move(one));
            }
            return out;
        },
        "State of every backend on this machine.");
}

}  // namespace trtpose::python
