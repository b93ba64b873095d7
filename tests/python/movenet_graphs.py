# SPDX-License-Identifier: Apache-2.0
"""Small networks with MoveNet's decoding inside, written node by node from its formulas.

A convolution of stride 4 for each head, with random weights. As far as adopting
them goes they are what other exporters write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDE = 4
KEYPOINTS = 4


class Builder:
    """Nodes and constants in the order they are asked for."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def whole(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def parts(self, value: str, width: str) -> tuple[str, str]:
        """Rows and columns of cells, whole numbers."""
        row = self("Div", value, width)
        return row, self("Sub", value, self("Mul", row, width))


def _heads(b: Builder, picture: str, several: bool, seed: int, half: bool) -> dict[str, str]:
    random = np.random.default_rng(seed)
    widths = {"heatmap": KEYPOINTS, "center": 1, "regress": 2 * KEYPOINTS, "offset": 2 * KEYPOINTS}
    if several:
        widths |= {"box_scale": 2, "box_offset": 2}
    # The features are small and change from cell to cell; boxes of some size make keypoints count.
    scale = {"heatmap": 0.02, "center": 0.02, "regress": 0.01, "offset": 0.002, "box_scale": 0.005, "box_offset": 0.002}
    names = {}
    for name, width in widths.items():
        weights = random.normal(0, scale[name], (width, 3, STRIDE, STRIDE))
        bias = np.full(width, 6.0 if name == "box_scale" else 0.0)
        dtype = np.float16 if half else np.float32
        names[name] = b("Conv", picture, b.constant(weights, dtype), b.constant(bias, dtype), strides=[STRIDE, STRIDE])
        if half:
            names[name] = b("Cast", names[name], to=TensorProto.FLOAT)
    return names


def _input(b: Builder, kind: int, channels_last: bool) -> str:
    name = "picture" if kind == TensorProto.FLOAT else b("Cast", "picture", to=TensorProto.FLOAT)
    name = b("Sub", b("Mul", name, b.constant(2 / 255)), b.constant(1.0))
    return b("Transpose", name, perm=[0, 3, 1, 2]) if channels_last else name


def _cells(height: int, width: int) -> tuple[Any, Any]:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return rows.reshape(1, -1), columns.reshape(1, -1)


def _single(b: Builder, heads: dict[str, str], height: int, width: int, softening: float, twist: float) -> str:
    k, cells = KEYPOINTS, height * width
    scores = b("Reshape", b("Sigmoid", heads["heatmap"]), b.whole(k, cells))
    rows, columns = _cells(height, width)
    middle = np.hypot(rows - height / 2, columns - width / 2) + softening
    center = b("Div", b("Reshape", b("Sigmoid", heads["center"]), b.whole(1, cells)), b.constant(middle))
    person = b("ArgMax", center, axis=1, keepdims=0)
    width_of = b.whole(width)
    row, column = b.parts(person, width_of)
    expected = b("Gather", b("Reshape", heads["regress"], b.whole(2 * k, cells)), person, axis=1)
    y, x = (b("Gather", b("Reshape", expected, b.whole(k, 2)), b.whole(i), axis=1) for i in (0, 1))
    dy = b("Sub", b.constant(rows), b("Add", y, b("Cast", row, to=TensorProto.FLOAT)))
    dx = b("Sub", b.constant(columns), b("Add", x, b("Cast", column, to=TensorProto.FLOAT)))
    distance = b("Sqrt", b("Add", b("Mul", dy, dy), b("Mul", dx, dx)))
    best = b("ArgMax", b("Div", scores, b("Add", distance, b.constant(softening))), axis=1, keepdims=1)
    score = b("GatherElements", scores, best, axis=1)
    offsets = b("Reshape", heads["offset"], b.whole(k, 2, cells))
    index = b("Expand", b("Unsqueeze", best, b.whole(1)), b.whole(k, 2, 1))
    shift = b("Squeeze", b("GatherElements", offsets, index, axis=2), b.whole(2))
    place = b("Cast", b("Concat", *b.parts(best, width_of), axis=1), to=TensorProto.FLOAT)
    place = b("Mul", b("Add", place, shift), b.constant([twist / height, twist / width]))
    return b("Reshape", b("Concat", place, score, axis=1), b.whole(1, 1, k, 3))


