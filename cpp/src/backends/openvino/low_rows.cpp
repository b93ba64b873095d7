// SPDX-License-Identifier: Apache-2.0
#include "backends/openvino/low_rows.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <openvino/op/add.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convolution.hpp>
#include <openvino/op/group_conv.hpp>
#include <openvino/op/if.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <openvino/op/sigmoid.hpp>
#include <openvino/op/swish.hpp>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "backends/openvino/cell_layers.hpp"
#include "backends/openvino/cell_ops.hpp"

namespace trtpose::openvino {
namespace {

namespace v0 = ov::op::v0;
namespace v1 = ov::op::v1;

using Value = ov::Output<ov::Node>;

/// The number that a value is whatever the network is fed; empty where it is none.
ov::Tensor constant_of(const Value& value) {
    const auto node = value.get_node_shared_ptr();
    if (const auto constant = ov::as_type_ptr<v0::Constant>(node)) return constant->get_tensor_view();
    if (node->get_input_size() == 0 || node->get_output_size() != 1 || !value.get_partial_shape().is_static())
        return {};
    ov::TensorVector inputs;
    for (const auto& input : node->input_values()) {
        inputs.push_back(constant_of(input));
        if (!inputs.back()) return {};
    }
    ov::TensorVector out{ov::Tensor(value.get_element_type(), value.get_shape())};
    return node->has_evaluate() && node->evaluate(out, inputs) ? out[0] : ov::Tensor();
}

std::vector<float> numbers_of(const Value& value) {
    const ov::Tensor found = constant_of(value);
    if (!found || found.get_element_type() != ov::element::f32) return {};
    return {found.data<const float>(), found.data<const float>() + found.get_size()};
}

/// A convolution of a branch with what belongs to it.
struct Layer {
    CellLayer shape;
    std::vector<float> weights, bias;
    Value input;
};

bool is_alone(const Value& value) { return value.get_target_inputs().size() == 1; }

/// The convolution and its bias behind a value; none where it is another or somebody else reads what lies between.
std::optional<Layer> convolution_of(const Value& value) {
    Layer out;
    auto node = value.get_node_shared_ptr();
    if (ov::is_type<v1::Add>(node)) {
        out.bias = numbers_of(node->input_value(1));
        if (out.bias.empty() || !is_alone(node->input_value(0))) return {};
        node = node->get_input_node_shared_ptr(0);
    }
    const auto convolution = ov::as_type_ptr<v1::Convolution>(node);
    if (!convolution || !node->get_input_partial_shape(0).is_static()) return {};
    const ov::Shape& weights = node->get_input_shape(1);
    const size_t side = weights[2];
    const ov::CoordinateDiff pads(2, static_cast<std::ptrdiff_t>(side / 2));
    if (weights.size() != 4 || weights[3] != side || side % 2 == 0 || convolution->get_pads_begin() != pads ||
        convolution->get_pads_end() != pads || convolution->get_strides() != ov::Strides{1, 1} ||
        convolution->get_dilations() != ov::Strides{1, 1} || node->get_element_type() != ov::element::f32)
        return {};
    out.shape.inputs = static_cast<int>(weights[1]);
    out.shape.outputs = static_cast<int>(weights[0]);
    out.shape.side = static_cast<int>(side);
    out.weights = numbers_of(node->input_value(1));
    if (out.bias.empty()) out.bias.assign(weights[0], 0.0f);
    if (out.bias.size() != weights[0] || out.weights.empty()) return {};
    out.weights = packed_weights(out.weights.data(), out.shape);
    out.input = node->input_value(0);
    return out;
}

/// The same with x·sigmoid(x) of it, as one operation or as two.
std::optional<Layer> activated_convolution_of(const Value& value) {
    const auto node = value.get_node_shared_ptr();
    Value inner;
    if (ov::is_type<ov::op::v4::Swish>(node) && node->get_input_size() == 1) {
        inner = node->input_value(0);
        if (!is_alone(inner)) return {};
    } else if (ov::is_type<v1::Multiply>(node)) {
        const size_t gate = ov::is_type<v0::Sigmoid>(node->get_input_node_shared_ptr(0)) ? 0 : 1;
        const auto sigmoid = node->get_input_node_shared_ptr(gate);
        inner = node->input_value(1 - gate);
        if (!ov::is_type<v0::Sigmoid>(sigmoid) || sigmoid->input_value(0) != inner ||
            inner.get_target_inputs().size() != 2 || !is_alone(sigmoid))
            return {};
    } else {
        return {};
    }
    auto out = convolution_of(inner);
    if (out) out->shape.silu = true;
    return out;
}

/// Convolutions one behind the other that nobody else reads, and what the first of them reads.
struct Branch {
    Value input, output;
    std::vector<Layer> layers;

