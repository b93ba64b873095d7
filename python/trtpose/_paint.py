# SPDX-License-Identifier: Apache-2.0
"""Pictures without OpenCV: decoded and encoded by Pillow, drawn on with NumPy.

The functions that draw take OpenCV's names and parameters, as far as trtpose uses them, and their results look alike;
pixel for pixel they are not the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

__all__ = [
    "FONT_HERSHEY_SIMPLEX",
    "LINE_AA",
    "circle",
    "decode",
    "digest",
    "encode",
    "getTextSize",
    "line",
    "putText",
    "rectangle",
]

FONT_HERSHEY_SIMPLEX = 0
LINE_AA = 16
_LETTER = 29.0
"""Size in pixels of the font whose capitals are as high as those of OpenCV's at scale 1."""

# OpenCV's smooth lines and disks are wider than they are asked to be.
_WIDER_LINE, _WIDER_DISK = 0.9, 0.7

_STRIP = 64

Canvas = NDArray[np.uint8]

# Python's warnings are of all threads: they are off while any decodes, and as they were when the last is done.
_lock = threading.Lock()
_decoding = 0
_as_before: warnings.catch_warnings[None] | None = None


def _forked() -> None:
    """The threads that held the lock or were decoding are not in this process."""
    global _lock, _decoding, _as_before
    if _as_before is not None:
        _as_before.__exit__(None, None, None)
    _lock, _decoding, _as_before = threading.Lock(), 0, None


os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def _no_warnings() -> Generator[None]:
    global _decoding, _as_before
    with _lock:
        if _decoding == 0:
            _as_before = warnings.catch_warnings()
            _as_before.__enter__()
            warnings.simplefilter("ignore")
        _decoding += 1
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0 and _as_before is not None:
                _as_before.__exit__(None, None, None)
                _as_before = None


