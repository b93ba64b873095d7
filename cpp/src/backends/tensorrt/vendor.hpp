// SPDX-License-Identifier: Apache-2.0
// TensorRT as a session sees it, whichever way it is reached: through its headers (native.cpp) or its Python package
// (python/bindings/python_vendor.cpp). What a plan must be, which shape goes where, what is captured and every sentence
// of an error is decided once, in plan.cpp and session.cpp, and knows no vendor header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/tensorrt/vendor_library.hpp"
#include "trtpose/session.hpp"

namespace trtpose::tensorrt {

/// A shape made ready to run. What fails says why by note_error().
class VendorContext {
public:
    virtual ~VendorContext() = default;
    virtual int profile() = 0;
    virtual bool set_profile(int profile, void* stream) = 0;
    virtual bool set_input_shape(const std::string& name, const std::vector<int64_t>& shape) = 0;
    virtual bool infer_shapes() = 0;
    /// -1 where it is not known; empty where nothing is.
    virtual std::vector<int64_t> shape_of(const std::string& tensor) = 0;
    /// Bytes it wants for its intermediate tensors, profile and shape being set.
    virtual size_t scratch_bytes(int profile, bool streaming) = 0;
    virtual bool lend(void* data, size_t bytes) = 0;
    virtual bool set_address(const std::string& tensor, void* data) = 0;
    virtual bool enqueue(void* stream) = 0;
};

struct VendorTensor {
    TensorInfo info;
    bool input = false;
    bool plain = true;  ///< laid out row by row on the GPU
};

/// A plan that has been read. Goes after its contexts and before its runtime.
class VendorEngine {
public:
    virtual ~VendorEngine() = default;
    virtual std::vector<VendorTensor> tensors() = 0;
    virtual int profiles() = 0;
    virtual ShapeRange profile(int index, const std::string& input) = 0;
    /// One without memory for its intermediate tensors; null: it failed.
    virtual std::unique_ptr<VendorContext> make_context() = 0;
    /// Bytes of all weights; 0: the library does not tell.
    virtual size_t weight_bytes() = 0;
    /// Bytes of the weights that may stay on the host; 0: none.
    virtual size_t streamable_bytes() = 0;
    /// Keep at most `bytes` of the streamable weights on the GPU.
    virtual bool limit_streamable(size_t bytes) = 0;
    /// TensorRT for RTX: keep what it compiles for the card, beginning with what an earlier cache held. False where
    /// that cannot be done: then the card compiles at every start.
    virtual bool open_kernels(const std::string& kept) = 0;
    virtual std::string kernels() = 0;
};

class VendorRuntime {
public:
    virtual ~VendorRuntime() = default;
    virtual void allow_engine_code() = 0;
    virtual bool load_plugins(const std::string& path) = 0;
    /// Null: it refuses the plan.
    virtual std::unique_ptr<VendorEngine> deserialize(const void* plan, size_t bytes) = 0;
};

class Vendor {
public:
    virtual ~Vendor() = default;
    /// The libraries for a file's kind of plan that can be reached.
    virtual Found find(const ModelFile& file) const = 0;
    /// The oldest library that has all that is called.
    virtual Version oldest() const = 0;
    /// Which interfaces a library has: 8, 10 or 11.
    virtual int interfaces(const Library& library) const = 0;
    /// Call nothing of it before CUDA has found a GPU. Null: it does not start.
    virtual std::unique_ptr<VendorRuntime> start(const Library& library) = 0;
};

/// What a library says of a call that fails, for the error to come; in the thread of the call.
TRTPOSE_API void note_error(const std::string& message);
/// Print it where TRTPOSE_TENSORRT_LOG is set.
TRTPOSE_API void print_message(const char* message);

/// A session on an engine file. Throws Error. Of builds with CUDA alone.
TRTPOSE_API std::unique_ptr<Session> open_session(std::shared_ptr<Vendor> vendor, const ModelFile& file,
                                                  const SessionOptions& options);

using VendorProvider = std::function<std::shared_ptr<Vendor>()>;
/// How TensorRT is reached where no module serves a plan; a program of C++ has no other way.
TRTPOSE_API void set_vendor_provider(VendorProvider provider);

}  // namespace trtpose::tensorrt
