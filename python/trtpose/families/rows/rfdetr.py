# SPDX-License-Identifier: Apache-2.0
"""RF-DETR's keypoint networks as rfdetr 1.11 exports them: what it does behind the network is put into the graph.

The exporter gives, for each of Q queries, ``dets`` (cx, cy, w, h, divided by the input's sides), ``labels`` (a logit
for each class) and ``keypoints`` (x, y divided likewise, logits that it can be found and is visible, and the precision
of the place as log l11, l21, log l22 of a Cholesky factor). The score of a person is that of its class made less by the
uncertainty of its keypoints: σ(log σ(logit) − 0.2·log T), where T is the mean trace of the keypoints' covariances,
1/l11² + 1/l22² + (l21/(l11·l22))², each weighed by σ(found). Formulas from ``rfdetr/models/postprocess.py``
(Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ...skeletons import COCO
from ...spec import ModelSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["decoded", "is_rfdetr", "output_shapes"]

INPUTS = ("dets", "labels", "keypoints")
OUTPUTS = ("boxes_and_scores", "keypoints_in_pixels")
ALPHA = 0.2
"""How much of the uncertainty counts, as rfdetr has it by default."""

_NUMBERS = 8  # of a keypoint: x, y, found, visible, log l11, l21, log l22, and one that nothing reads
_LEAST = 1e-12
_OPSET = 13  # from which on ReduceSum and Unsqueeze take their axes as an input
_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
_STD = (255 * 0.229, 255 * 0.224, 255 * 0.225)


def is_rfdetr(outputs: Mapping[str, list[int]]) -> bool:
    """Whether outputs, shapes by name, are those of RF-DETR's keypoint networks."""
    if set(outputs) != set(INPUTS):
        return False
    boxes, labels, points = (outputs[name] for name in INPUTS)
    ranks = (len(boxes), len(labels), len(points)) == (3, 3, 4)
    return ranks and boxes[2] == 4 and points[3] == _NUMBERS and boxes[1] == labels[1] == points[1] > 0


def output_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of each output by its name, 0 where it is open."""
    return {o.name: [dim.dim_value for dim in o.type.tensor_type.shape.dim] for o in model.graph.output}


class _Writer:
    """Adds nodes and constants to a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def add(self, kind: str, *inputs: Any, out: str = "", **attributes: Any) -> str:
        """A node, whose inputs are names or arrays; returns the name of its output."""
        from onnx import helper, numpy_helper

        names: list[str] = []
        for value in inputs:
            self._count += 1
            name = value if isinstance(value, str) else f"trtpose_c{self._count}"
            if not isinstance(value, str):
                self._graph.initializer.append(numpy_helper.from_array(value, name))
            names.append(name)
        output = out or f"trtpose_t{self._count}"
        self._graph.node.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def column(self, tensor: str, first: int, last: int) -> str:
        """Of the last axis."""
        return self.add("Slice", tensor, *(np.array([v], np.int64) for v in (first, last, -1)))

    def times(self, tensor: str, factor: float) -> str:
        return self.add("Mul", tensor, np.array(factor, np.float32))

    def at_least(self, tensor: str, least: float) -> str:
        return self.add("Max", tensor, np.array(least, np.float32))

    def log_sigmoid(self, tensor: str) -> str:
        return self.add("Neg", self.add("Softplus", self.add("Neg", tensor)))

    def log_sum(self, tensor: str, axis: int) -> str:
        """log Σ exp; the axis goes."""
        # Not ReduceLogSumExp, whose axes OpenVINO loses: findings/openvino-reductions-lose-their-axes.sh.
        total = self.add("ReduceSum", self.add("Exp", tensor), np.array([axis], np.int64), keepdims=0)
        return self.add("Log", total)


def _write_decoding(graph: onnx.GraphProto, height: int, width: int) -> None:
    """The nodes from the three raw outputs to the two."""
    write = _Writer(graph)
    add, column = write.add, write.column
    found = column("keypoints", 2, 3)
    weight = write.at_least(write.log_sigmoid(found), float(np.log(_LEAST)))
    first, second = (write.times(column("keypoints", at, at + 1), -2.0) for at in (4, 6))
    slope = write.at_least(add("Abs", column("keypoints", 5, 6)), _LEAST)
    third = add("Add", write.times(add("Log", slope), 2.0), add("Add", first, second))
    trace = add("Unsqueeze", write.log_sum(add("Concat", first, second, third, axis=-1), 3), np.array([-1], np.int64))
    mean = add("Sub", write.log_sum(add("Add", trace, weight), 2), write.log_sum(weight, 2))
    score = add("Sub", write.log_sigmoid(column("labels", 0, 1)), write.times(mean, ALPHA))
    corners = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    sides = np.array([width, height, width, height], np.float32)
    add("Concat", add("MatMul", "dets", corners * sides), add("Sigmoid", score), axis=-1, out=OUTPUTS[0])
    places = add("Mul", column("keypoints", 0, 2), sides[:2])
    add("Concat", places, add("Sigmoid", found), axis=-1, out=OUTPUTS[1])


def decoded(model: onnx.ModelProto, source: str, name: str) -> tuple[onnx.ModelProto, ModelSpec]:
    """The graph with boxes, scores and keypoints in input pixels as its outputs, and their spec.

    Raises:
        ModelError: it has keypoints of more than one class, its size is open, or its opset is too old.
    """
    from onnx import TensorProto, helper

    _, queries, keypoints, _ = output_shapes(model)["keypoints"]
    if keypoints != len(COCO):
        raise ModelError(
            f"{source}: an RF-DETR network with {keypoints} places for keypoints, and nothing says whose they are; "
            f"trtpose takes those of one class, the person's {len(COCO)}"
        )
    height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[2:])
    if not height or not width:
        raise ModelError(f"{source}: the size of its input is open; export it for one size")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OPSET:
        raise ModelError(f"{source}: is of opset {opset}; export it with {_OPSET} or a later one")
    made: onnx.ModelProto = type(model)()
    made.CopyFrom(model)
    _write_decoding(made.graph, height, width)
    batch = made.graph.output[0].type.tensor_type.shape.dim[0]
    images = batch.dim_value or batch.dim_param or "batch"
    made.graph.value_info.extend(made.graph.output)
    del made.graph.output[:]
    for output, dims in zip(OUTPUTS, ([5], [keypoints, 3]), strict=True):
        made.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [images, queries, *dims]))
    spec = ModelSpec(
        name=name,
        family="rows",
        imgsz=(height, width),
        outputs=OUTPUTS,
        names=("person",),
        kpt_shape=(keypoints, 3),
        mean=_MEAN,
        std=_STD,
        sizing="stretch",
        extra={"form": "dets_keypoints", "suppress": False},
    )
    return made, spec
