# SPDX-License-Identifier: Apache-2.0
"""Picture files, decoded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _paint, _run
from .._checks import instance, whole
from .._files import describe, kind_of
from .._opencv import cv2, decode, decode_file
from ..errors import InputError
from .density import least_bytes
from .headers import looks_like_picture, read_head
from .opencv_log import quiet
from .picture_head import TRUNCATED, BadPictureError, Head

__all__ = [
    "MAX_PIXELS",
    "PICTURES",
    "check_array",
    "decode_picture",
    "is_picture",
    "open_regular",
    "pixels",
    "read_picture",
    "unreadable",
]


PICTURES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the files that are taken for pictures unseen. HEIC is among them to be refused by name."""

MAX_PIXELS = 1 << 28
"""Pictures and videos of more pixels (268 million, 768 MiB decoded) are refused before they are decoded."""

_MOST_PIXELS = 1 << 40
"""No limit that is meant is larger."""

_Decoded = TypeVar("_Decoded")

_MAX_FILE = 1 << 30
_SMALL_FILE = 1 << 20
_SMALL = 1 << 22
"""Pixels (12 MiB decoded) that need no proof that the file can hold them."""


def pixels(limit: Any) -> int:
    """A limit of pixels.

    Raises:
        InputError: it is none.
    """
    return whole(limit, "max_pixels", 1, _MOST_PIXELS)


