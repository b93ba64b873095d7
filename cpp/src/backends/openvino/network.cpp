// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/network.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <utility>

#include "backends/openvino/cell_ops.hpp"
#include "backends/openvino/import.hpp"
#include "backends/openvino/low_rows.hpp"
#include "backends/openvino/messages.hpp"
#include "backends/openvino/processor.hpp"
#include "backends/openvino/rewrites.hpp"
#include "backends/openvino/use.hpp"
#include "core/check.hpp"
#include "core/fork.hpp"
#include "trtpose/version.hpp"

namespace trtpose::openvino {
namespace {

// Compiled shapes kept ready for each other's return; each holds its own copy of the weights.
constexpr size_t kMaxShapes = 4;

/// What `work` makes of OpenVINO's. In a forked process not without an end.
template <typename Work>
ov::CompiledModel bounded(Work work) {
    ov::Core& vendor = core();
    if (fork_generation() == 0) return work(vendor);
    const auto compiled = std::make_shared<ov::CompiledModel>();
    run_bounded([&vendor, compiled, work] { *compiled = work(vendor); });
    return *compiled;
}

ov::CompiledModel compile_model(const std::shared_ptr<ov::Model>& model, const ov::AnyMap& config) {
    return bounded([model, config](ov::Core& vendor) { return vendor.compile_model(model, "CPU", config); });
}

std::vector<int64_t> shape_of(const ov::PartialShape& shape) {
    std::vector<int64_t> out;
    if (shape.rank().is_dynamic()) return out;
    for (const auto& d : shape) out.push_back(d.is_static() ? d.get_length() : -1);
    return out;
}

ov::PartialShape partial_shape(const std::vector<int64_t>& shape) {
    return ov::PartialShape(std::vector<ov::Dimension>(shape.begin(), shape.end()));
}

DType dtype_of(ov::element::Type type) { return type == ov::element::f32 ? DType::f32 : DType::other; }

}  // namespace

ov::Core& core() {
    struct Own {
        Birth birth;
        ov::Core core;

        Own() { add_cell_operations(core); }
    };
    static std::atomic<Own*> current{nullptr};
    require(!left_locked(), ErrorCode::device, kLeftLocked);
    Own* own = current.load();
    if (own && own->birth.here()) return own->core;
    auto fresh = std::make_unique<Own>();
    if (current.compare_exchange_strong(own, fresh.get())) own = fresh.release();
    return own->core;
}

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
        auto imported = import(std::move(checked));
        ov::preprocess::PrePostProcessor convert(imported);
        convert.input().tensor().set_element_type(ov::element::f32);
        for (size_t i = 0; i < imported->outputs().size(); ++i)
            convert.output(i).tensor().set_element_type(ov::element::f32);
        auto converted = convert.build();
        whole = fold_quantisation(*converted);
        split_before_gather(*converted);
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
        for (size_t i = 0; i < lane_configs.size(); ++i) {
            from_kept.push_back(bounded([tensor = kept->compiled, own_config = config_of(i)](ov::Core& vendor) {
                return vendor.import_model(tensor, "CPU", own_config);
            }));
        }
    } catch (const Error&) {
        throw;
    } catch (const std::exception&) {
        keeping->remove();
        from_kept.clear();
        kept.reset();
        return false;
    }
    kept->bytes->let_go();
    info.input = kept->facts.input;
    info.outputs = kept->facts.outputs;
    declared = kept->facts.declared;
    return true;
}

std::shared_ptr<ov::Model> Network::model_of(const ov::PartialShape& key) {
    if (!model) import_model();
    if (model->input().get_partial_shape() == key) return model;
    auto reshaped = model->clone();
    reshaped->reshape(key);
    return reshaped;
}

bool Network::serves(Compiled& compiled) {
    const bool as_wanted =
        compiled.rows == rows || (!compiled.leaves_out() && !without_low_rows(*model_of(compiled.key)));
    if (as_wanted) compiled.rows = rows;
    return as_wanted;
}

size_t Network::fill(Compiled& compiled) {
    if (kept && compiled.key == partial_shape(kept->facts.input.shape)) {
        compiled.bytes = kept->bytes;
        for (ov::CompiledModel& one : from_kept) compiled.lanes.emplace_back().model = std::move(one);
        from_kept.clear();
        compiled.shape.activation_bytes = kept->facts.activation_bytes;
        compiled.rows = kept->facts.rows;
        const size_t beside = kept->facts.bytes_beside;
        kept.reset();
        return beside;
    }
    const auto reshaped = model_of(compiled.key);
    check_sizes(*reshaped);
    compiled.rows = rows;
    const auto shorter = without_low_rows(*reshaped);
    for (size_t i = 0; i < lane_configs.size(); ++i)
        compiled.lanes.emplace_back().model = compile_model(shorter ? shorter : reshaped, config_of(i));
    compiled.shape.activation_bytes = peak_activations(*reshaped);
    const size_t beside = shorter ? bytes_beside(*shorter) : 0;
    if (!keeping || reshaped != model) return beside;
    keeping->keep({info.input, info.outputs, declared, compiled.shape.activation_bytes, beside, rows},
                  compiled.lanes.front().model);
    keeping.reset();
    return beside;
}

void Network::set_rows(const ScoredRows& wanted) {
    rows = wanted;
    if (!kept || kept->facts.rows == rows) return;
    keeping->remove();
    from_kept.clear();
    kept.reset();
}

std::shared_ptr<ov::Model> Network::without_low_rows(const ov::Model& whole) const {
    if (rows.scores == 0 || info.precision != "f32") return nullptr;
    const auto compile_end = [this](const std::shared_ptr<ov::Model>& end) {
        ov::AnyMap own = config;
        own[ov::inference_num_threads.name()] = 1;
        return compile_model(end, own);
    };
    try {
        auto shorter = whole.clone();
        if (leave_out_low_rows(*shorter, rows, threads_of_lane, compile_end)) return shorter;
    } catch (const Error&) {
        throw;
    } catch (const std::exception&) {
        // A network that cannot be looked through is computed whole.
    }
    return nullptr;
}

std::shared_ptr<Network::Compiled> Network::compile(int batch, Size size) {
    const ov::PartialShape key{batch, 3, size.height, size.width};
    const std::lock_guard lock(mutex);
    auto found = std::find_if(recent.begin(), recent.end(), [&](const auto& one) { return one->key == key; });
    if (found != recent.end() && !serves(**found)) {
        recent.erase(found);
        found = recent.end();
    }
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
    try {
        compiled->shape.weight_bytes = (weight_bytes + fill(*compiled)) * lane_configs.size();
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

void Network::describe(const ModelFile& file) {
    const auto& input = model->input();
    info.input = {input.get_any_name(), dtype_of(input.get_element_type()), shape_of(input.get_partial_shape())};
    for (const auto& output : model->outputs()) {
        const auto& names = output.get_names();
        // An output may carry several names after the import; the file's own is the one users and specs know.
        std::vector<int64_t> said;
        std::string name = names.empty() ? std::string() : *names.begin();
        for (const auto& known : file.outputs) {
            if (!names.count(known.name)) continue;
            name = known.name;
            said = known.shape;
        }
        declared.push_back(std::move(said));
        info.outputs.push_back({name, dtype_of(output.get_element_type()), shape_of(output.get_partial_shape())});
    }
}

}  // namespace trtpose::openvino
