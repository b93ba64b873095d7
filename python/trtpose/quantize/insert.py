# SPDX-License-Identifier: Apache-2.0
"""Writing QuantizeLinear and DequantizeLinear into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx_graph import Graph, unique_name
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
    return _Insertion(graph, placement, reach).write(repeat=repeat)


class _Insertion:
    """A graph written anew with its pairs, node by node."""

    def __init__(self, graph: Graph, placement: Placement, reach: Mapping[str, float]) -> None:
        self._graph = graph
        self._placement = placement
        reached = [max((reach[name] for name in members), default=0.0) for members in placement.groups.values()]
        self._scales = [max(value / LEVELS, _SMALLEST) for value in reached]
        self._chosen = set(placement.convolutions)
        self._reading = {(name, index) for name, indices in placement.readers.items() for index in indices}
        self._names = set(graph.types) | {name for node in graph.nodes for name in [*node.input, *node.output]}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._weights: dict[str, str] = {}
        self._restored: dict[str, str] = {}
        self._repeated: dict[str, str] = {}

    def write(self, *, repeat: bool) -> onnx.ModelProto:
        import onnx

        graph = self._graph
        for name in graph.inputs:
            self._restore(name)
        for index, node in enumerate(graph.nodes):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            self._rewire(copy, node, index, repeat=repeat)
            self._nodes.append(copy)
            for name in node.output:
                self._restore(name)
        model = onnx.ModelProto()
        _copy_without_graph(graph.model, model)
        target = model.graph
        target.node.extend(self._nodes)
        read = {name for node in self._nodes for name in Graph.reads(node)} | set(graph.outputs)
        listed = {entry.name for entry in graph.model.graph.input}
        target.initializer.extend(t for name, t in graph.constants.items() if name in read or name in listed)
        target.initializer.extend(self._constants.values())
        return model

    def _rewire(self, copy: onnx.NodeProto, node: onnx.NodeProto, index: int, *, repeat: bool) -> None:
        """Let a node read what comes out of the pairs."""
        behind = self._placement.behind
        if index in self._chosen and repeat and node.input[0] in behind:
            if node.input[0] not in self._repeated:
                self._repeated[node.input[0]] = self._pair(node.input[0], behind[node.input[0]])
            copy.input[0] = self._repeated[node.input[0]]
        for i, name in enumerate(node.input):
            if (name, index) in self._reading:
                copy.input[i] = self._restored[name]
        if index in self._chosen:
            copy.input[1] = self._dequantised(node.input[1])

    def _restore(self, name: str) -> None:
        """Put a pair behind a tensor that has a scale."""
        if name in self._placement.scales:
            self._restored[name] = self._pair(name, self._placement.scales[name])

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        made = unique_name(name, self._names)
        self._constants[made] = numpy_helper.from_array(values, made)
        return made

    def _pair(self, name: str, number: int) -> str:
        """The name of ``name`` after a pair of the scale ``number``."""
        from onnx import helper

        scale = self._constant(f"{name}/scale", np.float32(self._scales[number]).reshape(()))
        zero = self._constant(f"{name}/zero_point", np.zeros((), np.int8))
        quantised, restored = (
            unique_name(f"{name}/quantized", self._names),
            unique_name(f"{name}/dequantized", self._names),
        )
        self._nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [quantised], name=quantised))
        self._nodes.append(helper.make_node("DequantizeLinear", [quantised, scale, zero], [restored], name=restored))
        return restored

    def _dequantised(self, name: str) -> str:
        """The name of the weights ``name`` out of int8."""
        from onnx import helper

        if name not in self._weights:
            values = self._graph.values(name)
            assert values is not None
            integers, per_channel = quantise_weights(values)
            source = self._constant(f"{name}/int8", integers)
            scale = self._constant(f"{name}/scale", per_channel)
            zero = self._constant(f"{name}/zero_point", np.zeros(len(per_channel), np.int8))
            made = self._weights[name] = unique_name(f"{name}/dequantized", self._names)
            self._nodes.append(helper.make_node("DequantizeLinear", [source, scale, zero], [made], name=made, axis=0))
        return self._weights[name]


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
