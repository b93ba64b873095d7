// SPDX-License-Identifier: Apache-2.0
// How long a network alone takes: what an engine's own times are to be held against.
#pragma once

#include <vector>

#include "trtpose/session.hpp"

namespace trtpose {

/// Milliseconds of the bare network at one shape, without letterbox, decode and NMS.
struct NetworkTimes {
    std::vector<double> single;     ///< each run by the host's clock: from giving it to the device until it is done
    std::vector<double> device;     ///< the same runs by the GPU's clock; empty on the CPU
    std::vector<double> graph;      ///< runs launched as a CUDA graph, host's clock; empty where that cannot be done
    double back_to_back = 0;        ///< per run, when all are given at once and the host waits for the last alone
    double graph_back_to_back = 0;  ///< the same with the graph; 0 where there is none
};

/// Time `runs` runs after `warmup` of them that do not count, on buffers of its own that are given back at the end. The
/// input is noise between 0 and 1. Throws Error(model) if the network does not take the shape, Error(budget) if there
/// is no memory for it.
TRTPOSE_API NetworkTimes time_network(Session& session, int batch, Size size, int runs, int warmup);

}  // namespace trtpose
