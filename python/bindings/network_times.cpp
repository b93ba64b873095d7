// SPDX-License-Identifier: Apache-2.0
#include "trtpose/network_times.hpp"

#include "bindings.hpp"
#include "gil.hpp"
#include "trtpose/between_runs.hpp"

namespace trtpose::python {

void register_network_times(py::module_& m) {
    m.def(
        "time_network",
        [](const std::string& path, const std::string& device, const std::string& precision, int threads, int batch,
           std::pair<int, int> imgsz, int runs, int warmup) {
            NetworkTimes times;
            {
                const ReleasedGil released;
                const BetweenRuns between(&look_around);
                SessionOptions options;
                options.device = device;
                options.precision = precision;
                options.threads = threads;
                const auto session = open_session(read_model_file(path), options);
                times = time_network(*session, batch, {imgsz.first, imgsz.second}, runs, warmup);
            }
            py::dict out;
            out["single"] = times.single;
            out["device"] = times.device;
            out["graph"] = times.graph;
            out["back_to_back"] = times.back_to_back;
            out["graph_back_to_back"] = times.graph_back_to_back;
            return out;
        },
        py::kw_only(), py::arg("path"), py::arg("device"), py::arg("precision"), py::arg("threads"), py::arg("batch"),
        py::arg("imgsz"), py::arg("runs"), py::arg("warmup"),
        "Milliseconds of the network alone, without letterbox, decode and NMS.\n\nLists of runs, and means of runs "
        "given "
        "all at once.");
}

}  // namespace trtpose::python
