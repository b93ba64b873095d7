# SPDX-License-Identifier: Apache-2.0
"""Turning a float32 ONNX graph into one that computes in FP16.

Strongly typed TensorRT (10 on request, 11 and TensorRT for RTX always) computes in the types of the graph, so precision
is a property of the file: this writes it. Inputs and outputs keep their names and stay float32.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, label
from ..formats.opset import opset_of, raised
from .fp16_rules import FLOAT, FLOAT16, LARGEST, SMALLEST_NORMAL, UNCOUNTED, counts, stay_in_fp32
from .fp16_writer import Writer, copy_node

if TYPE_CHECKING:
    import onnx

__all__ = ["LARGEST", "SMALLEST_NORMAL", "Fp16Result", "converted", "simulate", "to_fp16"]

_QDQ_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take FP16 scales."""


@dataclass(frozen=True)
class Fp16Result:
    """A graph in FP16.

    Attributes:
        model: the converted model; a new one, the original is not touched.
        kept: names of the floating-point nodes left in FP32.
        share: how many nodes compute in ``fp32``, ``fp16`` and ``int8``; Cast, Q/DQ and nodes on integers not counted.
        reasons: why, for each of ``kept``.
    """

    model: onnx.ModelProto
    kept: list[str]
    share: dict[str, int]
    reasons: dict[str, str] = field(default_factory=dict)


