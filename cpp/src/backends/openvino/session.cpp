// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <openvino/openvino.hpp>
#include <sstream>
#include <thread>
#include <unordered_map>

#include "backends/backend.hpp"
#include "backends/openvino/import.hpp"
#include "backends/openvino/rewrites.hpp"
#include "backends/openvino/use.hpp"
#include "core/check.hpp"
#include "core/fork.hpp"
#include "trtpose/version.hpp"

namespace trtpose {
namespace {

// Compiled shapes kept ready for each other's return; each holds its own copy of the weights.
constexpr size_t kMaxShapes = 4;

constexpr const char* kLeftLocked =
    "OpenVINO cannot be used in this process: it was forked while another thread was at work there; fork when none is, "
    "or "
    "start processes with 'spawn' or 'forkserver'";

/// OpenVINO's of this process. Never deleted: threads may still be inside when a program ends, and in a process that
/// was forked the end of the parent's would wait for threads that are not there. Throws Error(device).
ov::Core& core() {
    struct Own {
        Birth birth;
        ov::Core core;
    };
    static std::atomic<Own*> current{nullptr};
    require(!openvino::left_locked(), ErrorCode::device, kLeftLocked);
    Own* own = current.load();
    if (own && own->birth.here()) return own->core;
    auto fresh = std::make_unique<Own>();
    if (current.compare_exchange_strong(own, fresh.get())) own = fresh.release();
    return own->core;
}

/// Compile for the CPU. In a forked process not without an end, see openvino::wait_for.
ov::CompiledModel compile_model(const std::shared_ptr<ov::Model>& model, const ov::AnyMap& config) {
    ov::Core& vendor = core();
    if (fork_generation() == 0) return vendor.compile_model(model, "CPU", config);
    const auto result = std::make_shared<std::promise<ov::CompiledModel>>();
    auto compiled = result->get_future();
    std::thread([&vendor, result, model, config] {
        try {
            result->set_value(vendor.compile_model(model, "CPU", config));
        } catch (...) {
            result->set_exception(std::current_exception());
        }
    }).detach();
    const bool in_time =
        openvino::wait_for([&](auto time) { return compiled.wait_for(time) == std::future_status::ready; });
    require(in_time, ErrorCode::device, kLeftLocked);
    return compiled.get();
}

/// The telling line of an OpenVINO message; the others say where in its sources it came from.
std::string reason(const std::exception& error) {
    static constexpr const char* kBoilerplate[] = {"Exception from", "Check '", "While ", "Loading input model",
                                                   "FrontEnd API failed"};
    std::istringstream lines(error.what());
    std::string out;
    for (std::string line; std::getline(lines, line);) {
        const auto begin = line.find_first_not_of(" \t");
        if (begin == line.npos) continue;
        const bool telling = std::none_of(std::begin(kBoilerplate), std::end(kBoilerplate), [&](const char* phrase) {
            return line.compare(begin, std::strlen(phrase), phrase) == 0;
        });
        if (telling || out.empty()) out = line.substr(begin);
        if (telling) break;
    }
    return out.substr(0, 300);
}

std::vector<int64_t> shape_of(const ov::PartialShape& shape) {
    std::vector<int64_t> out;
    if (shape.rank().is_dynamic()) return out;
    for (const auto& d : shape) out.push_back(d.is_static() ? d.get_length() : -1);
    return out;
}

/// What clones share: the network and what was compiled of it.
struct Network {
    std::string path;
    std::shared_ptr<ov::Model> model;  ///< float32 in and out, shapes as in the file
    ov::AnyMap config;
    SessionInfo info;
    size_t weight_bytes = 0;
    std::vector<std::vector<int64_t>> declared;  ///< shape of each output as the file has it

    struct Compiled {
        ov::PartialShape key;
        ov::CompiledModel model;
        SessionShape shape;
    };
    std::mutex mutex;
    std::list<std::shared_ptr<Compiled>> recent;  ///< latest used first

