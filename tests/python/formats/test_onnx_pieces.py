# SPDX-License-Identifier: Apache-2.0
"""A model in parts is the model that protobuf writes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtpose.formats import onnx_pieces
from trtpose.formats.onnx_pieces import pieces


def _model() -> onnx.ModelProto:
    """One with something in most fields, before the weights and behind them."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.random((40, 40), np.float32), "large"),
        numpy_helper.from_array(random.random(3), "small"),
        helper.make_tensor("typed", onnx.TensorProto.FLOAT, [2000], [0.5] * 2000),
        numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"),
        numpy_helper.from_array(random.random(1 << 15), "longer"),
    ]
    weights[0].doc_string = "behind the numbers"
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 40])]
    nodes = [helper.make_node("MatMul", ["x", "large"], ["y"], name="product"), helper.make_node("Relu", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "graph", inputs, [helper.make_empty_tensor_value_info("z")], weights)
    graph.doc_string = "of the graph"
    graph.value_info.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    model = helper.make_model(graph, producer_name="test", doc_string="of the model", model_version=0)
    for key in ("b", "a"):
        model.metadata_props.add(key=key, value="value")
    return model


@pytest.mark.parametrize("model", [_model(), onnx.ModelProto(), helper.make_model(onnx.GraphProto())])
def test_parts_are_what_protobuf_writes(model: onnx.ModelProto) -> None:
    assert b"".join(pieces(model)) == model.SerializeToString(deterministic=True)


def test_too_large_a_model_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_pieces, "_MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="protobuf ends at 100000"):
        next(pieces(_model()))
