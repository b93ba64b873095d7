// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <openvino/openvino.hpp>
#include <optional>
#include <utility>

#include "backends/backend.hpp"
#include "backends/openvino/import.hpp"
#include "backends/openvino/kept_network.hpp"
#include "backends/openvino/messages.hpp"
#include "backends/openvino/outputs.hpp"
#include "backends/openvino/processor.hpp"
#include "backends/openvino/rewrites.hpp"
#include "backends/openvino/settings.hpp"
#include "backends/openvino/use.hpp"
#include "core/check.hpp"
#include "core/fork.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

// Compiled shapes kept ready for each other's return; each holds its own copy of the weights.
constexpr size_t kMaxShapes = 4;

/// OpenVINO's of this process. Never deleted: threads may still be inside when a program ends, and in a process that
/// was forked the end of the parent's would wait for threads that are not there. Throws Error(device).
ov::Core& core() {
    struct Own {
        Birth birth;
        ov::Core core;
    };
    static std::atomic<Own*> current{nullptr};
    require(!openvino::left_locked(), ErrorCode::device, openvino::kLeftLocked);
    Own* own = current.load();
    if (own && own->birth.here()) return own->core;
    auto fresh = std::make_unique<Own>();
    if (current.compare_exchange_strong(own, fresh.get())) own = fresh.release();
    return own->core;
}

/// What `work` makes of OpenVINO's. In a forked process not without an end.
template <typename Work>
ov::CompiledModel bounded(Work work) {
    ov::Core& vendor = core();
    if (fork_generation() == 0) return work(vendor);
    const auto compiled = std::make_shared<ov::CompiledModel>();
    openvino::run_bounded([&vendor, compiled, work] { *compiled = work(vendor); });
    return *compiled;
}

ov::CompiledModel compile_model(const std::shared_ptr<ov::Model>& model, const ov::AnyMap& config) {
    return bounded([model, config](ov::Core& vendor) { return vendor.compile_model(model, "CPU", config); });
}

using openvino::reason;

std::vector<int64_t> shape_of(const ov::PartialShape& shape) {
    std::vector<int64_t> out;
    if (shape.rank().is_dynamic()) return out;
    for (const auto& d : shape) out.push_back(d.is_static() ? d.get_length() : -1);
    return out;
}

ov::PartialShape partial_shape(const std::vector<int64_t>& shape) {
    return ov::PartialShape(std::vector<ov::Dimension>(shape.begin(), shape.end()));
}

/// What clones share: the network and what was compiled of it.
struct Network {
    std::string path;
    std::optional<OnnxContent> content;  ///< of the file, until it is imported
    std::shared_ptr<ov::Model> model;    ///< float32 in and out, shapes as in the file; null until import_model()
    ov::AnyMap config;                   ///< of every lane
    SessionInfo info;
    size_t weight_bytes = 0;
    std::optional<openvino::Keeping> keeping;
    std::optional<openvino::KeptNetwork> kept;  ///< until the shape that it is of is asked for
    ov::CompiledModel from_kept;
    std::vector<std::vector<int64_t>> declared;  ///< shape of each output as the file has it
    int64_t room = 0;  ///< rows of outputs whose number of rows depends on the picture; 0: there are none

    /// A part of the processor, with a compilation of its own.
    struct Lane {
        ov::CompiledModel model;
        std::atomic<int> at_work{0};  ///< requests
    };
    struct Compiled {
        ov::PartialShape key;
        std::shared_ptr<openvino::FileBytes> bytes;  ///< that the weights of the only lane lie in, if any
        std::atomic<bool> has_run{false};
        std::deque<Lane> lanes;  ///< as many as streams
        SessionShape shape;

        const ov::CompiledModel& model() const { return lanes.front().model; }
    };
    std::vector<ov::AnyMap> lane_configs;  ///< of each lane
    std::mutex mutex;
    std::list<std::shared_ptr<Compiled>> recent;  ///< latest used first

    std::shared_ptr<Compiled> compile(int batch, Size size);
    /// Compiles for a shape, which becomes the latest. Throws Error(model).
    void add(const ov::PartialShape& key);
    /// Throws Error(model) where one of them depends on the picture.
    std::vector<std::vector<int64_t>> output_sizes(const ov::CompiledModel& compiled, int batch) const;
    /// Takes the model out of `content`. Throws Error(model).
    void import_model();
    /// Takes what is kept of it, if anything is. Throws Error(model) where the file changes meanwhile.
    bool take_kept();
    /// Compiles for a shape, or takes what was compiled for it.
    void fill(Compiled& compiled);
    /// What lane `i` is compiled with.
    ov::AnyMap config_of(size_t i) const {
        ov::AnyMap all = config;
        for (const auto& [name, value] : lane_configs[i]) all[name] = value;
        return all;
    }
    /// What OpenVINO leaves open of an output, by what the file says of it, by the batch and by the room for rows.
    void fill_open(std::vector<int64_t>& sizes, const std::vector<int64_t>& said, int batch) const;
};

