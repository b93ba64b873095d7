# SPDX-License-Identifier: Apache-2.0
"""The head of a picture file, read before it is decoded.

OpenCV allocates whatever size a header claims up to a limit of its own, so ours is looked at first, by readers that
pass over what OpenCV passes over. Why not Pillow's: docs/adr/0013-heads-of-pictures.md.

:func:`read_head` tells the format from the content.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from .heif import is_avif, is_heic, read_avif
from .jpeg import read_jpeg
from .picture_head import TRUNCATED, BadPictureError, Head, unpack

__all__ = ["looks_like_picture", "read_head"]


def _png_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 8
    while True:
        length, kind = unpack(">I4s", data, at)
        if at + 12 + length > len(data):
            raise BadPictureError(TRUNCATED)
        # Decoders ask for IEND but not for its checksum, and nothing is in it.
        critical = not kind[0] & 0x20 and kind != b"IEND"
        if critical:
            (crc,) = unpack(">I", data, at + 8 + length)
            if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != crc:
                raise BadPictureError(f"the file is damaged, wrong checksum in chunk {kind.decode('latin-1')!r}")
        if kind == b"IHDR":
            width, height = unpack(">II", data, at + 8)
            size = width, height
        elif kind == b"IEND":
            break
        at += 12 + length
    if size is None:
        raise BadPictureError("not a valid PNG, it has no header")
    return size


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = unpack("<HH", data, 6)
    return width, height


_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = unpack("<I", data, 14)
    if header not in _BMP_HEADERS:
        raise BadPictureError(f"not a valid BMP file, a header of {header} bytes")
    width, height = unpack("<HH", data, 18) if header == 12 else unpack("<ii", data, 18)
    return abs(width), abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    (length,) = unpack("<I", data, 4)
    if length + 8 > len(data):
        raise BadPictureError(TRUNCATED)
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = unpack("<HBHB", data, 24)
        return 1 + (low_w | high_w << 16), 1 + (low_h | high_h << 16)
    if kind == b"VP8L":
        (bits,) = unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise BadPictureError("not a valid WebP file")


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (version,) = unpack(order + "H", data, 2)
    big = version == 43
    (at,) = unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = unpack(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    values: dict[int, int] = {}
    for index in range(min(entries, 4096)):
        start = at + index * (20 if big else 12)
        tag, kind = unpack(order + "HH", data, start)
        if tag in (256, 257):
            layout = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if layout is None:
                break
            (values[tag],) = unpack(order + layout, data, start + (12 if big else 8))
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
        right, bottom, left, top = unpack(">IIII", data, 8)
        return right - left, bottom - top
    at = data.find(b"ihdr")
    if at < 0:
        raise BadPictureError("not a valid JPEG 2000 file, it does not state its size")
    height, width = unpack(">II", data, at + 4)
    if height == 0 or width == 0:
        return width, height
    stream = data.find(b"\xff\x4f\xff\x51", at)
    if stream >= 0:
        # The decoder allocates by the size in the codestream, which may differ from that in the box.
        right, bottom, left, top = unpack(">IIII", data, stream + 8)
        width, height = max(width, right - left), max(height, bottom - top)
    return width, height


def _read_heic(_: bytes) -> Head:
    raise BadPictureError("a HEIC picture, which OpenCV does not read; convert it to JPEG or PNG")


def _sized(size_of: Callable[[bytes], tuple[int, int]]) -> Callable[[bytes], Head]:
    return lambda data: Head(*size_of(data), (data,))


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], Head]], ...] = (
    ("JPEG", lambda d: d[:3] == b"\xff\xd8\xff", read_jpeg),
    ("PNG", lambda d: d[:8] == b"\x89PNG\r\n\x1a\n", _sized(_png_size)),
    ("GIF", lambda d: d[:6] in (b"GIF87a", b"GIF89a"), _sized(_gif_size)),
    ("WebP", lambda d: d[:4] == b"RIFF" and d[8:12] == b"WEBP", _sized(_webp_size)),
    ("BMP", lambda d: d[:2] == b"BM", _sized(_bmp_size)),
    ("TIFF", lambda d: d[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _sized(_tiff_size)),
    ("JPEG 2000", lambda d: d[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or d[:4] == b"\xff\x4f\xff\x51", _sized(_jp2_size)),
    ("AVIF", is_avif, read_avif),
    ("HEIC", is_heic, _read_heic),
    (
        "PNM",
        lambda d: len(d) > 2 and d[:1] == b"P" and d[1:2] in b"123456" and d[2:3] in b" \t\r\n#",
        _sized(_pnm_size),
    ),
)

_FULLY_NAMED = frozenset({"BMP", "PNM"})
"""Formats whose two first bytes may begin a text; the rest of the head must be theirs as well."""


def read_head(data: bytes) -> tuple[str, Head]:
    """Name of the format and head of a picture.

    Raises:
        BadPictureError: of no known format, cut off or damaged; the message says what to do.
    """
    found = next(((kind, read) for kind, matches, read in _FORMATS if matches(data)), None)
    if found is None:
        raise BadPictureError("not a picture of a known format; use JPEG, PNG, WebP, BMP or TIFF")
    kind, read = found
    try:
        head = read(data)
    except BadPictureError as error:
        text = str(error)
        raise BadPictureError(text if ";" in text else f"{text}; replace it with a whole {kind} file") from None
    if head.width <= 0 or head.height <= 0:
        raise BadPictureError(
            f"the {kind} header says {head.width}x{head.height} pixels; replace it with a whole {kind} file"
        )
    return kind, head


def looks_like_picture(start: bytes) -> bool:
    """Whether a file that begins so is a picture of a known format, whatever its name ends in."""
    for kind, matches, read in _FORMATS:
        if matches(start):
            if kind not in _FULLY_NAMED:
                return True
            try:
                return 0 < read(start).width < 1 << 20
            except BadPictureError:
                return False
    return False
