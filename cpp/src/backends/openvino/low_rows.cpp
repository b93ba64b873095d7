// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/low_rows.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <openvino/op/constant.hpp>
#include <openvino/op/if.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <openvino/op/shape_of.hpp>
#include <random>
#include <utility>
#include <vector>

#include "backends/openvino/branches.hpp"
#include "backends/openvino/cell_ops.hpp"

namespace trtpose::openvino {
namespace {

namespace v0 = ov::op::v0;

/// The graph behind the maps, as a network that is fed them.
std::shared_ptr<ov::Model> end_of(const ov::Model& model, const std::vector<Value>& maps) {
    // A clone's nodes come in the same order as the model's own.
    const auto copy = model.clone();
    const auto nodes = model.get_ordered_ops(), copies = copy->get_ordered_ops();
    ov::ParameterVector inputs;
    for (const Value& map : maps) {
        const auto at = std::find(nodes.begin(), nodes.end(), map.get_node_shared_ptr()) - nodes.begin();
        inputs.push_back(std::make_shared<v0::Parameter>(ov::element::f32, map.get_shape()));
        copies[static_cast<size_t>(at)]->output(map.get_index()).replace(inputs.back());
    }
    // Exports of any size ask maps before these for theirs.
    for (const auto& node : copies) {
        const bool asks = ov::is_type<v0::ShapeOf>(node) || ov::is_type<ov::op::v3::ShapeOf>(node);
        if (!asks || !node->get_input_partial_shape(0).is_static()) continue;
        const ov::Shape& shape = node->get_input_shape(0);
        node->output(0).replace(v0::Constant::create(node->get_element_type(), ov::Shape{shape.size()},
                                                     std::vector<int64_t>(shape.begin(), shape.end())));
    }
    return std::make_shared<ov::Model>(copy->get_results(), inputs);
}

/// Whether an output's rows with a score above any threshold are those of the cells with one, whatever other cells hold
/// in the branches' maps: tried on random numbers.
class Trial {
public:
    Trial(const ov::Model& model, const std::vector<Level>& levels, const ScoredRows& rows, const Compile& compile)
        : rows_(rows) {
        for (const Level& level : levels) {
            scores_of_.insert(scores_of_.end(), 1 + level.branches.size(), maps_.size());
            maps_.push_back(level.scores);
            kinds_.push_back(Kind::scores);
            for (const Branch& branch : level.branches) {
                maps_.push_back(branch.output);
                kinds_.push_back(branch.is_worth_it() ? Kind::left_out : Kind::whole);
            }
        }
        end_ = compile(end_of(model, maps_)).create_infer_request();
        for (size_t i = 0; i < maps_.size(); ++i) inputs_.push_back(end_.get_input_tensor(i));
    }

    bool succeeds() {
        for (const bool small_are_high : {false, true}) {
            fill_scores(small_are_high);
            for (size_t i = 0; i < maps_.size(); ++i) {
                if (kinds_[i] != Kind::scores) fill(i, kEverywhere);
            }
            const auto whole = rows_above(kLowest);
            if (!have_scores(whole)) return false;
            for (const float cut : {kLowest, -2.0f, 0.0f, 2.0f, 5.0f}) {
                for (size_t i = 0; i < maps_.size(); ++i) {
                    if (kinds_[i] == Kind::left_out) fill(i, cut);
                }
                std::vector<std::vector<float>> wanted;
                std::copy_if(whole.begin(), whole.end(), std::back_inserter(wanted),
                             [&](const auto& row) { return score_of(row) > logistic(cut); });
                if (rows_above(cut) != wanted) return false;
            }
        }
        return true;
    }

private:
    enum class Kind { scores, left_out, whole };
    // Numbers whose logistic functions are thresholds from 0.007 to 0.993; most cells are below all of them.
    static constexpr float kLowest = -5.0f, kHighest = 8.0f, kEverywhere = 1e9f;
    static constexpr size_t kEach = 8;  ///< likely cells of each image's map, at most

    static float logistic(float number) { return 1.0f / (1.0f + std::exp(-number)); }
    float random(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_); }

    /// Some cells likely by one class, the others not; of maps with few cells all or none.
    void fill_scores(bool small_are_high) {
        high_scores_.clear();
        best_.assign(maps_.size(), {});
        for (size_t i = 0; i < maps_.size(); ++i) {
            if (kinds_[i] != Kind::scores) continue;
            const ov::Shape& shape = maps_[i].get_shape();
            const size_t cells = shape[2] * shape[3];
            const size_t likely = cells >= 4 ? std::min(kEach, cells / 2) : small_are_high ? cells : 0;
            best_[i].assign(shape[0] * cells, kLowest - 1.0f);
            auto* const to = inputs_[i].data<float>();
            std::generate_n(to, inputs_[i].get_size(), [&] { return random(2 * kLowest, kLowest - 1.0f); });
            for (size_t n = 0; n < shape[0]; ++n) {
                std::vector<size_t> order(cells);
                std::iota(order.begin(), order.end(), size_t{0});
                std::shuffle(order.begin(), order.end(), random_);
                for (size_t k = 0; k < likely; ++k) {
                    const float number = random(kLowest, kHighest);
                    to[(n * shape[1] + random_() % shape[1]) * cells + order[k]] = number;
                    best_[i][n * cells + order[k]] = number;
                    high_scores_.push_back(logistic(number));
                }
            }
        }
        std::sort(high_scores_.begin(), high_scores_.end());
    }

