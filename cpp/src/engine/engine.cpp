// SPDX-License-Identifier: Apache-2.0
#include "trtpose/engine.hpp"

#include <algorithm>
#include <mutex>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "core/thread_pool.hpp"
#include "engine/pipeline.hpp"
#include "engine/stopwatch.hpp"
#include "trtpose/ops/letterbox.hpp"

namespace trtpose {
namespace {

void check_thresholds(const Thresholds& t) {
    require(t.conf >= 0 && t.conf <= 1, ErrorCode::input, "conf ", t.conf, " must lie between 0 and 1");
    require(t.iou >= 0 && t.iou <= 1, ErrorCode::input, "iou ", t.iou, " must lie between 0 and 1");
    require(t.max_det >= 1 && t.max_det <= EngineOptions::kMaxMaxDet, ErrorCode::input, "max_det ", t.max_det,
            " must lie between 1 and ", EngineOptions::kMaxMaxDet);
}

std::unique_ptr<engine::Pipeline> make_pipeline(const engine::Setup& setup) {
    const Device device = setup.session.info().device;
    if (device.type == DeviceType::cpu) return engine::make_cpu_pipeline(setup);
#if TRTPOSE_WITH_CUDA
    return engine::make_cuda_pipeline(setup);
#else
    throw Error(ErrorCode::device, text("device ", to_string(device),
                                        ": this build of trtpose has no CUDA; install one "
                                        "that has, or use device cpu"));
#endif
}

}  // namespace

struct Engine::Impl {
    std::unique_ptr<Session> session;
    ModelSpec spec;
    EngineOptions options;
    Thresholds defaults;
    std::string origin;
    Size imgsz;
    int batch = 1;
    bool fixed_batch = false;
    bool fixed_size = false;
    std::vector<int> output_order;  ///< session output for each of the spec's outputs
    std::shared_ptr<ThreadPool> threads;

    mutable std::mutex mutex;
    StageTimes times;
    std::unique_ptr<engine::Pipeline> pipeline;

    Impl(std::unique_ptr<Session> session_in, const ModelSpec& spec_in, const EngineOptions& options_in)
        : session(std::move(session_in)), spec(spec_in), options(options_in) {
        defaults = {options.conf, options.iou, options.max_det, options.agnostic, options.oks};
        check_thresholds(defaults);
        require(options.batch >= 0 && options.batch <= 1024, ErrorCode::input, "batch ", options.batch,
                " must lie between 1 and 1024");
        require(options.threads >= 0 && options.threads <= 1024, ErrorCode::input, "threads ", options.threads,
                " must lie between 0 (all) and 1024");
        require(options.streams >= 1 && options.streams <= 256, ErrorCode::input, "streams ", options.streams,
                " must lie between 1 and 256");
        require(session != nullptr, ErrorCode::input, "engine: no session");
        threads = std::make_shared<ThreadPool>(options.threads);
        order_outputs();
        pipeline = make_pipeline({*session, spec, output_order, *threads, options.vram_budget});
        choose_size();
        choose_batch();
    }

    void order_outputs() {
        const auto& outputs = session->info().outputs;
        if (spec.outputs.empty()) {
            for (size_t i = 0; i < outputs.size(); ++i) output_order.push_back(static_cast<int>(i));
            return;
        }
        for (const auto& name : spec.outputs) {
            const auto found =
                std::find_if(outputs.begin(), outputs.end(), [&](const auto& o) { return o.name == name; });
            require(found != outputs.end(), ErrorCode::model, "model ", spec.name, ": no output '", name,
                    "'; the model spec does not fit this model");
            output_order.push_back(static_cast<int>(found - outputs.begin()));
        }
    }

    void choose_size() {
        const auto& shape = session->info().input.shape;
        require(shape.size() == 4, ErrorCode::model, "model ", spec.name, ": its input is ", shape_text(shape),
                ", expected N×3×H×W");
        const Size fixed{static_cast<int>(std::max<int64_t>(shape[2], 0)),
                         static_cast<int>(std::max<int64_t>(shape[3], 0))};
        fixed_size = fixed.height > 0 && fixed.width > 0;
        imgsz = options.imgsz.height || options.imgsz.width ? options.imgsz : fixed_size ? fixed : spec.imgsz;
        check_size(imgsz);
        require(!(options.rect && fixed_size), ErrorCode::input, "rect: model ", spec.name, " takes only ",
                fixed.height, "×", fixed.width, "; export it with a dynamic size to use rect");
    }

