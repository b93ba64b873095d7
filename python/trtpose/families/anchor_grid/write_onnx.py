# SPDX-License-Identifier: Apache-2.0
"""Writing a network as ONNX: its raw heads, or the decoded rows behind them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import onnx

from ...formats.onnx_writer import GraphWriter, Shape
from ...networks.network import Network
from ...networks.translate import Translator, cells, grid, model_of
from ...spec import ModelSpec

__all__ = ["write_graph"]


def _decode(w: GraphWriter, heads: list[str], spec: ModelSpec, shape: Shape) -> str:
    """Append the grid decode of ``docs/conventions.md``; returns the N x M x F tensor in input pixels."""
    levels: list[str] = []
    count, per_point = spec.kpt_shape
    sizes = np.array([2, 2, 1 + spec.classes, count * per_point], np.int64)
    for head, stride, anchors in zip(heads, spec.strides, spec.anchors, strict=True):
        name = f"decode_{stride}"

        def number(what: str, value: Any, dtype: Any = np.float32, name: str = name) -> str:
            return w.constant(f"{name}.{what}", np.array(value, dtype))

        def add(kind: str, *inputs: str, name: str = name, **attributes: Any) -> str:
            return w.node(kind, inputs, name, **attributes)

        flat = add("Reshape", head, number("flat", [0, len(anchors), spec.fields, -1], np.int64))
        rows = add("Transpose", flat, perm=[0, 1, 3, 2])
        box, side, scores, points = w.nodes_of("Split", [rows, number("sizes", sizes, np.int64)], name, 4, axis=-1)
        places = grid(w, head, stride, shape, name, -0.5)
        twice = number("twice", 2 * stride)
        centre = add("Add", add("Mul", add("Sigmoid", box), twice), places)
        double = add("Mul", add("Sigmoid", side), number("two", 2))
        anchor = number("anchors", np.array(anchors, np.float32).reshape(1, len(anchors), 1, 2))
        extent = add("Mul", add("Mul", double, double), anchor)
        apart = add("Reshape", points, number("points", [0, 0, 0, count, per_point], np.int64))
        place, certainty = w.nodes_of("Split", [apart, number("point", [2, per_point - 2], np.int64)], name, 2, axis=-1)
        wide = add("Unsqueeze", places, number("axis", [3], np.int64))
        place = add("Add", add("Mul", place, twice), wide)
        joined = add("Concat", place, add("Sigmoid", certainty), axis=-1)
        points = add("Reshape", joined, number("together", [0, 0, 0, count * per_point], np.int64))
        every = add("Concat", centre, extent, add("Sigmoid", scores), points, axis=-1)
        levels.append(add("Reshape", every, number("rows", [0, -1, spec.fields], np.int64)))
    return w.node("Concat", levels, "decode", axis=1) if len(levels) > 1 else levels[0]


def write_graph(network: Network, shape: Shape, layout: str) -> tuple[onnx.ModelProto, ModelSpec]:
    """Translate a network.

    Args:
        network: with weights, in evaluation mode.
        shape: of the input ``images``.
        layout: ``heads``: outputs ``head_8, head_16, ...``, N x (A*F) x h x w each; ``decoded``: one output ``output``,
            N x M x F in input pixels.

    Returns:
        The model, without metadata, and its spec.

    Raises:
        ModelError: an operation of the network has no translation.
    """
    spec = network.spec
    writer = GraphWriter()
    heads = Translator(network, writer, head=f"model.{len(network.model) - 1}").run()
    batch = shape.dims[0]
    count = spec.anchors_per_cell
    if layout == "decoded":
        spec = dataclasses.replace(spec, layout="decoded", outputs=("output",), anchors=())
        results = [_decode(writer, heads, network.spec, shape)]
        fixed = shape.height is not None and shape.width is not None
        total = sum(count * math.prod(cells(shape, stride)) for stride in spec.strides) if fixed else "rows"
        shapes = [[batch, total, spec.fields]]
    else:
        results = heads
        shapes = [[batch, count * spec.fields, *cells(shape, stride)] for stride in spec.strides]
    return model_of(writer, results, dict(zip(spec.outputs, shapes, strict=True)), shape, spec.name), spec
