// SPDX-License-Identifier: Apache-2.0
// Arrays in the memory of a GPU, taken from other libraries and given to them: __cuda_array_interface__ (version 3) and
// __dlpack__.
#include <array>
#include <memory>

#include "bindings.hpp"
#include "dlpack.hpp"
#include "gil.hpp"

namespace trtpose::python {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::input, message); }

std::string type_name(const py::handle& object) { return py::str(py::type::handle_of(object).attr("__name__")); }

std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape, size_t each) {
    std::vector<int64_t> strides(shape.size());
    auto step = static_cast<int64_t>(each);
    for (size_t i = shape.size(); i-- > 0;) {
        strides[i] = step;
        step *= shape[i];
    }
    return strides;
}

template <typename Capsule>
void release(void* held) {
    auto* const managed = static_cast<Capsule*>(held);
    if (managed->deleter) managed->deleter(managed);
}

/// The tensor in a capsule, which becomes ours: `owner` gives it back.
template <typename Capsule>
const dlpack::Tensor& take(const py::object& capsule, const char* name, const char* used, py::object& owner) {
    auto* const managed = static_cast<Capsule*>(PyCapsule_GetPointer(capsule.ptr(), name));
    if (!managed) throw py::error_already_set();
    if (PyCapsule_SetName(capsule.ptr(), used) != 0) throw py::error_already_set();
    owner = py::capsule(managed, &release<Capsule>);
    return managed->tensor;
}

DType dtype_of(const dlpack::Type& type) {
    if (type.lanes != 1) return DType::other;
    if (type.code == dlpack::kUInt && type.bits == 8) return DType::u8;
    if (type.code == dlpack::kFloat && type.bits == 16) return DType::f16;
    if (type.code == dlpack::kFloat && type.bits == 32) return DType::f32;
    return DType::other;
}

Array from_dlpack(const py::object& object, void* stream, const std::string& what, std::vector<py::object>& owners) {
    const auto method = object.attr("__dlpack__");
    const auto number = reinterpret_cast<uintptr_t>(stream);
    py::object capsule;
    try {
        try {
            capsule = method(py::arg("stream") = number, py::arg("max_version") = py::make_tuple(1, 0));
        } catch (const py::error_already_set& error) {
            if (!error.matches(PyExc_TypeError)) throw;
            capsule = method(py::arg("stream") = number);  // older than version 1
        }
    } catch (const py::error_already_set& error) {
        fail(what + ": its __dlpack__ cannot be used (" + std::string(py::str(error.value())) + ")");
    }
    py::object owner;
    const dlpack::Tensor* tensor = nullptr;
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
        // Only the head of a later major version is known.
        const auto* const versioned =
            static_cast<const dlpack::Versioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
        if (versioned->major != 1)
            fail(what + ": its __dlpack__ gives version " + std::to_string(versioned->major) + ", 1 was asked for");
        tensor = &take<dlpack::Versioned>(capsule, "dltensor_versioned", "used_dltensor_versioned", owner);
    } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
        tensor = &take<dlpack::Managed>(capsule, "dltensor", "used_dltensor", owner);
    } else {
        fail(what + ": its __dlpack__ gives a " + type_name(capsule) + " that is no fresh DLPack capsule");
    }
    owners.push_back(std::move(owner));
    if (tensor->device.type != dlpack::kCuda && tensor->device.type != dlpack::kCudaManaged)
        fail(what + ": its __dlpack__ gives memory of device type " + std::to_string(tensor->device.type) +
             ", not of a CUDA GPU");
    if (tensor->ndim < 0 || tensor->ndim > 8) fail(what + ": an array of " + std::to_string(tensor->ndim) + " axes");
    Array out;
    out.data = static_cast<const uint8_t*>(tensor->data) + tensor->byte_offset;
    out.shape.assign(tensor->shape, tensor->shape + tensor->ndim);
    out.dtype = dtype_of(tensor->dtype);
    out.device = {DeviceType::cuda, tensor->device.index};
    const size_t each = std::max<size_t>(size_of(out.dtype), 1);
    if (tensor->strides) {
        for (int i = 0; i < tensor->ndim; ++i) out.strides.push_back(tensor->strides[i] * static_cast<int64_t>(each));
    } else {
        out.strides = dense_strides(out.shape, each);
    }
    return out;  // no stream: the one we named waits already
}

