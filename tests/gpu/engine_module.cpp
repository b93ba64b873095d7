// SPDX-License-Identifier: Apache-2.0
// Python engines over the sampling network, so that arrays on a GPU are tested with the libraries that make them and
// without TensorRT; and over a function in Python, so that any library can be the network of a reference. The engines
// are those of trtpose._core, which must be imported before.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "sampling_network.cuh"
#include "trtpose/engine.hpp"

namespace {

namespace py = pybind11;
using namespace trtpose;
using Net = test::SamplingNetwork;

class SamplingSession final : public Session {
public:
    SamplingSession(bool on_gpu, bool half) {
        info_.backend = "sampling";
        info_.version = "1";
        info_.precision = "f32";
        if (on_gpu) info_.device = {DeviceType::cuda, 0};
        info_.input = {"images", half ? DType::f16 : DType::f32, {-1, 3, -1, -1}};
        info_.outputs.push_back({"head_8", DType::f32, {}});
    }
    const SessionInfo& info() const override { return info_; }
    const SessionShape& prepare(int batch, Size size) override {
        batch_ = batch;
        size_ = size;
        shape_.outputs = {{batch, Net::kFields, size.height / Net::kStride, size.width / Net::kStride}};
        shape_.capture_id = 1;
        return shape_;
    }
    void run(const void* input, Span<void* const> outputs, const Context& context) override {
        auto* const heads = static_cast<float*>(outputs[0]);
        if (info_.device.type == DeviceType::cuda) {
            test::run_sampling_network(input, info_.input.dtype == DType::f16, batch_, size_.height, size_.width, heads,
                                       static_cast<cudaStream_t>(context.stream));
            return;
        }
        const int rows = size_.height / Net::kStride, columns = size_.width / Net::kStride;
        size_t at = 0;
        for (int n = 0; n < batch_; ++n) {
            const float* image = static_cast<const float*>(input) + static_cast<size_t>(n) * 3 *
                                                                        static_cast<size_t>(size_.height) *
                                                                        static_cast<size_t>(size_.width);
            for (int f = 0; f < Net::kFields; ++f) {
                for (int row = 0; row < rows; ++row) {
                    for (int column = 0; column < columns; ++column)
                        heads[at++] = Net::value(image, size_.height, size_.width, f, row, column);
                }
            }
        }
    }
    std::unique_ptr<Session> clone() const override {
        return std::make_unique<SamplingSession>(info_.device.type == DeviceType::cuda,
                                                 info_.input.dtype == DType::f16);
    }

private:
    SessionInfo info_;
    SessionShape shape_;
    int batch_ = 0;
    Size size_;
};

/// On the CPU; the function gets N × 3 × height × width float32 and gives a list of float32 arrays.
class FunctionSession final : public Session {
public:
    FunctionSession(py::object function, std::vector<std::string> outputs) : function_(std::move(function)) {
        info_.backend = "function";
        info_.version = "1";
        info_.precision = "f32";
        info_.input = {"images", DType::f32, {-1, 3, -1, -1}};
        for (auto& name : outputs) info_.outputs.push_back({std::move(name), DType::f32, {}});
    }
    ~FunctionSession() override {
        const py::gil_scoped_acquire acquire;
        function_ = py::object();
    }
    const SessionInfo& info() const override { return info_; }
    const SessionShape& prepare(int batch, Size size) override {
        if (batch == batch_ && size == size_) return shape_;
        const std::vector<float> zeros(static_cast<size_t>(batch) * 3 * static_cast<size_t>(size.height) *
                                       static_cast<size_t>(size.width));
        shape_.outputs.clear();
        call(zeros.data(), batch, size, [&](size_t, const py::array_t<float>& output) {
            shape_.outputs.emplace_back(output.shape(), output.shape() + output.ndim());
        });
        batch_ = batch;
        size_ = size;
        return shape_;
    }
    void run(const void* input, Span<void* const> outputs, const Context&) override {
        call(static_cast<const float*>(input), batch_, size_, [&](size_t i, const py::array_t<float>& output) {
            std::memcpy(outputs[i], output.data(), static_cast<size_t>(output.nbytes()));
        });
    }
    std::unique_ptr<Session> clone() const override {
        const py::gil_scoped_acquire acquire;
        std::vector<std::string> names;
        for (const auto& output : info_.outputs) names.push_back(output.name);
        return std::make_unique<FunctionSession>(function_, std::move(names));
    }

private:
    template <typename Take>
    void call(const float* input, int batch, Size size, Take&& take) {
        const py::gil_scoped_acquire acquire;
        try {
            const py::array_t<float> images({batch, 3, size.height, size.width}, input);
            const auto outputs = function_(images).cast<std::vector<py::array_t<float, py::array::c_style>>>();
            if (outputs.size() != info_.outputs.size())
                throw Error(ErrorCode::model, "the function gives another number of outputs than it has names");
            for (size_t i = 0; i < outputs.size(); ++i) take(i, outputs[i]);
        } catch (py::error_already_set& error) {
            throw Error(ErrorCode::model, std::string("the function failed: ") + error.what());
        }
    }

    py::object function_;
    SessionInfo info_;
    SessionShape shape_;
    int batch_ = 0;
    Size size_;
};

ModelSpec spec(Size size) {
    ModelSpec out;
    out.name = "sampling";
    out.layout = Layout::heads;
    out.imgsz = size;
    out.strides = {Net::kStride};
    out.anchors = {{{24, 32}}};
    out.names = {"person"};
    out.keypoints = Net::kKeypoints;
    return out;
}

}  // namespace

PYBIND11_MODULE(trtpose_gpu_engines, m) {
    m.def(
        "engine",
        [](const std::string& device, bool half, std::pair<int, int> imgsz, int batch, float conf) {
            EngineOptions options;
            options.batch = batch;
            options.conf = conf;
            options.threads = 1;
            return std::make_unique<Engine>(std::make_unique<SamplingSession>(device != "cpu", half),
                                            spec({imgsz.first, imgsz.second}), options);
        },
        py::kw_only(), py::arg("device"), py::arg("half") = false, py::arg("imgsz"), py::arg("batch") = 1,
        py::arg("conf") = 0.25f, "A trtpose._core.Engine over the sampling network.");
    m.def(
        "function_engine",
        [](const py::object& function, const std::vector<std::string>& outputs, const std::string& spec_json,
           std::pair<int, int> imgsz, int batch) {
            EngineOptions options;
            options.batch = batch;
            options.imgsz = {imgsz.first, imgsz.second};
            auto session = std::make_unique<FunctionSession>(function, outputs);
            const ModelSpec found = ModelSpec::from_json(spec_json, "the reference");
            const py::gil_scoped_release release;
            return std::make_unique<Engine>(std::move(session), found, options);
        },
        py::arg("function"), py::kw_only(), py::arg("outputs"), py::arg("spec"), py::arg("imgsz"), py::arg("batch") = 1,
        "A trtpose._core.Engine on the CPU over a function: images to a list of outputs.");
}
