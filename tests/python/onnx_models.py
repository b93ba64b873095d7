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
    rng = np.random.default_rng(seed)
    anchors, fields = 2, 6 + 3 * keypoints
    height, width = ("h", "w") if dynamic else size
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    raw: list[str] = []

    def constant(name: str, values: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    for stride in ANCHORS:
        kernel = rng.normal(0, 12.0 / stride, (anchors * fields, 3, stride, stride)).astype(np.float32)
        bias = np.zeros((anchors, fields), np.float32)
        bias[:, 4] = objectness
        name = f"head_{stride}"
        inputs = ["images", constant(f"w{stride}", kernel), constant(f"b{stride}", bias.reshape(-1))]
        nodes.append(helper.make_node("Conv", inputs, [name], strides=[stride, stride]))
        raw.append(name)

    outputs: list[onnx.ValueInfoProto] = []

    def output(name: str, shape: list[Any]) -> None:
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def cells(stride: int) -> list[Any]:
        return [f"h{stride}", f"w{stride}"] if dynamic else [size[0] // stride, size[1] // stride]

    if layout == "heads":
        for name, stride in zip(raw, ANCHORS, strict=True):
            output(name, [batch, anchors * fields, *cells(stride)])
    elif layout == "heads5d":
        for name, stride in zip(raw, ANCHORS, strict=True):
            shape = constant(f"s{stride}", np.array([0, anchors, fields, *cells(stride)], np.int64))
            nodes.append(helper.make_node("Reshape", [name, shape], [f"{name}_split"]))
            nodes.append(helper.make_node("Transpose", [f"{name}_split"], [f"{name}_5d"], perm=[0, 1, 3, 4, 2]))
            output(f"{name}_5d", [batch, anchors, *cells(stride), fields])
    else:
        # Rows of cx, cy, w, h, objectness, class, keypoints with no grid in them: enough to be read as final numbers.
        flat: list[str] = []
        for name, stride in zip(raw, ANCHORS, strict=True):
            height_, width_ = cells(stride)
            shape = constant(f"s{stride}", np.array([0, anchors, fields, height_ * width_], np.int64))
            nodes.append(helper.make_node("Reshape", [name, shape], [f"{name}_split"]))
            nodes.append(helper.make_node("Transpose", [f"{name}_split"], [f"{name}_rows"], perm=[0, 1, 3, 2]))
            rows = constant(f"r{stride}", np.array([0, anchors * height_ * width_, fields], np.int64))
            nodes.append(helper.make_node("Reshape", [f"{name}_rows", rows], [f"{name}_flat"]))
            flat.append(f"{name}_flat")
        nodes.append(helper.make_node("Concat", flat, ["all"], axis=1))
        nodes.append(helper.make_node("Sigmoid", ["all"], ["squashed"]))
        scale = np.array(
            [size[1], size[0], size[1] / 4, size[0] / 4, 1, 1] + [size[1], size[0], 1] * keypoints, np.float32
        )
        nodes.append(helper.make_node("Mul", ["squashed", constant("scale", scale)], ["decoded"]))
        count = sum(anchors * (size[0] // s) * (size[1] // s) for s in ANCHORS)
        if layout == "decoded":
            output("decoded", [batch, count, fields])
        elif layout == "channels_first":
            keep = constant("keep", np.array([0, 1, 2, 3, 4, *range(6, fields)], np.int64))
            nodes.append(helper.make_node("Gather", ["decoded", keep], ["without"], axis=2))
            nodes.append(helper.make_node("Transpose", ["without"], ["output0"], perm=[0, 2, 1]))
            output("output0", [batch, fields - 1, count])
        elif layout == "final":
            zero = np.ones(fields, np.float32)
            zero[5] = 0  # every row is of class 0
            nodes.append(helper.make_node("Mul", ["decoded", constant("zero", zero)], ["output0"]))
            output("output0", [batch, count, fields])
        else:
            raise ValueError(layout)

    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])
    graph = helper.make_graph(nodes, "net", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


def run_model(path: Path, images: Any) -> list[Any]:
    """The outputs of a model by ONNX's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(path)).run(None, {"images": np.asarray(images)})
