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
from . import forms

__all__ = ["write_graph"]


def _decode(w: GraphWriter, heads: list[str], spec: ModelSpec, shape: Shape) -> str:
    """Append the decode of :func:`.reference.decode`; returns the N x M x F tensor in input pixels."""
    levels: list[str] = []
    count, fields = spec.keypoints, forms.fields(spec.keypoints)
    for head, stride, anchors in zip(heads, spec.strides, spec.anchors, strict=True):
        name = f"decode_{stride}"

        def number(what: str, value: Any, dtype: Any = np.float32, name: str = name) -> str:
            return w.constant(f"{name}.{what}", np.array(value, dtype))

        def add(kind: str, *inputs: str, name: str = name, **attributes: Any) -> str:
            return w.node(kind, inputs, name, **attributes)

        flat = add("Reshape", head, number("flat", [0, len(anchors), fields, -1], np.int64))
        rows = add("Sigmoid", add("Transpose", flat, perm=[0, 1, 3, 2]))
        sizes = number("sizes", [2, 2, 1 + spec.classes, 2 * count], np.int64)
        box, side, scores, points = w.nodes_of("Split", [rows, sizes], name, 4, axis=-1)
        anchor = np.array(anchors, np.float32).reshape(1, len(anchors), 1, 2)
        # 2s - 1/2 of a cell, its corner added.
        middle = grid(w, head, stride, shape, f"{name}.box", -0.5)
        centre = add("Add", add("Mul", box, number("twice", 2 * stride)), middle)
        double = add("Mul", side, number("two", 2))
        extent = add("Mul", add("Mul", double, double), number("anchors", anchor))
        # (4s - 2) of the anchor, for every keypoint.
        corner = grid(w, head, stride, shape, f"{name}.point", 0.0)
        apart = add("Reshape", points, number("points", [0, 0, 0, count, 2], np.int64))
        scaled = add("Mul", apart, number("fourfold", 4 * anchor[..., None, :]))
        moved = add("Add", scaled, number("half", -2 * anchor[..., None, :]))
        place = add("Add", moved, add("Unsqueeze", corner, number("axis", [3], np.int64)))
        points = add("Reshape", place, number("together", [0, 0, 0, 2 * count], np.int64))
        every = add("Concat", centre, extent, scores, points, axis=-1)
        levels.append(add("Reshape", every, number("rows", [0, -1, fields], np.int64)))
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
    batch, fields = shape.dims[0], forms.fields(spec.keypoints)
    if layout == "decoded":
        count = len(spec.anchors[0])
        results = [_decode(writer, heads, spec, shape)]
        fixed = shape.height is not None and shape.width is not None
        total = sum(count * math.prod(cells(shape, stride)) for stride in spec.strides) if fixed else "rows"
        shapes = [[batch, total, fields]]
        extra = {**spec.extra, "form": "decoded"}
        spec = dataclasses.replace(spec, outputs=("output",), anchors=(), extra=extra)
    else:
        results = heads
        shapes = [
            [batch, len(pairs) * fields, *cells(shape, stride)]
            for stride, pairs in zip(spec.strides, spec.anchors, strict=True)
        ]
    return model_of(writer, results, dict(zip(spec.outputs, shapes, strict=True)), shape, spec.name), spec
