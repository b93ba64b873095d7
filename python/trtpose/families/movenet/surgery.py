# SPDX-License-Identifier: Apache-2.0
"""Changes to a graph: its picture brought to N x 3 x H x W, all behind its heads left out."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from .graph import dims_of, picture_of

__all__ = ["PICTURE", "cut", "last_convolutions", "open_batch", "plain_picture"]

PICTURE = "images"
"""Name of the input that a graph gets."""

_FLOAT = onnx.TensorProto.FLOAT
_TO_CHANNELS_LAST = [0, 2, 3, 1]


def plain_picture(model: onnx.ModelProto, channels_last: bool) -> onnx.ModelProto:
    """A copy that takes float32 N x 3 x H x W of 0 to 255, by nodes in front of what it takes by itself.

    Where all that is done with whole numbers is to turn them into floating-point ones, that step goes: bytes are whole
    already.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    picture = picture_of(out)
    assert picture is not None
    kind = picture.type.tensor_type.elem_type
    if not channels_last and kind == _FLOAT:
        return out
    taken = {name for node in graph.node for name in node.output} | {v.name for v in graph.initializer}
    front = PICTURE if PICTURE not in taken | {picture.name} else PICTURE + "_in"
    readers = [node for node in graph.node if picture.name in node.input]
    casts = [node for node in readers if node.op_type == "Cast" and _cast_to(node) == _FLOAT]
    nodes: list[onnx.NodeProto] = []
    name = front
    if channels_last:
        name = picture.name if kind == _FLOAT else front + "_nhwc"
        nodes.append(helper.make_node("Transpose", [front], [name], name=front + "_to_nhwc", perm=_TO_CHANNELS_LAST))
    if kind != _FLOAT and len(casts) == len(readers):
        replaced = {cast.output[0]: name for cast in casts}
        kept = [node for node in graph.node if not any(node is cast for cast in casts)]
        _rename(kept, graph, replaced)
        nodes.extend(kept)
    else:
        if kind != _FLOAT:
            nodes.append(helper.make_node("Cast", [name], [picture.name], name=front + "_whole", to=kind))
        nodes.extend(graph.node)
    copied = onnx.GraphProto()
    copied.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(copied.node)
    dims = [dim.dim_value or dim.dim_param or None for dim in picture.type.tensor_type.shape.dim]
    shape = [dims[0], 3, dims[1], dims[2]] if channels_last else dims
    graph.input.remove(picture)
    graph.input.insert(0, helper.make_tensor_value_info(front, _FLOAT, shape))
    return out


def _cast_to(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)


def _rename(nodes: list[onnx.NodeProto], graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.initializer:
        value.name = names.get(value.name, value.name)


def last_convolutions(model: onnx.ModelProto) -> list[str]:
    """The convolutions that are met first on the way from the outputs to the picture; with the addition of a constant
    behind one, that one's output. Empty where the picture is met past them all."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    constants = {value.name for value in graph.initializer}
    picture = picture_of(model)
    assert picture is not None
    found: list[str] = []
    pending = [value.name for value in graph.output]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name == picture.name:
            return []
        if name in seen or name not in producer:
            continue
        seen.add(name)
        node = producer[name]
        if node.op_type == "Add" and any(value in constants for value in node.input):
            whole = next((value for value in node.input if value not in constants), "")
            if whole in producer and producer[whole].op_type == "Conv":
                found.append(name)
                continue
        if node.op_type == "Conv":
            found.append(name)
        elif node.op_type not in ("Shape", "Size"):
            pending.extend(node.input)
    return found


def cut(model: onnx.ModelProto, heads: Mapping[str, str], shapes: Mapping[str, list[int | None]]) -> onnx.ModelProto:
    """The graph up to its heads, and nothing else.

    Args:
        model: the whole.
        heads: tensors, and the names they get, in the order of the outputs.
        shapes: of the new names.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    producer = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    pending = list(heads)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(producer[name].input if name in producer else [])
    taken = {name for node in model.graph.node for name in node.output} | {v.name for v in model.graph.initializer}
    names = {**{name: f"{name}_inner" for name in set(heads.values()) & (taken - set(heads))}, **heads}
    del graph.node[:], graph.output[:], graph.value_info[:], graph.initializer[:]
    graph.node.extend(node for node in model.graph.node if any(name in needed for name in node.output))
    graph.initializer.extend(value for value in model.graph.initializer if value.name in needed)
    _rename(list(graph.node), graph, names)
    graph.output.extend(helper.make_tensor_value_info(name, _FLOAT, shapes[name]) for name in heads.values())
    return out


def open_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that takes any number of pictures, as far as its input and outputs say; whether it does a run tells."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    picture = picture_of(out)
    assert picture is not None
    for value in [picture, *out.graph.output]:
        if dims_of(value):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del out.graph.value_info[:]
    return out
