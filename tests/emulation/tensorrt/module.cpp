// SPDX-License-Identifier: Apache-2.0
// The double as a module that an installed trtpose imports, on the CUDA of the emulated library beside it. What the
// network of a plan answers, Python says: installed/tensorrt_rtx_bindings/__init__.py.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "cuda/emulation.hpp"
#include "tensorrt/double.hpp"
#include "tensorrt/python_double.hpp"

namespace py = pybind11;

namespace trtpose::test {
namespace {

using tensorrt_double::Network;
using tensorrt_double::Shape;
using Tensors = std::vector<std::pair<std::string, Shape>>;
/// Reads float32 at the first address and writes to the others, in the order of the outputs.
using Answer = std::function<void(uintptr_t, const std::vector<uintptr_t>&)>;

std::vector<std::shared_ptr<Network>> networks;

/// Make the network of a plan known, all of whose sizes are fixed and whose tensors are float32.
void add_network(const py::bytes& plan, const Tensors& inputs, const Tensors& outputs, size_t weights, Answer answer) {
    auto network = std::make_shared<Network>();
    std::vector<Shape> shapes;
    for (const auto& [name, shape] : inputs) network->inputs.push_back({name, nvinfer1::DataType::kFLOAT, shape});
    for (const auto& [name, shape] : outputs) {
        network->outputs.push_back({name, nvinfer1::DataType::kFLOAT, shape});
        shapes.push_back(shape);
    }
    network->weights = weights;
    network->profiles = {{inputs.at(0).second, inputs[0].second, inputs[0].second}};
    network->shapes = [shapes](const Shape&) { return shapes; };
    // Held for as long as the process, which ends after Python has.
    auto* const kept = new Answer(std::move(answer));
    network->answer = [kept](const Shape&, const void* input, const std::vector<void*>& targets) {
        std::vector<uintptr_t> addresses;
        for (void* const target : targets) addresses.push_back(reinterpret_cast<uintptr_t>(target));
        (*kept)(reinterpret_cast<uintptr_t>(input), addresses);
    };
    networks.push_back(network);
    tensorrt_double::add_network(plan.cast<std::string>(), std::move(network));
}

py::dict report() {
    int enqueued = 0, carried_out = 0;
    for (const auto& network : networks) {
        enqueued += network->enqueued;
        carried_out += network->carried_out;
    }
    py::dict out;
    out["complaints"] = tensorrt_double::complaints();
    out["fault"] = emulation::fault();
    out["enqueued"] = enqueued;
    out["carried_out"] = carried_out;
    return out;
}

}  // namespace

PYBIND11_MODULE(tensorrt_double, m) {
    bind_double(m);
    m.def("add_network", &add_network);
    m.def("report", &report);
    m.def("set_capability", &emulation::set_capability);
}

}  // namespace trtpose::test
