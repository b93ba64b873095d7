# SPDX-License-Identifier: Apache-2.0
"""Cameras of this machine, by number, through OpenCV: it chooses the camera's format and size."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .._opencv import require_opencv
from .capture import OpenError, Shot
from .opencv_log import quiet

__all__ = ["Camera"]


class Camera:
    """A :class:`trtpose.sources.capture.Capture`. A frame's time is when it came, as cameras tell none.

    Raises:
        OpenError: there is none of that number.
        DeviceError: there is no OpenCV.
    """

    live: bool = True
    total: int | None = None
    length: float | None = None
    time_base: Fraction = Fraction(1, 90_000)
    sound: bool = False
    drops: bool = False

    def __init__(self, number: int) -> None:
        self._cv2 = require_opencv("reading a camera")
        with quiet():
            self._capture = self._cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise OpenError("no such camera, or it is in use; check the number")
        rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        self.fps = float(rate) if math.isfinite(rate) and 0 < rate <= 1000 else None
        self.width = round(self._capture.get(self._cv2.CAP_PROP_FRAME_WIDTH))
        self.height = round(self._capture.get(self._cv2.CAP_PROP_FRAME_HEIGHT))

    def shots(self) -> Iterator[Shot]:
        first: float | None = None
        while (image := self._next()) is not None:
            now = time.monotonic()
            first = now if first is None else first
            yield Shot(image, now - first)

    def _next(self) -> NDArray[np.uint8] | None:
        try:
            good, image = self._capture.read()
        except self._cv2.error:
            return None
        if not good or image is None or image.size == 0:
            return None
        return self._cv2.cvtColor(image, self._cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image

    def problem(self) -> str:
        return "the camera gives no more frames; check its connection"

    def close(self) -> None:
        with quiet():
            self._capture.release()