    std::shared_ptr<Compiled> compile(int batch, Size size);
};

/// Bytes of the intermediate tensors that are alive at the same time, running the operations in order; an upper
/// estimate, as the plugin fuses operations and reuses their memory.
size_t peak_activations(const ov::Model& model) {
    std::unordered_map<const ov::Node*, size_t> last_use;
    const auto order = model.get_ordered_ops();
    for (size_t i = 0; i < order.size(); ++i) {
        for (const auto& input : order[i]->inputs()) last_use[input.get_source_output().get_node()] = i;
    }
    std::unordered_map<size_t, size_t> freed_after;
    size_t alive = 0, peak = 0;
    for (size_t i = 0; i < order.size(); ++i) {
        const auto& op = order[i];
        if (!ov::is_type<ov::op::v0::Constant>(op) && !ov::is_type<ov::op::v0::Parameter>(op) &&
            !ov::is_type<ov::op::v0::Result>(op)) {
            size_t bytes = 0;
            for (const auto& output : op->outputs()) {
                if (output.get_partial_shape().is_static())
                    bytes += ov::shape_size(output.get_shape()) * output.get_element_type().size();
            }
            alive += bytes;
            peak = std::max(peak, alive);
            if (const auto use = last_use.find(op.get()); use != last_use.end()) freed_after[use->second] += bytes;
        }
        if (const auto freed = freed_after.find(i); freed != freed_after.end()) alive -= freed->second;
    }
    return peak;
}

std::shared_ptr<Network::Compiled> Network::compile(int batch, Size size) {
    const ov::PartialShape key{batch, 3, size.height, size.width};
    const std::lock_guard lock(mutex);
    for (auto entry = recent.begin(); entry != recent.end(); ++entry) {
        if ((*entry)->key != key) continue;
        recent.splice(recent.begin(), recent, entry);
        return recent.front();
    }
    auto compiled = std::make_shared<Compiled>();
    compiled->key = key;
    try {
        auto reshaped = model;
        if (model->input().get_partial_shape() != key) {
            reshaped = model->clone();
            reshaped->reshape(key);
        }
        openvino::check_sizes(*reshaped);
        compiled->model = compile_model(reshaped, config);
        compiled->shape.weight_bytes = weight_bytes;
        compiled->shape.activation_bytes = peak_activations(*reshaped);
    } catch (const std::exception& error) {
        if (const auto* own = dynamic_cast<const Error*>(&error); own && own->code() == ErrorCode::device) throw;
        throw Error(ErrorCode::model,
                    text(path, ": OpenVINO cannot prepare it for input ", batch, "×3×", size.height, "×", size.width,
                         " (", reason(error), "); check the model with another tool or export it again"));
    }
    for (const auto& output : compiled->model.outputs()) {
        const auto& shape = output.get_partial_shape();
        std::vector<int64_t> sizes = shape.is_static() ? shape_of(shape) : declared[compiled->shape.outputs.size()];
        if (!sizes.empty() && sizes[0] < 0) sizes[0] = batch;
        require(
            !sizes.empty() && std::none_of(sizes.begin(), sizes.end(), [](int64_t d) { return d < 0; }),
            ErrorCode::model, path, ": the size of output '", output.get_any_name(),
            "' depends on the picture; export the network without its own NMS or with a fixed number of detections");
        compiled->shape.outputs.push_back(std::move(sizes));
    }
    if (recent.empty()) {  // the first shape is prepared before anybody else can ask
        const auto used = compiled->model.get_property(ov::hint::inference_precision);
        info.precision = used == ov::element::bf16 ? "bf16" : used == ov::element::f16 ? "fp16" : "f32";
    }
    recent.push_front(compiled);
    if (recent.size() > kMaxShapes) recent.pop_back();
    return compiled;
}

class OpenVinoSession final : public Session {
public:
    explicit OpenVinoSession(std::shared_ptr<Network> network) : network_(std::move(network)) {}
    ~OpenVinoSession() override {
        const openvino::Use use;
        request_ = {};
        current_.reset();
        network_.reset();
    }

    const SessionInfo& info() const override { return network_->info; }

    const SessionShape& prepare(int batch, Size size) override {
        const openvino::Use use;
        auto compiled = network_->compile(batch, size);
        if (compiled != current_) {
            request_ = compiled->model.create_infer_request();
            current_ = std::move(compiled);
        }
        return current_->shape;
    }

    void run(const void* input, Span<void* const> outputs, const Context&) override {
        const openvino::Use use;
        try {
            const auto& shape = current_->model.input().get_shape();
            request_.set_input_tensor(ov::Tensor(ov::element::f32, shape, const_cast<void*>(input)));
            for (size_t i = 0; i < outputs.size(); ++i) {
                if (current_->model.output(i).get_partial_shape().is_static())
                    request_.set_output_tensor(
                        i, ov::Tensor(ov::element::f32, current_->model.output(i).get_shape(), outputs[i]));
            }
            request_.infer();
            for (size_t i = 0; i < outputs.size(); ++i) {
                if (current_->model.output(i).get_partial_shape().is_dynamic()) copy_output(i, outputs[i]);
            }
        } catch (const std::exception& error) {
            throw Error(ErrorCode::model, text(network_->path, ": OpenVINO cannot run it (", reason(error), ")"));
        }
    }