def to_fp16(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> Fp16Result:
    """Convert a graph to FP16.

    In FP32 stay: what ``keep`` names; with ``keep_heads`` the raw heads, that is everything from the last convolutions
    on (decoded pixels included, of which FP16 holds only every half one above 512); arithmetic on shapes; operators
    that ONNX does not define for FP16, those of other domains and those with subgraphs; and nodes with a constant that
    FP16 cannot hold. A graph with Q/DQ pairs gets FP16 scales, which needs opset 19: an older one is raised to it.
    Nodes that are FP16 already stay so, so converting twice changes nothing.

    Args:
        model: the graph in float32.
        keep: names of nodes to leave in FP32, ``*`` and ``?`` allowed.
        keep_heads: whether to leave the raw heads in FP32.

    Returns:
        The new model and what was left in FP32. Names and types of inputs and outputs, metadata and open dimensions are
        those of ``model``.

    Raises:
        ModelError: the graph is not consistent.
        DeviceError: the package onnx is not installed.
    """
    package = graphs.onnx_package("converting to FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in work.graph.node)
    if quantised and opset_of(work) < _QDQ_OPSET:
        work = raised(work, _QDQ_OPSET, "Q/DQ with FP16 scales")
    _tidy(work)
    graph = Graph(work)
    reasons = stay_in_fp32(graph, keep, keep_heads)
    result = Writer(graph, set(reasons)).write()
    named = {
        label(graph.nodes[index]): why for index, why in sorted(reasons.items()) if counts(graph.nodes[index], graph)
    }
    return Fp16Result(result, list(named), _share(result), named)


def simulate(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> onnx.ModelProto:
    """A float32 graph that rounds where the graph of :func:`to_fp16` does, to see on a CPU what FP16 does to poses.

    Processors without FP16 run an FP16 graph in float32 throughout, which shows nothing but the rounded weights. Here
    every result of an FP16 node is rounded to its 11 digits by T. J. Dekker's splitting ("A floating-point technique
    for extending the available precision", 1971): x -> c - (c - x) with c = 8193 x. Range is not simulated; see
    :func:`trtpose.quantize.half.convert`.
    """
    from onnx import helper, numpy_helper

    package = graphs.onnx_package("simulating FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    _tidy(work)
    graph = Graph(work)
    kept = stay_in_fp32(graph, keep, keep_heads)
    outputs = set(graph.outputs)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {
        "trtpose/split": numpy_helper.from_array(np.array(2.0**13 + 1, np.float32), "trtpose/split")
    }

    def rounded(source: str, target: str) -> None:
        nodes.append(helper.make_node("Mul", [source, "trtpose/split"], [f"{target}/far"]))
        nodes.append(helper.make_node("Sub", [f"{target}/far", source], [f"{target}/low"]))
        nodes.append(helper.make_node("Sub", [f"{target}/far", f"{target}/low"], [target]))

    for name in graph.inputs:
        if graph.types.get(name) == FLOAT:
            rounded(name, f"{name}/fp16")
    for index, node in enumerate(graph.nodes):
        copy = copy_node(node)
        nodes.append(copy)
        if index in kept or not counts(node, graph):
            continue
        for i, name in enumerate(node.input):
            if name in graph.inputs and graph.types.get(name) == FLOAT:
                copy.input[i] = f"{name}/fp16"
            values = graph.values(name)
            if values is not None and values.dtype == np.float32 and not (node.op_type == "Resize" and i > 0):
                copy.input[i] = f"{name}/fp16"
                half = values.astype(np.float16).astype(np.float32)
                added[f"{name}/fp16"] = numpy_helper.from_array(half, f"{name}/fp16")
        for i, name in enumerate(node.output):
            if graph.types.get(name) == FLOAT and name not in outputs and node.op_type not in _EXACT:
                copy.output[i] = f"{name}/exact"
                rounded(f"{name}/exact", name)
    del work.graph.node[:]
    work.graph.node.extend(nodes)
    work.graph.initializer.extend(added.values())
    return work


# Results are among the arguments.
_EXACT = frozenset({"Concat", "Gather", "MaxPool", "Relu", "Reshape", "Slice", "Split", "Transpose", "Unsqueeze"})


def converted(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> dict[str, list[str]]:
    """The tensors that become FP16, each with the names of the node that makes it and of those that read it."""
    package = graphs.onnx_package("converting to FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    _tidy(work)
    graph = Graph(work)
    kept = stay_in_fp32(graph, keep, keep_heads)
    found: dict[str, list[str]] = {}
    for index, node in enumerate(graph.nodes):
        if index in kept or not counts(node, graph):
            continue
        for name in node.output:
            if graph.types.get(name) == FLOAT:
                readers = [label(graph.nodes[i]) for i in graph.readers.get(name, [])]
                found[name] = [label(node), *readers]
    return found


def _tidy(model: onnx.ModelProto) -> None:
    """Make float constants initialisers, and drop Cast nodes that change nothing."""
    from onnx import numpy_helper

    graph = model.graph
    types = Graph(model).types
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    inner = {name for node in graph.node for name in Graph.reads(node)} - {n for node in graph.node for n in node.input}
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in renamed:
                node.input[i] = renamed[name]
        if node.op_type == "Constant" and node.output[0] not in outputs:
            value = graphs.attribute(node, "value", None)
            if value is None:
                plain = graphs.attribute(node, "value_float", graphs.attribute(node, "value_floats", None))
                value = None if plain is None else numpy_helper.from_array(np.asarray(plain, np.float32))
            if value is not None and value.data_type == FLOAT:
                value.name = node.output[0]
                graph.initializer.append(value)
                continue
        same = node.op_type == "Cast" and types.get(node.input[0]) == graphs.attribute(node, "to", 0)
        if same and node.output[0] not in outputs | inner:
            renamed[node.output[0]] = node.input[0]
            continue
        nodes.append(node)
    kept = [copy_node(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _share(model: onnx.ModelProto) -> dict[str, int]:
    graph = Graph(model)
    share = {"fp32": 0, "fp16": 0, "int8": 0}
    for node in graph.nodes:
        if node.op_type in UNCOUNTED:
            continue
        types = {graph.types.get(name) for name in node.output if name}
        sources = [graph.producer.get(name) for name in node.input[:2]]
        from_integers = len(sources) == 2 and all(
            source is not None and graph.nodes[source].op_type == "DequantizeLinear" for source in sources
        )
        if from_integers and node.op_type in (*graphs.CONVOLUTIONS, "MatMul", "Gemm"):
            share["int8"] += 1
        elif FLOAT16 in types:
            share["fp16"] += 1
        elif FLOAT in types:
            share["fp32"] += 1
    return share
