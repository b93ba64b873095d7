// SPDX-License-Identifier: Apache-2.0
// What a family of networks is to the rest of trtpose: somebody who turns the outputs of its networks into poses.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "trtpose/context.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/options.hpp"
#include "trtpose/views.hpp"

namespace trtpose::families {

/// A network's outputs, in the spec's order, at one shape of its input.
struct OutputShapes {
    std::vector<std::vector<int64_t>> shapes;  ///< the first size of each is the batch
    DType dtype = DType::f32;                  ///< of all
    int batch = 0;
    Size input;  ///< pixels
};

/// Bytes of the reader's device that one read takes.
struct ReaderMemory {
    size_t held = 0;     ///< from the beginning of read() to its end
    size_t scratch = 0;  ///< what operations that run before or after may use as well
};

/// Where the poses go: image n's part of each array begins at n·max_det.
struct ResultArrays {
    int32_t* counts = nullptr;  ///< N
    ops::PoseArrays poses;
};

/// One run's memory: what the reader asked for, and where the poses go.
struct ReadBuffers {
    void* held = nullptr;
    Workspace scratch;
    ResultArrays results;
};

/// Turns the outputs of one spec's networks into poses. Serves one thread at a time.
class PoseReader {
public:
    virtual ~PoseReader() = default;

    /// Shape of each output it reads, the spec's first ones; -1 where the spec leaves it open.
    virtual std::vector<std::vector<int64_t>> outputs() const = 0;
    /// The input that outputs of these shapes belong to; {} where they do not tell.
    virtual Size input_size(Span<const std::vector<int64_t>> shapes) const = 0;

    /// Make ready for outputs of these shapes; what read() then takes for thresholds of this max_det and oks. Throws
    /// Error(model) where they do not fit the spec.
    virtual ReaderMemory plan(const OutputShapes& outputs, const Thresholds& thresholds, Device device) = 0;

    /// The poses of the first `count` images, mapped back to their frames by `placements`; what lies behind the counts
    /// is left as it is. `outputs` are in the spec's order, of the planned shapes. Everything is given to the context's
    /// stream without waiting or allocating, so that it can be captured in a CUDA graph. `selected` is called where
    /// those worth comparing have been found and suppression begins; it may be empty.
    virtual void read(Span<const void* const> outputs, int count, const Thresholds& thresholds,
                      const math::Letterbox* placements, const ReadBuffers& buffers, const Context& context,
                      const std::function<void()>& selected) = 0;
};

class Family {
public:
    virtual ~Family() = default;
    virtual const char* name() const = 0;
    /// `most_candidates`: of an image, compared with each other. Throws Error(model) for a spec that it cannot read.
    virtual std::unique_ptr<PoseReader> reader(const ModelSpec& spec, int most_candidates) const = 0;
    /// With as many candidates as NmsParams has by default.
    std::unique_ptr<PoseReader> default_reader(const ModelSpec& spec) const {
        return reader(spec, ops::NmsParams{}.max_nms);
    }
};

/// Those of this build.
const std::vector<const Family*>& builtin_families();

/// The one that a spec belongs to.
const Family& family_of(const ModelSpec& spec);

}  // namespace trtpose::families
