// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "trtpose/engine.hpp"

namespace trtpose::python {

namespace py = pybind11;

void register_errors(py::module_& m);
void register_files(py::module_& m);
void register_ops(py::module_& m);
void register_magnitudes(py::module_& m);
void register_engine(py::module_& m);
void register_network_times(py::module_& m);
void register_device_arrays(py::module_& m);
/// Engines that no native module serves run through TensorRT's Python package.
void register_vendor();

/// A network that a function of Python runs: float32 arrays in, N × 3 × height × width, and a list of those that come
/// out, in the order of `outputs`, N first. The input is valid during the call alone. What comes out for a size is
/// asked once, with an input of zeros.
std::unique_ptr<Session> make_outside_session(py::function run, const SessionInfo& info);

/// Pictures given from Python, or one letterboxed input on a GPU, with what keeps their memory alive.
struct Frames {
    std::vector<ImageView> views;
    InputView input;
    std::vector<py::object> owners;
};

/// The engine's device, and on CUDA the stream that is to wait for those who make arrays there.
struct InputPlace {
    Device device;
    void* stream = nullptr;
};

/// Somebody's array, on either side.
struct Array {
    const uint8_t* data = nullptr;
    std::vector<int64_t> shape;
    std::vector<int64_t> strides;  ///< bytes
    DType dtype = DType::other;
    Device device;
    void* stream = nullptr;  ///< that still writes it
};

/// An array of bytes in host memory: numpy's or anything with __dlpack__ on the CPU. Throws Error(input).
Array read_host_bytes(const py::object& object, const std::string& what, std::vector<py::object>& owners);
/// An array of bytes on the GPU of `place`. Throws Error(input).
Array read_device_bytes(const py::object& object, const InputPlace& place, const std::string& what,
                        std::vector<py::object>& owners);

/// "2×3×4".
std::string shape_text(const std::vector<int64_t>& shape);

/// A frame of decoded video as Python gives it.
struct Nv12 {
    py::object luma, chroma;  ///< chroma: none where the one array holds both
    YuvColor color;
};
void register_nv12(py::module_& m);
/// Its planes, on either side. Throws Error(input).
void append_nv12(Frames& frames, const Nv12& picture, const InputPlace& place, const std::string& what);

/// The device that an object's __dlpack_device__ names, as DLPack numbers them. Throws Error(input) if that is
/// nonsense.
std::pair<int, int> dlpack_device(const py::object& object, const std::string& what);

/// Whether an object is an array in the memory of a GPU. Throws Error(input) if it gives a nonsensical answer.
bool is_device_array(const py::object& object, const std::string& what = "frame");

/// Such an array: one picture, N of them, or the letterboxed input. Throws Error(input).
void append_device_array(Frames& frames, const py::object& object, const InputPlace& place, PixelFormat format,
                         const std::string& what);

/// A picture as height×width×3 uint8, a numpy array or anything with __dlpack__ on the CPU, or an Nv12 of such. Rows
/// may be padded, other strides are copied. Throws Error(input); `what` names it.
void append_frame(Frames& frames, const py::object& picture, PixelFormat format, const std::string& what);

/// A vector as a numpy array that owns it: no copy.
template <typename T>
py::array_t<T> take_array(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
    auto* held = new std::vector<T>(std::move(values));
    const py::capsule owner(held, [](void* p) { delete static_cast<std::vector<T>*>(p); });
    return py::array_t<T>(std::move(shape), held->data(), owner);
}

PixelFormat parse_color(const std::string& color);

}  // namespace trtpose::python