void Network::fill_open(std::vector<int64_t>& sizes, const std::vector<int64_t>& said, int batch) const {
    if (sizes.empty()) sizes = said;
    for (size_t i = 0; i < sizes.size() && sizes.size() == said.size(); ++i) {
        if (sizes[i] < 0) sizes[i] = said[i];
    }
    if (!sizes.empty() && sizes[0] < 0) sizes[0] = batch;
    if (sizes.size() > 1 && sizes[1] < 0 && room > 0) sizes[1] = room;
}

void Network::import_model() {
    bool whole = true;
    try {
        require(content.has_value(), ErrorCode::model, path, ": could not be read before; open it anew");
        OnnxContent checked = std::move(*content);
        content.reset();
        auto imported = openvino::import(std::move(checked));
        ov::preprocess::PrePostProcessor convert(imported);
        convert.input().tensor().set_element_type(ov::element::f32);
        for (size_t i = 0; i < imported->outputs().size(); ++i)
            convert.output(i).tensor().set_element_type(ov::element::f32);
        auto converted = convert.build();
        whole = openvino::fold_quantisation(*converted);
        openvino::split_before_gather(*converted);
        model = std::move(converted);
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(ErrorCode::model, text(path, ": OpenVINO cannot read it (", reason(error),
                                           "); the file is damaged or uses what OpenVINO ",
                                           ov::get_openvino_version().buildNumber, " does not know"));
    }
    if (!whole) config.emplace("LP_TRANSFORMS_MODE", false);
}

bool Network::take_kept() {
    if (keeping) kept = keeping->find();
    if (!kept) return false;
    content->require_unchanged();
    try {
        from_kept = bounded([tensor = kept->compiled, own_config = config_of(0)](ov::Core& vendor) {
            return vendor.import_model(tensor, "CPU", own_config);
        });
    } catch (const Error&) {
        throw;
    } catch (const std::exception&) {
        keeping->remove();
        kept.reset();
        return false;
    }
    kept->bytes->let_go();
    info.input = kept->facts.input;
    info.outputs = kept->facts.outputs;
    declared = kept->facts.declared;
    keeping.reset();
    return true;
}

void Network::fill(Compiled& compiled) {
    if (kept && compiled.key == partial_shape(kept->facts.input.shape)) {
        compiled.bytes = kept->bytes;
        compiled.lanes.emplace_back().model = std::exchange(from_kept, {});
        compiled.shape.activation_bytes = kept->facts.activation_bytes;
        kept.reset();
        return;
    }
    if (!model) import_model();
    auto reshaped = model;
    if (model->input().get_partial_shape() != compiled.key) {
        reshaped = model->clone();
        reshaped->reshape(compiled.key);
    }
    openvino::check_sizes(*reshaped);
    for (size_t i = 0; i < lane_configs.size(); ++i)
        compiled.lanes.emplace_back().model = compile_model(reshaped, config_of(i));
    compiled.shape.activation_bytes = openvino::peak_activations(*reshaped);
    if (!keeping || reshaped != model) return;
    keeping->keep({info.input, info.outputs, declared, compiled.shape.activation_bytes}, compiled.lanes.front().model);
    keeping.reset();
}

std::shared_ptr<Network::Compiled> Network::compile(int batch, Size size) {
    const ov::PartialShape key{batch, 3, size.height, size.width};
    const std::lock_guard lock(mutex);
    const auto found = std::find_if(recent.begin(), recent.end(), [&](const auto& one) { return one->key == key; });
    if (found != recent.end()) {
        recent.splice(recent.begin(), recent, found);
    } else {
        add(key);
    }
    // Apart from the compiling, which is not lost where room for rows is given only afterwards.
    Compiled& compiled = *recent.front();
    if (compiled.shape.outputs.empty()) compiled.shape.outputs = output_sizes(compiled.model(), batch);
    return recent.front();
}

void Network::add(const ov::PartialShape& key) {
    auto compiled = std::make_shared<Compiled>();
    compiled->key = key;
    compiled->shape.weight_bytes = weight_bytes * lane_configs.size();
    try {
        fill(*compiled);
    } catch (const std::exception& error) {
        if (dynamic_cast<const Error*>(&error)) throw;
        throw Error(ErrorCode::model,
                    text(path, ": OpenVINO cannot prepare it for input ", shape_text(shape_of(key)), " (",
                         reason(error), "); check the model with another tool or export it again"));
    }
    if (recent.empty()) {  // the first shape is prepared before anybody else can ask
        const auto used = compiled->model().get_property(ov::hint::inference_precision);
        info.precision = used == ov::element::bf16 ? "bf16" : used == ov::element::f16 ? "fp16" : "f32";
    }
    recent.push_front(std::move(compiled));
    if (recent.size() > kMaxShapes) recent.pop_back();
}

