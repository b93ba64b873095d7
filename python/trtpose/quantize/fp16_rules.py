# SPDX-License-Identifier: Apache-2.0
"""What FP16 can hold and ONNX defines for it: which nodes stay in FP32, and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, label, matches
from ..formats.opset import opset_of

if TYPE_CHECKING:
    import onnx

__all__ = [
    "FLOAT",
    "FLOAT16",
    "LARGEST",
    "SMALLEST_NORMAL",
    "UNCOUNTED",
    "allows_fp16",
    "counts",
    "formal_of",
    "schema_of",
    "stay_in_fp32",
]

LARGEST = 65504.0
"""The largest finite number of FP16."""

SMALLEST_NORMAL = 2.0**-14
"""Below this FP16 loses digits; a set of weights all below it is kept in FP32."""

FLOAT, FLOAT16 = 1, 10  # TensorProto.FLOAT, .FLOAT16


UNCOUNTED = frozenset({"Cast", "Constant", "DequantizeLinear", "QuantizeLinear", "Shape", "Size"})


def counts(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a node computes on floating-point numbers."""
    return node.op_type not in UNCOUNTED and any(graph.types.get(name) == FLOAT for name in node.output if name)


def stay_in_fp32(graph: Graph, keep: Collection[str], keep_heads: bool) -> dict[int, str]:
    """The nodes that stay as they are, with the reason."""
    live = graph.follows_pictures()
    tail = graph.tail() if keep_heads else set[int]()
    opset = opset_of(graph.model)
    reasons: dict[int, str] = {}
    weights: list[int] = []
    for index, node in enumerate(graph.nodes):
        if node.op_type == "DequantizeLinear" and graph.is_constant(node.output[0]):
            weights.append(index)
        elif matches(label(node), keep):
            reasons[index] = "asked for"
        elif index in tail:
            reasons[index] = "raw head"
        elif not live[index]:
            reasons[index] = "arithmetic on shapes or constants"
        elif node.op_type == "Cast":
            reasons[index] = "a conversion"
        elif any(True for _ in graphs.subgraphs(node)):
            reasons[index] = "has subgraphs"
        elif (why := _unsupported(node, opset)) is not None or (why := _unfit_constant(graph, node)) is not None:
            reasons[index] = why
    for index in weights:  # in the precision of the convolution they are for
        readers = graph.readers.get(graph.nodes[index].output[0], [])
        if all(reader in reasons for reader in readers):
            reasons[index] = "weights of a node in FP32"
    return reasons


def schema_of(node: onnx.NodeProto, opset: int) -> Any:
    import onnx

    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def allows_fp16(schema: Any, formal: Any) -> bool:
    if formal.type_str.startswith("tensor("):
        return formal.type_str == "tensor(float16)"
    return any(
        "tensor(float16)" in constraint.allowed_type_strs
        for constraint in schema.type_constraints
        if constraint.type_param_str == formal.type_str
    )


def formal_of(parameters: Any, index: int) -> Any:
    return parameters[min(index, len(parameters) - 1)]  # the last one may be variadic


def _unsupported(node: onnx.NodeProto, opset: int) -> str | None:
    schema = schema_of(node, opset)
    if schema is None:
        return "not an operator of ONNX"
    if graphs.attribute(node, "dtype", None) is not None:
        return "states its type"
    if not schema.outputs or not allows_fp16(schema, formal_of(schema.inputs, 0)):
        dequantises = node.op_type == "DequantizeLinear"
        if not dequantises and not any(allows_fp16(schema, formal) for formal in schema.inputs):
            return "not defined for FP16"
    return None


def _unfit_constant(graph: Graph, node: onnx.NodeProto) -> str | None:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return None  # scales are handled apart
    for name in node.input:
        tensor = graph.constants.get(name)
        if tensor is None or tensor.data_type != FLOAT:
            continue
        values = graph.values(name)
        assert values is not None
        largest = float(np.abs(values).max(initial=0))
        if not largest <= LARGEST:
            return f"a constant of {largest:.3g}"
        if 0 < largest < SMALLEST_NORMAL:
            return f"a constant of {largest:.3g}"
    return None
