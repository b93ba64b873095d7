// SPDX-License-Identifier: Apache-2.0
#include "bindings.hpp"
#include "gil.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose::python {

void register_ops(py::module_& m) {
    m.def(
        "letterbox",
        [](const py::object& frame, std::pair<int, int> size, const std::string& color, const std::string& spec_json) {
            Frames frames;
            append_frame(frames, frame, parse_color(color), "frame");
            const ModelSpec spec = spec_json.empty() ? ModelSpec{} : ModelSpec::from_json(spec_json, "model spec");
            const ops::Letterbox op(spec, {size.first, size.second});
            ops::Letterbox::check(frames.views[0], {}, "frame");
            math::Letterbox place{};
            std::vector<float> out(3 * static_cast<size_t>(size.first) * static_cast<size_t>(size.second));
            {
                const ReleasedGil released;
                std::vector<char> scratch(op.workspace_bytes(1, {}) + kAlignment);
                const auto start = align_up(reinterpret_cast<size_t>(scratch.data()));
                op(frames.views, out.data(), &place, {reinterpret_cast<void*>(start), op.workspace_bytes(1, {})}, {});
            }
            py::dict placement;
            placement["width"] = place.width;
            placement["height"] = place.height;
            placement["left"] = place.left;
            placement["top"] = place.top;
            return py::make_tuple(take_array(std::move(out), {3, size.first, size.second}), placement);
        },
        py::arg("frame"), py::arg("size"), py::arg("color") = "bgr", py::arg("spec") = "",
        "The network's input for a frame (3×height×width float32), and where the frame lies in it. Raises InputError.");
}

}  // namespace trtpose::python
