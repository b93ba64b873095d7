# SPDX-License-Identifier: Apache-2.0
"""Small ONNX networks with the outputs of every layout: one convolution per stride with seeded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ANCHORS = {8: [[10, 13], [30, 30]], 16: [[30, 61], [80, 60]]}


def spec_fields(
    layout: str = "heads", keypoints: int = 3, size: tuple[int, int] = (64, 96), **more: Any
) -> dict[str, Any]:
    """A model spec for :func:`write_model`."""
    fields = {
        "trtpose": 1,
        "layout": layout,
        "imgsz": list(size),
        "strides": list(ANCHORS),
        "names": ["person"],
        "kpt_shape": [keypoints, 3],
    }
    if layout in ("heads", "heads5d"):
        fields["anchors"] = list(ANCHORS.values())
    return {**fields, **more}


class _Net:
    """A network in the making.

    Attributes:
        size: height and width of the input.
        keypoints: of a pose.
        dynamic: whether height and width are open.
    """

    ANCHORS = 2

    def __init__(self, size: tuple[int, int], keypoints: int, batch: int | str, dynamic: bool) -> None:
        self.size, self.keypoints, self.batch, self.dynamic = size, keypoints, batch, dynamic
        self.fields = 6 + 3 * keypoints
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, values: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def output(self, name: str, shape: list[Any]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def cells(self, stride: int) -> list[Any]:
        return [f"h{stride}", f"w{stride}"] if self.dynamic else [self.size[0] // stride, self.size[1] // stride]

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        height, width = ("h", "w") if self.dynamic else self.size
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [self.batch, 3, height, width])
        graph = helper.make_graph(self.nodes, "net", [image], self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        for key, value in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(model, str(path))


def _raw(net: _Net, seed: int, objectness: float) -> dict[int, str]:
    """A convolution per stride; the names of what comes out."""
    rng = np.random.default_rng(seed)
    raw: dict[int, str] = {}
    for stride in ANCHORS:
        kernel = rng.normal(0, 12.0 / stride, (net.ANCHORS * net.fields, 3, stride, stride)).astype(np.float32)
        bias = np.zeros((net.ANCHORS, net.fields), np.float32)
        bias[:, 4] = objectness
        inputs = ["images", net.constant(f"w{stride}", kernel), net.constant(f"b{stride}", bias.reshape(-1))]
        raw[stride] = net.node("Conv", inputs, f"head_{stride}", strides=[stride, stride])
    return raw


def _five_dimensions(net: _Net, raw: dict[int, str]) -> None:
    for stride, name in raw.items():
        shape = net.constant(f"s{stride}", np.array([0, net.ANCHORS, net.fields, *net.cells(stride)], np.int64))
        net.node("Reshape", [name, shape], f"{name}_split")
        net.node("Transpose", [f"{name}_split"], f"{name}_5d", perm=[0, 1, 3, 4, 2])
        net.output(f"{name}_5d", [net.batch, net.ANCHORS, *net.cells(stride), net.fields])


def _decoded(net: _Net, raw: dict[int, str]) -> int:
    """Rows of cx, cy, w, h, objectness, class, keypoints with no grid in them: enough to be read as final numbers.

    The tensor is called ``decoded``; returns its number of rows.
    """
    flat: list[str] = []
    size, count = net.size, 0
    for stride, name in raw.items():
        height, width = net.cells(stride)
        shape = net.constant(f"s{stride}", np.array([0, net.ANCHORS, net.fields, height * width], np.int64))
        net.node("Reshape", [name, shape], f"{name}_split")
        net.node("Transpose", [f"{name}_split"], f"{name}_rows", perm=[0, 1, 3, 2])
        rows = net.constant(f"r{stride}", np.array([0, net.ANCHORS * height * width, net.fields], np.int64))
        flat.append(net.node("Reshape", [f"{name}_rows", rows], f"{name}_flat"))
        count += net.ANCHORS * height * width
    net.node("Concat", flat, "all", axis=1)
    net.node("Sigmoid", ["all"], "squashed")
    scale = np.array(
        [size[1], size[0], size[1] / 4, size[0] / 4, 1, 1] + [size[1], size[0], 1] * net.keypoints, np.float32
    )
    net.node("Mul", ["squashed", net.constant("scale", scale)], "decoded")
    return count


def _finish(net: _Net, layout: str, count: int) -> None:
    """From ``decoded`` to the output of a layout."""
    if layout == "decoded":
        net.output("decoded", [net.batch, count, net.fields])
    elif layout == "channels_first":
        keep = net.constant("keep", np.array([0, 1, 2, 3, 4, *range(6, net.fields)], np.int64))
        net.node("Gather", ["decoded", keep], "without", axis=2)
        net.node("Transpose", ["without"], "output0", perm=[0, 2, 1])
        net.output("output0", [net.batch, net.fields - 1, count])
    elif layout == "final":
        zero = np.ones(net.fields, np.float32)
        zero[5] = 0  # every row is of class 0
        net.node("Mul", ["decoded", net.constant("zero", zero)], "output0")
        net.output("output0", [net.batch, count, net.fields])
    else:
        raise ValueError(layout)


def write_model(
    path: Path,
    layout: str = "heads",
    *,
    keypoints: int = 3,
    size: tuple[int, int] = (64, 96),
    batch: int | str = "n",
    dynamic: bool = False,
    metadata: dict[str, str] | None = None,
    seed: int = 0,
    objectness: float = -1.0,
) -> Path:
    """Write a network whose outputs depend on the picture in every cell, of the given layout.

    ``dynamic`` leaves height and width open; ``objectness`` shifts how many anchors pass.
    """
    net = _Net(size, keypoints, batch, dynamic)
    raw = _raw(net, seed, objectness)
    if layout == "heads":
        for stride, name in raw.items():
            net.output(name, [batch, net.ANCHORS * net.fields, *net.cells(stride)])
    elif layout == "heads5d":
        _five_dimensions(net, raw)
    else:
        _finish(net, layout, _decoded(net, raw))
    net.write(path, metadata or {})
    return path


def run_model(path: Path, images: Any) -> list[Any]:
    """The outputs of a model by ONNX's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(path)).run(None, {"images": np.asarray(images)})
