// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <openvino/openvino.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "backends/backend.hpp"
#include "backends/openvino/messages.hpp"
#include "backends/openvino/network.hpp"
#include "backends/openvino/outputs.hpp"
#include "backends/openvino/processor.hpp"
#include "backends/openvino/settings.hpp"
#include "backends/openvino/use.hpp"
#include "core/check.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

using openvino::Network;
using openvino::reason;

class OpenVinoSession final : public Session {
public:
    explicit OpenVinoSession(std::shared_ptr<Network> network) : network_(std::move(network)) {}
    ~OpenVinoSession() override {
        const openvino::Use use;
        requests_.clear();
        current_.reset();
        network_.reset();
    }

    const SessionInfo& info() const override { return network_->info; }

    const SessionShape& prepare(int batch, Size size) override {
        const openvino::Use use;
        auto compiled = network_->compile(batch, size);
        if (compiled != current_) {
            requests_.clear();
            requests_.resize(compiled->lanes.size());
            current_ = std::move(compiled);
        }
        return current_->shape;
    }

    void run(const void* input, Span<void* const> outputs, const Context&) override {
        const openvino::Use use;
        explained([&] {
            const AtWork here(enter());
            bind(input, outputs);
            begin_letting_go(here.lane());
            request().infer();
            letting_go_.reset();
            copy_open(outputs);
        });
    }

    void start(const void* input, Span<void* const> outputs, const Context&) override {
        const openvino::Use use;
        explained([&] {
            AtWork here(enter());
            bind(input, outputs);
            outputs_.assign(outputs.begin(), outputs.end());
            if (!std::exchange(requests_[lane_].calls_back, true)) {
                request().set_callback([compiled = current_, lane = lane_](const std::exception_ptr&) {
                    --compiled->lanes[lane].at_work;
                    openvino::work_ends();
                });
            }
            begin_letting_go(here.lane());
            openvino::work_begins();
            try {
                request().start_async();
            } catch (...) {
                openvino::work_ends();
                throw;
            }
            here.goes_on();
        });
    }

    void wait() override {
        const openvino::Use use;
        explained([&] {
            request().wait();
            letting_go_.reset();
            copy_open({outputs_.data(), outputs_.size()});
        });
    }

    std::unique_ptr<Session> clone() const override { return std::make_unique<OpenVinoSession>(network_); }

    void give_room(int64_t rows) override {
        const std::lock_guard lock(network_->mutex);
        network_->room = rows;
    }

    void leave_out_low_rows(const ScoredRows& rows) override {
        const std::lock_guard lock(network_->mutex);
        network_->set_rows(rows);
    }

    void set_least_score(float score) override { least_ = score; }

private:
    /// A request of one lane, made when it is first needed.
    struct Request {
        ov::InferRequest request;
        std::vector<const void*> bound;  ///< its input and outputs
        ov::Tensor least;                ///< score, where it takes one
        bool calls_back = false;         ///< when the work has ended that start() has begun
    };

    /// Counts a lane's work, to its end or to the end of the call that did not begin it.
    class AtWork {
    public:
        explicit AtWork(Network::Lane& lane) : lane_(&lane) { ++lane.at_work; }
        ~AtWork() {
            if (lane_) --lane_->at_work;
        }
        AtWork(const AtWork&) = delete;
        AtWork& operator=(const AtWork&) = delete;
        void goes_on() { lane_ = nullptr; }
        Network::Lane& lane() const { return *lane_; }

    private:
        Network::Lane* lane_;
    };

    /// The lane that has least to do is that of the next run.
    Network::Lane& enter() {
        auto& lanes = current_->lanes;
        const auto least = std::min_element(lanes.begin(), lanes.end(),
                                            [](const auto& a, const auto& b) { return a.at_work < b.at_work; });
        lane_ = static_cast<size_t>(least - lanes.begin());
        if (!requests_[lane_].request) prepare(requests_[lane_], least->model);
        return *least;
    }

    void prepare(Request& one, ov::CompiledModel& model) const {
        one.request = model.create_infer_request();
        if (!current_->leaves_out()) return;
        one.least = ov::Tensor(ov::element::f32, ov::Shape{1});
        one.request.set_input_tensor(1, one.least);
    }

    ov::InferRequest& request() { return requests_[lane_].request; }
    const ov::CompiledModel& model() const { return current_->lanes[lane_].model; }

