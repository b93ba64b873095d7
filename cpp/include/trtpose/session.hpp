// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trtpose/context.hpp"
#include "trtpose/model_spec.hpp"

namespace trtpose {

struct SessionOptions {
    std::string device = "auto";    ///< auto, cpu, cuda or cuda:N
    std::string precision = "f32";  ///< f32, fp16, bf16 or auto: what the backend may compute in
    int threads = 0;                ///< CPU threads; 0: all
    int streams = 1;                ///< how many clones may run at the same time on the CPU
};

/// What a session reports of itself once it is open.
struct SessionInfo {
    std::string backend;  ///< "openvino", "tensorrt" or "tensorrt-rtx"
    std::string version;  ///< of the vendor library
    Device device;
    std::string precision;  ///< in use, not merely asked for
    TensorInfo input;
    std::vector<TensorInfo> outputs;
    std::vector<ShapeRange> profiles;    ///< where the network takes only some shapes; empty: all that fit input.shape
    size_t streamable_weight_bytes = 0;  ///< of the weights, what may stay in host memory and come when needed
};

/// A shape made ready: what will come out and what it costs.
struct SessionShape {
    std::vector<std::vector<int64_t>> outputs;  ///< shape of each output, in the order of SessionInfo::outputs
    size_t weight_bytes = 0;
    size_t activation_bytes = 0;  ///< for intermediate tensors; an upper estimate where the library does not tell
    size_t scratch_bytes = 0;     ///< the part of activation_bytes that the caller lends by use_scratch()
    /// CUDA: what run() gives its stream at this shape may be captured in a graph and launched again while prepare()
    /// reports this same number for the shape; 0: it must not be captured.
    uint64_t capture_id = 0;
};

/// Alignment of the memory lent by Session::use_scratch: what TensorRT wants.
inline constexpr size_t kScratchAlignment = 256;
/// The same of input and outputs on a GPU.
inline constexpr size_t kTensorAlignment = 256;

/// A loaded network on one device: tensors in, tensors out, nothing known of people. Serves one thread at a time.
class TRTPOSE_API Session {
public:
    virtual ~Session();
    virtual const SessionInfo& info() const = 0;
    /// Make N × 3 × height × width the current shape, compiling for it if need be.
    /// Throws Error(model) if the network does not take it.
    virtual const SessionShape& prepare(int batch, Size size) = 0;
    /// Lend the session device memory for its intermediate tensors: at least scratch_bytes of the current shape,
    /// aligned to kScratchAlignment, until the next prepare() or use_scratch(). Shapes that do not run at the same time
    /// can share it. A session that asks for none ignores it.
    virtual void use_scratch(void* data, size_t bytes);
    /// Keep at most about `bytes` of the weights on the device and stream the rest; 0: as little as possible. Returns
    /// what stays there. Only before the first prepare(), or again after it when nothing of the session is at work; the
    /// current shape must be prepared anew. Throws Error(budget) where the network cannot do that.
    virtual size_t limit_weights(size_t bytes);
    /// Where the number of rows of an output, its second size, depends on the picture: give it room for so many. Fewer
    /// are filled up with zeros, more are an Error(model) of the run. Only before the first prepare() whose shape is
    /// used. A session that has no such outputs ignores it.
    virtual void give_room(int64_t rows);
    /// Say that of an output only rows with a score above the least are looked at: the session may leave the others
    /// out, which then hold anything but such a score. Without scores everything is looked at, as it is until then.
    /// Only before the first prepare() whose shape is used. A session that computes everything ignores it.
    virtual void leave_out_low_rows(const ScoredRows& rows);
    /// The least score of the next runs, 0 until then: rows with one above it are whole.
    virtual void set_least_score(float score);
    /// Run at the current shape. `input` and `outputs` are dense, of the prepared shapes and of the types in info(), on
    /// the session's device. On CUDA they are aligned to kTensorAlignment, and the work is given to the context's
    /// stream and has not ended when run returns.
    virtual void run(const void* input, Span<void* const> outputs, const Context& context) = 0;
    /// As run(), but on the CPU too it may return before the work has ended: wait() ends it and throws what run()
    /// would, and until then `input` and `outputs` must stay and nothing be asked of the session but info() and
    /// clone(). Without an override the work is done here.
    virtual void start(const void* input, Span<void* const> outputs, const Context& context);
    virtual void wait();
    /// Another session on the same weights, with buffers of its own.
    virtual std::unique_ptr<Session> clone() const = 0;
};

/// State of a backend on this machine.
struct BackendStatus {
    std::string name;
    bool available = false;
    std::string version;               ///< of the vendor library, if available
    std::vector<std::string> devices;  ///< as the vendor library names them
    std::string problem;               ///< why not, and what to do, if not available
};

/// Try every backend this build knows; loads their libraries, throws nothing.
TRTPOSE_API std::vector<BackendStatus> backends();

/// Open a model file with the backend for its kind and the device asked for. Throws Error(device) if there is no such
/// device or the vendor library is missing, Error(model) if the library refuses the file.
TRTPOSE_API std::unique_ptr<Session> open_session(const ModelFile& file, const SessionOptions& options);

/// What find_spec may ask of a network: of an open session, which must outlive it,
TRTPOSE_API std::unique_ptr<NetworkProbe> make_probe(const ModelFile& file, Session& session);
/// or of one that is opened for an ONNX file on the CPU if anything is asked.
TRTPOSE_API std::unique_ptr<NetworkProbe> make_probe(const ModelFile& file);

}  // namespace trtpose
