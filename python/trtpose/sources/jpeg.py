# SPDX-License-Identifier: Apache-2.0
"""The segments of a JPEG file: its size, what strays between them, and whether all of it is there.

Decoders differ in what they make of a file that is not quite one: without its end marker OpenCV's imread reads it and
its imdecode (5.0) does not, stray bytes between segments are skipped by both with a line on stderr, and of a file cut
off imread gives the first part with grey below. So what strays is left out here, the end marker is set, and a picture
without one is known to be whole by decoding it twice, with different bytes where the rest would be. Going through all
of the picture's data for that costs a quarter of decoding it; where the file ends as it should it is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .picture_head import TRUNCATED, BadPictureError, Head, unpack

__all__ = ["read_jpeg"]

# 0xFF 0 is a stuffed byte. Any number of 0xFF may stand before a marker; a pattern that took them would look at a run
# of them once for each.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# Restart markers (0xD0..0xD7) are part of entropy-coded data.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_SOI_TO_EOI = range(0xD0, 0xDA)
_TEM, _EOI, _SOS = 0x01, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = 0xC9
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_MAX_SCAN_COMPONENTS = 4
_MAX_SEGMENTS = 65536

_END = b"\xff\xd9"
# Ones where a decoder that has run out of data goes on with zeros, also behind the restart that it may wait for.
_ONES = b"\xfe" * 64
_FILL = _ONES + b"".join(bytes([0xFF, marker]) + _ONES for marker in range(0xD0, 0xD8))


@dataclass
class _Segments:
    """What was found while going from marker to marker."""

    size: tuple[int, int] | None = None
    progressive: bool = False
    huffman: bool = True
    coded: int = 0
    # Bits still missing of each of the 64 coefficients, by component; 255 before any scan has brought it.
    missing: dict[int, bytearray] = field(default_factory=dict)
    pieces: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    ended: bool = False

    @property
    def complete(self) -> bool:
        """Whether there are scans for every digit of every coefficient."""
        return bool(self.missing) and not any(any(component) for component in self.missing.values())

    def frame(self, marker: int, data: bytes, at: int) -> None:
        height, width, components = unpack(">xHHB", data, at)
        if self.size is None:
            self.size = width, height
            self.progressive = marker in _PROGRESSIVE
            self.huffman = marker < _ARITHMETIC
            for index in range(components):
                (name,) = unpack("B", data, at + 6 + 3 * index)
                self.missing[name] = bytearray(b"\xff" * 64)

    def scan(self, data: bytes, at: int) -> None:
        (components,) = unpack("B", data, at)
        if components > _MAX_SCAN_COMPONENTS:
            raise BadPictureError(f"not a valid JPEG, a scan of {components} components at byte {at}")
        first, last, low = 0, 63, 0
        if self.progressive:
            first, last, bits = unpack("3B", data, at + 1 + 2 * components)
            low = bits & 15
        for index in range(components):
            (name,) = unpack("B", data, at + 1 + 2 * index)
            if name in self.missing and first <= last <= 63:
                self.missing[name][first : last + 1] = bytes([low]) * (last + 1 - first)


def _find(marker: re.Pattern[bytes], data: bytes, at: int) -> tuple[int, int] | None:
    """Where the next marker begins, with the 0xFF before it, and ends."""
    match = marker.search(data, at)
    if match is None:
        return None
    start = match.start()
    while start > at and data[start - 1] == 0xFF:
        start -= 1
    return start, match.end()


def _walk(data: bytes) -> _Segments:
    found = _Segments(pieces=[(0, 2)])
    at = 2
    while (place := _find(_MARKER, data, at)) is not None:
        if len(found.pieces) > _MAX_SEGMENTS:
            raise BadPictureError("not a valid JPEG, it has too many segments")
        # What lies between two segments belongs to none; decoders skip it.
        start, at = place
        marker = data[at - 1]
        if marker == _EOI:
            found.ended = True
            break
        if marker == _TEM or marker in _SOI_TO_EOI:
            found.pieces.append((start, at))
            continue
        (length,) = unpack(">H", data, at)
        if length < 2:
            raise BadPictureError(f"not a valid JPEG, a segment of length {length} at byte {at}")
        if at + length > len(data):
            raise BadPictureError(TRUNCATED)
        if marker in _FRAMES:
            found.frame(marker, data, at + 2)
        if marker == _SOS:
            found.scan(data, at + 2)
            if not found.progressive and data.endswith(_END):
                end = len(data) - len(_END)
                found.coded += end - at - length
                found.pieces.append((start, end))
                found.ended = True
                break
            scan_end = _find(_END_OF_SCAN, data, at + length)
            begin, at = at + length, len(data) if scan_end is None else scan_end[0]
            found.coded += at - begin
        else:
            at += length
        found.pieces.append((start, at))
    found.end = at
    return found


def read_jpeg(data: bytes) -> Head:
    """The head of a JPEG file; of several pictures in one file (MPO) the first.

    Raises:
        BadPictureError: it is cut off, or is no JPEG.
    """
    found = _walk(data)
    if found.size is None:
        raise BadPictureError("not a valid JPEG, it has no frame header" if found.ended else TRUNCATED)
    coded = found.coded if found.huffman else None
    stray = any(one[1] != other[0] for one, other in zip(found.pieces, found.pieces[1:], strict=False))
    if found.ended and not stray:
        return Head(*found.size, (data,), coded=coded)
    body = b"".join(data[start:end] for start, end in found.pieces)
    if found.ended:
        return Head(*found.size, (body + _END,), coded=coded)
    if not found.complete:
        raise BadPictureError(TRUNCATED)
    body = body.rstrip(b"\xff")
    return Head(*found.size, (body + _END, body + _FILL + _END), coded=coded)