    void check_size(Size size) const {
        const int stride = spec.max_stride();
        const auto& shape = session->info().input.shape;
        require(size.height > 0 && size.width > 0 && size.height <= (1 << 16) && size.width <= (1 << 16),
                ErrorCode::input, "imgsz ", size.height, "×", size.width, " must lie between ", stride, " and 65536");
        require(size.height % stride == 0 && size.width % stride == 0, ErrorCode::input, "imgsz ", size.height, "×",
                size.width, " must be a multiple of the largest stride, ", stride, ": try ",
                (size.height + stride - 1) / stride * stride, "×", (size.width + stride - 1) / stride * stride);
        require((shape[2] <= 0 || shape[2] == size.height) && (shape[3] <= 0 || shape[3] == size.width),
                ErrorCode::input, "imgsz ", size.height, "×", size.width, ": model ", spec.name, " takes ", shape[2],
                "×", shape[3], " alone; export it with a dynamic size or leave imgsz out");
    }

    void choose_batch() {
        const auto& shape = session->info().input.shape;
        fixed_batch = shape[0] > 0;
        if (fixed_batch) {
            require(options.batch == 0 || options.batch == shape[0], ErrorCode::input, "batch ", options.batch,
                    ": model ", spec.name, " takes ", shape[0],
                    " alone; export it with a dynamic batch or leave batch out");
            batch = static_cast<int>(shape[0]);
        } else {
            batch = options.batch ? options.batch : 1;
        }
        // Plan, and compare with the budget, before the first frame.
        pipeline->prepare(batch, imgsz, defaults);
    }

    /// The input size for a frame.
    Size input_size(const ImageView& frame) const {
        if (!options.rect) return imgsz;
        const math::Letterbox place = math::letterbox(frame.width, frame.height, imgsz.width, imgsz.height);
        const int stride = spec.max_stride();
        const auto up = [&](int side, int limit) { return std::min((side + stride - 1) / stride * stride, limit); };
        return {up(place.height, imgsz.height), up(place.width, imgsz.width)};
    }

    /// Where a frame must be: a GPU also takes what lies in host memory.
    Device home_of(Device device) const {
        const Device own = session->info().device;
        return own.type == DeviceType::cuda && device.type == DeviceType::cpu ? device : own;
    }

    engine::Work plan_runs(Span<const ImageView> frames) const {
        engine::Work work;
        work.frames = frames;
        for (size_t i = 0; i < frames.size(); ++i)
            ops::Letterbox::check(frames[i], home_of(frames[i].device), text("frame ", i));
        for (size_t first = 0; first < frames.size();) {
            // Neighbours of one input size run together; without rect that is everybody.
            const Size size = input_size(frames[first]);
            size_t count = 1;
            while (count < static_cast<size_t>(batch) && first + count < frames.size() &&
                   input_size(frames[first + count]) == size)
                ++count;
            work.runs.push_back({first, static_cast<int>(count), fixed_batch ? batch : static_cast<int>(count), size});
            first += count;
        }
        return work;
    }

    engine::Work plan_runs(const InputView& input) const {
        require(input.batch >= 1, ErrorCode::input, "batch of ", input.batch, ": give at least one input");
        check_size({input.height, input.width});
        require(input.data != nullptr, ErrorCode::input, "a letterboxed input has no data");
        require(input.device == home_of(input.device), ErrorCode::input, "the letterboxed input is on ",
                to_string(input.device), ", the engine on ", to_string(session->info().device));
        engine::Work work;
        work.input = input;
        for (int first = 0; first < input.batch; first += batch) {
            const int count = std::min(batch, input.batch - first);
            work.runs.push_back(
                {static_cast<size_t>(first), count, fixed_batch ? batch : count, {input.height, input.width}});
        }
        return work;
    }