Array from_cuda_array_interface(const py::object& object, int device, const std::string& what) {
    Array out;
    try {
        const auto fields = object.attr("__cuda_array_interface__").cast<py::dict>();
        const auto optional = [&](const char* key) -> py::object {
            return fields.contains(key) ? py::object(fields[key]) : py::none();
        };
        out.shape = fields["shape"].cast<std::vector<int64_t>>();
        const auto type = fields["typestr"].cast<std::string>();
        out.dtype = type == "|u1" ? DType::u8 : type == "<f4" ? DType::f32 : type == "<f2" ? DType::f16 : DType::other;
        out.data = reinterpret_cast<const uint8_t*>(fields["data"].cast<py::tuple>()[0].cast<uintptr_t>());
        if (!optional("mask").is_none()) fail(what + ": a masked array; fill what is masked first");
        const auto strides = optional("strides");
        out.strides = strides.is_none() ? dense_strides(out.shape, std::max<size_t>(size_of(out.dtype), 1))
                                        : strides.cast<std::vector<int64_t>>();
        const auto stream = optional("stream");
        if (!stream.is_none()) {
            const auto number = stream.cast<uintptr_t>();
            if (number == 0) fail(what + ": its __cuda_array_interface__ names stream 0, which version 3 forbids");
            out.stream = reinterpret_cast<void*>(number);
        }
    } catch (const py::error_already_set& error) {
        fail(what + ": its __cuda_array_interface__ cannot be used (" + std::string(py::str(error.value())) + ")");
    } catch (const py::cast_error&) {
        fail(what + ": its __cuda_array_interface__ does not follow version 3");
    }
    if (out.strides.size() != out.shape.size())
        fail(what + ": its __cuda_array_interface__ has strides for " + std::to_string(out.strides.size()) +
             " axes and a shape of " + std::to_string(out.shape.size()));
    out.device = {DeviceType::cuda, device};  // the protocol does not say; the engine looks the pointer up
    return out;
}

Array parse(const py::object& object, const InputPlace& place, const std::string& what,
            std::vector<py::object>& owners) {
    // DLPack first: it says the device, and it waits even for libraries whose interface is of version 2.
    Array array = py::hasattr(object, "__dlpack_device__")
                      ? from_dlpack(object, place.stream, what, owners)
                      : from_cuda_array_interface(object, place.device.index, what);
    if (!py::hasattr(object, "__dlpack_device__")) owners.push_back(object);
    for (const int64_t side : array.shape) {
        if (side < 0 || side > (1 << 30)) fail(what + ": the array is " + shape_text(array.shape) + ", too large");
        if (side == 0) fail(what + ": the array is " + shape_text(array.shape) + ", it has no pixels");
    }
    if (array.dtype == DType::other)
        fail(what + ": an array on the GPU must be uint8 pictures or float32 or float16 letterboxed inputs");
    if (!array.data) fail(what + ": the array has no memory");
    return array;
}

void append_pictures(Frames& frames, const Array& array, PixelFormat format, const std::string& what) {
    const size_t axes = array.shape.size();
    if ((axes != 3 && axes != 4) || array.shape[axes - 1] != 3)
        fail(what + ": the array is " + shape_text(array.shape) + ", expected height×width×3 or N×height×width×3");
    const int64_t height = array.shape[axes - 3], width = array.shape[axes - 2];
    const int64_t row = array.strides[axes - 3];
    const bool packed = array.strides[axes - 1] == 1 && (width == 1 || array.strides[axes - 2] == 3);
    const bool rows = height == 1 || row >= 3 * width || row <= -3 * width;
    if (!packed || !rows)
        fail(what + ": the pixels on the GPU are not packed, only rows may be padded; make the array contiguous there");
    for (int64_t n = 0; n < (axes == 4 ? array.shape[0] : 1); ++n) {
        ImageView view;
        view.data = array.data + (axes == 4 ? n * array.strides[0] : 0);
        view.height = static_cast<int>(height);
        view.width = static_cast<int>(width);
        view.stride = height == 1 ? 0 : static_cast<ptrdiff_t>(row);
        view.format = format;
        view.device = array.device;
        view.stream = array.stream;
        frames.views.push_back(view);
    }
}

