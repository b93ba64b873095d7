# SPDX-License-Identifier: Apache-2.0
"""Videos whose frames do not come at one rate: OpenCV writes a steady one, and the times in the file are changed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

_SEGMENT, _INFO, _CLUSTER = 0x18538067, 0x1549A966, 0x1F43B675
_DURATION, _CRC, _BLOCK, _VOID = 0x4489, 0xBF, 0xA3, 0xEC


def _elements(data: bytearray, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Id, beginning, beginning of the content and end of each element (RFC 8794) between two places."""
    while begin < end:
        at = begin
        length = 9 - data[at].bit_length()
        identity = int.from_bytes(data[at : at + length], "big")
        at += length
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
        at += width
        yield identity, begin, at, at + size
        begin = at + size


def write_pausing(path: Path, frames: int, pause_before: int, pause_ms: int, rate: float = 30.0) -> Path:
    """An ``.mkv`` of frames at ``rate`` a second, with a pause of ``pause_ms`` before frame ``pause_before``."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index, np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    segment = next(e for e in _elements(data, 0, len(data)) if e[0] == _SEGMENT)
    number = 0
    for identity, _, begin, end in _elements(data, segment[2], segment[3]):
        if identity not in (_INFO, _CLUSTER):
            continue
        for inner, start, content, _ in _elements(data, begin, end):
            if inner == _CRC:
                data[start] = _VOID  # a sum of what is changed here
            elif inner == _DURATION:
                (duration,) = struct.unpack_from(">d", data, content)
                struct.pack_into(">d", data, content, duration + pause_ms)
            elif inner == _BLOCK:
                (offset,) = struct.unpack_from(">h", data, content + 1)
                later = pause_ms if number >= pause_before else 0
                struct.pack_into(">h", data, content + 1, offset + later)
                number += 1
    assert number == frames
    path.write_bytes(data)
    return path
