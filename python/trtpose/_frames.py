# SPDX-License-Identifier: Apache-2.0
"""What people give an engine, as frames that its native side takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import InputError
from .nv12 import Nv12

__all__ = ["frames_of", "native"]


def frames_of(batch: Any) -> list[Any]:
    """One frame, a batch in one array, a sequence of frames or an iterator over them, as a list of frames."""
    if isinstance(batch, np.ndarray):  # first, as most are, and asking for the rest takes longer than all else here
        return list(batch) if batch.ndim == 4 else [cast("Any", batch)]
    if isinstance(batch, (list, tuple)):
        return list(cast("Sequence[Any]", batch))
    if isinstance(batch, (str, os.PathLike)) or _is_pillow(batch):
        return [batch]
    if isinstance(batch, Iterator):
        return list(cast("Iterator[Any]", batch))
    if _core.is_device_array(batch):
        return [batch]  # the native side takes it apart
    if hasattr(batch, "__dlpack__"):
        try:
            batch = np.from_dlpack(batch)
        except (BufferError, RuntimeError, TypeError, ValueError, AttributeError):
            return [batch]  # the native side says what is wrong with it
    shape = getattr(batch, "shape", ())
    return list(batch) if len(shape) == 4 else [batch]


def native(frame: Any, color: str) -> Any:
    """A frame as the native side takes it, its channels in the order ``color``."""
    if isinstance(frame, np.ndarray):
        return cast("Any", frame)
    if isinstance(frame, Nv12):
        return _core.Nv12(frame.luma, frame.chroma, bt709=frame.matrix == "bt709", full_range=frame.full_range)
    if isinstance(frame, (str, os.PathLike)):
        from .sources.pictures import read_picture

        return _ordered(read_picture(cast("str", frame)), color)
    return _ordered(_from_pillow(frame), color) if _is_pillow(frame) else frame


def _is_pillow(frame: Any) -> bool:
    """Whether it is a picture of Pillow, which need not be installed."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(frame).__mro__)


def _from_pillow(picture: Any) -> NDArray[np.uint8]:
    """A picture of Pillow as (height, width, 3), BGR, turned as its EXIF says, its transparency left out.

    Raises:
        InputError: it cannot be read, or its numbers have no range that white is the end of.
    """
    from PIL import ImageOps

    mode: str = picture.mode
    if mode in ("I", "F") or mode.startswith("I;"):
        # Pillow makes white of everything above 255.
        raise InputError(
            f"a picture of Pillow has the mode {mode}, whose numbers may mean anything; give the path of its file, or "
            "an array of uint8"
        )
    try:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))[..., ::-1]
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"the picture of Pillow cannot be read ({error}); check its file") from error


def _ordered(image: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., ::-1] if color == "rgb" else image)
