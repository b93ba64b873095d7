// SPDX-License-Identifier: Apache-2.0
#include "trtpose/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>

#include "core/buffer.hpp"
#include "core/check.hpp"
#include "core/thread_pool.hpp"
#include "trtpose/ops/decode.hpp"
#include "trtpose/ops/letterbox.hpp"
#include "trtpose/ops/nms.hpp"

namespace trtpose {
namespace {

class Stopwatch {
public:
    /// Milliseconds since the last call.
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
        last_ = now;
        return ms;
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void check_thresholds(const Thresholds& t) {
    require(t.conf >= 0 && t.conf <= 1, ErrorCode::input, "conf ", t.conf, " must lie between 0 and 1");
    require(t.iou >= 0 && t.iou <= 1, ErrorCode::input, "iou ", t.iou, " must lie between 0 and 1");
    require(t.max_det >= 1 && t.max_det <= EngineOptions::kMaxMaxDet, ErrorCode::input, "max_det ", t.max_det,
            " must lie between 1 and ", EngineOptions::kMaxMaxDet);
}

std::string mebibytes(size_t bytes) {
    return text(std::ceil(static_cast<double>(bytes) / (1 << 20) * 10) / 10, " MiB");
}

/// Every buffer of one batch and size, as parts of one block.
struct Buffers {
    float* input = nullptr;
    std::vector<float*> outputs;
    math::Letterbox* placements = nullptr;
    ops::Candidates candidates;
    float* candidate_keypoints = nullptr;  ///< for OKS alone
    ops::Detections kept;
    ops::PoseArrays poses;
    Workspace workspace;
    size_t io_bytes = 0, workspace_bytes = 0;
    int batch = 0, max_det = 0;
    Size size;
    bool oks = false;
};

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
    HostBuffer arena;
    Buffers buffers;
    MemoryPlan plan;
    StageTimes times;

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
        choose_size();
        choose_batch();
    }

    Context context() const { return {session->info().device, nullptr, threads.get()}; }

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
        prepare(batch, imgsz, defaults);
    }

    /// Make session and buffers ready for a run. Buffers are kept while they fit.
    void prepare(int n, Size size, const Thresholds& t) {
        const SessionShape& shape = session->prepare(n, size);
        if (buffers.batch == n && buffers.size == size && buffers.max_det == t.max_det && buffers.oks == t.oks) return;
        // Describe the outputs without data first: how many anchors there are decides the candidates' room.
        std::vector<std::vector<int64_t>> shapes;
        for (const int o : output_order) shapes.push_back(shape.outputs[static_cast<size_t>(o)]);
        const std::vector<const float*> none(shapes.size(), nullptr);
        const ops::HeadView heads = ops::Decode(spec).view(shapes, none, size);
        require(heads.batch == n, ErrorCode::model, "model ", spec.name, ": a batch of ", n, " gives outputs for ",
                heads.batch);

        buffers.batch = 0;  // nothing is valid until the block stands
        Planner measure;
        lay_out(measure, shape, heads, n, size, t);
        buffers.batch = 0;
        MemoryPlan wanted;
        wanted.weights = shape.weight_bytes;
        wanted.activations = shape.activation_bytes;
        wanted.io = buffers.io_bytes;
        wanted.workspace = buffers.workspace_bytes;
        require(options.vram_budget == 0 || wanted.total() <= options.vram_budget, ErrorCode::budget, "model ",
                spec.name, " at batch ", n, " and ", size.height, "×", size.width, " needs ", mebibytes(wanted.total()),
                " (weights ", mebibytes(wanted.weights), ", activations ", mebibytes(wanted.activations),
                ", inputs and outputs ", mebibytes(wanted.io), ", workspace ", mebibytes(wanted.workspace),
                "), more than the budget of ", mebibytes(options.vram_budget),
                "; take a smaller batch or size, or a larger budget");
        if (measure.used() > arena.size()) {
            arena = HostBuffer();
            try {
                arena = HostBuffer(measure.used());
            } catch (const std::bad_alloc&) {
                throw Error(ErrorCode::budget,
                            text("model ", spec.name, " at batch ", n, " and ", size.height, "×", size.width,
                                 ": no memory for ", mebibytes(measure.used()), "; take a smaller batch or size"));
            }
        }
        Planner planner(arena.data());
        lay_out(planner, shape, heads, n, size, t);
        if (wanted.total() > plan.total()) plan = wanted;  // the block stays as large as it once had to be
    }