    /// Other numbers in a map, in the cells that are not above a cut.
    void fill(size_t i, float cut) {
        const ov::Shape& shape = maps_[i].get_shape();
        const size_t cells = shape[2] * shape[3];
        auto* const to = inputs_[i].data<float>();
        for (size_t at = 0; at < inputs_[i].get_size(); ++at) {
            const size_t cell = at / (shape[1] * cells) * cells + at % cells;
            if (best_[scores_of_[i]][cell] <= cut) to[at] = random(-4.0f, 4.0f);
        }
    }

    /// The rows whose score is above that of a number, in order.
    std::vector<std::vector<float>> rows_above(float cut) {
        end_.infer();
        const ov::Tensor out = end_.get_output_tensor(rows_.output);
        const ov::Shape shape = out.get_shape();
        const size_t fields = shape[rows_.fields_first ? 1 : 2], count = shape[rows_.fields_first ? 2 : 1];
        std::vector<std::vector<float>> found;
        for (size_t i = 0; i < shape[0] * count; ++i) {
            std::vector<float> row(fields);
            for (size_t f = 0; f < fields; ++f) {
                const size_t n = i / count, r = i % count;
                row[f] = out.data<const float>()[rows_.fields_first ? (n * fields + f) * count + r
                                                                    : (n * count + r) * fields + f];
            }
            if (score_of(row) > logistic(cut)) found.push_back(std::move(row));
        }
        return found;
    }

    float score_of(const std::vector<float>& row) const {
        const auto first = row.begin() + static_cast<std::ptrdiff_t>(rows_.first_score);
        return *std::max_element(first, first + static_cast<std::ptrdiff_t>(rows_.scores));
    }

    /// Whether the rows' scores are the logistic function of the likely cells' numbers.
    bool have_scores(const std::vector<std::vector<float>>& rows) const {
        constexpr float kRounding = 2e-6f;
        std::vector<float> found;
        for (const auto& row : rows) found.push_back(score_of(row));
        std::sort(found.begin(), found.end());
        return !found.empty() && std::equal(found.begin(), found.end(), high_scores_.begin(), high_scores_.end(),
                                            [](float a, float b) { return std::fabs(a - b) < kRounding; });
    }