def decode(data: bytes, *, stored: bool = False) -> Canvas | None:
    """(height, width, 3) uint8, BGR, without alpha; None where Pillow cannot read it whole.

    Args:
        data: the whole file.
        stored: leave the pixels as they are stored; else they are turned as EXIF says.

    Raises:
        MemoryError: it does not fit.
    """
    try:
        # Of its size, which was looked at before.
        with _no_warnings(), Image.open(io.BytesIO(data)) as picture:
            picture.load()
            if not stored:
                ImageOps.exif_transpose(picture, in_place=True)  # else it copies, also where nothing is turned
            if picture.mode.startswith("I"):  # 16 bits of grey
                grey = (np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            out = np.empty((picture.height, picture.width, 3), np.uint8)
            for top, strip in _strips(picture):
                # Where alpha is converted away, colours are blended.
                rgb = Image.merge("RGB", strip.split()[:3]) if strip.mode == "RGBA" else strip.convert("RGB")
                out[top : top + strip.height] = np.asarray(rgb)[:, :, ::-1]
            return out
    except MemoryError:
        raise
    except Exception:  # Pillow's plugins raise what they like
        return None


def digest(data: bytes) -> bytes | None:
    """Of the pixels of a picture file as they are stored; None where Pillow cannot read it whole.

    Raises:
        MemoryError: it does not fit.
    """
    found = hashlib.blake2b()
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            found.update(repr((opened.mode, opened.size)).encode())
            for _, strip in _strips(opened):
                found.update(strip.tobytes())
    except MemoryError:
        raise
    except Exception:
        return None
    return found.digest()


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row and the pixels of some rows after others: what is converted whole is in memory twice more."""
    for top in range(0, picture.height, _STRIP):
        yield top, picture.crop((0, top, picture.width, min(top + _STRIP, picture.height)))


def encode(suffix: str, picture: Canvas) -> bytes | None:
    """A picture file of the format that a suffix (``.jpg``) stands for; None where the format cannot hold it."""
    kind = Image.registered_extensions().get(suffix.lower())
    if kind is None:
        return None
    options = {"JPEG": {"quality": 95}, "WEBP": {"quality": 100}}.get(kind, {})
    out = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1])).save(out, kind, **options)
    except (OSError, ValueError):
        return None
    return out.getvalue()


def _blend(canvas: Canvas, left: int, top: int, cover: NDArray[Any], color: Sequence[int]) -> None:
    """Colour over a part of the canvas, as much of it as ``cover`` (0 to 1) says."""
    part = canvas[top : top + cover.shape[0], left : left + cover.shape[1]]
    mixed = part + cover[:, :, None] * (np.array(color, np.float32)[:3] - part)
    part[...] = np.rint(mixed).astype(np.uint8)


def _near(canvas: Canvas, a: tuple[float, float], b: tuple[float, float], radius: float, color: Sequence[int]) -> None:
    """Everything within ``radius`` pixels of the segment from a to b."""
    height, width = canvas.shape[:2]
    reach = radius + 1.0
    left, right = max(math.floor(min(a[0], b[0]) - reach), 0), min(math.ceil(max(a[0], b[0]) + reach) + 1, width)
    top, bottom = max(math.floor(min(a[1], b[1]) - reach), 0), min(math.ceil(max(a[1], b[1]) + reach) + 1, height)
    if left >= right or top >= bottom:
        return
    y, x = np.ogrid[top:bottom, left:right]
    across, down = b[0] - a[0], b[1] - a[1]
    squared = across * across + down * down
    along = ((x - a[0]) * across + (y - a[1]) * down) / squared if squared > 0 else np.zeros((1, 1))
    along = np.clip(along, 0.0, 1.0)
    distance = np.hypot(x - a[0] - along * across, y - a[1] - along * down)
    _blend(canvas, left, top, np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32), color)


def _point(place: tuple[int, int], shift: int) -> tuple[float, float]:
    return place[0] / (1 << shift), place[1] / (1 << shift)


def _half(thickness: int) -> float:
    return thickness / 2.0 + (_WIDER_LINE if thickness > 1 else 0.1)


def line(
    canvas: Canvas,
    a: tuple[int, int],
    b: tuple[int, int],
    color: Sequence[int],
    thickness: int = 1,
    _kind: int = LINE_AA,
    shift: int = 0,
) -> None:
    """A segment with round ends."""
    _near(canvas, _point(a, shift), _point(b, shift), _half(thickness), color)


def circle(
    canvas: Canvas,
    center: tuple[int, int],
    radius: int,
    color: Sequence[int],
    _thickness: int = -1,
    _kind: int = LINE_AA,
    shift: int = 0,
) -> None:
    """A disk."""
    place = _point(center, shift)
    _near(canvas, place, place, radius / (1 << shift) + _WIDER_DISK, color)


def rectangle(
    canvas: Canvas,
    a: tuple[int, int],
    b: tuple[int, int],
    color: Sequence[int],
    thickness: int = 1,
    _kind: int = LINE_AA,
    shift: int = 0,
) -> None:
    """Both corners belong to it; a thickness below 0 fills it."""
    (left, top), (right, bottom) = _point(a, shift), _point(b, shift)
    if thickness < 0:
        canvas[max(round(top), 0) : max(round(bottom) + 1, 0), max(round(left), 0) : max(round(right) + 1, 0)] = color
        return
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        _near(canvas, start, end, _half(thickness), color)


@lru_cache(maxsize=32)
def _font(scale: float) -> Any:
    return ImageFont.load_default(max(scale * _LETTER, 1.0))


def getTextSize(text: str, _font_face: int, scale: float, _thickness: int) -> tuple[tuple[int, int], int]:
    """Width and height above the baseline in pixels, and the depth below it."""
    box = _font(scale).getbbox(text or " ", anchor="ls")
    return (math.ceil(box[2]), round(scale * 21.0)), max(math.ceil(box[3]), 0)


def putText(
    canvas: Canvas,
    text: str,
    origin: tuple[int, int],
    _font_face: int,
    scale: float,
    color: Sequence[int],
    _thickness: int = 1,
    _kind: int = LINE_AA,
) -> None:
    """Text whose baseline begins at ``origin``."""
    mask = Image.new("L", (canvas.shape[1], canvas.shape[0]))
    ImageDraw.Draw(mask).text(origin, text, fill=255, font=_font(scale), anchor="ls")
    box = mask.getbbox()
    if box is not None:
        cover = np.asarray(mask.crop(box), np.float32) / 255.0
        _blend(canvas, box[0], box[1], cover, color)
