# SPDX-License-Identifier: Apache-2.0
"""Which form of MoveNet an ONNX graph is, by names, types and shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx

__all__ = ["FOUR", "SIX", "FileForm", "constants_of", "dims_of", "form_of", "picture_of"]

FOUR = ("heatmap", "center", "regress", "offset")
SIX = (*FOUR, "box_scale", "box_offset")
"""Names of raw heads, in the order of a spec's outputs."""

_MOST_PEOPLE = 20
_PEOPLE_OF_PORTS = (6, 10, 20)
_COCO = 17
_REPRODUCTION = {"pairs": "xy", "activated": True, "rounded": True, "floor": 0.1}
"""How heads of fire717/movenet.pytorch differ from Google's."""


@dataclass(frozen=True)
class FileForm:
    """What a graph is.

    Attributes:
        form: of the family's spec.
        keypoints: how many.
        channels_last: whether the picture is N x H x W x 3.
        outputs: names of what is read, in the spec's order.
        people: rows of several people, else 0.
        keys: of the spec, where the network differs from Google's.
        sure: whether nothing else is like it; else names alone do not tell what its heads hold.
    """

    form: str
    keypoints: int
    channels_last: bool
    outputs: tuple[str, ...]
    people: int = 0
    keys: dict[str, Any] = field(default_factory=dict)
    sure: bool = True


def picture_of(model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """The one input that no initializer gives, None where there are others."""
    constants = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    return inputs[0] if len(inputs) == 1 else None


def dims_of(value: onnx.ValueInfoProto) -> list[int]:
    """Its sizes, 0 where they are open."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def form_of(model: onnx.ModelProto) -> FileForm | None:
    """What a graph is, None where it is none of these."""
    picture = picture_of(model)
    if picture is None:
        return None
    dims = dims_of(picture)
    if len(dims) != 4 or 3 not in (dims[1], dims[3]) or dims[1] == dims[3]:
        return None
    channels_last = dims[3] == 3
    outputs = {value.name: dims_of(value) for value in model.graph.output}
    if len(outputs) == 1:
        return _decoded(*next(iter(outputs.items())), channels_last)
    return _raw(picture.name, outputs, channels_last)


def _decoded(name: str, dims: list[int], channels_last: bool) -> FileForm | None:
    if len(dims) == 4 and dims[1] == 1 and dims[2] > 0 and dims[3] == 3:
        return FileForm("single", dims[2], channels_last, (name,), sure=channels_last)
    if len(dims) != 3 or not 1 < dims[1] <= _MOST_PEOPLE or dims[2] < 8 or (dims[2] - 5) % 3:
        return None
    keypoints = (dims[2] - 5) // 3
    # Lists of other families are longer, but for such a port's own counts of people.
    if not channels_last and (keypoints != _COCO or dims[1] not in _PEOPLE_OF_PORTS):
        return None
    return FileForm("multi", keypoints, channels_last, (name,), people=dims[1])


def _raw(picture: str, outputs: dict[str, list[int]], channels_last: bool) -> FileForm | None:
    names = [name for name in SIX if name in outputs]
    named = tuple(names) in (FOUR, SIX) and len(names) == len(outputs)
    if not named:
        names = list(outputs)
    shapes = [outputs[name] for name in names]
    if len(shapes) not in (4, 6) or any(len(dims) != 4 for dims in shapes):
        return None
    keypoints = shapes[0][1]
    expected = [keypoints, 1, 2 * keypoints, 2 * keypoints, 2, 2][: len(shapes)]
    if keypoints < 1 or [dims[1] for dims in shapes] != expected or any(d[2:] != shapes[0][2:] for d in shapes):
        return None
    form = "multi_heads" if len(shapes) == 6 else "single_heads"
    if named:
        return FileForm(form, keypoints, channels_last, tuple(names))
    # As fire717's own exporter names them.
    if picture == "input1" and names == [f"output{i}" for i in range(1, 5)]:
        return FileForm(form, keypoints, channels_last, tuple(names), keys=dict(_REPRODUCTION))
    return FileForm(form, keypoints, channels_last, tuple(names), sure=False)


def constants_of(model: onnx.ModelProto) -> list[float]:
    """Every floating-point constant of a graph that is one number, or the same number a few times."""
    found: list[float] = []
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.extend(attribute.t for attribute in node.attribute if attribute.name == "value")
    for tensor in tensors:
        size = 1
        for dim in tensor.dims:
            size *= dim
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) and 0 < size <= 4:
            values = {float(v) for v in onnx.numpy_helper.to_array(tensor).ravel()}
            found.extend(values if len(values) == 1 else ())
    return found
