// SPDX-License-Identifier: Apache-2.0
// Engine files on TensorRT, however it is reached (vendor.hpp).
#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>

#include "backends/tensorrt/messages.hpp"
#include "backends/tensorrt/plan.hpp"
#include "core/check.hpp"
#include "core/cuda_guard.hpp"
#include "core/cuda_resources.hpp"

namespace trtpose {
namespace {

// Shapes kept ready, each with a context of its own: a graph captured from a context is good as long as nothing of that
// context is changed. As many as the engine keeps graphs.
constexpr size_t kMaxShapes = 8;

uint64_t next_capture_id() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

class TensorRtSession final : public Session {
public:
    explicit TensorRtSession(std::shared_ptr<tensorrt::Plan> plan) : plan_(std::move(plan)) {}

    ~TensorRtSession() override {
        try {
            const CudaDeviceGuard guard(plan_->info.device.index);
            forget(shapes_.begin(), shapes_.end());
            static_cast<void>(cudaGetLastError());
        } catch (const Error&) {
            // A GPU that is gone wants nothing back.
        }
    }

    const SessionInfo& info() const override { return plan_->info; }

    const SessionShape& prepare(int batch, Size size) override {
        const CudaDeviceGuard guard(plan_->info.device.index);
        const auto found = std::find_if(shapes_.begin(), shapes_.end(),
                                        [&](const Shape& s) { return s.batch == batch && s.size == size; });
        if (found != shapes_.end()) {
            shapes_.splice(shapes_.begin(), shapes_, found);
        } else {
            Shape fresh = make_shape(batch, size);
            if (shapes_.size() == kMaxShapes) {
                settle();
                forget(std::prev(shapes_.end()), shapes_.end());
            }
            shapes_.push_front(std::move(fresh));
        }
        return shapes_.front().report;
    }

    void use_scratch(void* data, size_t bytes) override {
        Shape& shape = current();
        const size_t needed = shape.report.scratch_bytes;
        require(bytes >= needed, ErrorCode::budget, plan_->path, ": ", bytes,
                " bytes were lent for its intermediate tensors, it needs ", needed);
        if (needed == 0 || data == shape.scratch) return;
        require(reinterpret_cast<uintptr_t>(data) % kScratchAlignment == 0, ErrorCode::input, plan_->path,
                ": the memory lent for its intermediate tensors must be aligned to ", kScratchAlignment, " bytes");
        const CudaDeviceGuard guard(plan_->info.device.index);
        tensorrt::forget_messages();
        if (!shape.context->lend(data, needed))
            tensorrt::fail(ErrorCode::device, plan_->path, ": ", plan_->name(),
                           " does not take the memory for its intermediate tensors");
        // Graphs hold the old address.
        if (shape.scratch && shape.report.capture_id) shape.report.capture_id = next_capture_id();
        shape.scratch = data;
    }

    size_t limit_weights(size_t bytes) override {
        tensorrt::Plan& plan = *plan_;
        const size_t streamable = plan.info.streamable_weight_bytes;
        require(
            streamable > 0, ErrorCode::budget, plan.path,
            ": it cannot stream its weights; build it with weight streaming (TensorRT 10.1 or newer): ", plan.rebuild);
        const CudaDeviceGuard guard(plan.info.device.index);
        forget(shapes_.begin(), shapes_.end());
        const std::lock_guard lock(plan.mutex);
        require(plan.contexts == 0, ErrorCode::budget, plan.path,
                ": its weights are in use by another clone; set the budget before cloning");
        const size_t fixed = plan.fixed_weight_bytes;
        const size_t kept = bytes > fixed ? std::min(bytes - fixed, streamable) : 0;
        tensorrt::forget_messages();
        if (!plan.engine->limit_streamable(kept))
            tensorrt::fail(ErrorCode::budget, plan.path, ": ", plan.name(), " cannot keep only ", kept, " of ",
                           streamable, " bytes of its weights on the GPU");
        plan.streamed_out = streamable - kept;
        return fixed + kept;
    }

    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        Shape& shape = current();
        tensorrt::Plan& plan = *plan_;
        require(shape.report.scratch_bytes == 0 || shape.scratch, ErrorCode::device, plan.path,
                ": no memory was lent for its intermediate tensors");
        auto* const stream = static_cast<cudaStream_t>(context.stream);
        cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
        cuda_check(cudaStreamIsCapturing(stream, &capturing), "look at a stream");
        if (capturing == cudaStreamCaptureStatusNone) {
            stream_ = stream;
            used_ = true;
        }
        tensorrt::forget_messages();
        set_address(shape, 0, plan.info.input.name, const_cast<void*>(input));
        for (size_t i = 0; i < outputs.size(); ++i) set_address(shape, i + 1, plan.info.outputs[i].name, outputs[i]);
        if (!shape.context->enqueue(stream))
            tensorrt::fail(ErrorCode::device, plan.path, ": ", plan.name(), " cannot run it");
    }