def _multi(b: Builder, heads: dict[str, str], height: int, width: int, people: int) -> str:
    k, cells, sides = KEYPOINTS, height * width, [float(height), float(width)]
    rows, columns = (v.reshape(1, 1, -1) for v in _cells(height, width))
    center = b("Sigmoid", heads["center"])
    greatest = b("MaxPool", center, kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    peak = b("Less", b("Sub", greatest, center), b.constant(1e-6))
    flat = b("Reshape", b("Where", peak, center, b.constant(0.0)), b.whole(cells))
    b.nodes.append(helper.make_node("TopK", [flat, b.whole(people)], ["scores", "chosen"]))

    def gathered(head: str, pairs: int) -> str:
        """P x pairs x 2 of the chosen cells."""
        at = b("Gather", b("Reshape", heads[head], b.whole(2 * pairs, cells)), "chosen", axis=1)
        return b("Reshape", b("Transpose", at, perm=[1, 0]), b.whole(people, pairs, 2))

    width_of = b.whole(width)
    parts = [b("Unsqueeze", part, b.whole(1)) for part in b.parts("chosen", width_of)]
    cell = b("Unsqueeze", b("Cast", b("Concat", *parts, axis=1), to=TensorProto.FLOAT), b.whole(1))
    half = b("Div", b("Relu", gathered("box_scale", 1)), b.constant(2.0))
    middle = b("Add", cell, gathered("box_offset", 1))
    corners = []
    for kind in ("Sub", "Add"):
        corners.append(b("Max", b("Min", b(kind, middle, half), b.constant(sides)), b.constant(0.0)))
    low, high = ([b("Gather", c, b.whole(i), axis=2) for i in (0, 1)] for c in corners)
    inside = ""
    for cells_of, first, last in zip((rows, columns), low, high, strict=True):
        at = b.constant(cells_of)
        both = b("And", b("GreaterOrEqual", at, first), b("Less", at, last))
        inside = b("And", inside, both) if inside else both
    expected = b("Add", cell, gathered("regress", k))
    distance = ""
    for cells_of, axis in zip((rows, columns), (0, 1), strict=True):
        d = b("Sub", b.constant(cells_of), b("Gather", expected, b.whole(axis), axis=2))
        distance = b("Add", distance, b("Mul", d, d)) if distance else b("Mul", d, d)
    bell = b("Exp", b("Div", b("Neg", distance), b.constant(0.3 * min(height, width))))
    scores = b("Reshape", b("Sigmoid", heads["heatmap"]), b.whole(1, k, cells))
    maps = b("Mul", b("Mul", scores, bell), b("Cast", inside, to=TensorProto.FLOAT))
    best = b("ArgMax", maps, axis=2, keepdims=1)
    of_all = b("Expand", b("ReduceMax", maps, axes=[0], keepdims=1), b.whole(people, k, cells))
    score = b("GatherElements", of_all, best, axis=2)
    offsets = b("Expand", b("Reshape", heads["offset"], b.whole(1, k, 2, cells)), b.whole(people, k, 2, cells))
    index = b("Expand", b("Unsqueeze", best, b.whole(2)), b.whole(people, k, 2, 1))
    shift = b("Squeeze", b("GatherElements", offsets, index, axis=3), b.whole(3))
    place = b("Cast", b("Concat", *b.parts(best, width_of), axis=2), to=TensorProto.FLOAT)
    place = b("Div", b("Add", place, shift), b.constant(sides))
    points = b("Reshape", b("Concat", place, score, axis=2), b.whole(people, 3 * k))
    counted = b("Cast", b("Greater", score, b.constant(0.127)), to=TensorProto.FLOAT)
    total = b("ReduceSum", b("Mul", counted, score), b.whole(1, 2), keepdims=0)
    count = b("Max", b("ReduceSum", counted, b.whole(1, 2), keepdims=0), b.constant(1.0))
    row_score = b("Unsqueeze", b("Mul", "scores", b("Div", total, count)), b.whole(1))
    box = b("Squeeze", b("Div", b("Concat", *corners, axis=2), b.constant(sides + sides)), b.whole(1))
    return b("Unsqueeze", b("Concat", points, box, row_score, axis=1), b.whole(0))


def write(
    path: Path,
    size: tuple[int, int],
    *,
    people: int = 0,
    kind: int = TensorProto.INT32,
    channels_last: bool = True,
    softening: float = 1.8,
    twist: float = 1.0,
    raw: tuple[str, ...] = (),
    half: bool = False,
    seed: int = 1,
) -> Path:
    """A file.

    Args:
        path: where.
        size: height and width of the input in pixels.
        people: how many the network gives, 0 for the form with one.
        kind: element type of the input ``picture``.
        channels_last: whether it is N x H x W x 3.
        softening: the network's own.
        twist: places are larger by that factor than MoveNet's.
        raw: give the heads, under these names, in place of the decoding.
        half: convolve in half precision.
        seed: of the weights.
    """
    b = Builder()
    height, width = size[0] // STRIDE, size[1] // STRIDE
    picture = _input(b, kind, channels_last)
    picture = b("Cast", picture, to=TensorProto.FLOAT16) if half else picture
    heads = _heads(b, picture, bool(people), seed, half)
    if raw:
        widths = [KEYPOINTS, 1, 2 * KEYPOINTS, 2 * KEYPOINTS, 2, 2]
        outputs = []
        for name, inner, channels in zip(raw, heads.values(), widths, strict=False):
            b.nodes.append(helper.make_node("Identity", [inner], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, height, width]))
    else:
        answer = (
            _multi(b, heads, height, width, people) if people else _single(b, heads, height, width, softening, twist)
        )
        shape = [1, people, 3 * KEYPOINTS + 5] if people else [1, 1, KEYPOINTS, 3]
        b.nodes.append(helper.make_node("Identity", [answer], ["answer"]))
        outputs = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)]
    dims = [1, *size, 3] if channels_last else [1, 3, *size]
    graph = helper.make_graph(
        b.nodes, "movenet", [helper.make_tensor_value_info("picture", kind, dims)], outputs, b.constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
