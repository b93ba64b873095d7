# SPDX-License-Identifier: Apache-2.0
"""Pictures without OpenCV: decoded and encoded by Pillow, drawn on with NumPy.

The functions that draw take OpenCV's names and parameters, as far as trtpose uses them, and their results look alike;
pixel for pixel they are not the same.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
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

Canvas = NDArray[np.uint8]


def decode(data: bytes, *, stored: bool = False) -> Canvas | None:
    """(height, width, 3) uint8, BGR, without alpha; None where Pillow cannot read it whole.

    Args:
        data: the whole file.
        stored: leave the pixels as they are stored; else they are turned as EXIF says.

    Raises:
        MemoryError: it does not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size: it was looked at before
            with Image.open(io.BytesIO(data)) as opened:
                opened.load()
                picture: Image.Image = opened if stored else ImageOps.exif_transpose(opened)
                if picture.mode.startswith("I"):  # 16 bits of grey
                    grey = (np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)
                    return np.repeat(grey[:, :, None], 3, axis=2)
                if picture.mode == "RGBA":
                    picture = Image.merge("RGB", picture.split()[:3])
                return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    except MemoryError:
        raise
    except Exception:  # Pillow's plugins raise what they like
        return None


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
