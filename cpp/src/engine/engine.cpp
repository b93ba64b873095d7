// SPDX-License-Identifier: Apache-2.0
#include "trtpose/engine.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <type_traits>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "core/fork.hpp"
#include "core/thread_pool.hpp"
#include "engine/network_shapes.hpp"
#include "engine/pipeline.hpp"
#include "engine/stopwatch.hpp"
#include "trtpose/ops/letterbox.hpp"
#include "trtpose/own_nms.hpp"

namespace trtpose {

void check_thresholds(const Thresholds& t) {
    require(t.conf >= 0 && t.conf <= 1, ErrorCode::input, "conf ", t.conf, " must lie between 0 and 1");
    require(t.iou >= 0 && t.iou <= 1, ErrorCode::input, "iou ", t.iou, " must lie between 0 and 1");
    require(t.max_det >= 1 && t.max_det <= EngineOptions::kMaxMaxDet, ErrorCode::input, "max_det ", t.max_det,
            " must lie between 1 and ", EngineOptions::kMaxMaxDet);
}

namespace {

// What a budget may buy at most where the network sets no bound; beyond it a GPU gains nothing.
constexpr int kMaxChosenBatch = 32;

// Threads that pack frames for a GPU unless the caller wants another number.
constexpr int kMaxCopyThreads = 4;

/// The largest n from `lowest` to `highest` that is `good`, where those below a good one are good too; 0: none.
template <typename Good>
int largest_good(int lowest, int highest, Good&& good) {
    if (highest < lowest) return 0;
    if (good(highest)) return highest;
    if (highest == lowest || !good(lowest)) return 0;
    while (highest - lowest > 1) {
        const int middle = lowest + (highest - lowest) / 2;
        (good(middle) ? lowest : highest) = middle;
    }
    return lowest;
}

std::unique_ptr<engine::Pipeline> make_pipeline(const engine::EngineParts& parts) {
    const Device device = parts.session.info().device;
    if (device.type == DeviceType::cpu) return engine::make_cpu_pipeline(parts);
#if TRTPOSE_WITH_CUDA
    return engine::make_cuda_pipeline(parts);
#else
    throw Error(ErrorCode::device, text("device ", to_string(device),
                                        ": this build of trtpose has no CUDA; install one "
                                        "that has, or use device cpu"));
#endif
}

}  // namespace

struct Engine::Impl {
    Birth birth;
    std::unique_ptr<Session> session;
    ModelSpec spec;
    EngineOptions options;
    Thresholds defaults;
    std::string origin;
    std::optional<engine::NetworkShapes> shapes;
    Size imgsz;
    int batch = 1;
    int most_frames = 0;            ///< of a run, as its own NMS bounds them; 0: not
    std::vector<int> output_order;  ///< session output for each of the spec's outputs
    std::shared_ptr<ThreadPool> threads;

    /// What collect() will ask for.
    struct Submitted {
        std::vector<ImageView> frames;  ///< their sizes alone, once it has begun
        engine::Call call;
        std::optional<engine::Flight> flight;
    };

    mutable std::mutex mutex;
    StageTimes times;
    std::map<uint64_t, std::unique_ptr<Submitted>> in_flight;  ///< outlives the pipeline, by the ticket's number
    std::unique_ptr<engine::Pipeline> pipeline;

    /// `most_frames_in`: frames_of_own_nms(). `settled_batch`: what the engine that this is a clone of has chosen; 0:
    /// it is none.
    Impl(std::unique_ptr<Session> session_in, const ModelSpec& spec_in, const EngineOptions& options_in,
         int most_frames_in, int settled_batch = 0)
        : session(std::move(session_in)), spec(spec_in), options(options_in), most_frames(most_frames_in) {
        defaults = options.thresholds();
        check_thresholds(defaults);
        require(options.batch >= 0 && options.batch <= 1024, ErrorCode::input, "batch ", options.batch,
                " must lie between 1 and 1024");
        require(options.threads >= 0 && options.threads <= 1024, ErrorCode::input, "threads ", options.threads,
                " must lie between 0 (all) and 1024");
        require(options.streams >= 1 && options.streams <= 256, ErrorCode::input, "streams ", options.streams,
                " must lie between 1 and 256");
        require(session != nullptr, ErrorCode::input, "engine: no session");
        // Beside a GPU they only copy frames, for which a few threads take all of the memory's speed.
        const bool beside_gpu = session->info().device.type == DeviceType::cuda && options.threads == 0;
        threads = std::make_shared<ThreadPool>(beside_gpu ? std::min(kMaxCopyThreads, ThreadPool::available())
                                                          : options.threads);
        order_outputs();
        leave_out_low_rows();
        pipeline = make_pipeline(parts());
        shapes.emplace(session->info(), spec, most_frames);
        choose_size();
        choose_batch(settled_batch);
        // Plan, and compare with the budget, before the first frame.
        pipeline->prepare(batch, imgsz, defaults);
    }

