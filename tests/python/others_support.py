# SPDX-License-Identifier: Apache-2.0
"""Small networks of constants with the inputs, outputs and metadata that other tools write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROWS = 84
"""Cells of strides 8, 16 and 32 in 64 x 64 pixels."""


def ultralytics(keypoints: int = 17, names: str = "{0: 'person'}", **more: str) -> dict[str, str]:
    """Metadata as Ultralytics' exporters write it."""
    values = {"task": "pose", "stride": "32", "imgsz": "[64, 64]", "names": names, "kpt_shape": f"[{keypoints}, 3]"}
    return {**values, **more}


class Graph:
    """An ONNX graph in the making.

    Attributes:
        nodes: its operators in order.
        weights: its constants.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [*output.split()], **attributes))
        return output

    def answer(self, values: NDArray[np.float32], name: str, picture: str = "images") -> str:
        """``values`` whatever the picture is, though they depend on it."""
        axes = self.constant(f"{name}_axes", np.array([1, 2, 3]))
        mean = self.node("ReduceMean", [picture, axes], f"{name}_mean", keepdims=1)
        nothing = self.node("Mul", [mean, self.constant(f"{name}_zero", np.float32(0))], f"{name}_nothing")
        shape = self.constant(f"{name}_shape", np.array([-1] + [1] * (values.ndim - 1)))
        flat = self.node("Reshape", [nothing, shape], f"{name}_flat")
        return self.node("Add", [self.constant(f"{name}_values", values), flat], name)

    def write(
        self,
        path: Path,
        outputs: dict[str, list[Any]],
        metadata: dict[str, str] | None = None,
        *,
        shape: list[Any] | None = None,
        dtype: int = TensorProto.FLOAT,
    ) -> Path:
        picture = helper.make_tensor_value_info("images", dtype, shape or [1, 3, 64, 64])
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()]
        graph = helper.make_graph(self.nodes, "others", [picture], results, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path


def people(scores: list[float], keypoints: int = 17, classes: int = 1) -> NDArray[np.float32]:
    """Rows of Ultralytics, 4 + classes + 3 K numbers by :data:`ROWS`: person n is of class n, far from others."""
    rows = np.zeros((4 + classes + 3 * keypoints, ROWS), np.float32)
    for index, score in enumerate(scores):
        rows[:4, index] = (12 + 20 * index, 30, 10, 16)
        rows[4 + index % classes, index] = score
        rows[4 + classes :, index] = np.tile((12 + 20 * index, 30, 0.9), keypoints)
    return rows[None]


def write_answer(path: Path, values: NDArray[np.float32], metadata: dict[str, str] | None = None, **more: Any) -> Path:
    """A network with one output ``output0`` that is ``values``."""
    graph = Graph()
    graph.answer(values, "output0")
    return graph.write(path, {"output0": list(values.shape)}, metadata, **more)


def end_to_end_rows(keypoints: int, classes: int) -> NDArray[np.float32]:
    """What :func:`write_end_to_end` chooses from: rows of a box, scores and keypoints."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 60, (ROWS, 4 + classes + 3 * keypoints)).astype(np.float32)
    rows[:, 4 : 4 + classes] = rng.uniform(0.3, 0.9, (ROWS, classes))
    return rows


def write_end_to_end(path: Path, count: int = 20, keypoints: int = 17, classes: int = 1) -> Path:
    """The end of an end-to-end network: three cuts of the rows, the best classes of the best rows, their numbers."""
    numbers = 4 + classes + 3 * keypoints
    graph = Graph()
    graph.answer(end_to_end_rows(keypoints, classes)[None], "rows")
    last, k = graph.constant("last", np.array([2])), graph.constant("k", np.array([count]))
    for name, begin, end in (
        ("box", 0, 4),
        ("cls", 4, 4 + classes),
        ("kpt", 4 + classes, numbers),
    ):
        cut = [graph.constant(f"{name}_{at}", np.array([value])) for at, value in (("begin", begin), ("end", end))]
        graph.node("Slice", ["rows", *cut, last], name)
    graph.node("ReduceMax", ["cls", last], "best", keepdims=0)
    graph.node("TopK", ["best", k], "best_values best_rows", axis=1)

    def take(source: str, width: int, rows_of: str, output: str) -> None:
        graph.node("Unsqueeze", [rows_of, last], f"{output}_column")
        wide = graph.constant(f"{output}_wide", np.array([1, count, width]))
        graph.node("Expand", [f"{output}_column", wide], f"{output}_rows")
        graph.node("GatherElements", [source, f"{output}_rows"], output, axis=1)

    take("cls", classes, "best_rows", "cls_best")
    graph.node("Flatten", ["cls_best"], "flat", axis=1)
    graph.node("TopK", ["flat", k], "score place", axis=1)
    many = graph.constant("classes", np.array(classes))
    graph.node("Div", ["place", many], "row")
    graph.node("Mod", ["place", many], "class")
    graph.node("GatherElements", ["best_rows", "row"], "chosen", axis=1)
    take("box", 4, "chosen", "box_best")
    take("kpt", 3 * keypoints, "chosen", "kpt_best")
    graph.node("Unsqueeze", ["score", last], "score_column")
    graph.node("Cast", ["class"], "class_float", to=TensorProto.FLOAT)
    graph.node("Unsqueeze", ["class_float", last], "class_column")
    graph.node("Concat", ["box_best", "score_column", "class_column", "kpt_best"], "output0", axis=2)
    names = str({index: f"class {index}" for index in range(classes)})
    metadata = ultralytics(keypoints, names, end2end="True")
    return graph.write(path, {"output0": [1, count, 6 + 3 * keypoints]}, metadata)
