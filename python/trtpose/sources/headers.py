# SPDX-License-Identifier: Apache-2.0
"""The head of a picture file, read before it is decoded.

OpenCV turns a truncated JPEG into a half grey picture (imread, and imdecode before version 5) and allocates whatever
size a header claims, so both are looked at first. Each function takes the bytes of one format and returns width and
height, or raises :class:`BadPictureError`.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

__all__ = ["FORMATS", "BadPictureError"]


class BadPictureError(Exception):
    pass


_TRUNCATED = "the file is cut off"


def _unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error:
        raise BadPictureError(_TRUNCATED) from None


# Inside entropy-coded data 0xFF is followed by 0 (a stuffed byte), 0xD0..0xD7 (restart) or 0xFF (fill).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at, end = 2, len(data)
    while True:
        if at + 2 > end:
            raise BadPictureError(_TRUNCATED)
        if data[at] != 0xFF:
            raise BadPictureError(f"not a valid JPEG, no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = _unpack(">H", data, at)
        if length < 2:
            raise BadPictureError(f"not a valid JPEG, a segment of length {length} at byte {at}")
        if marker in _JPEG_SIZES and size is None:
            height, width = _unpack(">xHH", data, at + 2)
            size = width, height
        at += length
        if marker == 0xDA:
            found = _JPEG_MARKER.search(data, at)
            if found is None:
                raise BadPictureError(_TRUNCATED)
            at = found.start()
    if size is None:
        raise BadPictureError("not a valid JPEG, it has no frame header")
    return size


def _png_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 8
    while True:
        length, kind = _unpack(">I4s", data, at)
        if at + 12 + length > len(data):
            raise BadPictureError(_TRUNCATED)
        critical = not kind[0] & 0x20
        if critical:
            (crc,) = _unpack(">I", data, at + 8 + length)
            if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != crc:
                raise BadPictureError(f"the file is damaged, wrong checksum in chunk {kind.decode('latin-1')!r}")
        if kind == b"IHDR":
            width, height = _unpack(">II", data, at + 8)
            size = width, height
        elif kind == b"IEND":
            break
        at += 12 + length
    if size is None:
        raise BadPictureError("not a valid PNG, it has no header")
    return size


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = _unpack("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = _unpack("<I", data, 14)
    width, height = _unpack("<HH", data, 18) if header == 12 else _unpack("<ii", data, 18)
    return abs(width), abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    (length,) = _unpack("<I", data, 4)
    if length + 8 > len(data):
        raise BadPictureError(_TRUNCATED)
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = _unpack("<HBHB", data, 24)
        return 1 + (low_w | high_w << 16), 1 + (low_h | high_h << 16)
    if kind == b"VP8L":
        (bits,) = _unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise BadPictureError("not a valid WebP file")


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (version,) = _unpack(order + "H", data, 2)
    big = version == 43
    (at,) = _unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = _unpack(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    values: dict[int, int] = {}
    for index in range(min(entries, 4096)):
        start = at + index * (20 if big else 12)
        tag, kind = _unpack(order + "HH", data, start)
        if tag in (256, 257):
            layout = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if layout is None:
                break
            (values[tag],) = _unpack(order + layout, data, start + (12 if big else 8))
    if len(values) != 2:
        raise BadPictureError("not a valid TIFF file, it does not state its size")
    return values[256], values[257]


def _pnm_size(data: bytes) -> tuple[int, int]:
    numbers = re.match(rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?!\d)", data[:4096])
    if numbers is None:
        raise BadPictureError("not a valid PNM file, it does not state its size")
    return int(numbers[1]), int(numbers[2])


def _jp2_size(data: bytes) -> tuple[int, int]:
    if data[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = _unpack(">IIII", data, 8)
        return right - left, bottom - top
    at = data.find(b"ihdr")
    if at < 0:
        raise BadPictureError("not a valid JPEG 2000 file, it does not state its size")
    height, width = _unpack(">II", data, at + 4)
    if height == 0 or width == 0:
        return width, height
    stream = data.find(b"\xff\x4f\xff\x51", at)
    if stream >= 0:
        # The decoder allocates by the size in the codestream, which may differ from that in the box.
        right, bottom, left, top = _unpack(">IIII", data, stream + 8)
        width, height = max(width, right - left), max(height, bottom - top)
    return width, height


def _avif_size(data: bytes) -> tuple[int, int]:
    sizes: list[tuple[int, int]] = []
    at = data.find(b"ispe")
    while at >= 0 and len(sizes) < 256:
        width, height = _unpack(">II", data, at + 8)
        sizes.append((width, height))
        at = data.find(b"ispe", at + 4)
    if not sizes:
        raise BadPictureError("not a valid AVIF file, it does not state its size")
    return max(sizes, key=math.prod)


FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...] = (
    ("JPEG", lambda d: d[:3] == b"\xff\xd8\xff", _jpeg_size),
    ("PNG", lambda d: d[:8] == b"\x89PNG\r\n\x1a\n", _png_size),
    ("GIF", lambda d: d[:6] in (b"GIF87a", b"GIF89a"), _gif_size),
    ("WebP", lambda d: d[:4] == b"RIFF" and d[8:12] == b"WEBP", _webp_size),
    ("BMP", lambda d: d[:2] == b"BM", _bmp_size),
    ("TIFF", lambda d: d[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff_size),
    ("JPEG 2000", lambda d: d[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or d[:4] == b"\xff\x4f\xff\x51", _jp2_size),
    ("AVIF", lambda d: d[4:8] == b"ftyp" and b"avi" in d[8:64], _avif_size),
    ("PNM", lambda d: len(d) > 2 and d[:1] == b"P" and d[1:2] in b"123456" and d[2:3] in b" \t\r\n#", _pnm_size),
)
