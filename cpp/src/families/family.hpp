// SPDX-License-Identifier: Apache-2.0
// What a family of networks is to the rest of trtpose: somebody who knows its networks' files, reads and writes its own
// fields of a spec, and turns the outputs into poses.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trtpose/context.hpp"
#include "trtpose/math/letterbox.hpp"
#include "trtpose/model_spec.hpp"
#include "trtpose/options.hpp"
#include "trtpose/views.hpp"

namespace trtpose {
class SpecReader;
struct UltralyticsMetadata;
}  // namespace trtpose

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

/// What settles it where only a spec can.
inline constexpr const char* kGiveASpec = "give the model spec with --spec FILE.json (docs/conventions.md shows one)";

/// What a family makes of a file that carries no spec.
struct Recognition {
    std::vector<ModelSpec> readings;  ///< every one that the file allows, also those that lack something
    std::string doubt;                ///< why they are not exactly one that lacks nothing; empty where they are
    std::string remedy = {};          ///< what settles it; empty: a spec
    /// Arithmetic on the picture at the graph's beginning is what the reading reckons with.
    bool knows_input = false;
};

class Family {
public:
    virtual ~Family() = default;
    /// As a spec's "family" says it.
    virtual const char* name() const = 0;
    /// `most_candidates`: of an image, compared with each other. Throws Error(model) for a spec that it cannot read.
    virtual std::unique_ptr<PoseReader> reader(const ModelSpec& spec, int most_candidates) const = 0;
    /// With as many candidates as NmsParams has by default.
    std::unique_ptr<PoseReader> default_reader(const ModelSpec& spec) const {
        return reader(spec, ops::NmsParams{}.max_nms);
    }

    // The spec's JSON. A family's own keys need no member of ModelSpec: those not in `keys` are kept in its `extra`.
    virtual std::vector<std::string> keys() const { return {}; }
    /// The own keys that are kept in `extra`: every one that it reads, so that no other family's spec has it unread.
    virtual std::vector<std::string> kept_keys() const { return {}; }
    /// Read the own fields into `spec`. Throws Error(model), by `json`.
    virtual void read_fields(const SpecReader& /*json*/, ModelSpec& /*spec*/) const {}
    /// Check the own fields of a spec that is read otherwise. Throws Error(model), by `json`.
    virtual void check_fields(const SpecReader& /*json*/, const ModelSpec& /*spec*/) const {}
    /// The own fields that are in no `extra`, as keys and JSON texts.
    virtual std::vector<std::pair<std::string, std::string>> write_fields(const ModelSpec& /*spec*/) const {
        return {};
    }

    /// The output, in the spec's order, whose rows it reads only where a score is above the threshold; without scores
    /// where there is none.
    virtual ScoredRows scored_rows(const ModelSpec& /*spec*/) const { return {}; }
    /// Rows that outputs shall have room for whose number of rows depends on the picture; 0: none is like that.
    virtual int64_t most_rows(const ModelSpec& /*spec*/) const { return 0; }

    // The model's file.
    /// Why its outputs are not those of the spec; empty where they may be.
    virtual std::string misfit(const ModelSpec& /*spec*/, const ModelFile& /*file*/) const { return {}; }
    /// `probe` is null where nothing can be asked of the network itself.
    virtual Recognition recognise(const ModelFile& /*file*/, const UltralyticsMetadata& /*metadata*/,
                                  NetworkProbe* /*probe*/) const {
        return {};
    }
    /// Whether a file whose picture is of another form than trtpose feeds is one that `trtpose export` brings to it.
    virtual bool adopts(const ModelFile& /*file*/) const { return false; }
};

/// Those of this build, and those that were added.
const std::vector<const Family*>& all_families();

/// Add one of the program's own, which must outlive every spec. Not while another thread uses trtpose. Throws
/// Error(input) where its name is taken.
void add_family(const Family& family);

/// Null where there is none of this name.
const Family* find_family(const std::string& name);

/// The one that a spec belongs to. Throws Error(model) where it is not known.
const Family& family_of(const ModelSpec& spec);

/// "anchor_grid, movenet or rows".
std::string family_names();

}  // namespace trtpose::families