    /// Whether it is worth leaving something out: one layer is no more work than finding out.
    bool is_worth_it() const { return layers.size() > 1; }
    int64_t cost() const {
        int64_t sum = 0;
        for (const Layer& layer : layers) sum += layer.shape.cost();
        return sum * static_cast<int64_t>(output.get_shape()[0] * output.get_shape()[2] * output.get_shape()[3]);
    }
};

/// The branch that ends in a map; without layers where that is no such convolution.
Branch branch_of(const Value& map) {
    Branch out;
    out.output = map;
    auto layer = convolution_of(map);
    while (layer) {
        out.input = layer->input;
        out.layers.insert(out.layers.begin(), std::move(*layer));
        layer = is_alone(out.input) ? activated_convolution_of(out.input) : std::nullopt;
    }
    return out;
}

/// The mean of a distribution over 0, 1, 2 and so on, which boxes are given as by some (Li et al., 2020, "Generalized
/// Focal Loss"): written as a convolution, and nothing that was learned.
bool is_mean(const ov::Node& node) {
    if (!ov::is_type<v1::Convolution>(&node) || node.get_output_partial_shape(0)[1] != 1) return false;
    const std::vector<float> weights = numbers_of(node.input_value(1));
    for (size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] != static_cast<float>(i)) return false;
    }
    return weights.size() > 1;
}

bool is_product(const ov::Node& node) {
    if (is_mean(node)) return false;
    return ov::is_type<v1::Convolution>(&node) || ov::is_type<v1::GroupConvolution>(&node) ||
           ov::is_type<v0::MatMul>(&node);
}

/// What the last convolutions of a network give, in the graph's order.
std::vector<Value> last_maps(const ov::Model& model) {
    const auto nodes = model.get_ordered_ops();
    std::set<const ov::Node*> before;  // a convolution
    std::vector<Value> found;
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
        bool leads = false;
        for (const Value& output : (*node)->outputs()) {
            for (const auto& target : output.get_target_inputs())
                leads = leads || is_product(*target.get_node()) || before.count(target.get_node());
        }
        if (leads) before.insert(node->get());
        if (leads || !ov::is_type<v1::Convolution>(*node) || is_mean(**node)) continue;
        Value map = (*node)->output(0);
        const auto target = map.get_target_inputs().begin()->get_node()->shared_from_this();
        if (is_alone(map) && ov::is_type<v1::Add>(target) && constant_of(target->input_value(1)))
            map = target->output(0);
        if (map.get_partial_shape().is_static() && map.get_shape().size() == 4) found.push_back(map);
    }
    std::reverse(found.begin(), found.end());
    return found;
}

/// Maps of one size: which holds scores, and branches to what is of use where those are high enough.
struct Level {
    Value scores;
    std::vector<Branch> branches;
};

/// All maps by their sizes; none where it is not clear which hold scores.
std::vector<Level> levels_of(const std::vector<Value>& maps, size_t classes) {
    std::map<std::pair<size_t, size_t>, Level> found;
    for (const Value& map : maps) {
        const ov::Shape& shape = map.get_shape();
        Level& level = found[{shape[2], shape[3]}];
        if (shape[1] != classes) {
            level.branches.push_back(branch_of(map));
        } else if (std::exchange(level.scores, map).get_node()) {
            return {};
        }
    }
    std::vector<Level> out;
    for (auto& [size, level] : found) {
        if (!level.scores.get_node()) return {};
        out.push_back(std::move(level));
    }
    return out;
}

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
    return std::make_shared<ov::Model>(copy->get_results(), inputs);
}

