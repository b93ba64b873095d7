// SPDX-License-Identifier: Apache-2.0
// Operations of a graph that OpenVINO has compute here.
#pragma once

#include <cstdint>
#include <openvino/op/op.hpp>
#include <openvino/runtime/core.hpp>
#include <vector>

namespace trtpose::openvino {

/// Whether a branch of convolutions is cheaper for those cells alone whose score is above the least. A score is the
/// logistic function of a map's number, of several channels the best.
///
/// Inputs: scores, N × C × h × w; the least score, 1. Output: boolean, 1.
class FewCells final : public ov::op::Op {
public:
    OPENVINO_OP("FewCells", "trtpose");
    FewCells() = default;
    /// `sides` and `costs`: of the branch's layers, the latter multiplications for a cell; `most`: multiplications in
    /// all for which it is cheaper.
    FewCells(const ov::OutputVector& inputs, std::vector<int64_t> sides, std::vector<int64_t> costs, int64_t most);

    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    std::vector<int64_t> sides_, costs_;
    int64_t most_ = 0;
};

/// A branch of convolutions for those cells alone; zeros elsewhere.
///
/// Inputs: the map it reads, N × I × h × w; scores and the least score as FewCells has them; of each layer the packed
/// weights (cell_layers.hpp) and the bias. Output: N × O × h × w.
class OfCells final : public ov::op::Op {
public:
    OPENVINO_OP("OfCells", "trtpose");
    OfCells() = default;
    /// Of each layer: `sides` of its squares, `channels` that come out, and in `activated` whether x·sigmoid(x) does.
    OfCells(const ov::OutputVector& inputs, std::vector<int64_t> sides, std::vector<int64_t> channels,
            std::vector<int64_t> activated);

    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    std::vector<int64_t> sides_, channels_, activated_;
};

/// So that networks which were kept can have them.
void add_cell_operations(ov::Core& core);

}  // namespace trtpose::openvino
