// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/graphs.hpp"

#include <algorithm>

namespace trtpose::engine {
namespace {

/// Empty if the run cannot be captured; a plain one will say why, if that is wrong there too.
CudaGraph capture(const Streams& streams, const EnqueueRun& enqueue) {
    cudaStream_t const recorder = streams.capture.get();
    CudaGraph graph;
    // The session is asked again on another stream: the run that warmed it up must be over.
    cuda_check(cudaStreamSynchronize(streams.compute.get()), "finish the work");
    try {
        graph = CudaGraph::record(recorder, [&] { enqueue(recorder, true); });
        graph.upload(streams.compute.get());
    } catch (const std::exception&) {
        static_cast<void>(cudaGetLastError());
    }
    return graph;
}

}  // namespace

void Graphs::execute(const GraphKey& key, const Streams& streams, const EnqueueRun& enqueue) {
    cudaStream_t const compute = streams.compute.get();
    if (key.capture_id == 0) return enqueue(compute, false);
    const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const Graph& g) { return g.key == key; });
    if (found == graphs_.end()) {
        // The first run is plain: libraries make themselves ready in it, which cannot be captured.
        enqueue(compute, false);
        graphs_.push_front({key, {}, false});
        if (graphs_.size() > kMaxGraphs) graphs_.pop_back();
        return;
    }
    graphs_.splice(graphs_.begin(), graphs_, found);
    Graph& graph = graphs_.front();
    if (!graph.recorded && !graph.unsuitable) {
        graph.recorded = capture(streams, enqueue);
        graph.unsuitable = !graph.recorded;
    }
    if (!graph.recorded) return enqueue(compute, false);
    graph.recorded.launch(compute);
}

}  // namespace trtpose::engine