    std::unique_ptr<Session> clone() const override { return std::make_unique<OpenVinoSession>(network_); }

private:
    /// One whose size OpenVINO does not know beforehand, but the file says (behind an NMS, filled up).
    void copy_output(size_t i, void* to) {
        const ov::Tensor found = request_.get_output_tensor(i);
        const auto& expected = current_->shape.outputs[i];
        const ov::Shape shape(expected.begin(), expected.end());
        if (found.get_shape() != shape)
            throw std::runtime_error(
                text("output ", i, " is ", shape_text(found.get_shape()), ", the file says ", shape_text(expected)));
        found.copy_to(ov::Tensor(ov::element::f32, shape, to));
    }

    std::shared_ptr<Network> network_;
    std::shared_ptr<Network::Compiled> current_;
    ov::InferRequest request_;
};

DType dtype_of(ov::element::Type type) { return type == ov::element::f32 ? DType::f32 : DType::other; }

void set_precision(ov::AnyMap& config, const std::string& precision) {
    // f32 unless asked otherwise: left alone, OpenVINO computes in bf16 on CPUs that can, which moves keypoints.
    if (precision == "f32") {
        config.emplace(ov::hint::inference_precision(ov::element::f32));
    } else if (precision == "bf16" || precision == "fp16") {
        const auto type = precision == "bf16" ? ov::element::bf16 : ov::element::f16;
        const auto abilities = core().get_property("CPU", ov::device::capabilities);
        const char* needed = precision == "bf16" ? ov::device::capability::BF16 : ov::device::capability::FP16;
        require(std::find(abilities.begin(), abilities.end(), needed) != abilities.end(), ErrorCode::device,
                "precision ", precision, ": this CPU has no ", precision, " arithmetic; use f32");
        config.emplace(ov::hint::inference_precision(type));
    } else {
        require(precision == "auto", ErrorCode::input, "precision '", precision,
                "' is not known; use f32, fp16, bf16 or auto");
    }
}

std::unique_ptr<Session> open(const ModelFile& file, OnnxContent content, const SessionOptions& options) {
    const openvino::Use use;
    auto network = std::make_shared<Network>();
    network->path = file.path;
    network->weight_bytes = static_cast<size_t>(file.weight_bytes);
    bool whole = true;
    core();  // throws where a fork has left OpenVINO locked
    try {
        auto model = openvino::import(std::move(content));
        ov::preprocess::PrePostProcessor convert(model);
        convert.input().tensor().set_element_type(ov::element::f32);
        for (size_t i = 0; i < model->outputs().size(); ++i)
            convert.output(i).tensor().set_element_type(ov::element::f32);
        network->model = convert.build();
        whole = openvino::fold_quantisation(*network->model);
        openvino::split_before_gather(*network->model);
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(ErrorCode::model, text(file.path, ": OpenVINO cannot read it (", reason(error),
                                           "); the file is damaged or uses what OpenVINO ",
                                           ov::get_openvino_version().buildNumber, " does not know"));
    }
    network->config = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                       ov::num_streams(options.streams)};
    if (!whole) network->config.emplace("LP_TRANSFORMS_MODE", false);
    if (options.threads > 0) network->config.emplace(ov::inference_num_threads(options.threads));
    set_precision(network->config, options.precision);
    auto& info = network->info;
    info.backend = "openvino";
    info.version = ov::get_openvino_version().buildNumber;
    info.precision = options.precision;
    const auto& input = network->model->input();
    info.input = {input.get_any_name(), dtype_of(input.get_element_type()), shape_of(input.get_partial_shape())};
    for (const auto& output : network->model->outputs()) {
        const auto& names = output.get_names();
        // An output may carry several names after the import; the file's own is the one users and specs know.
        std::vector<int64_t> declared;
        std::string name = names.empty() ? std::string() : *names.begin();
        for (const auto& known : file.outputs) {
            if (!names.count(known.name)) continue;
            name = known.name;
            declared = known.shape;
        }
        network->declared.push_back(std::move(declared));
        info.outputs.push_back({name, dtype_of(output.get_element_type()), shape_of(output.get_partial_shape())});
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