/// Whether an output's rows with a high score are those of the cells with one, whatever other cells hold in the
/// branches' maps: tried on random numbers.
class Trial {
public:
    Trial(const ov::Model& model, const std::vector<Level>& levels, const ScoredRows& rows, const Compile& compile)
        : rows_(rows) {
        for (const Level& level : levels) {
            maps_.push_back(level.scores);
            kinds_.push_back(Kind::scores);
            for (const Branch& branch : level.branches) {
                maps_.push_back(branch.output);
                kinds_.push_back(branch.is_worth_it() ? Kind::left_out : Kind::whole);
            }
        }
        end_ = compile(end_of(model, maps_)).create_infer_request();
    }

    bool succeeds() {
        for (size_t i = 0; i < maps_.size(); ++i) inputs_.push_back(end_.get_input_tensor(i));
        fill_scores();
        fill_rest(false);
        const auto first = high_rows();
        fill_rest(true);
        return have_scores(first) && high_rows() == first;
    }

private:
    enum class Kind { scores, left_out, whole };
    static constexpr float kHigh = 2.0f, kLow = -9.0f, kBetween = 0.5f;  ///< logistic: 0.88 and 0.0001

    void fill_scores() {
        for (size_t i = 0; i < maps_.size(); ++i) {
            if (kinds_[i] != Kind::scores) continue;
            const ov::Shape& shape = maps_[i].get_shape();
            const size_t cells = shape[2] * shape[3];
            std::vector<char>& high = high_cells_[{shape[2], shape[3]}];
            high.assign(shape[0] * cells, 0);
            for (size_t k = 0; k < shape[0] * kEach; ++k) high[random_() % high.size()] = 1;
            auto* const to = inputs_[i].data<float>();
            for (size_t n = 0; n < shape[0]; ++n) {
                for (size_t cell = 0; cell < cells; ++cell) {
                    const size_t best = random_() % shape[1];
                    for (size_t c = 0; c < shape[1]; ++c) {
                        const bool is_high = high[n * cells + cell] != 0 && c == best;
                        const float number = (is_high ? kHigh : kLow) + spread_(random_);
                        to[(n * shape[1] + c) * cells + cell] = number;
                        if (is_high) high_scores_.push_back(1.0f / (1.0f + std::exp(-number)));
                    }
                }
            }
        }
    }

    /// What the branches give; the second time otherwise where scores are low.
    void fill_rest(bool again) {
        for (size_t i = 0; i < maps_.size(); ++i) {
            if (kinds_[i] == Kind::scores || (again && kinds_[i] == Kind::whole)) continue;
            const ov::Shape& shape = maps_[i].get_shape();
            const size_t cells = shape[2] * shape[3];
            const std::vector<char>& high = high_cells_[{shape[2], shape[3]}];
            auto* const to = inputs_[i].data<float>();
            for (size_t at = 0; at < inputs_[i].get_size(); ++at) {
                const size_t n = at / (shape[1] * cells);
                if (!again || !high[n * cells + at % cells]) to[at] = 8.0f * spread_(random_);
            }
        }
    }

    /// The rows with a high score, in order.
    std::vector<std::vector<float>> high_rows() {
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
            if (score_of(row) > kBetween) found.push_back(std::move(row));
        }
        return found;
    }

    float score_of(const std::vector<float>& row) const {
        const auto first = row.begin() + static_cast<std::ptrdiff_t>(rows_.first_score);
        return *std::max_element(first, first + static_cast<std::ptrdiff_t>(rows_.scores));
    }

    /// Whether the rows' scores are the logistic function of the high numbers.
    bool have_scores(const std::vector<std::vector<float>>& rows) {
        constexpr float kRounding = 1e-5f;
        std::vector<float> found;
        for (const auto& row : rows) found.push_back(score_of(row));
        std::sort(found.begin(), found.end());
        std::sort(high_scores_.begin(), high_scores_.end());
        return !found.empty() && std::equal(found.begin(), found.end(), high_scores_.begin(), high_scores_.end(),
                                            [](float a, float b) { return std::fabs(a - b) < kRounding; });
    }

    static constexpr size_t kEach = 12;  ///< high cells of each map, at most

    ScoredRows rows_;
    std::vector<Value> maps_;
    std::vector<Kind> kinds_;
    ov::InferRequest end_;
    ov::TensorVector inputs_;
    std::map<std::pair<size_t, size_t>, std::vector<char>> high_cells_;
    std::vector<float> high_scores_;
    std::mt19937 random_{1};
    std::uniform_real_distribution<float> spread_{-0.5f, 0.5f};
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

}  // namespace trtpose::openvino
