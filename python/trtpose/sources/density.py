# SPDX-License-Identifier: Apache-2.0
"""The fewest bytes that a picture of a size can have, by how densely its format packs pixels at most.

A decoder allocates what the header says before it sees that the data cannot fill it. WebP without loss, JPEG 2000, AVIF
and arithmetic JPEG hold any number of equal pixels in next to nothing; for them there is the bound on pixels alone.
"""

from __future__ import annotations

from .picture_head import Head, unpack

__all__ = ["least_bytes"]

_BLOCKS = 8 * 128
"""Huffman-coded JPEG: a bit for each 8 x 8 block of one component, if the others are half as wide and half as high."""
_DEFLATE = 1040
"""Bytes that one of deflate stands for: 258 in two bits, and a little."""
_LZW, _LZW_CLEARED = 2560, 1500
"""Bytes that one of LZW stands for: 3,840 in a code of 12 bits; in TIFF the strings begin anew at 4,094 codes."""
_RUN = 128
"""Bytes that one of PackBits stands for."""

_TIFF_COMPRESSION, _TIFF_SAMPLES = 259, 277
_TIFF_FACTORS = {1: 1, 5: _LZW_CLEARED, 8: _DEFLATE, 32946: _DEFLATE, 32773: _RUN}
_BMP_PLAIN = frozenset({0, 3, 6})


def least_bytes(kind: str, data: bytes, head: Head) -> int:
    """Bytes below which the file cannot hold its pixels, 0 where nothing is known.

    Args:
        kind: of :func:`.headers.read_head`.
        data: the file.
        head: of it.
    """
    pixels = head.width * head.height
    if kind == "JPEG":
        return 0 if head.coded is None else pixels // _BLOCKS + len(data) - head.coded
    if kind == "PNG":
        depth, colour = unpack("BB", data, 24)
        bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
        return pixels * bits // (8 * _DEFLATE)
    if kind == "GIF":
        return pixels // _LZW
    if kind == "BMP":
        return _bmp(data, pixels)
    if kind == "TIFF":
        compression, samples = _tiff(data)
        factor = _TIFF_FACTORS.get(compression)
        return 0 if factor is None else pixels * samples // (8 * factor)  # a bit for a sample at least
    return pixels // 8 if kind == "PNM" else 0


def _bmp(data: bytes, pixels: int) -> int:
    (header,) = unpack("<I", data, 14)
    if header == 12:
        (bits,) = unpack("<H", data, 24)
        return pixels * bits // 8
    bits, compression = unpack("<HI", data, 28)
    return pixels * bits // 8 if compression in _BMP_PLAIN else 0


def _tiff(data: bytes) -> tuple[int, int]:
    """Compression, and samples of a pixel."""
    order = "<" if data[:2] == b"II" else ">"
    big = unpack(order + "H", data, 2)[0] == 43
    (at,) = unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = unpack(order + ("Q" if big else "H"), data, at)
    found = {_TIFF_COMPRESSION: 1, _TIFF_SAMPLES: 1}
    for index in range(min(entries, 4096)):
        start = at + (8 if big else 2) + index * (20 if big else 12)
        (tag,) = unpack(order + "H", data, start)
        if tag in found:
            found[tag] = int(unpack(order + "H", data, start + (12 if big else 8))[0])
    return found[_TIFF_COMPRESSION], found[_TIFF_SAMPLES]
