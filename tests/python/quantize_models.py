# SPDX-License-Identifier: Apache-2.0
"""A small network with everything the quantiser has a rule for, and pictures for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtpose.spec import ModelSpec

ANCHORS = [[[10, 13], [30, 30]], [[30, 61], [80, 60]]]
KEYPOINTS = 3
SPEC = ModelSpec.from_dict(
    {
        "trtpose": 1,
        "name": "small",
        "layout": "heads",
        "imgsz": [64, 96],
        "strides": [8, 16],
        "anchors": ANCHORS,
        "outputs": ["head_8", "head_16"],
        "names": ["person"],
        "kpt_shape": [KEYPOINTS, 3],
        "sigmas": [0.1] * KEYPOINTS,
    }
)
FIELDS = 2 * (6 + 3 * KEYPOINTS)


class Net:
    """Collects nodes; every method gives the name of its result."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def conv(
        self,
        source: str,
        inputs: int,
        outputs: int,
        name: str,
        *,
        k: int = 1,
        s: int = 1,
        group: int = 1,
        act: str = "",
    ) -> str:
        scale = np.sqrt(2 / (inputs // group * k * k))
        weights = self.random.normal(0, scale, (outputs, inputs // group, k, k)).astype(np.float32)
        weights *= self.random.uniform(0.2, 1.5, (outputs, 1, 1, 1)).astype(np.float32)  # unlike channels
        bias = self.random.normal(0, 0.1, outputs).astype(np.float32)
        inner = [source, self.constant(f"{name}.w", weights), self.constant(f"{name}.b", bias)]
        pads = [k // 2] * 4
        out = self.op("Conv", inner, name, kernel_shape=[k, k], strides=[s, s], pads=pads, group=group)
        if act == "silu":
            return self.op("Mul", [out, self.op("Sigmoid", [out], f"{name}.sigmoid")], f"{name}.silu")
        return self.op("Relu", [out], f"{name}.relu") if act == "relu" else out

    def model(
        self, inputs: Any, outputs: Any, opset: int = 17, metadata: dict[str, str] | None = None
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        for key, value in (metadata or {}).items():
            made.metadata_props.add(key=key, value=value)
        return made


def small(
    *, batch: int | str = 1, dynamic: bool = False, resize: str = "nearest", seed: int = 0, opset: int = 17
) -> onnx.ModelProto:
    """Space to depth, SiLU and ReLU, a Concat of three, a residual addition, SPP, nearest Resize, a channel shuffle, a
    depthwise and a bare convolution, two raw heads."""
    net = Net(seed)
    every = net.constant("axes", np.array([2, 3], np.int64))
    ends = net.constant("ends", np.array([1 << 30, 1 << 30], np.int64))
    steps = net.constant("steps", np.array([2, 2], np.int64))
    parts = []
    for y, x in ((0, 0), (1, 0), (0, 1), (1, 1)):
        start = net.constant(f"start{y}{x}", np.array([y, x], np.int64))
        parts.append(net.op("Slice", ["images", start, ends, every, steps], f"reorg.{y}{x}"))
    x = net.op("Concat", parts, "reorg", axis=1)
    x = net.conv(x, 12, 16, "stem.0", k=3, act="silu")
    x = net.conv(x, 16, 24, "stem.1", k=3, s=2, act="relu")
    a = net.conv(x, 24, 16, "elan.a", act="silu")
    b = net.conv(x, 24, 16, "elan.b", act="silu")
    c = net.conv(b, 16, 16, "elan.c", k=3, act="silu")
    e = net.conv(net.op("Concat", [a, b, c], "elan", axis=1), 48, 32, "elan.out", act="silu")
    r = net.conv(net.conv(e, 32, 16, "res.0", act="silu"), 16, 32, "res.1", k=3, act="silu")
    x = net.op("Add", [e, r], "res")
    x = net.op("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    p = net.conv(x, 32, 24, "spp.in", act="silu")
    q = net.op("MaxPool", [p], "spp.pool", kernel_shape=[5, 5], pads=[2] * 4)
    f = net.conv(net.op("Concat", [p, q], "spp", axis=1), 48, 32, "spp.out", act="silu")
    g = net.conv(f, 32, 32, "down", k=3, s=2, act="silu")
    scales = net.constant("scales", np.array([1, 1, 2, 2], np.float32))
    mode = {"mode": resize, "coordinate_transformation_mode": "asymmetric" if resize == "nearest" else "half_pixel"}
    if resize == "nearest":
        mode["nearest_mode"] = "floor"
    up = net.op("Resize", [g, "", scales], "up", **mode)
    h = net.conv(net.op("Concat", [up, f], "neck", axis=1), 64, 32, "neck.out", act="silu")
    # Channel shuffle, then a depthwise convolution and one without an activation.
    split = net.constant("split", np.array([0, 2, 16, -1], np.int64))
    shuffled = net.op("Transpose", [net.op("Reshape", [g, split], "shuffle.0")], "shuffle", perm=[0, 2, 1, 3])
    if dynamic:
        back = net.op("Shape", [g], "shuffle.shape")
    else:
        back = net.constant("whole", np.array([0, 32, SPEC.imgsz[0] // 16, SPEC.imgsz[1] // 16], np.int64))
    i = net.op("Reshape", [shuffled, back], "shuffle.1")
    i = net.conv(i, 32, 32, "deep.0", k=3, group=32, act="silu")
    i = net.conv(i, 32, 24, "deep.1")
    i = net.conv(i, 24, 24, "deep.2", act="silu")
    heads = [net.conv(h, 32, FIELDS, "head.0"), net.conv(i, 24, FIELDS, "head.1")]
    for number, (source, stride) in enumerate(zip(heads, SPEC.strides, strict=True)):
        net.nodes[[n.output[0] for n in net.nodes].index(source)].output[0] = SPEC.outputs[number]
        bias = next(t for t in net.constants if t.name == f"head.{number}.b")
        values = numpy_helper.to_array(bias).copy().reshape(2, -1)
        values[:, 4:6] = 1.0  # poses enough to compare
        bias.CopyFrom(numpy_helper.from_array(values.reshape(-1), bias.name))
        del stride
    height, width = ("height", "width") if dynamic else SPEC.imgsz
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])
    outputs = []
    for name, stride in zip(SPEC.outputs, SPEC.strides, strict=True):
        cells = [f"{name}_h", f"{name}_w"] if dynamic else [SPEC.imgsz[0] // stride, SPEC.imgsz[1] // stride]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, FIELDS, *cells]))
    metadata = {"trtpose": json.dumps(SPEC.to_dict()), "task": "pose", "author": "somebody"}
    return net.model([image], outputs, opset, metadata)


def write_small(path: Path, **options: Any) -> Path:
    """The same in a file."""
    onnx.save(small(**options), str(path))
    return path


def write_pictures(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (72, 100)) -> Path:
    """Smooth coloured pictures, PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:03}.png"), image)
    return folder
