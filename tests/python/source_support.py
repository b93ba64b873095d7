# SPDX-License-Identifier: Apache-2.0
"""Pictures as they can be, and reading a list of sources to its end."""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Any

import cv2

from support import encoded
from trtpose.sources import Frame, Sources

FORMATS = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".jp2", ".avif", ".gif")


def threads() -> int:
    return sum(thread.name == "trtpose-sources" for thread in threading.enumerate())


def read_all(items: Any, **options: Any) -> list[Frame]:
    with Sources(items, **options) as frames:
        return list(frames)


def can_encode(suffix: str) -> bool:
    try:
        encoded(suffix)
    except (cv2.error, AssertionError, AttributeError):
        return False
    return True


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def with_size(suffix: str, width: int, height: int) -> bytes:
    """A picture whose header claims another size than its data have."""
    data = bytearray(encoded(suffix))
    if suffix == ".png":
        return png_of(width, height)
    if suffix == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif suffix == ".gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif suffix == ".ppm":
        return f"P6\n# a comment\n{width}\n{height} 255\n".encode() + b"\0" * 100
    elif suffix == ".jp2":
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", height, width)
    elif suffix == ".avif":
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif suffix == ".tiff":
        (at,) = struct.unpack_from("<I", data, 4)
        (entries,) = struct.unpack_from("<H", data, at)
        for index in range(entries):
            start = at + 2 + 12 * index
            tag = struct.unpack_from("<H", data, start)[0]
            if tag in (256, 257):
                data[start : start + 12] = struct.pack("<HHII", tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


def exif_turned(data: bytes, orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x112, 3, 1, orientation, 0) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
