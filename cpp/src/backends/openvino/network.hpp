// SPDX-License-Identifier: Apache-2.0
// A network that OpenVINO computes: read, and compiled for the shapes that are asked for.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <openvino/openvino.hpp>
#include <optional>
#include <string>
#include <vector>

#include "backends/openvino/kept_network.hpp"
#include "model/onnx_content.hpp"
#include "trtpose/session.hpp"

namespace trtpose::openvino {

/// OpenVINO's of this process. Never deleted: threads may still be inside when a program ends, and in a process that
/// was forked the end of the parent's would wait for threads that are not there. Throws Error(device).
ov::Core& core();

/// What clones share: the network and what was compiled of it.
struct Network {
    std::string path;
    std::optional<OnnxContent> content;  ///< of the file, until it is imported
    std::shared_ptr<ov::Model> model;    ///< float32 in and out, shapes as in the file; null until import_model()
    ov::AnyMap config;                   ///< of every lane
    SessionInfo info;
    size_t weight_bytes = 0;
    std::optional<Keeping> keeping;
    std::optional<KeptNetwork> kept;             ///< until the shape that it is of is asked for
    std::deque<ov::CompiledModel> from_kept;     ///< of each lane
    std::vector<std::vector<int64_t>> declared;  ///< shape of each output as the file has it
    int64_t room = 0;  ///< rows of outputs whose number of rows depends on the picture; 0: there are none

    /// A part of the processor, with a compilation of its own.
    struct Lane {
        ov::CompiledModel model;
        std::atomic<int> at_work{0};  ///< requests
        std::atomic<bool> has_run{false};
    };
    struct Compiled {
        ov::PartialShape key;
        std::shared_ptr<FileBytes> bytes;  ///< that the weights of all lanes lie in, if any
        std::deque<Lane> lanes;            ///< as many as streams
        SessionShape shape;
        ScoredRows rows;  ///< that it was compiled for

        const ov::CompiledModel& model() const { return lanes.front().model; }
        /// Whether it leaves low rows out: then it takes the least score as well.
        bool leaves_out() const { return model().inputs().size() > 1; }
    };
    std::vector<ov::AnyMap> lane_configs;  ///< of each lane
    int threads_of_lane = 1;
    ScoredRows rows;  ///< of which low ones are left out; without scores: none
    std::mutex mutex;
    std::list<std::shared_ptr<Compiled>> recent;  ///< latest used first

    /// Names, types and shapes of the model's input and outputs.
    void describe(const ModelFile& file);
    /// What is compiled for a shape, which is prepared if need be. Throws Error(model).
    std::shared_ptr<Compiled> compile(int batch, Size size);
    /// Compiles for a shape, which becomes the latest. Throws Error(model).
    void add(const ov::PartialShape& key);
    /// Throws Error(model) where one of them depends on the picture.
    std::vector<std::vector<int64_t>> output_sizes(const ov::CompiledModel& compiled, int batch) const;
    /// Takes the model out of `content`. Throws Error(model).
    void import_model();
    /// Takes what is kept of it, if anything is. Throws Error(model) where the file changes meanwhile.
    bool take_kept();
    /// Compiles for a shape, or takes what was compiled for it; bytes of weights in a lane that the file does not have.
    size_t fill(Compiled& compiled);
    /// The imported model for an input.
    std::shared_ptr<ov::Model> model_of(const ov::PartialShape& key);
    /// Whether what was compiled, as by who finds out what the network is, is what would be compiled now.
    bool serves(Compiled& compiled);
    /// Of which low ones are left out from now on.
    void set_rows(const ScoredRows& wanted);
    /// The same that leaves out low rows; null where it cannot. Not in less than float32, where a score may be another.
    std::shared_ptr<ov::Model> without_low_rows(const ov::Model& whole) const;
    /// What lane `i` is compiled with.
    ov::AnyMap config_of(size_t i) const {
        ov::AnyMap all = config;
        for (const auto& [name, value] : lane_configs[i]) all[name] = value;
        return all;
    }
    /// What OpenVINO leaves open of an output, by what the file says of it, by the batch and by the room for rows.
    void fill_open(std::vector<int64_t>& sizes, const std::vector<int64_t>& said, int batch) const;
};

}  // namespace trtpose::openvino
