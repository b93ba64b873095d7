# SPDX-License-Identifier: Apache-2.0
"""The boxes of an AVIF file: the size of its pictures, and how the first is turned (ISO/IEC 23008-12).

OpenCV (5.0) decodes AVIF as it is stored; ``irot`` and ``imir``, which say how it is to be shown, are followed here.
EXIF says nothing where the container has its own way to say it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .picture_head import TRUNCATED, BadPictureError, Head, Turn, unpack

__all__ = ["is_avif", "is_heic", "read_avif"]

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_MAX_BOXES = 65536

Span = tuple[int, int]


def _brands(data: bytes) -> set[bytes]:
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def is_avif(data: bytes) -> bool:
    return any(brand.startswith(b"avi") for brand in _brands(data))


def is_heic(data: bytes) -> bool:
    """Whether the file holds HEVC pictures in the same kind of container."""
    return not is_avif(data) and bool(_brands(data) & _HEIC)


def _boxes(data: bytes, span: Span) -> Iterator[tuple[bytes, Span]]:
    """Kind and content of the boxes in a part of the file."""
    at, end = span
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        size, kind = unpack(">I4s", data, at)
        begin = at + 8
        if size == 1:
            (size,) = unpack(">Q", data, begin)
            begin += 8
        # 0: to the end of what it stands in.
        stop = end if size == 0 else at + size
        if stop < begin or stop > end:
            raise BadPictureError(TRUNCATED)
        yield kind, (begin, stop)
        at = stop
    raise BadPictureError("the file is damaged, it has too many boxes")


def _inside(data: bytes, span: Span, kind: bytes) -> Span | None:
    return next((content for found, content in _boxes(data, span) if found == kind), None)


def _associated(data: bytes, span: Span, item: int) -> list[int]:
    """Numbers, from 1, of the properties of an item, in the order in which they apply."""
    (head,) = unpack(">I", data, span[0])
    wide_items, wide_indices = head >> 24 >= 1, head & 1
    (entries,) = unpack(">I", data, span[0] + 4)
    at = span[0] + 8
    for _ in range(min(entries, _MAX_BOXES)):
        if at >= span[1]:
            raise BadPictureError(TRUNCATED)
        layout = ">IB" if wide_items else ">HB"
        found, count = unpack(layout, data, at)
        at += 5 if wide_items else 3
        numbers = unpack(f">{count}{'H' if wide_indices else 'B'}", data, at)
        at += count * (2 if wide_indices else 1)
        if found == item:
            return [number & (0x7FFF if wide_indices else 0x7F) for number in numbers]
    return []


def _turn(data: bytes) -> Turn:
    """How the primary picture is turned."""
    meta = _inside(data, (0, len(data)), b"meta")
    if meta is None:
        return Turn()
    content = meta[0] + 4, meta[1]
    primary = _inside(data, content, b"pitm")
    properties = _inside(data, content, b"iprp")
    if primary is None or properties is None:
        return Turn()
    version, item = unpack(">BxxxH", data, primary[0])
    if version:
        (item,) = unpack(">I", data, primary[0] + 4)
    container = _inside(data, properties, b"ipco")
    if container is None:
        return Turn()
    known = list(_boxes(data, container))
    quarters, mirror = 0, None
    for kind, span in _boxes(data, properties):
        if kind != b"ipma":
            continue
        for number in _associated(data, span, item):
            if not 1 <= number <= len(known):
                continue
            name, (at, _) = known[number - 1]
            if name == b"irot":
                quarters = unpack("B", data, at)[0] & 3
            elif name == b"imir":
                mirror = unpack("B", data, at)[0] & 1
    return Turn(quarters, mirror)


def read_avif(data: bytes) -> Head:
    """The head of an AVIF file; its size is that of the largest picture in it.

    Raises:
        BadPictureError: it is cut off, or is no AVIF.
    """
    sizes: list[tuple[int, int]] = []
    at = data.find(b"ispe")
    while at >= 0 and len(sizes) < 256:
        sizes.append(unpack(">II", data, at + 8))
        at = data.find(b"ispe", at + 4)
    if not sizes:
        raise BadPictureError("not a valid AVIF file, it does not state its size")
    width, height = max(sizes, key=math.prod)
    return Head(width, height, (data,), _turn(data))