InputView to_input(const Array& array, const std::string& what) {
    const bool one = array.shape.size() == 3;
    const auto& s = array.shape;
    const size_t axes = s.size();
    if ((axes != 3 && axes != 4) || s[axes - 3] != 3)
        fail(what + ": the array is " + shape_text(s) + ", a letterboxed input is 3×height×width or N×3×height×width");
    const auto dense = dense_strides(s, size_of(array.dtype));
    for (size_t i = 0; i < axes; ++i) {
        if (s[i] > 1 && array.strides[i] != dense[i])
            fail(what + ": a letterboxed input on the GPU must be contiguous");
    }
    InputView view;
    view.data = array.data;
    view.batch = one ? 1 : static_cast<int>(s[0]);
    view.height = static_cast<int>(s[axes - 2]);
    view.width = static_cast<int>(s[axes - 1]);
    view.dtype = array.dtype;
    view.device = array.device;
    view.stream = array.stream;
    return view;
}

// ---- Results
// ---------------------------------------------------------------------------------------------------------

/// One array of a DevicePoses, which it keeps alive.
struct DeviceArray {
    std::shared_ptr<const DevicePoses> poses;
    void* data;
    bool integers;
    std::vector<int64_t> shape;

    bool on_cuda() const { return poses->device.type == DeviceType::cuda; }
    std::pair<int, int> dlpack_device() const {
        return {on_cuda() ? dlpack::kCuda : dlpack::kCpu, poses->device.index};
    }
    dlpack::Tensor tensor() const {
        const auto [type, index] = dlpack_device();
        return {data,
                {type, index},
                static_cast<int32_t>(shape.size()),
                {integers ? dlpack::kInt : dlpack::kFloat, 32, 1},
                const_cast<int64_t*>(shape.data()),
                nullptr,
                0};
    }
};

template <typename Capsule>
void delete_capsule(PyObject* capsule) {
    // Under its first name nobody has taken it.
    const char* const name = PyCapsule_GetName(capsule);
    if (!name || std::string(name).rfind("used", 0) == 0) return;
    release<Capsule>(PyCapsule_GetPointer(capsule, name));
}

template <typename Capsule>
py::object give(const DeviceArray& array, const char* name) {
    struct Held {
        Capsule capsule{};
        DeviceArray array;
        std::vector<int64_t> strides;
    };
    auto held = std::make_unique<Held>();
    held->array = array;
    for (const int64_t bytes : dense_strides(array.shape, 4)) held->strides.push_back(bytes / 4);
    held->capsule.tensor = held->array.tensor();
    held->capsule.tensor.strides = held->strides.data();
    held->capsule.context = held.get();
    held->capsule.deleter = [](Capsule* self) { delete static_cast<Held*>(self->context); };
    if constexpr (std::is_same_v<Capsule, dlpack::Versioned>) held->capsule.major = 1;
    PyObject* const capsule = PyCapsule_New(&held->capsule, name, &delete_capsule<Capsule>);
    if (!capsule) throw py::error_already_set();
    held.release();
    return py::reinterpret_steal<py::object>(capsule);
}

/// An argument of __dlpack__ as it is defined there; `expected` says how.
template <typename T>
T argument(const py::object& value, const char* name, const char* expected) {
    try {
        return value.cast<T>();
    } catch (const py::cast_error&) {
        fail(std::string(name) + " of __dlpack__ is a " + type_name(value) + "; expected " + expected);
    }
}

