# SPDX-License-Identifier: Apache-2.0
"""Writing QuantizeLinear and DequantizeLinear into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx_graph import Graph
from .placement import Placement

if TYPE_CHECKING:
    import onnx

__all__ = ["insert", "quantise_weights"]

LEVELS = 127
"""Integers on each side of zero: -128 is not used, so that the range is symmetric."""

_SMALLEST = 2.0**-40
"""Least scale: a tensor that is always zero gets this one."""


def quantise_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and scales of a convolution's weights, one scale per output channel.

    Args:
        weights: outputs x inputs x kernel.

    Returns:
        int8 of the same shape in -127..127, and float32 scales, one per output; weights = integers x scale.
    """
    flat = weights.reshape(len(weights), -1)
    scales = np.maximum(np.abs(flat).max(axis=1, initial=0) / LEVELS, _SMALLEST).astype(np.float32)
    integers = np.clip(np.rint(flat / scales[:, None]), -LEVELS, LEVELS).astype(np.int8)
    return integers.reshape(weights.shape), scales


def insert(graph: Graph, placement: Placement, reach: Mapping[str, float], *, repeat: bool = True) -> onnx.ModelProto:
    """The graph with Q/DQ pairs: symmetric, zero points 0, weights stored as int8 with one scale per channel.

    Args:
        graph: the float32 graph; not changed.
        placement: what is quantised.
        reach: largest magnitude to represent of each tensor in ``placement.scales``.
        repeat: put a pair before a convolution as well that reads behind operators that move numbers. It changes no
            number and spares the runtime to find the pair further up.

    Returns:
        A new model.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto()
    _copy_without_graph(graph.model, model)
    target = model.graph
    names = set(graph.types) | {name for node in graph.nodes for name in [*node.input, *node.output]}
    unit = [max((reach[name] for name in members), default=0.0) for members in placement.groups.values()]
    scales = {number: max(reached / LEVELS, _SMALLEST) for number, reached in enumerate(unit)}
    constants: dict[str, onnx.TensorProto] = {}

    def unique(name: str) -> str:
        candidate, i = name, 1
        while candidate in names:
            i += 1
            candidate = f"{name}_{i}"
        names.add(candidate)
        return candidate

    def constant(name: str, values: NDArray[Any]) -> str:
        made = unique(name)
        constants[made] = numpy_helper.from_array(values, made)
        return made

    nodes: list[onnx.NodeProto] = []

    def pair(name: str, number: int) -> str:
        """The name of ``name`` after a pair of the scale ``number``."""
        scale = constant(f"{name}/scale", np.float32(scales[number]).reshape(()))
        zero = constant(f"{name}/zero_point", np.zeros((), np.int8))
        quantised, restored = unique(f"{name}/quantized"), unique(f"{name}/dequantized")
        nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [quantised], name=quantised))
        nodes.append(helper.make_node("DequantizeLinear", [quantised, scale, zero], [restored], name=restored))
        return restored

    weights: dict[str, str] = {}

    def dequantised(name: str) -> str:
        """The name of the weights ``name`` out of int8."""
        if name not in weights:
            values = graph.values(name)
            assert values is not None
            integers, per_channel = quantise_weights(values)
            source = constant(f"{name}/int8", integers)
            scale = constant(f"{name}/scale", per_channel)
            zero = constant(f"{name}/zero_point", np.zeros(len(per_channel), np.int8))
            weights[name] = unique(f"{name}/dequantized")
            nodes.append(
                helper.make_node("DequantizeLinear", [source, scale, zero], [weights[name]], name=weights[name], axis=0)
            )
        return weights[name]

    chosen = set(placement.convolutions)
    restored: dict[str, str] = {}
    reading = {(name, index) for name, indices in placement.readers.items() for index in indices}
    for name in graph.inputs:
        if name in placement.scales:
            restored[name] = pair(name, placement.scales[name])
    repeated: dict[str, str] = {}
    for index, node in enumerate(graph.nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if index in chosen and repeat and node.input[0] in placement.behind:
            if node.input[0] not in repeated:
                repeated[node.input[0]] = pair(node.input[0], placement.behind[node.input[0]])
            copy.input[0] = repeated[node.input[0]]
        for i, name in enumerate(node.input):
            if (name, index) in reading:
                copy.input[i] = restored[name]
        if index in chosen:
            copy.input[1] = dequantised(node.input[1])
        nodes.append(copy)
        for name in node.output:
            if name in placement.scales:
                restored[name] = pair(name, placement.scales[name])
    target.node.extend(nodes)
    read = {name for node in nodes for name in Graph.reads(node)} | set(graph.outputs)
    listed = {entry.name for entry in graph.model.graph.input}
    target.initializer.extend(t for name, t in graph.constants.items() if name in read or name in listed)
    target.initializer.extend(constants.values())
    return model


def _copy_without_graph(source: onnx.ModelProto, target: onnx.ModelProto) -> None:
    """Everything of a model but its nodes and weights."""
    for entry, value in source.ListFields():
        if entry.name != "graph":
            _copy_field(target, entry.name, value)
    for entry, value in source.graph.ListFields():
        if entry.name not in ("node", "initializer"):
            _copy_field(target.graph, entry.name, value)


def _copy_field(target: Any, name: str, value: Any) -> None:
    if isinstance(value, (str, bytes, int, float)):
        setattr(target, name, value)
    else:
        getattr(target, name).MergeFrom(value)  # a message, or a list of them
