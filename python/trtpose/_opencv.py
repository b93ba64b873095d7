# SPDX-License-Identifier: Apache-2.0
"""OpenCV, if one is installed.

There are four distributions of it on PyPI, each of which overwrites the files of the others, so trtpose requires none
and takes whichever is there. Without one, Pillow reads and writes pictures and :mod:`trtpose._paint` draws; cameras
need OpenCV.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _paint
from .errors import DeviceError

__all__ = ["PROBLEM", "cv2", "decode", "decode_file", "encode", "paint", "require_opencv"]

_COMMAND = (
    "pip install opencv-python-headless (or opencv-python, opencv-contrib-python, opencv-contrib-python-headless: one "
    "of them)"
)


def _load() -> tuple[Any, str]:
    """The module and no word, or None and why there is none."""
    try:
        return importlib.import_module("cv2"), ""
    except ModuleNotFoundError as error:
        if error.name == "cv2":
            return None, f"is not installed; install one: {_COMMAND}"
        return None, f"does not load ({error}); install it again: {_COMMAND}"
    except ImportError as error:
        # Mostly opencv-python on a machine without a screen's libraries, or one built for another NumPy.
        return None, f"does not load ({error}); install what it misses, or in its place: {_COMMAND}"


cv2: Any
"""The module, or None."""
cv2, PROBLEM = _load()

paint: Any = _paint if cv2 is None else cv2
"""What draws: rectangle, line, circle, getTextSize and putText, with OpenCV's parameters."""


def require_opencv(purpose: str) -> Any:
    """The module cv2.

    Raises:
        DeviceError: there is none; begins with ``purpose`` and holds the command that installs one.
    """
    if cv2 is None:
        raise DeviceError(f"{purpose}: needs OpenCV, which {PROBLEM}")
    return cv2


def decode(data: bytes, *, stored: bool = False) -> NDArray[np.uint8] | None:
    """A picture file as (height, width, 3) uint8, BGR; None where it cannot be read.

    Args:
        data: the whole file.
        stored: leave the pixels as they are stored; else they are turned as EXIF says.

    Raises:
        MemoryError: it does not fit.
    """
    if cv2 is None:
        return _paint.decode(data, stored=stored)
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if stored else 0)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def decode_file(descriptor: int, *, stored: bool = False) -> NDArray[np.uint8] | None:
    """As :func:`decode` of an open file, whose bytes are not held meanwhile; None also where there is no OpenCV, or no
    name by which it could be opened again."""
    name = f"/proc/self/fd/{descriptor}"
    if cv2 is None or not os.path.exists(name):  # noqa: PTH110 - a link without a target is one that can be opened
        return None
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if stored else 0)
    try:
        return cv2.imread(name, flags)
    except cv2.error:
        return None


def encode(suffix: str, picture: NDArray[np.uint8]) -> bytes | None:
    """A file of the format ``suffix`` from (height, width, 3) uint8, BGR; None where the format cannot hold it."""
    if cv2 is None:
        return _paint.encode(suffix, picture)
    try:
        good, data = cv2.imencode(suffix, picture)
    except cv2.error:
        return None
    return data.tobytes() if good else None
