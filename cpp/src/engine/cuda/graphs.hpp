// SPDX-License-Identifier: Apache-2.0
// Runs of the network recorded in graphs: the first one is plain, the second is recorded, later ones are launched.
#pragma once

#include <functional>
#include <list>

#include "core/cuda_resources.hpp"
#include "engine/cuda/results.hpp"
#include "trtpose/options.hpp"
#include "trtpose/types.hpp"

namespace trtpose::engine {

/// What a captured graph is good for.
struct GraphKey {
    uint64_t capture_id;
    int batch, count;
    Size size;
    Thresholds thresholds;
    const Arrival* clock;  ///< whose events it records; null: none
    bool operator==(const GraphKey& o) const {
        return clock == o.clock && capture_id == o.capture_id && batch == o.batch && count == o.count &&
               size == o.size && thresholds == o.thresholds;
    }
};

/// Gives a stream all the work of a run; `recording`: that stream is being recorded.
using EnqueueRun = std::function<void(cudaStream_t stream, bool recording)>;

class Graphs {
public:
    /// Give the compute stream a run, as a graph where there is one for `key`. A capture id of 0: never.
    void execute(const GraphKey& key, const Streams& streams, const EnqueueRun& enqueue);
    /// Forget all of them; they hold the addresses of memory, the scratch's too.
    void clear() { graphs_.clear(); }

private:
    struct Graph {
        GraphKey key;
        CudaGraph recorded;       ///< empty at first: the run that warms up is not captured
        bool unsuitable = false;  ///< the capture failed once and is not tried again
    };

    // Each belongs to one shape and one set of thresholds.
    static constexpr size_t kMaxGraphs = 8;

    std::list<Graph> graphs_;  ///< latest used first
};

}  // namespace trtpose::engine