    template <typename Work>
    void explained(Work&& work) const {
        try {
            work();
        } catch (const std::exception& error) {
            throw Error(ErrorCode::model, text(network_->path, ": OpenVINO cannot run it (", reason(error), ")"));
        }
    }

    void bind(const void* input, Span<void* const> outputs) {
        if (current_->leaves_out()) *requests_[lane_].least.data<float>() = least_;
        wanted_.assign(1, input);
        wanted_.insert(wanted_.end(), outputs.begin(), outputs.end());
        std::vector<const void*>& bound = requests_[lane_].bound;
        if (wanted_ == bound) return;
        bound.clear();  // nothing is certain until all are
        const auto& shape = model().input(0).get_shape();
        request().set_input_tensor(0, ov::Tensor(ov::element::f32, shape, const_cast<void*>(input)));
        for (size_t i = 0; i < outputs.size(); ++i) {
            if (model().output(i).get_partial_shape().is_static())
                request().set_output_tensor(i, ov::Tensor(ov::element::f32, model().output(i).get_shape(), outputs[i]));
        }
        bound.swap(wanted_);
    }

    /// In the first run of each lane of a network that was kept.
    void begin_letting_go(Network::Lane& lane) {
        if (current_->bytes && !lane.has_run.exchange(true)) letting_go_.emplace(current_->bytes);
    }

    /// Those that OpenVINO keeps in memory of its own.
    void copy_open(Span<void* const> outputs) {
        for (size_t i = 0; i < outputs.size(); ++i) {
            if (model().output(i).get_partial_shape().is_static()) continue;
            openvino::copy_output(request().get_output_tensor(i), i, current_->shape.outputs[i], network_->room > 0,
                                  outputs[i]);
        }
    }

    std::shared_ptr<Network> network_;
    std::shared_ptr<Network::Compiled> current_;
    std::vector<Request> requests_;    ///< for each lane
    size_t lane_ = 0;                  ///< of the last run
    float least_ = 0.0f;               ///< score
    std::vector<const void*> wanted_;  ///< the input and the outputs of this run
    std::vector<void*> outputs_;       ///< of the work that start() has begun
    std::optional<openvino::LettingGo> letting_go_;
};

std::unique_ptr<Session> open(const ModelFile& file, OnnxContent content, const SessionOptions& options) {
    const openvino::Use use;
    openvino::refuse_misread(file);
    auto network = std::make_shared<Network>();
    network->path = file.path;
    network->weight_bytes = static_cast<size_t>(file.weight_bytes);
    network->content.emplace(std::move(content));
    openvino::core();  // throws where a fork has left OpenVINO locked
    network->config = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::num_streams(1)};
    network->lane_configs = openvino::lane_configs(options);
    network->threads_of_lane = openvino::threads_of_lane(options);
    openvino::set_precision(network->config, options.precision, openvino::core());
    openvino::keep_products_exact(network->config);
    auto& info = network->info;
    info.backend = "openvino";
    info.version = ov::get_openvino_version().buildNumber;
    info.precision = options.precision;
    try {
        auto settings = network->config_of(0);
        // What low rows are left out with depends on it.
        settings.emplace("threads_of_lane", std::to_string(network->threads_of_lane));
        network->keeping = openvino::Keeping::of(file, *network->content, settings, openvino::core());
    } catch (const Error&) {
        throw;
    } catch (const std::exception&) {
        // Without a place for it.
    }
    if (!network->take_kept()) {
        network->import_model();
        network->describe(file);
    }
    return std::make_unique<OpenVinoSession>(std::move(network));
}

BackendStatus status() {
    const openvino::Use use;
    BackendStatus out;
    out.version = ov::get_openvino_version().buildNumber;
    try {
        for (const auto& device : openvino::core().get_available_devices())
            out.devices.push_back(device + ": " + openvino::core().get_property(device, ov::device::full_name));
    } catch (const std::exception& error) {
        throw Error(ErrorCode::device, text("OpenVINO finds no device (", reason(error), ")"));
    }
    return out;
}

}  // namespace
}  // namespace trtpose

extern "C" __attribute__((visibility("default"))) const trtpose::BackendTable* trtpose_backend() {
    static const trtpose::BackendTable table{trtpose::version(), &trtpose::status, nullptr, &trtpose::open};
    return &table;
}