    void lay_out(Planner& planner, const SessionShape& shape, const ops::HeadView& heads, int n, Size size,
                 const Thresholds& t) {
        Buffers& b = buffers;
        const auto images = static_cast<size_t>(n);
        const auto capacity = static_cast<size_t>(heads.total_anchors);
        const auto slots = images * static_cast<size_t>(t.max_det);
        b.input = planner.take<float>(images * 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width));
        b.outputs.clear();
        for (const auto& output : shape.outputs) {
            size_t count = 1;
            for (const int64_t d : output) count *= static_cast<size_t>(d);
            b.outputs.push_back(planner.take<float>(count));
        }
        b.io_bytes = planner.used();
        b.placements = planner.take<math::Letterbox>(images);
        b.candidates.capacity = heads.total_anchors;
        b.candidates.counts = planner.take<int32_t>(images);
        b.candidates.boxes = planner.take<float>(images * capacity * 4);
        b.candidates.scores = planner.take<float>(images * capacity);
        b.candidates.classes = planner.take<int32_t>(images * capacity);
        b.candidates.anchors = planner.take<int32_t>(images * capacity);
        b.candidate_keypoints =
            t.oks ? planner.take<float>(images * capacity * static_cast<size_t>(spec.keypoints) * 3) : nullptr;
        b.kept.max_det = t.max_det;
        b.kept.counts = planner.take<int32_t>(images);
        b.kept.indices = planner.take<int32_t>(slots);
        b.poses.boxes = planner.take<float>(slots * 4);
        b.poses.scores = planner.take<float>(slots);
        b.poses.class_ids = planner.take<int32_t>(slots);
        b.poses.keypoints = planner.take<float>(slots * static_cast<size_t>(spec.keypoints) * 3);
        // The three operations run one after the other, so one scratch serves all.
        const Device device = session->info().device;
        b.workspace.bytes = std::max({ops::Letterbox(spec, size).workspace_bytes(images, device),
                                      ops::Decode(spec).workspace_bytes(heads, device),
                                      nms(t).workspace_bytes(n, heads.total_anchors, device)});
        b.workspace.data = planner.take<char>(b.workspace.bytes);
        b.workspace_bytes = planner.used() - b.io_bytes;
        b.batch = n;
        b.size = size;
        b.max_det = t.max_det;
        b.oks = t.oks;
    }

    ops::Nms nms(const Thresholds& t) const {
        ops::NmsParams params;
        params.threshold = t.iou;
        params.max_det = t.max_det;
        params.agnostic = t.agnostic;
        params.suppress = spec.layout != Layout::final;
        params.similarity = t.oks ? ops::Similarity::oks : ops::Similarity::iou;
        return ops::Nms(params, spec.sigmas);
    }

    /// The input size for a frame.
    Size input_size(const ImageView& frame) const {
        if (!options.rect) return imgsz;
        const math::Letterbox place = math::letterbox(frame.width, frame.height, imgsz.width, imgsz.height);
        const int stride = spec.max_stride();
        const auto up = [&](int side, int limit) { return std::min((side + stride - 1) / stride * stride, limit); };
        return {up(place.height, imgsz.height), up(place.width, imgsz.width)};
    }

    /// Everything behind the letterbox, for `count` inputs that stand in the buffers.
    void run_network(int count, const Thresholds& t, Span<Poses> out) {
        Stopwatch watch;
        const Context ctx = context();
        session->run(buffers.input, buffers.outputs, ctx);
        times.network += watch.lap();

        const SessionShape& shape = session->prepare(buffers.batch, buffers.size);
        std::vector<std::vector<int64_t>> shapes;
        std::vector<const float*> data;
        for (const int o : output_order) {
            shapes.push_back(shape.outputs[static_cast<size_t>(o)]);
            data.push_back(buffers.outputs[static_cast<size_t>(o)]);
        }
        const ops::Decode decode(spec);
        ops::HeadView heads = decode.view(shapes, data, buffers.size);
        heads.batch = count;  // slots behind the last frame of a part-filled batch hold nothing
        decode(heads, t.conf, buffers.candidates, buffers.workspace, ctx);
        times.decode += watch.lap();
        if (t.oks) decode.keypoints(heads, buffers.candidates, buffers.candidate_keypoints, ctx);
        nms(t)(buffers.candidates, count, buffers.candidate_keypoints, buffers.kept, buffers.workspace, ctx);
        decode.poses(heads, buffers.candidates, buffers.kept, buffers.placements, buffers.poses, ctx);
        const auto max_det = static_cast<size_t>(t.max_det);
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
            Poses& p = out[i];
            const auto n = static_cast<size_t>(buffers.kept.counts[i]);
            const size_t pose = static_cast<size_t>(spec.keypoints) * 3;
            p.count = static_cast<int>(n);
            p.keypoints_per_pose = spec.keypoints;
            p.frame = {buffers.placements[i].src_height, buffers.placements[i].src_width};
            p.boxes.assign(buffers.poses.boxes + i * max_det * 4, buffers.poses.boxes + (i * max_det + n) * 4);
            p.scores.assign(buffers.poses.scores + i * max_det, buffers.poses.scores + i * max_det + n);
            p.class_ids.assign(buffers.poses.class_ids + i * max_det, buffers.poses.class_ids + i * max_det + n);
            p.keypoints.assign(buffers.poses.keypoints + i * max_det * pose,
                               buffers.poses.keypoints + (i * max_det + n) * pose);
        }
        times.nms += watch.lap();
    }

    std::vector<Poses> infer(Span<const ImageView> frames, const Thresholds& t) {
        check_thresholds(t);
        const std::lock_guard lock(mutex);
        Stopwatch total;
        times = {};
        for (size_t i = 0; i < frames.size(); ++i)
            ops::Letterbox::check(frames[i], session->info().device, text("frame ", i));
        std::vector<Poses> out(frames.size());
        for (size_t first = 0; first < frames.size();) {
            // Neighbours of one input size run together; without rect that is everybody.
            const Size size = input_size(frames[first]);
            size_t count = 1;
            while (count < static_cast<size_t>(batch) && first + count < frames.size() &&
                   input_size(frames[first + count]) == size)
                ++count;
            prepare(fixed_batch ? batch : static_cast<int>(count), size, t);
            Stopwatch watch;
            ops::Letterbox(spec, size)(frames.subspan(first, count), buffers.input, buffers.placements,
                                       buffers.workspace, context());
            times.letterbox += watch.lap();
            run_network(static_cast<int>(count), t, Span<Poses>(out.data() + first, count));
            first += count;
        }
        times.total = total.lap();
        return out;
    }

    std::vector<Poses> infer_tensor(const float* input, int n, Size size, const Thresholds& t) {
        check_thresholds(t);
        require(n >= 1, ErrorCode::input, "batch of ", n, ": give at least one input");
        check_size(size);
        const std::lock_guard lock(mutex);
        Stopwatch total;
        times = {};
        std::vector<Poses> out(static_cast<size_t>(n));
        const size_t one = 3 * static_cast<size_t>(size.height) * static_cast<size_t>(size.width);
        for (int first = 0; first < n; first += batch) {
            const int count = std::min(batch, n - first);
            prepare(fixed_batch ? batch : count, size, t);
            std::copy_n(input + static_cast<size_t>(first) * one, static_cast<size_t>(count) * one, buffers.input);
            std::fill_n(buffers.placements, count, math::letterbox(size.width, size.height, size.width, size.height));
            run_network(count, t, Span<Poses>(out.data() + first, static_cast<size_t>(count)));
        }
        times.total = total.lap();
        return out;
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
    return impl_->infer_tensor(input, batch, size, thresholds);
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

MemoryPlan Engine::memory() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->plan;
}

StageTimes Engine::times() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->times;
}

}  // namespace trtpose
