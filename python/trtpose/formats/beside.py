# SPDX-License-Identifier: Apache-2.0
"""The files that an ONNX model says its weights are in, found without reading the model.

For what must not be overwritten: a file too many costs a refusal, so this may find more than the model's reader, which
decides what is read, and looks for nothing but the entry as every writer of protocol buffers writes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["files_beside"]

_ENTRY = b"\x0a\x08location\x12"
"""Of a StringStringEntryProto: field 1, eight bytes, and field 2, whose length and bytes follow."""
_CHUNK = 1 << 24
_LONGEST = 4096


def files_beside(model: Path) -> list[Path]:
    """Existing files that ``model`` names as holding weights; none where it cannot be read."""
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError):
        for location in _locations(model):
            with contextlib.suppress(OSError, ValueError):
                path = model.parent / location
                if path.is_file():
                    found[location] = path
    return list(found.values())


def _locations(model: Path) -> Iterator[str]:
    with model.open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK):
            data = rest + chunk
            at = data.find(_ENTRY)
            while at >= 0:
                place = at + len(_ENTRY)
                if text := _text(data[place : place + 2 + _LONGEST]):
                    yield text.decode(errors="surrogateescape")
                at = data.find(_ENTRY, place)
            # An entry may stand at the end of one chunk and the beginning of the next.
            rest = data[-(_LONGEST + len(_ENTRY) + 2) :]


def _text(data: bytes) -> bytes:
    """The bytes behind their length, which takes one byte or two; empty where they are not all there."""
    if len(data) < 2:
        return b""
    long = data[0] & 0x80
    length, begin = (data[0] & 0x7F | data[1] << 7, 2) if long else (data[0], 1)
    text = data[begin : begin + length]
    return text if len(text) == length else b""