    std::unique_ptr<Session> clone() const override { return std::make_unique<TensorRtSession>(plan_); }

private:
    struct Shape {
        int batch = 0, profile = 0;
        Size size;
        std::unique_ptr<tensorrt::VendorContext> context;
        SessionShape report;
        void* scratch = nullptr;       ///< what is lent
        std::vector<void*> addresses;  ///< that are set, of the input and the outputs
    };

    Shape& current() {
        require(!shapes_.empty(), ErrorCode::device, plan_->path, ": no shape has been prepared");
        return shapes_.front();
    }

    /// Tell a context where a tensor lies, if it lies elsewhere than before.
    void set_address(Shape& shape, size_t at, const std::string& name, void* data) {
        if (shape.addresses.size() <= at) shape.addresses.resize(at + 1);
        if (shape.addresses[at] == data) return;
        require(reinterpret_cast<uintptr_t>(data) % kTensorAlignment == 0, ErrorCode::input, plan_->path,
                ": the memory of '", name, "' must be aligned to ", kTensorAlignment, " bytes");
        shape.addresses[at] = nullptr;
        if (!shape.context->set_address(name, data))
            tensorrt::fail(ErrorCode::model, plan_->path, ": ", plan_->name(), " does not take the memory of '", name,
                           "'");
        shape.addresses[at] = data;
    }

    /// Wait for what was given to the GPU: plain runs and the graphs captured from them go by the same stream.
    void settle() {
        if (used_) cuda_check(cudaStreamSynchronize(stream_), "finish the work of a stream");
    }

    void forget(std::list<Shape>::iterator first, std::list<Shape>::iterator last) {
        const std::lock_guard lock(plan_->mutex);
        plan_->contexts -= static_cast<size_t>(std::distance(first, last));
        shapes_.erase(first, last);
    }

    Shape make_shape(int batch, Size size) {
        tensorrt::Plan& plan = *plan_;
        Shape shape;
        shape.batch = batch;
        shape.size = size;
        const std::vector<int64_t> input = {batch, 3, size.height, size.width};
        shape.profile = plan.profile_for(input);
        const std::string what = text(plan.path, ": ", plan.name(), " cannot prepare it for ", shape_text(input));
        const std::lock_guard lock(plan.mutex);  // contexts of an engine are made one at a time
        tensorrt::forget_messages();
        shape.context = plan.engine->make_context();
        if (!shape.context) tensorrt::fail(ErrorCode::device, what);
        if (!plan.info.profiles.empty() && !choose_profile(shape)) {
            tensorrt::fail(ErrorCode::device, what,
                           plan.shares_profiles()
                               ? ""
                               : ": a profile serves one shape or clone at a time unless the engine is "
                                 "built for sharing, as trtpose build does");
        }
        if (!shape.context->set_input_shape(plan.info.input.name, input)) tensorrt::fail(ErrorCode::model, what);
        if (!shape.context->infer_shapes()) tensorrt::fail(ErrorCode::model, what);
        for (const TensorInfo& output : plan.info.outputs) {
            auto sizes = shape.context->shape_of(output.name);
            const bool known = std::all_of(sizes.begin(), sizes.end(), [](int64_t d) { return d >= 0; });
            require(known && !sizes.empty(), ErrorCode::model, plan.path, ": the size of output '", output.name,
                    "' depends on the picture; export the network without its own NMS or with a fixed number of "
                    "detections");
            shape.report.outputs.push_back(std::move(sizes));
        }
        const bool streaming = plan.streamed_out > 0;
        shape.report.weight_bytes = plan.weight_bytes - std::min(plan.streamed_out, plan.weight_bytes);
        shape.report.scratch_bytes = shape.context->scratch_bytes(shape.profile, streaming);
        shape.report.activation_bytes = shape.report.scratch_bytes;
        // Weights that come from the host while the network runs cannot be captured.
        shape.report.capture_id = streaming ? 0 : next_capture_id();
        ++plan.contexts;
        plan.keep_kernels();
        return shape;
    }

    /// Set a new context's profile and wait until it is in place. Older plans lend a profile to one context alone: then
    /// the one of this session that has it makes room.
    bool choose_profile(Shape& shape) {
        if (shape.context->profile() == shape.profile) return true;
        const CudaStream stream;
        bool done = shape.context->set_profile(shape.profile, stream.get());
        if (!done && !plan_->shares_profiles()) {
            settle();
            for (auto other = shapes_.begin(); other != shapes_.end();) {
                const auto next = std::next(other);
                if (other->profile == shape.profile) {
                    shapes_.erase(other);
                    --plan_->contexts;
                }
                other = next;
            }
            tensorrt::forget_messages();
            done = shape.context->set_profile(shape.profile, stream.get());
        }
        stream.synchronize();
        return done;
    }

    std::shared_ptr<tensorrt::Plan> plan_;
    std::list<Shape> shapes_;  ///< latest used first; the first is the current one
    cudaStream_t stream_ = nullptr;
    bool used_ = false;
};

}  // namespace

std::unique_ptr<Session> tensorrt::open_session(std::shared_ptr<Vendor> vendor, const ModelFile& file,
                                                const SessionOptions& options) {
    return std::make_unique<TensorRtSession>(open_plan(std::move(vendor), file, options));
}

}  // namespace trtpose
