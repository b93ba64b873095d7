// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"

namespace trtpose::python {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::input, message); }

/// Rows of bytes that lie side by side; only the rows may be further apart.
ptrdiff_t row_stride(const Array& plane, const std::string& what) {
    const auto& shape = plane.shape;
    int64_t row = 1;
    bool packed = true;
    for (size_t i = shape.size(); i-- > 1;) {
        packed &= shape[i] == 1 || plane.strides[i] == row;
        row *= shape[i];
    }
    const int64_t stride = shape[0] == 1 ? row : plane.strides[0];
    if (!packed || (stride < row && stride > -row))
        fail(what + ": its bytes are not packed, only rows may be further apart; make the array contiguous");
    return static_cast<ptrdiff_t>(stride);
}

}  // namespace

void append_nv12(Frames& frames, const Nv12& picture, const InputPlace& place, const std::string& what) {
    const bool on_gpu = is_device_array(picture.luma, what + ", luma"), one_array = picture.chroma.is_none();
    if (!one_array && is_device_array(picture.chroma, what + ", chroma") != on_gpu)
        fail(what + ": luma and chroma are not on the same side, one is on a GPU and one is not");
    const auto read = [&](const py::object& object, const char* which) {
        return on_gpu ? read_device_bytes(object, place, what + ", " + which, frames.owners)
                      : read_host_bytes(object, what + ", " + which, frames.owners);
    };
    const Array luma = read(picture.luma, "luma");
    if (luma.shape.size() != 2)
        fail(what + ", luma: the array is " + shape_text(luma.shape) + ", expected height×width bytes");
    ImageView view;
    view.format = PixelFormat::nv12;
    view.yuv = picture.color;
    view.device = luma.device;
    view.stream = luma.stream;
    view.data = luma.data;
    view.stride = row_stride(luma, what + ", luma");
    view.width = static_cast<int>(luma.shape[1]);
    if (one_array) {
        const int64_t rows = luma.shape[0];
        if (rows % 3 != 0 || view.width % 2 != 0)
            fail(what + ": the array is " + shape_text(luma.shape) +
                 ", NV12 in one is (height·3/2)×width with both sides even; pass luma and chroma as two arrays");
        view.height = static_cast<int>(rows / 3 * 2);
        view.chroma = luma.data + view.stride * view.height;
        view.chroma_stride = view.stride;
    } else {
        view.height = static_cast<int>(luma.shape[0]);
        const Array chroma = read(picture.chroma, "chroma");
        const int64_t rows = (luma.shape[0] + 1) / 2, pairs = (luma.shape[1] + 1) / 2;
        const auto& s = chroma.shape;
        if (s != std::vector<int64_t>{rows, 2 * pairs} && s != std::vector<int64_t>{rows, pairs, 2})
            fail(what + ", chroma: the array is " + shape_text(s) + ", expected " + shape_text({rows, 2 * pairs}) +
                 " or " + shape_text({rows, pairs, 2}) + " for luma of " + shape_text(luma.shape));
        if (chroma.device.index != luma.device.index) fail(what + ": luma and chroma are on different GPUs");
        if (chroma.stream && view.stream && chroma.stream != view.stream)
            fail(what + ": luma and chroma are written by different streams; let one wait for the other");
        view.stream = view.stream ? view.stream : chroma.stream;
        view.chroma = chroma.data;
        view.chroma_stride = row_stride(chroma, what + ", chroma");
    }
    frames.views.push_back(view);
}

void register_nv12(py::module_& m) {
    py::class_<Nv12>(m, "Nv12", "A frame of decoded video; see trtpose.Nv12.")
        .def(py::init([](py::object luma, py::object chroma, bool bt709, bool full_range) {
                 const YuvColor color = bt709        ? full_range ? YuvColor::bt709_full : YuvColor::bt709_limited
                                        : full_range ? YuvColor::bt601_full
                                                     : YuvColor::bt601_limited;
                 return Nv12{std::move(luma), std::move(chroma), color};
             }),
             py::arg("luma"), py::arg("chroma"), py::kw_only(), py::arg("bt709"), py::arg("full_range"));
}

}  // namespace trtpose::python
