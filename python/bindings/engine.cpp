// SPDX-License-Identifier: Apache-2.0
#include <tuple>

#include "bindings.hpp"
#include "gil.hpp"
#include "trtpose/between_runs.hpp"
#include "trtpose/math/head.hpp"

namespace trtpose::python {
namespace {

/// Whether all is as trtpose.Poses wants it, which then need not look: numbers finite, classes among the spec's.
bool is_sound(const Poses& p, int classes) {
    bool sound = true;
    for (const auto* numbers : {&p.boxes, &p.scores, &p.keypoints}) {
        for (const float number : *numbers) sound &= math::is_finite(number);
    }
    for (const int32_t id : p.class_ids) sound &= id >= 0 && id < classes;
    return sound;
}

/// Poses as (boxes n×4, scores n, class_ids n, keypoints n×K×3, (height, width), is_sound), all without a copy.
py::tuple to_arrays(Poses&& p, int classes) {
    const py::ssize_t n = p.count, k = p.keypoints_per_pose;
    const bool sound = is_sound(p, classes);
    return py::make_tuple(take_array(std::move(p.boxes), {n, 4}), take_array(std::move(p.scores), {n}),
                          take_array(std::move(p.class_ids), {n}), take_array(std::move(p.keypoints), {n, k, 3}),
                          py::make_tuple(p.frame.height, p.frame.width), sound);
}

py::list to_list(const Engine& engine, std::vector<Poses>&& poses) {
    const int classes = engine.spec().classes();
    py::list out(poses.size());
    for (size_t i = 0; i < poses.size(); ++i) out[i] = to_arrays(std::move(poses[i]), classes);
    return out;
}

/// trtpose.Thresholds.native: the fields of Thresholds in their order.
using ThresholdTuple = std::tuple<float, float, int, bool, bool>;

Thresholds to_thresholds(const ThresholdTuple& fields) {
    return std::apply([](auto... field) { return Thresholds{field...}; }, fields);
}

using HostInput = py::array_t<float, py::array::c_style>;

InputView to_view(const HostInput& input) {
    if (input.ndim() != 4 || input.shape(1) != 3)
        throw Error(ErrorCode::input, "a letterboxed input must be N×3×height×width float32");
    constexpr py::ssize_t kMax = 1 << 20;
    for (py::ssize_t i = 0; i < 4; ++i) {
        if (input.shape(i) < 1 || input.shape(i) > kMax)
            throw Error(ErrorCode::input, "a letterboxed input has a side of impossible length");
    }
    InputView view;
    view.data = input.data();
    view.batch = static_cast<int>(input.shape(0));
    view.height = static_cast<int>(input.shape(2));
    view.width = static_cast<int>(input.shape(3));
    return view;
}

/// Every picture, wherever it lies.
Frames collect(const Engine& engine, const std::vector<py::object>& pictures, const std::string& color) {
    Frames frames;
    const PixelFormat format = parse_color(color);
    const InputPlace place{engine.session().device, engine.input_stream()};
    for (const py::object& picture : pictures) {
        const std::string what = "frame " + std::to_string(frames.views.size());
        if (frames.input.data)
            throw Error(ErrorCode::input, what +
                                              ": other frames behind a letterboxed input; pass all of them as one "
                                              "N×3×height×width array");
        if (py::isinstance<Nv12>(picture)) {
            append_nv12(frames, picture.cast<const Nv12&>(), place, what);
        } else if (is_device_array(picture, what)) {
            append_device_array(frames, picture, place, format, what);
        } else {
            append_frame(frames, picture, format, what);
        }
    }
    return frames;
}

using HeldEngine = std::unique_ptr<Engine, DeleteWithoutGil>;

HeldEngine open_engine(const std::string& path, const std::string& spec, const std::string& device,
                       const std::string& precision, std::pair<int, int> imgsz, int batch, bool rect,
                       const ThresholdTuple& thresholds, int threads, int streams, size_t vram_budget,
                       bool stage_times) {
    EngineOptions o;
    o.spec = spec;
    o.device = device;
    o.precision = precision;
    o.imgsz = {imgsz.first, imgsz.second};
    o.batch = batch;
    o.rect = rect;
    o.set(to_thresholds(thresholds));
    o.threads = threads;
    o.streams = streams;
    o.vram_budget = vram_budget;
    o.stage_times = stage_times;
    const ReleasedGil released;
    return HeldEngine(new Engine(path, o));
}

/// An engine whose network somebody else runs.
HeldEngine engine_on_network(const py::function& run, const std::string& backend, const std::string& input,
                             const std::vector<int64_t>& shape, const std::vector<std::vector<int64_t>>& profile,
                             const std::vector<std::pair<std::string, std::vector<int64_t>>>& outputs,
                             const std::string& spec, int batch, const ThresholdTuple& thresholds, int threads) {
    SessionInfo info;
    info.backend = backend;
    info.precision = "f32";
    info.input = {input, DType::f32, shape};
    for (const auto& [name, dims] : outputs) info.outputs.push_back({name, DType::f32, dims});
    if (profile.size() == 3) info.profiles.push_back({profile[0], profile[1], profile[2]});
    EngineOptions o;
    o.batch = batch;
    o.set(to_thresholds(thresholds));
    o.threads = threads;
    const ModelSpec read = ModelSpec::from_json(spec, "model spec");
    auto session = make_outside_session(run, info);
    const ReleasedGil released;
    return HeldEngine(new Engine(std::move(session), read, o));
}

py::list infer(Engine& engine, const std::vector<py::object>& pictures, const std::string& color,
               const ThresholdTuple& thresholds) {
    const Frames frames = collect(engine, pictures, color);
    const Thresholds t = to_thresholds(thresholds);
    std::vector<Poses> poses;
    {
        const ReleasedGil released;
        const BetweenRuns between(&look_around);
        poses = frames.input.data ? engine.infer_tensor(frames.input, t) : engine.infer(frames.views, t);
    }
    return to_list(engine, std::move(poses));
}

std::shared_ptr<DevicePoses> infer_device(Engine& engine, const std::vector<py::object>& pictures,
                                          const std::string& color, const ThresholdTuple& thresholds) {
    const Frames frames = collect(engine, pictures, color);
    const Thresholds t = to_thresholds(thresholds);
    const ReleasedGil released;
    const BetweenRuns between(&look_around);
    return std::make_shared<DevicePoses>(frames.input.data ? engine.infer_tensor_device(frames.input, t)
                                                           : engine.infer_device(frames.views, t));
}

py::list infer_tensor(Engine& engine, const HostInput& input, const ThresholdTuple& thresholds) {
    const InputView view = to_view(input);
    const Thresholds t = to_thresholds(thresholds);
    std::vector<Poses> poses;
    {
        const ReleasedGil released;
        const BetweenRuns between(&look_around);
        poses = engine.infer_tensor(view, t);
    }
    return to_list(engine, std::move(poses));
}

std::shared_ptr<DevicePoses> infer_tensor_device(Engine& engine, const HostInput& input,
                                                 const ThresholdTuple& thresholds) {
    const InputView view = to_view(input);
    const Thresholds t = to_thresholds(thresholds);
    const ReleasedGil released;
    const BetweenRuns between(&look_around);
    return std::make_shared<DevicePoses>(engine.infer_tensor_device(view, t));
}

/// A ticket is its number to Python. The frames have been read when this returns, and nothing holds them.
uint64_t submit(Engine& engine, const std::vector<py::object>& pictures, const std::string& color,
                const ThresholdTuple& thresholds) {
    const Frames frames = collect(engine, pictures, color);
    const Thresholds t = to_thresholds(thresholds);
    const ReleasedGil released;
    const BetweenRuns between(&look_around);
    return (frames.input.data ? engine.submit_tensor(frames.input, t) : engine.submit(frames.views, t)).number;
}

uint64_t submit_tensor(Engine& engine, const HostInput& input, const ThresholdTuple& thresholds) {
    const InputView view = to_view(input);
    const Thresholds t = to_thresholds(thresholds);
    const ReleasedGil released;
    const BetweenRuns between(&look_around);
    return engine.submit_tensor(view, t).number;
}

py::list take(Engine& engine, uint64_t ticket) {
    std::vector<Poses> poses;
    {
        const ReleasedGil released;
        poses = engine.collect(Ticket{ticket});
    }
    return to_list(engine, std::move(poses));
}

py::dict memory(const Engine& engine) {
    const MemoryPlan p = [&] {
        const ReleasedGil released;  // a call that has the engine's lock may be waiting for Python
        return engine.memory();
    }();
    py::dict out;
    out["weights"] = p.weights;
    out["activations"] = p.activations;
    out["io"] = p.io;
    out["staging"] = p.staging;
    out["workspace"] = p.workspace;
    out["total"] = p.total();
    return out;
}

py::dict timings(const Engine& engine) {
    const StageTimes t = [&] {
        const ReleasedGil released;
        return engine.times();
    }();
    py::dict out;
    out["letterbox"] = t.letterbox;
    out["network"] = t.network;
    out["decode"] = t.decode;
    out["nms"] = t.nms;
    out["total"] = t.total;
    return out;
}

}  // namespace

void register_engine(py::module_& m) {
    m.def(
        "check_thresholds", [](const ThresholdTuple& thresholds) { check_thresholds(to_thresholds(thresholds)); },
        py::arg("thresholds"), "Raises InputError where one is out of its range.");
    py::class_<Engine, HeldEngine>(m, "Engine", "A network and everything around it; see trtpose.Engine.")
        .def(py::init(&open_engine), py::kw_only(), py::arg("path"), py::arg("spec"), py::arg("device"),
             py::arg("precision"), py::arg("imgsz"), py::arg("batch"), py::arg("rect"), py::arg("thresholds"),
             py::arg("threads"), py::arg("streams"), py::arg("vram_budget"), py::arg("stage_times"))
        .def_static("on_network", &engine_on_network, py::kw_only(), py::arg("run"), py::arg("backend"),
                    py::arg("input"), py::arg("shape"), py::arg("profile"), py::arg("outputs"), py::arg("spec"),
                    py::arg("batch"), py::arg("thresholds"), py::arg("threads"))
        .def("infer", &infer, py::arg("frames"), py::kw_only(), py::arg("color"), py::arg("thresholds"))
        .def("infer_device", &infer_device, py::arg("frames"), py::kw_only(), py::arg("color"), py::arg("thresholds"))
        .def("infer_tensor", &infer_tensor, py::arg("input"), py::kw_only(), py::arg("thresholds"))
        .def("infer_tensor_device", &infer_tensor_device, py::arg("input"), py::kw_only(), py::arg("thresholds"))
        .def("submit", &submit, py::arg("frames"), py::kw_only(), py::arg("color"), py::arg("thresholds"))
        .def("submit_tensor", &submit_tensor, py::arg("input"), py::kw_only(), py::arg("thresholds"))
        .def("collect", &take, py::arg("ticket"))
        .def_property_readonly("max_in_flight", &Engine::max_in_flight)
        .def("clone", &Engine::clone, py::call_guard<ReleasedGil>())
        .def_property_readonly("spec_json", [](const Engine& e) { return e.spec().to_json(); })
        .def_property_readonly("spec_origin", &Engine::spec_origin)
        .def_property_readonly("device", [](const Engine& e) { return to_string(e.session().device); })
        .def_property_readonly("backend", [](const Engine& e) { return e.session().backend; })
        .def_property_readonly("backend_version", [](const Engine& e) { return e.session().version; })
        .def_property_readonly("precision", [](const Engine& e) { return e.session().precision; })
        .def_property_readonly("batch", &Engine::batch)
        .def_property_readonly("imgsz",
                               [](const Engine& e) { return std::make_pair(e.imgsz().height, e.imgsz().width); })
        .def_property_readonly("memory", &memory)
        .def_property_readonly("timings", &timings);
}

}  // namespace trtpose::python