py::object to_dlpack(const DeviceArray& array, const py::object& stream, const py::object& max_version,
                     const py::object& dl_device, const py::object& copy) {
    using Pair = std::pair<int, int>;
    if (!dl_device.is_none() &&
        argument<Pair>(dl_device, "dl_device", "a device type and index") != array.dlpack_device())
        throw py::buffer_error("the poses stay on " + to_string(array.poses->device) + "; copy them with your library");
    if (!copy.is_none() && argument<bool>(copy, "copy", "True or False"))
        throw py::buffer_error("the poses are given without a copy; copy them with your library");
    if (array.on_cuda()) {
        // None stands for the legacy default stream, -1 for a caller that sees to it himself.
        const auto number = stream.is_none() ? int64_t{1} : argument<int64_t>(stream, "stream", "a whole number");
        if (number == 0 || number < -1)
            throw Error(ErrorCode::input, "stream " + std::to_string(number) +
                                              " means nothing in __dlpack__; 1 is the legacy default stream, 2 the "
                                              "thread's own, -1 none, any other number a cudaStream_t");
        if (number != -1) array.poses->wait(reinterpret_cast<void*>(static_cast<uintptr_t>(number)));
        // The default streams last; how long another one does is not ours to know, nor what -1 is read on.
        if (number != 1 && number != 2) array.poses->share();
    } else if (!stream.is_none() && argument<int64_t>(stream, "stream", "a whole number") != -1) {
        throw Error(ErrorCode::input, "these poses are on the CPU, which has no streams");
    }
    const bool versioned =
        !max_version.is_none() && argument<Pair>(max_version, "max_version", "a pair of numbers").first >= 1;
    return versioned ? give<dlpack::Versioned>(array, "dltensor_versioned") : give<dlpack::Managed>(array, "dltensor");
}

