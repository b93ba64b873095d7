# SPDX-License-Identifier: Apache-2.0
"""Small networks with the outputs of RTMO as mmdeploy writes them, its NMS inside; made without PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, STRIDE = 64, 8
CELLS = (SIDE // STRIDE) ** 2
INT64_END = 1 << 62


class _Graph:
    """Nodes and constants of a graph as it grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, values: Any, kind: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def op(self, kind: str, *inputs: str, count: int = 1, out: str = "", **attributes: Any) -> Any:
        outputs = [out or f"t{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs[0] if count == 1 else outputs

    def columns(self, tensor: str, first: int, last: int) -> str:
        return self.op("Slice", tensor, self.const([first]), self.const([last]), self.const([-1]))

    def picked(self, tensor: str, indices: str) -> str:
        """Rows N x n of a tensor N x M x F."""
        batch = self.op("Shape", indices)
        count = self.op("Gather", batch, self.const(0))
        numbers = self.op("Range", self.const(0), count, self.const(1))
        numbers = self.op("Expand", self.op("Reshape", numbers, self.const([-1, 1])), batch)
        pairs = self.op("Concat", *(self.op("Unsqueeze", x, self.const([-1])) for x in (numbers, indices)), axis=-1)
        return self.op("GatherND", tensor, pairs)


def _suppressed(graph: _Graph, boxes: str, scores: str, before: int, keep: int) -> str:
    """N x n: the anchors that are kept, and at the end -1, as mmdeploy's ``_select_nms_index`` makes them."""
    chosen = ""
    if before:
        best = graph.op("ReduceMax", scores, axes=[-1], keepdims=0)
        chosen = graph.op("TopK", best, graph.const([before]), count=2, axis=1)[1]
        boxes, scores = graph.picked(boxes, chosen), graph.picked(scores, chosen)
    turned = graph.op("Transpose", scores, perm=[0, 2, 1])
    limits = (graph.const([200]), graph.const([0.65], np.float32), graph.const([0.1], np.float32))
    found = graph.op("NonMaxSuppression", boxes, turned, *limits)
    image, box = (graph.op("Gather", found, graph.const(i), axis=1) for i in (0, 2))
    pairs = graph.op("Concat", *(graph.op("Unsqueeze", x, graph.const([-1])) for x in (image, box)), axis=-1)
    score = graph.op("Reshape", graph.op("GatherND", scores, pairs), graph.const([1, -1]))
    number = graph.op("Unsqueeze", box if not chosen else graph.op("GatherND", chosen, pairs), graph.const([0]))
    count = graph.op("Gather", graph.op("Shape", scores), graph.const(0))
    images = graph.op("Reshape", graph.op("Range", graph.const(0), count, graph.const(1)), graph.const([-1, 1]))
    own = graph.op("Equal", graph.op("Unsqueeze", image, graph.const([0])), images)
    score = graph.op("Where", own, score, graph.const([0.0], np.float32))
    number = graph.op("Where", own, number, graph.const([0]))
    rest = graph.op("Concat", graph.op("Reshape", count, graph.const([1])), graph.const([1]), axis=0)
    score = graph.op("Concat", score, graph.op("Expand", graph.const([0.0], np.float32), rest), axis=1)
    number = graph.op("Concat", number, graph.op("Expand", graph.const([-1]), rest), axis=1)
    width = graph.op("Gather", graph.op("Shape", score), graph.const([1]))
    most = graph.op("Min", width, graph.const([keep]))
    order = graph.op("TopK", score, most, count=2, axis=1)[1]
    return graph.op("GatherElements", number, order, axis=1)


def _stem(graph: _Graph, count: int) -> str:
    """So many convolutions with a bias, each of which leaves the picture nearly as it is."""
    picture = "input"
    for number in range(count):
        near = np.random.default_rng(number).normal(0, 0.01, (3, 3, 3, 3))
        near[range(3), range(3), 1, 1] += 1
        constants = (graph.const(near, np.float32), graph.const(np.zeros(3), np.float32))
        picture = graph.op("Relu", graph.op("Conv", picture, *constants, pads=[1, 1, 1, 1]))
    return picture


def _body(graph: _Graph, weights: Any, stem: int) -> str:
    """The convolution that everything is computed from; behind others it has a bias as they do."""
    bias = [graph.const(np.zeros(len(weights)), np.float32)] if stem else []
    taken = graph.const(weights / 255, np.float32)
    return graph.op("Conv", _stem(graph, stem), taken, *bias, strides=[STRIDE, STRIDE])


def rtmo(
    keypoints: int = 17,
    *,
    before: int = 0,
    keep: int = 50,
    inside: bool = True,
    open_sizes: bool = True,
    seed: int = 3,
    stem: int = 0,
) -> onnx.ModelProto:
    """A network of one convolution that finds somebody in most pictures.

    Args:
        keypoints: K.
        before: how many boxes of the best scores are compared; 0: all.
        keep: how many are kept at most.
        inside: whether the NMS is in the graph; without it a row for every anchor comes out.
        open_sizes: leave the sizes of the outputs open, as the exporter does.
        seed: of the weights.
        stem: convolutions in front of that one; all have biases then, as those of trained networks have.
    """
    random = np.random.default_rng(seed)
    graph, features = _Graph(), 5 + keypoints + 8
    weights = random.normal(0, 0.02, (features, 3, STRIDE, STRIDE)).astype(np.float32)
    weights[0] *= 30
    body = _body(graph, weights, stem)
    flat = graph.op("Reshape", body, graph.const([0, features, CELLS]))
    rows = graph.op("Transpose", flat, perm=[0, 2, 1])
    # No two anchors alike, not even on the grey of the border, so that no order is left to chance.
    threshold = graph.const(0.5 + np.arange(CELLS)[:, None] * 29 % CELLS / CELLS, np.float32)
    scores = graph.op("Sigmoid", graph.op("Sub", graph.columns(rows, 0, 1), threshold))
    middle = np.stack(np.meshgrid(*[np.arange(SIDE // STRIDE)] * 2, indexing="xy"), -1).reshape(-1, 2)
    priors = graph.const(middle * STRIDE + STRIDE / 2, np.float32)
    centre = graph.op("Add", graph.op("Mul", graph.columns(rows, 1, 3), graph.const(8.0, np.float32)), priors)
    half = graph.op("Mul", graph.op("Exp", graph.columns(rows, 3, 5)), graph.const(14.0, np.float32))
    boxes = graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=-1)
    seen = graph.op("Sigmoid", graph.columns(rows, 5, 5 + keypoints))
    poses = graph.columns(rows, 5 + keypoints, INT64_END)
    found = graph.op("Concat", boxes, scores, axis=-1)
    if inside:
        kept = _suppressed(graph, boxes, scores, before, keep)
        found, seen, poses = (graph.picked(x, kept) for x in (found, seen, poses))
        places = graph.op("Gather", priors, kept, axis=0)
    else:
        places = graph.op("Unsqueeze", priors, graph.const([0]))
    graph.op("Identity", found, out="dets")
    turn = graph.const(random.normal(0, 4, (8, 2 * keypoints)), np.float32)
    offsets = graph.op("Reshape", graph.op("MatMul", poses, turn), graph.const([0, -1, keypoints, 2]))
    points = graph.op("Add", offsets, graph.op("Unsqueeze", places, graph.const([2])))
    graph.op("Concat", points, graph.op("Unsqueeze", seen, graph.const([-1])), axis=-1, out="keypoints")
    count = None if inside else CELLS
    shapes = ([None] * 3, [None] * 4) if open_sizes else ([None, count, 5], [None, count, keypoints, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape[1:]])
        for name, shape in zip(("dets", "keypoints"), shapes, strict=True)
    ]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    made = helper.make_graph(graph.nodes, "rtmo", [picture], outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def suppressed(rows: NDArray[np.float32], conf: float, iou: float) -> list[int]:
    """Rows that are kept of one picture, best first: plain greedy NMS."""
    order = [i for i in np.argsort(-rows[:, 4], kind="stable") if rows[i, 4] > conf]
    kept: list[int] = []
    for i in order:
        x1, y1, x2, y2 = rows[i, :4]
        alike = False
        for j in kept:
            a1, b1, a2, b2 = rows[j, :4]
            inter = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter
            alike |= bool(inter / union > iou)
        if not alike:
            kept.append(int(i))
    return kept


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Blocks of colour, height x width x 3, the same in every version of every library."""
    state = np.uint32(seed * 7919 + 17)
    cells = np.empty((6, 8, 3), np.uint8)
    for place in np.ndindex(cells.shape):
        state = np.uint32((int(state) * 1664525 + 1013904223) % (1 << 32))
        cells[place] = int(state) >> 24
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    # No two cells alike, so that no two scores are.
    grain = (np.arange(height)[:, None] * 37 + np.arange(width)[None, :] * 101) % 61
    return (cells[rows[:, None], columns[None, :]] // 2 + grain[..., None]).astype(np.uint8)