    ScoredRows rows_;
    std::vector<Value> maps_;
    std::vector<Kind> kinds_;
    std::vector<size_t> scores_of_;  ///< for each map the one with its scores
    ov::InferRequest end_;
    ov::TensorVector inputs_;
    std::vector<std::vector<float>> best_;  ///< of maps with scores the best number of each cell, or a low one
    std::vector<float> high_scores_;
    std::mt19937 random_{1};
};

template <typename Number>
std::vector<int64_t> of_layers(const Branch& branch, Number&& number) {
    std::vector<int64_t> out;
    for (const Layer& layer : branch.layers) out.push_back(number(layer.shape));
    return out;
}

std::vector<int64_t> sides_of(const Branch& branch) {
    return of_layers(branch, [](const CellLayer& layer) { return layer.side; });
}

/// The branch's answer for likely cells alone. `map`, `scores` and `least` are what OfCells reads.
std::shared_ptr<v0::Result> for_some(const Branch& branch, const Value& map, const Value& scores, const Value& least) {
    ov::OutputVector inputs{map, scores, least};
    for (const Layer& layer : branch.layers) {
        for (const std::vector<float>& numbers : {layer.weights, layer.bias})
            inputs.push_back(v0::Constant::create(ov::element::f32, ov::Shape{numbers.size()}, numbers));
    }
    return std::make_shared<v0::Result>(std::make_shared<OfCells>(
        inputs, sides_of(branch), of_layers(branch, [](const CellLayer& layer) { return layer.outputs; }),
        of_layers(branch, [](const CellLayer& layer) { return layer.silu; })));
}

/// A copy of a branch that reads another value.
Value copied(const Branch& branch, const Value& input) {
    std::map<Value, Value> copies{{branch.input, input}};
    std::vector<Value> open{branch.output};
    while (!open.empty()) {
        const Value at = open.back();
        const auto node = at.get_node_shared_ptr();
        ov::OutputVector inputs;
        for (const Value& one : node->input_values()) {
            if (copies.count(one)) {
                inputs.push_back(copies[one]);
            } else if (constant_of(one)) {
                inputs.push_back(one);
            } else {
                open.push_back(one);
            }
        }
        if (inputs.size() < node->get_input_size()) continue;
        open.pop_back();
        copies[at] = node->clone_with_new_inputs(inputs)->output(0);
    }
    return copies[branch.output];
}

/// Branches of a level that read one map over the same squares: they are computed for the same cells.
std::vector<std::vector<Branch>> alike(const Level& level) {
    std::vector<std::vector<Branch>> out;
    for (const Branch& branch : level.branches) {
        if (!branch.is_worth_it()) continue;
        const auto same = std::find_if(out.begin(), out.end(), [&](const auto& others) {
            return others.front().input == branch.input && sides_of(others.front()) == sides_of(branch);
        });
        if (same == out.end()) {
            out.push_back({branch});
        } else {
            same->push_back(branch);
        }
    }
    return out;
}

/// Whether there are few likely cells.
std::shared_ptr<ov::Node> few_of(const std::vector<Branch>& branches, const Value& scores, const Value& least,
                                 int threads) {
    // One thread computes cells, all of them a whole convolution, and better.
    constexpr int64_t kWorse = 2;
    std::vector<int64_t> costs(branches.front().layers.size());
    int64_t whole = 0;
    for (const Branch& branch : branches) {
        for (size_t l = 0; l < costs.size(); ++l) costs[l] += branch.layers[l].shape.cost();
        whole += branch.cost();
    }
    return std::make_shared<FewCells>(ov::OutputVector{scores, least}, sides_of(branches.front()), costs,
                                      whole / (kWorse * threads));
}

/// Puts in the branches' place: their answers for likely cells, where these are few, or for all.
void choose(const std::vector<Branch>& branches, const Value& scores, const Value& least, int threads) {
    const auto parameter = [](const Value& value) {
        return std::make_shared<v0::Parameter>(value.get_element_type(), value.get_partial_shape());
    };
    const Value input = branches.front().input;
    const auto map = parameter(input), few_scores = parameter(scores), few_least = parameter(least),
               whole_map = parameter(input);
    ov::ResultVector some, all;
    for (const Branch& branch : branches) {
        some.push_back(for_some(branch, map, few_scores, few_least));
        all.push_back(std::make_shared<v0::Result>(copied(branch, whole_map)));
    }
    const auto choice = std::make_shared<ov::op::v8::If>(few_of(branches, scores, least, threads));
    choice->set_then_body(std::make_shared<ov::Model>(some, ov::ParameterVector{map, few_scores, few_least}));
    choice->set_else_body(std::make_shared<ov::Model>(all, ov::ParameterVector{whole_map}));
    choice->set_input(input, map, whole_map);
    choice->set_input(scores, few_scores, nullptr);
    choice->set_input(least, few_least, nullptr);
    for (size_t i = 0; i < branches.size(); ++i) {
        const auto readers = branches[i].output.get_target_inputs();
        const Value answer = choice->set_output(some[i], all[i]);
        for (const auto& reader : readers) reader.replace_source_output(answer);
    }
}

}  // namespace

bool leave_out_low_rows(ov::Model& model, const ScoredRows& rows, int threads, const Compile& compile) {
    constexpr size_t kRank = 3;  // of N × fields × rows and of N × rows × fields
    if (model.inputs().size() != 1 || rows.output >= model.outputs().size()) return false;
    const auto& shape = model.output(rows.output).get_partial_shape();
    if (!shape.is_static() || shape.size() != kRank || model.outputs().size() != 1) return false;
    // The spec is held against the outputs only when they are read.
    if (shape.to_shape()[rows.fields_first ? 1 : 2] < rows.first_score + rows.scores) return false;
    const auto levels = levels_of(last_maps(model), rows.classes);
    bool any = false;
    for (const Level& level : levels) {
        for (const Branch& branch : level.branches) any = any || branch.is_worth_it();
    }
    if (!any || !Trial(model, levels, rows, compile).succeeds()) return false;
    const auto least = std::make_shared<v0::Parameter>(ov::element::f32, ov::Shape{1});
    least->output(0).get_tensor().set_names({"trtpose_least_score"});
    for (const Level& level : levels) {
        for (const auto& branches : alike(level)) choose(branches, level.scores, least, threads);
    }
    model.add_parameters({least});
    model.validate_nodes_and_infer_types();
    return true;
}

size_t bytes_beside(const ov::Model& model) {
    size_t sum = 0;
    for (const auto& node : model.get_ops()) {
        if (const auto choice = ov::as_type_ptr<ov::op::v8::If>(node)) sum += bytes_beside(*choice->get_then_body());
        if (!ov::is_type<OfCells>(node)) continue;
        for (const Value& input : node->input_values()) {
            if (const auto* numbers = ov::as_type<v0::Constant>(input.get_node())) sum += numbers->get_byte_size();
        }
    }
    return sum;
}

}  // namespace trtpose::openvino