py::dict to_cuda_array_interface(const DeviceArray& array) {
    if (!array.on_cuda()) throw py::attribute_error("the poses are on the CPU; use __dlpack__");
    array.poses->share();  // the protocol does not say who reads
    py::dict out;
    out["shape"] = py::tuple(py::cast(array.shape));
    out["typestr"] = array.integers ? "<i4" : "<f4";
    out["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(array.data), false);
    out["strides"] = py::none();
    out["stream"] = reinterpret_cast<uintptr_t>(array.poses->stream);
    out["version"] = 3;
    return out;
}

using Poses2 = std::shared_ptr<DevicePoses>;

DeviceArray part(const Poses2& poses, void* data, bool integers, std::vector<int64_t> rest) {
    rest.insert(rest.begin(), poses->frames);
    return {poses, data, integers, std::move(rest)};
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string out;
    for (const int64_t side : shape) out += (out.empty() ? "" : "×") + std::to_string(side);
    return out.empty() ? "a single number" : out;
}

Array read_device_bytes(const py::object& object, const InputPlace& place, const std::string& what,
                        std::vector<py::object>& owners) {
    if (place.device.type != DeviceType::cuda)
        fail(what + ": the array is on a GPU, this engine runs on the CPU; copy it to host memory first");
    Array array = parse(object, place, what, owners);
    if (array.dtype != DType::u8)
        fail(what + ": the array is " + std::string(to_string(array.dtype)) + ", expected uint8");
    return array;
}

std::pair<int, int> dlpack_device(const py::object& object, const std::string& what) {
    try {
        const auto device = object.attr("__dlpack_device__")().cast<py::tuple>();
        if (device.size() == 2) return {device[0].cast<int>(), device[1].cast<int>()};
    } catch (const py::error_already_set& error) {
        fail(what + ": its __dlpack_device__ cannot be used (" + std::string(py::str(error.value())) + ")");
    } catch (const py::cast_error&) {
        // Told below.
    }
    fail(what + ": its __dlpack_device__ gives no pair of numbers; it is to give DLPack's device type and index");
}

bool is_device_array(const py::object& object, const std::string& what) {
    // A picture on the host may have every protocol there is; numpy's has no device.
    if (py::isinstance<py::array>(object)) return false;
    if (py::hasattr(object, "__dlpack_device__")) {
        const int type = dlpack_device(object, what).first;
        return type == dlpack::kCuda || type == dlpack::kCudaManaged;
    }
    return py::hasattr(object, "__cuda_array_interface__");
}

void append_device_array(Frames& frames, const py::object& object, const InputPlace& place, PixelFormat format,
                         const std::string& what) {
    if (place.device.type != DeviceType::cuda)
        fail(what + ": the array is on a GPU, this engine runs on the CPU; copy it to host memory first");
    const Array array = parse(object, place, what, frames.owners);
    if (array.dtype == DType::u8) {
        append_pictures(frames, array, format, what);
        return;
    }
    if (!frames.views.empty() || frames.input.data)
        fail(what + ": a letterboxed input among other frames; pass all of them as one N×3×height×width array");
    frames.input = to_input(array, what);
}

namespace {

py::list parse_device_array(const py::object& object, int device, uintptr_t stream, const std::string& color) {
    Frames frames;
    const InputPlace place{{DeviceType::cuda, device}, reinterpret_cast<void*>(stream)};
    if (py::isinstance<Nv12>(object)) {
        append_nv12(frames, object.cast<const Nv12&>(), place, "frame 0");
    } else {
        append_device_array(frames, object, place, parse_color(color), "frame 0");
    }
    py::list views;
    for (const ImageView& v : frames.views) {
        if (v.format == PixelFormat::nv12) {
            views.append(py::make_tuple(reinterpret_cast<uintptr_t>(v.data), v.height, v.width, v.stride,
                                        reinterpret_cast<uintptr_t>(v.chroma), v.chroma_stride, to_string(v.device),
                                        reinterpret_cast<uintptr_t>(v.stream)));
            continue;
        }
        views.append(py::make_tuple(reinterpret_cast<uintptr_t>(v.data), v.height, v.width, v.stride,
                                    to_string(v.device), reinterpret_cast<uintptr_t>(v.stream)));
    }
    const InputView& i = frames.input;
    if (i.data)
        views.append(py::make_tuple(reinterpret_cast<uintptr_t>(i.data), i.batch, i.height, i.width,
                                    std::string(to_string(i.dtype)), to_string(i.device),
                                    reinterpret_cast<uintptr_t>(i.stream)));
    return views;
}

}  // namespace

void register_device_arrays(py::module_& m) {
    py::class_<DeviceArray>(m, "DeviceArray",
                            "An array of results in a device's memory, dense, read through protocols.")
        .def_property_readonly("shape", [](const DeviceArray& a) { return py::tuple(py::cast(a.shape)); })
        .def_property_readonly("dtype", [](const DeviceArray& a) { return a.integers ? "int32" : "float32"; })
        .def_property_readonly("device", [](const DeviceArray& a) { return to_string(a.poses->device); })
        .def_property_readonly("__cuda_array_interface__", &to_cuda_array_interface)
        .def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
             py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
        .def("__dlpack_device__", &DeviceArray::dlpack_device);

    py::class_<DevicePoses, Poses2>(m, "DevicePoses", "Results left on the device; see trtpose.DevicePoses.")
        .def_property_readonly("counts", [](const Poses2& p) { return part(p, p->counts, true, {}); })
        .def_property_readonly("boxes", [](const Poses2& p) { return part(p, p->boxes, false, {p->max_det, 4}); })
        .def_property_readonly("scores", [](const Poses2& p) { return part(p, p->scores, false, {p->max_det}); })
        .def_property_readonly("class_ids", [](const Poses2& p) { return part(p, p->class_ids, true, {p->max_det}); })
        .def_property_readonly(
            "keypoints",
            [](const Poses2& p) { return part(p, p->keypoints, false, {p->max_det, p->keypoints_per_pose, 3}); })
        .def_property_readonly("shapes",
                               [](const Poses2& p) {
                                   py::list out;
                                   for (const Size& s : p->frame_sizes) out.append(py::make_tuple(s.height, s.width));
                                   return out;
                               })
        .def_property_readonly("max_det", [](const Poses2& p) { return p->max_det; })
        .def_property_readonly("device", [](const Poses2& p) { return to_string(p->device); })
        .def_property_readonly("stream", [](const Poses2& p) { return reinterpret_cast<uintptr_t>(p->stream); })
        .def("__len__", [](const Poses2& p) { return p->frames; })
        .def("synchronize", &DevicePoses::synchronize, py::call_guard<ReleasedGil>());

    m.def("is_device_array", &is_device_array, py::arg("array"), py::arg("what") = "frame",
          "Whether an object is an array in the memory of a GPU. Raises InputError if it gives a nonsensical answer.");
    m.def("parse_device_array", &parse_device_array, py::arg("array"), py::kw_only(), py::arg("device") = 0,
          py::arg("stream") = 1, py::arg("color") = "bgr",
          "How an engine on cuda:`device` would read an array on a GPU; touches no memory. Raises InputError.");
}

}  // namespace trtpose::python
