# SPDX-License-Identifier: Apache-2.0
"""An ONNX model that was made here as bytes, without protobuf's own copies of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

__all__ = ["pieces"]

_MAX_BYTES = (1 << 31) - 1
"""Of a protocol buffer."""

# Numbers of the fields in onnx.proto, and what stands before one that holds bytes.
_GRAPH_IN_MODEL, _WEIGHTS_IN_GRAPH, _RAW_IN_TENSOR = 7, 5, 9
_BYTES = 2
_LARGE = 1 << 12


def pieces(model: onnx.ModelProto) -> Iterator[bytes]:
    """What ``model.SerializeToString(deterministic=True)`` gives, in parts one behind the other.

    Protobuf writes a message into memory that grows, and copies it out. Of what a newer ONNX has and this package onnx
    does not know, only what stands in nodes, inputs and outputs is kept.

    Raises:
        ValueError: it has more bytes than protobuf takes.
    """
    if not model.HasField("graph"):
        yield model.SerializeToString(deterministic=True)
        return
    graph = _graph(model.graph)
    begin = _fields(model, lambda number: number < _GRAPH_IN_MODEL)
    end = _fields(model, lambda number: number > _GRAPH_IN_MODEL)
    size = sum(map(len, graph))
    head = _head(_GRAPH_IN_MODEL, size)
    if len(begin) + len(head) + size + len(end) > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, and protobuf ends at {_MAX_BYTES}")
    yield begin + head
    yield from graph
    yield end


def _graph(graph: onnx.GraphProto) -> list[bytes]:
    parts = [_fields(graph, lambda number: number < _WEIGHTS_IN_GRAPH)]
    for tensor in graph.initializer:
        body = _tensor(tensor)
        parts += [_head(_WEIGHTS_IN_GRAPH, sum(map(len, body))), *body]
    return [*parts, _fields(graph, lambda number: number > _WEIGHTS_IN_GRAPH)]


def _tensor(tensor: onnx.TensorProto) -> list[bytes]:
    raw = tensor.raw_data
    if len(raw) < _LARGE:
        return [tensor.SerializeToString(deterministic=True)]
    return [
        _fields(tensor, lambda number: number < _RAW_IN_TENSOR) + _head(_RAW_IN_TENSOR, len(raw)),
        raw,
        _fields(tensor, lambda number: number > _RAW_IN_TENSOR),
    ]


def _fields(message: Any, wanted: Callable[[int], bool]) -> bytes:
    """The fields of a message with such numbers."""
    part = type(message)()
    for entry, value in message.ListFields():
        if not wanted(entry.number):
            continue
        if isinstance(value, (str, bytes, int, float)):
            setattr(part, entry.name, value)
        elif hasattr(value, "CopyFrom"):
            getattr(part, entry.name).CopyFrom(value)
        else:
            getattr(part, entry.name).extend(value)
    return part.SerializeToString(deterministic=True)


def _head(number: int, size: int) -> bytes:
    """What stands before a field of so many bytes."""
    found = bytearray()
    for value in (number << 3 | _BYTES, size):
        while value > 0x7F:
            found.append(value & 0x7F | 0x80)
            value >>= 7
        found.append(value)
    return bytes(found)