def decode_picture(data: bytes, *, name: str = "picture", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file.

    Args:
        data: a whole JPEG, PNG, WebP, BMP, TIFF, GIF (first frame), PNM, JPEG 2000 or AVIF file.
        name: what to call it in an error.
        max_pixels: width times height that is still decoded.

    Returns:
        (height, width, 3) uint8, BGR, turned as the file says (AVIF in its container, others in EXIF); alpha is
        dropped (of a TIFF OpenCV blends it with black), grey becomes three equal channels, deeper pixels are scaled to
        8 bits.

    Raises:
        InputError: empty, cut off, damaged, too large, or of no known format.
    """
    instance(data, "data", (bytes, bytearray, memoryview), "the bytes of a picture file")
    kind, head = _checked(bytes(data), name, pixels(max_pixels))
    del data
    readings, head = list(head.readings), replace(head, readings=())
    return _finished(_decoded(readings, head, name), kind, head, name)


def _checked(data: bytes, name: str, max_pixels: int) -> tuple[str, Head]:
    """Format and head of a picture that may be decoded."""
    if not data:
        raise InputError(f"{name}: the file is empty; replace it with a picture")
    try:
        kind, head = read_head(data)
        least = least_bytes(kind, data, head) if head.width * head.height > _SMALL else 0
    except BadPictureError as error:
        raise InputError(f"{name}: {error}") from None
    if head.width * head.height > max_pixels:
        raise InputError(
            f"{name}: {head.width}x{head.height} pixels are more than the {max_pixels} that are decoded; "
            "scale the picture down"
        )
    if least > len(data):
        raise InputError(
            f"{name}: the {kind} header says {head.width}x{head.height} pixels, which its {len(data)} bytes cannot "
            f"hold; replace it with a whole {kind} file"
        )
    return kind, head


def _decoded(readings: list[bytes], head: Head, name: str) -> NDArray[np.uint8] | None:
    """Pixels of the readings, which must be the same; all but the first are let go of."""
    if len(readings) > 1 and not _alike(readings, head, name):
        raise InputError(f"{name}: {TRUNCATED}; replace it with a whole JPEG file")
    del readings[1:]
    return _allocated(lambda: decode(readings[0], stored=head.turn is not None), head, name)


def _alike(readings: list[bytes], head: Head, name: str) -> bool:
    """Whether the readings hold the same pixels; no two are in memory together. Pillow judges where it can, since it
    says nothing on stderr of what it finds."""
    for judge in (_paint.digest, _digest):
        digests: set[bytes | None] = set()
        for number, reading in enumerate(readings):
            found = _allocated(lambda judge=judge, reading=reading: judge(reading), head, name)
            if found is None and number == 0:
                break
            digests.add(found)
        if digests:
            return len(digests) == 1
    return True


def _digest(data: bytes) -> bytes | None:
    image = decode(data, stored=True)
    return None if image is None else hashlib.blake2b(np.ascontiguousarray(image).data).digest()


def _allocated(decoder: Callable[[], _Decoded | None], head: Head, name: str) -> _Decoded | None:
    """What a decoder makes of a picture."""
    try:
        with quiet():
            return decoder()
    except MemoryError:
        raise InputError(
            f"{name}: {head.width}x{head.height} pixels do not fit the memory; scale the picture down"
        ) from None


def _finished(image: NDArray[np.uint8] | None, kind: str, head: Head, name: str) -> NDArray[np.uint8]:
    """The picture as it is to be shown."""
    if image is None or image.size == 0:
        by = "Pillow" if cv2 is None else "OpenCV"
        raise InputError(f"{name}: the {kind} data cannot be decoded, it is damaged or of a kind {by} does not read")
    return image if head.turn is None else head.turn.applied(image)


def is_picture(path: Path) -> bool:
    """Whether a file is one for :func:`read_picture`: by its suffix, or else by how it begins."""
    if path.suffix.lower() in PICTURES:
        return True
    try:
        with os.fdopen(open_regular(str(path), os.O_RDONLY), "rb") as file:
            return looks_like_picture(file.read(4096))
    except (OSError, ValueError):
        return False


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture file; result and errors as :func:`decode_picture`, and InputError where it cannot be read."""
    instance(path, "path", (str, os.PathLike), "the path of a picture")
    max_pixels = pixels(max_pixels)
    try:
        _run.reads(path)
        with os.fdopen(open_regular(str(path), os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_FILE:
                raise InputError(f"{path}: {size} bytes are too many for a picture; at most {_MAX_FILE} are read")
            return _read(file, str(path), max_pixels)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a picture") from None
    except OSError as error:
        raise InputError(f"{path}: {unreadable(error)}") from None
    except ValueError:
        raise InputError(f"{str(path)!r}: not a valid file name") from None


def _read(file: BinaryIO, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """A picture whose file is open; where it is large beside its pixels, its bytes are not held while it is decoded."""
    data = file.read(_MAX_FILE + 1)
    kind, head = _checked(data, name, max_pixels)
    whole = len(head.readings) == 1 and head.readings[0] == data
    large = len(data) > max(_SMALL_FILE, head.width * head.height * 3 // 16)
    readings, head = list(head.readings), replace(head, readings=())
    del data
    if large and whole:
        readings.clear()
        image = _allocated(lambda: decode_file(file.fileno(), stored=head.turn is not None), head, name)
        if image is None:
            file.seek(0)
            return decode_picture(file.read(_MAX_FILE + 1), name=name, max_pixels=max_pixels)
        if image.shape[:2] not in ((head.height, head.width), (head.width, head.height)):
            raise InputError(f"{name}: has changed while it was read; try again")
        return _finished(image, kind, head, name)
    return _finished(_decoded(readings, head, name), kind, head, name)


class _NoFileError(OSError):
    """Something else that has a name among files."""

    def __init__(self, mode: int) -> None:
        super().__init__(0, f"not an ordinary file but {kind_of(mode)}")
        device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        self.remedy = "a camera is given by its number" if device else "write its content into a file and give that"


def unreadable(error: OSError) -> str:
    """What is wrong with a file that could not be opened or read, and what to do."""
    remedy = error.remedy if isinstance(error, _NoFileError) else "check the file and its permissions"
    return f"cannot be read ({describe(error)}); {remedy}"


def open_regular(path: str, flags: int) -> int:
    """Opener that does not wait for the other end of a named pipe."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        raise _NoFileError(mode)
    return descriptor


def check_array(array: Any, name: str) -> NDArray[np.uint8]:
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"{name}: a {type(array).__name__}, expected a numpy array of shape (height, width, 3), uint8, BGR"
        )
    if array.dtype != np.uint8:
        raise InputError(f"{name}: dtype {array.dtype}, expected uint8; scale and convert it first")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: shape {array.shape}, expected (height, width, 3)")
    if array.size == 0:
        raise InputError(f"{name}: shape {array.shape} holds no pixel")
    return array