    /// Throws Error(device) in a process forked from the one that opened the engine.
    void check_process() const {
        if (!birth.here())
            throw Error(ErrorCode::device, text("model ", spec.name,
                                                ": the engine was opened before this process was forked, and its "
                                                "threads stayed behind; open a new Engine in this process"));
    }

    engine::EngineParts parts() {
        return {*session, spec, output_order, *threads, options.vram_budget, options.stage_times, most_in_flight()};
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

    /// Where most rows are low, as the threshold is not that of an evaluation.
    void leave_out_low_rows() {
        constexpr float kMostAreLow = 0.1f;
        ScoredRows rows;
        if (defaults.conf >= kMostAreLow) rows = families::family_of(spec).scored_rows(spec);
        if (rows.scores > 0) rows.output = static_cast<size_t>(output_order.at(rows.output));
        session->leave_out_low_rows(rows);
    }

    void choose_size() {
        imgsz = options.imgsz.height || options.imgsz.width ? options.imgsz : shapes->usual_size();
        shapes->check_size(imgsz);
        require(!(options.rect && shapes->one_size()), ErrorCode::input, "rect: model ", spec.name, " takes only ",
                engine::size_text(imgsz), "; export or build it with a dynamic size to use rect");
    }

    void choose_batch(int settled) {
        batch = settled ? settled : options.batch ? options.batch : shapes->usual_batch(imgsz);
        shapes->check_batch(batch, imgsz);
        if (settled || !options.vram_budget) return;

        const int smallest = shapes->smallest_batch(imgsz), largest = shapes->largest_batch(imgsz);
        const auto plan = [&](int n, size_t frame) {
            return pipeline->plan(shapes->padded(n, imgsz), imgsz, defaults, frame);
        };
        const auto fits = [&](int n, size_t frame = 0) { return plan(n, frame).total() <= options.vram_budget; };
        if (options.batch == 0 && session->info().device.type == DeviceType::cuda) {
            // Not so large that there is no room left for a usual frame on its way.
            const int most = shapes->any_batch() ? kMaxChosenBatch : largest;
            const int chosen = largest_good(smallest, most, [&](int n) { return fits(n, engine::kUsualFrame); });
            batch = shapes->padded(std::max(chosen, smallest), imgsz);
            if (chosen) return;
        }
        if (fits(batch)) return;
        if (const int n = largest_good(smallest, batch - 1, fits))
            check_budget(parts(), plan(batch, 0), batch, imgsz, text("batch ", n, " fits"));
        stream_weights();
        const MemoryPlan left = plan(batch, 0);
        if (left.total() <= options.vram_budget) return;
        const SessionInfo& info = session->info();
        std::string remedy;
        if (batch > smallest) {
            remedy = text("batch ", smallest, " needs ", engine::mebibytes(plan(smallest, 0).total()));
        } else if (!info.profiles.empty() && info.streamable_weight_bytes == 0) {
            remedy = "take a smaller size; or build the engine with --weight-streaming";
        }
        check_budget(parts(), left, batch, imgsz, remedy);
    }

    /// Leave as much of the weights in the host's memory as the budget asks for and the network can do.
    void stream_weights() {
        const size_t streamable = session->info().streamable_weight_bytes;
        if (streamable == 0) return;
        MemoryPlan now = pipeline->plan(batch, imgsz, defaults, 0);
        size_t keep = now.weights;
        for (size_t step = 0; keep > 0 && now.total() > options.vram_budget; step = streamable / 16) {
            // Streaming takes memory of its own, known only afterwards: by and by, but in a few steps.
            keep -= std::min(keep, std::max(now.total() - options.vram_budget, step));
            session->limit_weights(keep);
            now = pipeline->plan(batch, imgsz, defaults, 0);
        }
    }

    /// The input size for a frame.
    Size input_size(const ImageView& frame) const {
        Size room = imgsz;
        if (spec.letterbox.sizing == math::Sizing::height) {
            const double scale = static_cast<double>(imgsz.height) / frame.height;
            room = shapes->widened(imgsz, math::scaled_side(frame.width, scale, spec.letterbox.rounding));
        }
        if (!options.rect) return room;
        const math::Letterbox place =
            math::letterbox(frame.width, frame.height, room.width, room.height, spec.letterbox);
        return shapes->smallest_size(place.height, place.width, room);
    }

    /// Profiles of other sizes may end at fewer frames.
    int frames_per_run(Size size) const { return std::min(batch, shapes->largest_batch(size)); }

    /// How many of `left` frames run together. What compiles a network for every number of frames would be at it all
    /// the time where they come as cameras have them: a batch that is not full goes in pieces of few sizes.
    int frames_of_run(int left, Size size) const {
        const int most = frames_per_run(size);
        if (left >= most || !shapes->any_batch()) return std::min(left, most);
        for (const int piece : {4, 2}) {
            if (piece <= left) return piece;
        }
        return 1;
    }

    /// Where a frame must be: a GPU also takes what lies in host memory.
    Device home_of(Device device) const {
        const Device own = session->info().device;
        return own.type == DeviceType::cuda && device.type == DeviceType::cpu ? device : own;
    }

    engine::Call plan_runs(Span<const ImageView> frames) const {
        engine::Call call;
        call.frames = frames;
        for (size_t i = 0; i < frames.size(); ++i)
            ops::Letterbox::check(frames[i], home_of(frames[i].device), text("frame ", i));
        for (size_t first = 0; first < frames.size();) {
            // Neighbours of one input size run together; without rect that is everybody.
            const Size size = input_size(frames[first]);
            const auto most = static_cast<size_t>(frames_per_run(size));
            size_t count = 1;
            while (count < most && first + count < frames.size() && input_size(frames[first + count]) == size) ++count;
            const int frames_in_it = frames_of_run(static_cast<int>(count), size);
            call.runs.push_back({first, frames_in_it, shapes->padded(frames_in_it, size), size});
            first += static_cast<size_t>(frames_in_it);
        }
        return call;
    }

    engine::Call plan_runs(const InputView& input) const {
        require(input.batch >= 1, ErrorCode::input, "batch of ", input.batch, ": give at least one input");
        const Size size{input.height, input.width};
        shapes->check_size(size);
        require(input.data != nullptr, ErrorCode::input, "a letterboxed input has no data");
        require(input.device == home_of(input.device), ErrorCode::input, "the letterboxed input is on ",
                to_string(input.device), ", the engine on ", to_string(session->info().device));
        engine::Call call;
        call.input = input;
        for (int first = 0; first < input.batch;) {
            const int count = frames_of_run(input.batch - first, size);
            call.runs.push_back({static_cast<size_t>(first), count, shapes->padded(count, size), size});
            first += count;
        }
        return call;
    }

    /// `input`: frames or letterboxed inputs; `carry_out` takes the planned call.
    template <typename Input, typename CarryOut>
    auto timed(const Input& input, const Thresholds& t, CarryOut&& carry_out) {
        check_thresholds(t);
        check_process();  // before the lock, which a thread that is not here may hold
        const std::lock_guard lock(mutex);
        engine::Stopwatch total;
        times = {};
        auto out = carry_out(plan_runs(input));
        times.total = total.lap();
        return out;
    }

    template <typename Input>
    std::vector<Poses> infer(const Input& input, const Thresholds& t) {
        auto found = timed(input, t, [&](const engine::Call& call) { return pipeline->run(call, t, times); });
        for (const Poses& poses : found) check_classes(poses);
        return found;
    }

    int most_in_flight() const {
        constexpr int kAnother = 1;  // that begins while the others are computed
        return session->info().device.type == DeviceType::cpu ? options.streams + kAnother : 2;
    }

    template <typename Input>
    Ticket submit(const Input& input, const Thresholds& t) {
        static std::atomic<uint64_t> submitted{0};
        check_thresholds(t);
        check_process();
        const std::lock_guard lock(mutex);
        require(static_cast<int>(in_flight.size()) < most_in_flight(), ErrorCode::input, "model ", spec.name, ": ",
                in_flight.size(), " calls are in flight, which is all it takes; collect one before the next submit");
        auto call = std::make_unique<Submitted>();
        if constexpr (std::is_same_v<Input, Span<const ImageView>>) {
            call->frames.assign(input.begin(), input.end());
            call->call = plan_runs(Span<const ImageView>(call->frames));
        } else {
            call->call = plan_runs(input);
        }
        call->flight.emplace(call->call, t, nullptr);
        engine::Flight& flight = *call->flight;
        const Ticket ticket{++submitted};
        const auto entry = in_flight.emplace(ticket.number, std::move(call)).first;
        try {
            pipeline->begin(flight);
        } catch (...) {
            in_flight.erase(entry);
            throw;
        }
        return ticket;
    }

    std::vector<Poses> collect(Ticket ticket) {
        check_process();
        const std::lock_guard lock(mutex);
        const auto call = in_flight.extract(ticket.number);
        require(!call.empty(), ErrorCode::input, "model ", spec.name, ": no call of ticket ", ticket.number,
                " is in flight here; a ticket is collected once, by the engine that gave it");
        auto found = pipeline->end(*call.mapped()->flight);
        for (const Poses& poses : found) check_classes(poses);
        return found;
    }

    void check_classes(const Poses& poses) const {
        if (poses.count == 0) return;
        const int32_t most = *std::max_element(poses.class_ids.begin(), poses.class_ids.end());
        require(most < spec.classes(), ErrorCode::model, "model ", spec.name, ": it gives class ", most,
                ", and the model spec names ", spec.classes(), " (0 to ", spec.classes() - 1,
                "); give a spec with all of its names");
    }

    template <typename Input>
    DevicePoses infer_device(const Input& input, const Thresholds& t) {
        return timed(input, t, [&](const engine::Call& call) { return pipeline->run_device(call, t, times); });
    }
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::Engine(const std::string& path, const EngineOptions& options) {
    ModelFile file = read_model_file(path);
    check_raw(file);  // before a library looks for the plugin in it
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
    const FoundSpec found = find_spec(file, options.spec, make_probe(file, *session).get());
    if (const int64_t rows = families::family_of(found.spec).most_rows(found.spec)) session->give_room(rows);
    impl_ = std::make_unique<Impl>(std::move(session), found.spec, options, frames_of_own_nms(file));
    impl_->origin = found.origin;
}

Engine::Engine(std::unique_ptr<Session> session, const ModelSpec& spec, const EngineOptions& options) {
    ModelSpec::from_json(spec.to_json(), "model spec " + spec.name);  // checks what a program put together
    if (const int64_t rows = families::family_of(spec).most_rows(spec); session && rows) session->give_room(rows);
    impl_ = std::make_unique<Impl>(std::move(session), spec, options, 0);
    impl_->origin = "the caller";
}

Engine::~Engine() {
    if (impl_) give_up(Birth(impl_->birth), impl_);
}

Engine::Engine(Engine&&) noexcept = default;

Engine& Engine::operator=(Engine&& other) noexcept {
    Engine(std::move(other)).impl_.swap(impl_);
    return *this;
}

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

Ticket Engine::submit(Span<const ImageView> frames) { return impl_->submit(frames, impl_->defaults); }

Ticket Engine::submit(Span<const ImageView> frames, const Thresholds& thresholds) {
    return impl_->submit(frames, thresholds);
}

Ticket Engine::submit_tensor(const InputView& input, const Thresholds& thresholds) {
    return impl_->submit(input, thresholds);
}

std::vector<Poses> Engine::collect(Ticket ticket) { return impl_->collect(ticket); }

int Engine::max_in_flight() const { return impl_->most_in_flight(); }

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
    impl_->check_process();
    auto copy =
        std::make_unique<Impl>(impl_->session->clone(), impl_->spec, impl_->options, impl_->most_frames, impl_->batch);
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
    impl_->check_process();
    const std::lock_guard lock(impl_->mutex);
    return impl_->pipeline->memory();
}

StageTimes Engine::times() const {
    impl_->check_process();
    const std::lock_guard lock(impl_->mutex);
    return impl_->times;
}

}  // namespace trtpose
