# SPDX-License-Identifier: Apache-2.0
"""What people give a client, as tensors of a request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import _core, _run
from .._checks import file_path
from .._files import read_bounded
from .._frames import native
from ..errors import InputError
from ..nv12 import Nv12
from ..sources.pictures import unreadable
from .protocol import Tensor, texts

__all__ = ["Item", "groups", "item_of"]

_MOST_FILE = 1 << 30

_MOST_BYTES = 16 << 20
"""Bytes of a request that holds more than one frame: half of what ``trtpose serve`` takes unless told otherwise."""


@dataclass(frozen=True)
class Item:
    """A frame as it is sent.

    Attributes:
        name: what errors call it.
        kind: the input that takes it: ``bgr``, ``rgb``, or ``encoded`` for the bytes of a file.
        data: its pixels, or the file.
        size: height and width; None of a file, which nobody has looked into.
    """

    name: str
    kind: str
    data: bytes | memoryview
    size: tuple[int, int] | None

    def joins(self, other: Item) -> bool:
        """Whether both fit into one tensor."""
        return self.kind == other.kind and self.size == other.size

    def tensor_with(self, others: Sequence[Item]) -> Tensor:
        """The tensor of this and others that join it."""
        parts = [self.data, *(item.data for item in others)]
        if self.size is None:
            return Tensor(self.kind, "BYTES", (len(parts),), texts([bytes(part) for part in parts]))
        return Tensor(self.kind, "UINT8", (len(parts), *self.size, 3), parts)


def groups(items: Sequence[Item], most: int) -> Iterator[list[Item]]:
    """Neighbours that go into one request: at most ``most``, and not too many bytes."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == most or not item.joins(group[0]) or size + len(item.data) > _MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item.data)
    if group:
        yield group


def item_of(frame: Any, color: str, name: str) -> Item:
    """A frame as it is sent.

    Raises:
        InputError: it cannot be used; the message begins with the file's name, or with ``name``.
    """
    if isinstance(frame, (str, os.PathLike)):
        return _file(frame)
    if isinstance(frame, Nv12) or _core.is_device_array(frame, name):
        what = "an Nv12" if isinstance(frame, Nv12) else "on a GPU"
        raise InputError(f"{name}: is {what}, which cannot be sent; give a height×width×3 uint8 array in host memory")
    array = native(frame, color)
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        try:
            array = np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{name}: cannot be read as an array ({error}); give a numpy array") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name}: is of type {type(frame).__name__}; give a height×width×3 uint8 array, or a path")
    pixels = cast("np.ndarray[Any, Any]", array)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(
            f"{name}: has the shape {pixels.shape} and dtype {pixels.dtype}; a server takes height×width×3 uint8"
        )
    height, width, _ = pixels.shape
    return Item(name, color, np.ascontiguousarray(pixels).reshape(-1).data, (height, width))


def _file(path: Any) -> Item:
    name = file_path(path, "frame", "the path of a picture")
    try:
        _run.reads(name)
        data = read_bounded(name, _MOST_FILE)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; check the name") from None
    except OSError as error:
        raise InputError(f"{name}: {unreadable(error)}") from None
    if not data:
        raise InputError(f"{name}: the file is empty; replace it with a picture")
    return Item(str(name), "encoded", data, None)