    /// `input`: frames or letterboxed inputs; `call` does the work.
    template <typename Input, typename Call>
    auto timed(const Input& input, const Thresholds& t, Call&& call) {
        check_thresholds(t);
        const std::lock_guard lock(mutex);
        engine::Stopwatch total;
        times = {};
        auto out = call(plan_runs(input));
        times.total = total.lap();
        return out;
    }

    template <typename Input>
    std::vector<Poses> infer(const Input& input, const Thresholds& t) {
        return timed(input, t, [&](const engine::Work& work) { return pipeline->run(work, t, times); });
    }

    template <typename Input>
    DevicePoses infer_device(const Input& input, const Thresholds& t) {
        return timed(input, t, [&](const engine::Work& work) { return pipeline->run_device(work, t, times); });
    }
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::Engine(const std::string& path, const EngineOptions& options) {
    ModelFile file = read_model_file(path);
    SessionOptions wanted;
    wanted.device = options.device;
    wanted.precision = options.precision;
    wanted.threads = options.threads;
    wanted.streams = options.streams;
    auto session = open_session(file, wanted);
    if (file.inputs.empty()) {  // an engine file names its tensors only to the library that made it
        file.inputs = {session->info().input};
        file.outputs = session->info().outputs;
    }
    const FoundSpec found = find_spec(file, options.spec);
    impl_ = std::make_unique<Impl>(std::move(session), found.spec, options);
    impl_->origin = found.origin;
}

Engine::Engine(std::unique_ptr<Session> session, const ModelSpec& spec, const EngineOptions& options) {
    ModelSpec::from_json(spec.to_json(), "model spec " + spec.name);  // checks what a program put together
    impl_ = std::make_unique<Impl>(std::move(session), spec, options);
    impl_->origin = "the caller";
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

std::vector<Poses> Engine::infer(Span<const ImageView> frames) { return impl_->infer(frames, impl_->defaults); }

std::vector<Poses> Engine::infer(Span<const ImageView> frames, const Thresholds& thresholds) {
    return impl_->infer(frames, thresholds);
}

std::vector<Poses> Engine::infer_tensor(const float* input, int batch, Size size, const Thresholds& thresholds) {
    InputView view;
    view.data = input;
    view.batch = batch;
    view.height = size.height;
    view.width = size.width;
    return impl_->infer(view, thresholds);
}

std::vector<Poses> Engine::infer_tensor(const InputView& input, const Thresholds& thresholds) {
    return impl_->infer(input, thresholds);
}

DevicePoses Engine::infer_device(Span<const ImageView> frames, const Thresholds& thresholds) {
    return impl_->infer_device(frames, thresholds);
}

DevicePoses Engine::infer_tensor_device(const InputView& input, const Thresholds& thresholds) {
    return impl_->infer_device(input, thresholds);
}

std::vector<float> Engine::letterbox(const ImageView& frame, Size* size) const {
    ops::Letterbox::check(frame, {}, "frame 0");
    const Size target = impl_->input_size(frame);
    const ops::Letterbox op(impl_->spec, target);
    HostBuffer scratch(op.workspace_bytes(1, {}));
    std::vector<float> out(3 * static_cast<size_t>(target.height) * static_cast<size_t>(target.width));
    math::Letterbox placement;
    op(Span<const ImageView>(&frame, 1), out.data(), &placement, {scratch.data(), scratch.size()},
       {{}, nullptr, nullptr});
    if (size) *size = target;
    return out;
}

Engine Engine::clone() const {
    auto copy = std::make_unique<Impl>(impl_->session->clone(), impl_->spec, impl_->options);
    copy->origin = impl_->origin;
    return Engine(std::move(copy));
}

const ModelSpec& Engine::spec() const { return impl_->spec; }
const SessionInfo& Engine::session() const { return impl_->session->info(); }
const Thresholds& Engine::thresholds() const { return impl_->defaults; }
Size Engine::imgsz() const { return impl_->imgsz; }
int Engine::batch() const { return impl_->batch; }
const std::string& Engine::spec_origin() const { return impl_->origin; }
void* Engine::input_stream() const { return impl_->pipeline->input_stream(); }

MemoryPlan Engine::memory() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->pipeline->memory();
}

StageTimes Engine::times() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->times;
}

}  // namespace trtpose
