# SPDX-License-Identifier: Apache-2.0
"""Where a graph is quantised, and which tensors share a scale.

What TensorRT fuses into INT8 kernels, and what OpenVINO runs in INT8 as well, is a convolution whose input and weights
come out of DequantizeLinear. The rules:

* the pair stands where numbers are made: on the input of the graph, behind an activation, an addition or (where nothing
  else follows) a convolution; never between a convolution and its activation, and never on a bias;
* operators that only move or choose numbers (Concat, MaxPool, Slice, nearest Resize, space to depth...) hand the
  quantised numbers on, so that they may be computed in INT8; what a convolution reads behind them has the same scale;
* tensors that meet in a Concat have one scale, else each would have to be scaled anew;
* an addition reads the quantised form of a branch that is quantised anyway (the skip branch), and where both are, they
  have one scale.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, label, matches

if TYPE_CHECKING:
    import onnx

__all__ = ["Placement", "candidates", "place"]

_MOVES = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

_FLOAT = 1  # TensorProto.FLOAT


@dataclass(frozen=True)
class Placement:
    """What is quantised.

    Attributes:
        convolutions: node numbers of the convolutions in INT8, in order.
        scales: for each tensor that gets a pair, the number of its scale.
        readers: for each such tensor, the node numbers that read its quantised form.
        behind: tensors that convolutions read behind operators that move numbers, with the number of their scale.
    """

    convolutions: list[int]
    scales: dict[str, int]
    readers: dict[str, list[int]]
    behind: dict[str, int] = field(default_factory=dict)

    @property
    def groups(self) -> dict[int, list[str]]:
        """The tensors of each scale, in order."""
        found: dict[int, list[str]] = {}
        for name, number in self.scales.items():
            found.setdefault(number, []).append(name)
        return found


def moves(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node hands numbers on without computing new ones."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Resize":
        return graphs.attribute(node, "mode", b"nearest") == b"nearest"
    if node.op_type == "Gather":
        return graph.values(node.input[1]) is not None
    if node.op_type == "MaxPool":
        return len([name for name in node.output if name]) == 1
    return node.op_type in _MOVES


def _data_inputs(node: onnx.NodeProto) -> list[str]:
    return list(node.input) if node.op_type == "Concat" else [node.input[0]]


def candidates(graph: Graph) -> list[int]:
    """The convolutions that can be quantised: float32, with constant weights, and not of the raw heads."""
    live = graph.follows_pictures()
    tail = graph.tail()
    found: list[int] = []
    for index, node in enumerate(graph.nodes):
        if node.op_type != "Conv" or node.domain not in ("", "ai.onnx") or index in tail or not live[index]:
            continue
        weights = graph.constants.get(node.input[1])
        if weights is None or weights.data_type != _FLOAT or graph.types.get(node.input[0]) != _FLOAT:
            continue
        values = graph.values(node.input[1])
        if values is None or not 0 < np.abs(values).max(initial=0) < np.inf:
            continue
        found.append(index)
    return found


def place(graph: Graph, keep: Collection[str] = (), *, floating: Collection[int] = ()) -> Placement:
    """Decide what is quantised.

    Args:
        graph: a float32 graph.
        keep: names of nodes to leave floating, ``*`` and ``?`` allowed.
        floating: node numbers to leave floating.
    """
    chosen = [i for i in candidates(graph) if i not in floating and not matches(label(graph.nodes[i]), keep)]
    union = _Union()
    readers: dict[str, dict[int, None]] = {}
    behind: dict[str, str] = {}
    for index in chosen:
        origins = _follow(graph, graph.nodes[index].input[0], index, readers)
        if graph.nodes[index].input[0] not in origins:
            behind[graph.nodes[index].input[0]] = origins[0]
        for origin in origins:
            union.join(origins[0], origin)
    _place_additions(graph, keep, union, readers)
    order = {name: number for number, name in enumerate([*graph.inputs, *graph.producer])}
    numbers: dict[str, int] = {}
    scales: dict[str, int] = {}
    for name in sorted(readers, key=lambda name: order[name]):
        root = union.root(name)
        scales[name] = numbers.setdefault(root, len(numbers))
    return Placement(
        chosen,
        scales,
        {name: sorted(readers[name]) for name in scales},
        {name: scales[origin] for name, origin in behind.items()},
    )


def _follow(graph: Graph, name: str, reader: int, readers: dict[str, dict[int, None]]) -> list[str]:
    """The tensors whose numbers ``reader`` finds in ``name``; notes who reads them on the way."""
    origins: dict[str, None] = {}
    seen: set[tuple[str, int]] = set()
    stack = [(name, reader)]
    while stack:
        tensor, by = stack.pop()
        if (tensor, by) in seen:
            continue
        seen.add((tensor, by))
        index = graph.producer.get(tensor)
        node = None if index is None else graph.nodes[index]
        if index is None or node is None or not moves(graph, node) or any(n in graph.constants for n in _data(node)):
            origins[tensor] = None
            readers.setdefault(tensor, {})[by] = None
        else:
            stack.extend((source, index) for source in reversed(_data_inputs(node)))
    return list(origins)


def _data(node: onnx.NodeProto) -> list[str]:
    return _data_inputs(node)


def _place_additions(graph: Graph, keep: Collection[str], union: _Union, readers: dict[str, dict[int, None]]) -> None:
    tail = graph.tail()
    for index, node in enumerate(graph.nodes):
        if node.op_type != "Add" or index in tail or matches(label(node), keep):
            continue
        skips: list[str] = []
        for name in node.input:
            trial: dict[str, dict[int, None]] = {}
            origins = _follow(graph, name, index, trial)
            if name not in graph.constants and all(origin in readers for origin in origins):
                for origin, extra in trial.items():
                    readers[origin].update(extra)
                for origin in origins:
                    union.join(origins[0], origin)
                skips.append(origins[0])
        for skip in skips:
            union.join(skips[0], skip)


class _Union:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parent.get(name, name)) != name:
            self._parent[name] = self._parent.get(parent, parent)
            name = parent
        return name

    def join(self, a: str, b: str) -> None:
        a, b = self.root(a), self.root(b)
        if a != b:
            self._parent[b] = a