std::vector<std::vector<int64_t>> Network::output_sizes(const ov::CompiledModel& compiled, int batch) const {
    std::vector<std::vector<int64_t>> out;
    for (const auto& output : compiled.outputs()) {
        // A constant of no numbers comes out of the import as one number, and a shape of no sizes would say "not
        // known".
        const ov::Rank rank = output.get_partial_shape().rank();
        require(rank.is_dynamic() || rank.get_length() > 0, ErrorCode::model, path, ": output '", output.get_any_name(),
                "' is one number to OpenVINO, whatever the file says; export the model again");
        std::vector<int64_t> sizes = shape_of(output.get_partial_shape());
        fill_open(sizes, declared[out.size()], batch);
        require(
            !sizes.empty() && std::none_of(sizes.begin(), sizes.end(), [](int64_t d) { return d < 0; }),
            ErrorCode::model, path, ": the size of output '", output.get_any_name(),
            "' depends on the picture; export the network without its own NMS or with a fixed number of detections, or "
            "say in the spec of its family for how many there shall be room");
        out.push_back(std::move(sizes));
    }
    return out;
}

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
            begin_letting_go();
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
            begin_letting_go();
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

private:
    /// A request of one lane, made when it is first needed.
    struct Request {
        ov::InferRequest request;
        std::vector<const void*> bound;  ///< its input and outputs
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

    private:
        Network::Lane* lane_;
    };

    /// The lane that has least to do is that of the next run.
    Network::Lane& enter() {
        auto& lanes = current_->lanes;
        const auto least = std::min_element(lanes.begin(), lanes.end(),
                                            [](const auto& a, const auto& b) { return a.at_work < b.at_work; });
        lane_ = static_cast<size_t>(least - lanes.begin());
        if (!requests_[lane_].request) requests_[lane_].request = least->model.create_infer_request();
        return *least;
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
        wanted_.assign(1, input);
        wanted_.insert(wanted_.end(), outputs.begin(), outputs.end());
        std::vector<const void*>& bound = requests_[lane_].bound;
        if (wanted_ == bound) return;
        bound.clear();  // nothing is certain until all are
        const auto& shape = model().input().get_shape();
        request().set_input_tensor(ov::Tensor(ov::element::f32, shape, const_cast<void*>(input)));
        for (size_t i = 0; i < outputs.size(); ++i) {
            if (model().output(i).get_partial_shape().is_static())
                request().set_output_tensor(i, ov::Tensor(ov::element::f32, model().output(i).get_shape(), outputs[i]));
        }
        bound.swap(wanted_);
    }

    /// In the first run of a network that was kept.
    void begin_letting_go() {
        if (current_->bytes && !current_->has_run.exchange(true)) letting_go_.emplace(current_->bytes);
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
    std::vector<const void*> wanted_;  ///< the input and the outputs of this run
    std::vector<void*> outputs_;       ///< of the work that start() has begun
    std::optional<openvino::LettingGo> letting_go_;
};

DType dtype_of(ov::element::Type type) { return type == ov::element::f32 ? DType::f32 : DType::other; }

/// Names, types and shapes of a model's input and outputs.
void describe(Network& network, const ModelFile& file) {
    auto& info = network.info;
    const auto& input = network.model->input();
    info.input = {input.get_any_name(), dtype_of(input.get_element_type()), shape_of(input.get_partial_shape())};
    for (const auto& output : network.model->outputs()) {
        const auto& names = output.get_names();
        // An output may carry several names after the import; the file's own is the one users and specs know.
        std::vector<int64_t> declared;
        std::string name = names.empty() ? std::string() : *names.begin();
        for (const auto& known : file.outputs) {
            if (!names.count(known.name)) continue;
            name = known.name;
            declared = known.shape;
        }
        network.declared.push_back(std::move(declared));
        info.outputs.push_back({name, dtype_of(output.get_element_type()), shape_of(output.get_partial_shape())});
    }
}

std::unique_ptr<Session> open(const ModelFile& file, OnnxContent content, const SessionOptions& options) {
    const openvino::Use use;
    openvino::refuse_lost_axes(file);
    auto network = std::make_shared<Network>();
    network->path = file.path;
    network->weight_bytes = static_cast<size_t>(file.weight_bytes);
    network->content.emplace(std::move(content));
    core();  // throws where a fork has left OpenVINO locked
    network->config = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::num_streams(1)};
    network->lane_configs = openvino::lane_configs(options);
    openvino::set_precision(network->config, options.precision, core());
    openvino::keep_products_exact(network->config);
    auto& info = network->info;
    info.backend = "openvino";
    info.version = ov::get_openvino_version().buildNumber;
    info.precision = options.precision;
    try {
        if (options.streams == 1)
            network->keeping = openvino::Keeping::of(file, *network->content, network->config_of(0), core());
    } catch (const Error&) {
        throw;
    } catch (const std::exception&) {
        // Without a place for it.
    }
    if (!network->take_kept()) {
        network->import_model();
        describe(*network, file);
    }
    return std::make_unique<OpenVinoSession>(std::move(network));
}

BackendStatus status() {
    const openvino::Use use;
    BackendStatus out;
    out.version = ov::get_openvino_version().buildNumber;
    try {
        for (const auto& device : core().get_available_devices())
            out.devices.push_back(device + ": " + core().get_property(device, ov::device::full_name));
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
