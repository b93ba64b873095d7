# SPDX-License-Identifier: Apache-2.0
"""Taking the NMS out of a graph of mmdeploy's, so that the number of its rows is fixed and TensorRT can build it.

mmdeploy 1.3's graph of RTMO decodes a box for every anchor, keeps some of them by ``NonMaxSuppression`` and decodes the
keypoints of those alone. Whatever the exporter makes of the indices in between, all that is behind the suppression goes
through one tensor, N x n whole numbers: which anchors are kept. That tensor is found as the last through which
everything goes, and is replaced by the anchors of the best scores; suppressing is then the reader's.

What was found is proved: run side by side, rows of the same anchor must be the same in both graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...formats import onnx_file
from ...formats.onnx_runner import Runner, sample_pictures
from ...spec import ModelSpec

if TYPE_CHECKING:
    import onnx

__all__ = ["Cut", "take_out"]

ROWS = 500
"""Anchors that are left, those of the best scores: each person has some ten that are suppressed."""

_OWN = "trtpose_rows"  # begins the names of what is added
_TOLERANCE = 1e-3  # pixels and scores; the same operations on the same numbers, in other shapes


@dataclass(frozen=True)
class Cut:
    """A graph without its suppression.

    Attributes:
        model: the graph.
        rows: how many rows it gives.
        report: in lines, how it was compared with the original.
    """

    model: onnx.ModelProto
    rows: int
    report: tuple[str, ...]


def take_out(model: onnx.ModelProto, spec: ModelSpec, source: str) -> Cut | None:
    """The graph without its NMS, or None where there is none or its place is not recognised."""
    found = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    if len(found) != 1 or len(spec.outputs) != 2:
        return None
    indices = _last_separator(model.graph, found[0].output[0], spec.outputs)
    if indices is None:
        return None
    loose = _loosened(model, found[0], indices)
    pictures = _pictures(model, spec)
    theirs = Runner(onnx_file.checked(loose, source))
    anchors = int(theirs(pictures)[theirs.outputs.index(f"{_OWN}_scores")].shape[2])
    before = _ranking(model.graph, found[0])
    rows = min(ROWS, anchors)
    cut = _replaced(model, found[0], indices, before, rows, spec)
    lines = _compare(loose, cut, indices, spec, pictures, source)
    if lines is None:
        return None
    del cut.graph.output[2:]
    return Cut(cut, rows, lines)


def _last_separator(graph: onnx.GraphProto, start: str, outputs: tuple[str, ...]) -> str | None:
    """The last tensor through which everything goes that leads from ``start`` to the outputs; not those themselves."""
    cone = {start}
    order: list[onnx.NodeProto] = []
    for node in graph.node:
        if any(name in cone for name in node.input):
            cone.update(node.output)
            order.append(node)
    if not set(outputs) <= cone:
        return None

    def leads_on(without: str) -> bool:
        reached = {start} - {without}
        for node in order:
            if any(name in reached for name in node.input):
                reached.update(name for name in node.output if name != without)
        return any(name in reached for name in outputs)

    found = [name for node in order for name in node.output if name not in outputs and not leads_on(name)]
    return found[-1] if found else None


def _ranking(graph: onnx.GraphProto, suppression: onnx.NodeProto) -> onnx.NodeProto | None:
    """The TopK that chooses which boxes are compared, where there is one."""
    producer = {name: node for node in graph.node for name in node.output}
    pending, seen = [suppression.input[0]], set[str]()
    while pending:
        name = pending.pop()
        node = producer.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "TopK":
            return node
        pending.extend(node.input)
    return None


def _loosened(model: onnx.ModelProto, suppression: onnx.NodeProto, indices: str) -> onnx.ModelProto:
    """The original keeping boxes of every score, with what is compared as further outputs."""
    from onnx import TensorProto, helper, numpy_helper

    loose: onnx.ModelProto = type(model)()
    loose.CopyFrom(model)
    node = next(node for node in loose.graph.node if node.output[0] == suppression.output[0])
    inputs = [*node.input, "", "", ""][:5]
    inputs[4] = f"{_OWN}_threshold"
    node.input[:] = inputs
    loose.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), inputs[4]))
    loose.graph.node.append(helper.make_node("Identity", [node.input[1]], [f"{_OWN}_scores"]))
    loose.graph.output.append(helper.make_tensor_value_info(indices, TensorProto.INT64, None))
    loose.graph.output.append(helper.make_tensor_value_info(f"{_OWN}_scores", TensorProto.FLOAT, None))
    return loose


def _replaced(
    model: onnx.ModelProto,
    suppression: onnx.NodeProto,
    indices: str,
    before: onnx.NodeProto | None,
    rows: int,
    spec: ModelSpec,
) -> onnx.ModelProto:
    """The graph with the anchors of the best scores in the place of those that the suppression keeps."""
    from onnx import TensorProto, helper, numpy_helper

    cut: onnx.ModelProto = type(model)()
    cut.CopyFrom(model)
    graph = cut.graph
    best, added = f"{_OWN}_best", list[Any]()
    constants = {"rows": [rows], "zero": [0], "one": [1]}
    for name, numbers in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), f"{_OWN}_{name}"))
    if before is None:
        # Scores stand as N x classes x anchors, of one class.
        added.append(helper.make_node("Reshape", [suppression.input[1], f"{_OWN}_flat"], [f"{_OWN}_scores"]))
        graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), f"{_OWN}_flat"))
        added.append(
            helper.make_node("TopK", [f"{_OWN}_scores", f"{_OWN}_rows"], [f"{_OWN}_values", best], axis=1, sorted=1)
        )
    else:
        ends = [f"{_OWN}_zero", f"{_OWN}_rows", f"{_OWN}_one"]
        added.append(helper.make_node("Slice", [before.output[1], *ends], [best]))
    nodes: list[Any] = []
    for node in graph.node:
        if indices in node.output:
            nodes.extend(added)
        kept = type(node)()
        kept.CopyFrom(node)
        kept.input[:] = [best if name == indices else name for name in node.input]
        nodes.append(kept)
    needed = {*spec.outputs, best}
    alive: list[Any] = []
    for node in reversed(nodes):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            alive.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(reversed(alive))
    kept_constants = [value for value in graph.initializer if value.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept_constants)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    count = batch.dim_value or batch.dim_param or "batch"
    del graph.output[:]
    for name, dims in zip(spec.outputs, ([5], [spec.keypoints, 3]), strict=True):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, rows, *dims]))
    graph.output.append(helper.make_tensor_value_info(best, TensorProto.INT64, None))
    return cut


def _pictures(model: onnx.ModelProto, spec: ModelSpec) -> NDArray[np.float32]:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = (dims[0].dim_value or 1, 3, *spec.imgsz)
    scale = np.array(spec.std, np.float32)[:, None, None]
    shift = np.array(spec.mean, np.float32)[:, None, None]
    soft = sample_pictures(shape, 0)["shapes"] * 255
    return np.ascontiguousarray((soft - shift) / scale, np.float32)


def _compare(
    loose: onnx.ModelProto,
    cut: onnx.ModelProto,
    indices: str,
    spec: ModelSpec,
    pictures: NDArray[np.float32],
    source: str,
) -> tuple[str, ...] | None:
    """Lines on rows that both give, None where a row of the same anchor differs or there are too few of them."""
    runners = [Runner(onnx_file.checked(one, source)) for one in (loose, cut)]
    theirs, ours = (dict(zip(run.outputs, run(pictures), strict=True)) for run in runners)
    kept, best = theirs[indices], ours[f"{_OWN}_best"]
    if kept.ndim != 2 or kept.shape[0] != best.shape[0]:
        return None
    same, worst = 0, 0.0
    for image, numbers in enumerate(best):
        places = {int(anchor): place for place, anchor in enumerate(numbers)}
        for place, anchor in enumerate(kept[image]):
            if int(anchor) not in places:
                continue
            same += 1
            for name in spec.outputs:
                pair = theirs[name][image, place], ours[name][image, places[int(anchor)]]
                worst = max(worst, float(np.abs(np.subtract(*pair)).max()))
        # Nothing suppresses the anchor of the best score.
        if int(numbers[0]) not in kept[image]:
            return None
    if worst > _TOLERANCE:
        return None
    return (f"{same} rows of anchors that both graphs give: {worst:.1e}",)
