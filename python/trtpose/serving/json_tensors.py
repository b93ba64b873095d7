# SPDX-License-Identifier: Apache-2.0
"""JSON that holds the numbers of pictures, read piece by piece.

Python's reader of JSON lets no other thread run until it has come to the end of what it was given, so that a body of
many megabytes would stop the whole server, also in a thread of its own. The long lists of numbers are taken out of the
text first, and read in pieces, between which others have their turn.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .requests import RequestError

__all__ = ["SMALL", "Numbers", "read"]

SMALL = 256 << 10
"""Bytes of JSON that are read at once: a few milliseconds."""

_PIECE = 64 << 10
_MOST_LISTS = 64
_KEY = b'"data"'
_BEGIN = re.compile(rb"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}\[")
_WHOLE = re.compile(rb"[0-9,\[\] \t\r\n]*")
_FLAT = bytes.maketrans(b"[]", b"  ")
_NO_STRUCTURE = b"0123456789 \t\r\n"


class Numbers:
    """A list of whole numbers as it stood in a text: flat, or nested like a tensor."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def bytes_of(self, shape: Sequence[int]) -> NDArray[np.uint8]:
        """The numbers as an array of this shape.

        Raises:
            ValueError: they are of another shape, or not all from 0 to 255.
        """
        count = int(np.prod(shape, dtype=object))
        if 2 * count > len(self._text):  # each has a digit, and a comma or bracket behind it
            raise ValueError("another count")
        found = np.zeros(count, np.uint8)
        expected = _structure(shape) if self._text.count(b"[") > 1 else b"[" + b"," * (count - 1) + b"]"
        at = seen = 0
        for piece in self._pieces():
            structure = piece.translate(None, _NO_STRUCTURE)
            if expected[seen : seen + len(structure)] != structure:
                raise ValueError("another shape")
            seen += len(structure)
            # A comma at either end of a piece stands between two of them.
            values = np.asarray(json.loads(b"[" + piece.translate(_FLAT).strip(b", \t\r\n") + b"]"))
            if values.size > count - at or values.dtype.kind not in "iu" or values.max() > 255:
                raise ValueError("no bytes")
            found[at : at + values.size] = values
            at += values.size
        if seen != len(expected) or at != count:
            raise ValueError("another count")
        return found.reshape(shape)

    def _pieces(self) -> Iterator[bytes]:
        """The text in pieces that end behind a comma."""
        begin = 0
        while begin < len(self._text):
            end = len(self._text)
            if end - begin > _PIECE:
                end = self._text.rfind(b",", begin, begin + _PIECE) + 1
                if end == 0:
                    raise ValueError("no list")
            yield self._text[begin:end]
            begin = end


def _structure(shape: Sequence[int]) -> bytes:
    """The brackets and commas of nested lists."""
    text = b""
    for level, side in enumerate(reversed(shape)):
        text = b"[" + (b"," * (side - 1) if level == 0 else b",".join([text] * side)) + b"]"
    return text


def read(text: bytes) -> Any:
    """What ``json.loads`` gives of a text, with :class:`Numbers` in place of long lists of numbers named ``data``.

    Raises:
        ValueError, RecursionError: it is no JSON.
        RequestError: it is long without such lists.
    """
    if len(text) <= SMALL:
        return json.loads(text)
    # Nobody else can write it into a request.
    mark = secrets.token_hex(16)
    taken: list[Numbers] = []
    rest: list[bytes] = []
    done = 0
    for begin, end in _long_lists(text):
        rest += [text[done:begin], f'"{mark}{len(taken)}"'.encode()]
        taken.append(Numbers(text[begin:end]))
        done = end
        if len(taken) > _MOST_LISTS:
            raise RequestError(400, f"the JSON holds more than {_MOST_LISTS} long lists of numbers; send one tensor")
    rest.append(text[done:])
    short = b"".join(rest)
    if len(short) > SMALL:
        raise RequestError(
            413,
            f"the JSON holds {len(short)} bytes besides lists of whole numbers from 0 to 255 named data, more than the "
            f"{SMALL} allowed; send tensors as binary data",
        )

    def put_back(entry: dict[str, Any]) -> dict[str, Any]:
        value = entry.get("data")
        if isinstance(value, str) and value.startswith(mark):
            entry["data"] = taken[int(value.removeprefix(mark))]
        return entry

    return json.loads(short, object_hook=put_back)


def _long_lists(text: bytes) -> Iterator[tuple[int, int]]:
    """Where the lists of whole numbers under the key ``data`` begin and end, those that are long."""
    place = 0
    while (key := text.find(_KEY, place)) >= 0:
        place = key + len(_KEY)
        found = _BEGIN.match(text, place)
        # Within a text of JSON each quote stands behind a backslash; such a one is no key.
        if found is None or text[key - 1 : key] == b"\\":
            continue
        begin, end = found.end() - 1, found.end()
        while end < len(text) and (next_end := _end_of_whole(text, end)) > end:
            end = next_end
        end = text.rfind(b"]", begin, end) + 1
        if end - begin > _PIECE and text.count(b"[", begin, end) == text.count(b"]", begin, end):
            yield begin, end
            place = end


def _end_of_whole(text: bytes, begin: int) -> int:
    found = _WHOLE.match(text, begin, begin + _PIECE)
    return begin if found is None else found.end()
