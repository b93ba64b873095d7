// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"

namespace trtpose::python {
namespace {

std::string shape_text(const py::array& array) {
    std::string out;
    for (py::ssize_t i = 0; i < array.ndim(); ++i) out += (i ? "×" : "") + std::to_string(array.shape(i));
    return out.empty() ? "a single number" : out;
}

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::input, message); }

/// numpy's view of an object, without a copy.
py::array as_array(const py::object& picture, const std::string& what) {
    if (py::isinstance<py::array>(picture)) return picture.cast<py::array>();
    const auto numpy = py::module_::import("numpy");
    if (py::hasattr(picture, "__dlpack_device__")) {
        constexpr int kDLCPU = 1, kDLCUDAHost = 3;
        const int device = dlpack_device(picture, what).first;
        if (device != kDLCPU && device != kDLCUDAHost)
            fail(what + ": the array is on another device, this engine runs on the CPU; copy it to host memory first");
        try {
            return numpy.attr("from_dlpack")(picture).cast<py::array>();
        } catch (const py::error_already_set& error) {
            fail(what + ": its __dlpack__ cannot be used (" + std::string(py::str(error.value())) + ")");
        }
    }
    if (PyObject_CheckBuffer(picture.ptr()) && !py::isinstance<py::bytes>(picture))
        return numpy.attr("asarray")(picture).cast<py::array>();
    fail(what + ": a " + std::string(py::str(py::type::of(picture).attr("__name__"))) +
         " is no picture; pass a height×width×3 uint8 array (numpy or DLPack)");
}

void append_image(Frames& frames, py::array array, PixelFormat format, const std::string& what) {
    const bool bytes = array.dtype().is(py::dtype::of<uint8_t>()) || array.dtype().equal(py::dtype::of<uint8_t>());
    const std::string type = bytes ? "" : " of " + std::string(py::str(py::object(array.dtype())));
    if (array.ndim() != 3 || array.shape(2) != 3)
        fail(what + ": the array is " + shape_text(array) + type + ", expected height×width×3" +
             (!bytes ? " of uint8 from 0 to 255"
              : array.ndim() == 2 || (array.ndim() == 3 && (array.shape(2) == 1 || array.shape(2) == 4))
                  ? "; convert it with cv2.cvtColor"
              : array.ndim() == 3 && array.shape(0) == 3 ? "; move the channels last"
                                                         : ""));
    if (!bytes) fail(what + ": the array is" + type.substr(3) + ", expected uint8 from 0 to 255");
    if (array.shape(0) == 0 || array.shape(1) == 0)
        fail(what + ": the array is " + shape_text(array) + ", it has no pixels");
    if (array.shape(0) > (1 << 30) || array.shape(1) > (1 << 30))
        fail(what + ": the array is " + shape_text(array) + ", too large");
    // Pixels must be packed; rows may be padded or run upwards. One row needs no row stride at all.
    const bool packed = array.strides(2) == 1 && (array.strides(1) == 3 || array.shape(1) == 1);
    const py::ssize_t row = 3 * array.shape(1);
    const bool rows = array.shape(0) == 1 || array.strides(0) >= row || array.strides(0) <= -row;
    if (!packed || !rows) array = py::module_::import("numpy").attr("ascontiguousarray")(array).cast<py::array>();
    ImageView view;
    view.data = static_cast<const uint8_t*>(array.data());
    view.height = static_cast<int>(array.shape(0));
    view.width = static_cast<int>(array.shape(1));
    view.stride = array.shape(0) == 1 ? 0 : array.strides(0);
    view.format = format;
    frames.views.push_back(view);
    frames.owners.push_back(std::move(array));
}

/// Whether the bytes of a row lie side by side and rows do not overlap.
bool rows_are_packed(const py::array& array) {
    py::ssize_t row = 1;
    for (py::ssize_t i = array.ndim(); i-- > 1;) {
        if (array.shape(i) > 1 && array.strides(i) != row) return false;
        row *= array.shape(i);
    }
    return array.ndim() < 2 || array.shape(0) == 1 || array.strides(0) >= row || array.strides(0) <= -row;
}

}  // namespace

Array read_host_bytes(const py::object& object, const std::string& what, std::vector<py::object>& owners) {
    py::array array = as_array(object, what);
    if (!array.dtype().equal(py::dtype::of<uint8_t>()))
        fail(what + ": the array is " + std::string(py::str(py::object(array.dtype()))) + ", expected uint8");
    Array out;
    out.dtype = DType::u8;
    for (py::ssize_t i = 0; i < array.ndim(); ++i) {
        if (array.shape(i) == 0) fail(what + ": the array is " + shape_text(array) + ", it has no pixels");
        if (array.shape(i) > (1 << 30)) fail(what + ": the array is " + shape_text(array) + ", too large");
    }
    if (!rows_are_packed(array)) array = py::module_::import("numpy").attr("ascontiguousarray")(array);
    out.data = static_cast<const uint8_t*>(array.data());
    out.shape.assign(array.shape(), array.shape() + array.ndim());
    out.strides.assign(array.strides(), array.strides() + array.ndim());
    owners.push_back(array);
    return out;
}

void append_frame(Frames& frames, const py::object& picture, PixelFormat format, const std::string& what) {
    if (py::isinstance<Nv12>(picture)) return append_nv12(frames, picture.cast<const Nv12&>(), {}, what);
    append_image(frames, as_array(picture, what), format, what);
}

PixelFormat parse_color(const std::string& color) {
    if (color == "bgr") return PixelFormat::bgr;
    if (color == "rgb") return PixelFormat::rgb;
    fail("color '" + color + "' is not known; use bgr or rgb");
}

}  // namespace trtpose::python
