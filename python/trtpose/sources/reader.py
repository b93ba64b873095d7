# SPDX-License-Identifier: Apache-2.0
"""What the decoder thread does."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import describe
from .._opencv import cv2, require_opencv
from ..errors import DeviceError, InputError
from .channel import Channel, ClosedError
from .frame import Frame
from .opencv_log import quiet
from .pictures import OPEN_TIMEOUT_MS, check_array, decode_picture, is_text, open_regular, read_picture
from .plan import STILL, Item
from .web import UnreachableError, fetch_picture

__all__ = ["Reader"]


_READ_TIMEOUT_MS = 10_000

_PAUSE = 0.5
"""Seconds before a broken stream is opened again, doubled at each attempt."""


class _Shown:
    """When frames are shown. The count of a container is exact in some and in others its length times its rate, which
    is too many where the rate varies; then the time of the last frame tells whether the file is whole."""

    def __init__(self) -> None:
        self._last = self._step = 0.0

    def add(self, milliseconds: float) -> None:
        self._last, self._step = milliseconds, milliseconds - self._last

    def reaches(self, total: int, fps: float | None) -> bool:
        """Whether the frames last about as long as `total` of them would at the rate."""
        return fps is not None and self._last + self._step >= 0.95 * total / fps * 1e3


class Reader:
    """What the decoder thread does."""

    def __init__(self, plan: list[Item], channel: Channel, policy: str, reconnect: int, max_pixels: int) -> None:
        self._plan = plan
        self._channel = channel
        self._policy = policy
        self._reconnect = reconnect
        self._max_pixels = max_pixels

    def run(self) -> None:
        try:
            for item in self._plan:
                if item.kind in STILL:
                    self._still(item)
                elif item.kind == "web":
                    self._web(item)
                else:
                    self._video(item)
        except ClosedError:
            pass
        except BaseException as error:
            self._channel.finish(error)
        else:
            self._channel.finish()

    def _still(self, item: Item) -> None:
        start = time.perf_counter()
        image: NDArray[np.uint8] | None = None
        problem: InputError | None = None
        try:
            if item.kind == "array":
                image = check_array(item.value, item.name)
            else:
                image = read_picture(item.value, max_pixels=self._max_pixels)
        except InputError as error:
            problem = error
        elapsed = (time.perf_counter() - start) * 1e3
        self._channel.put(Frame(image, item.name, error=problem, read_ms=elapsed, position=item.position))

    def _web(self, item: Item) -> None:
        """A picture where the address answers with one, else a stream."""
        for attempt in range(self._reconnect + 1):
            start = time.perf_counter()
            try:
                data = fetch_picture(item.value)
            except UnreachableError as error:
                if not error.passing or attempt == self._reconnect:
                    again = f" ({attempt} more tries)" if attempt else ""
                    problem = InputError(f"{item.name}: {error}{again}")
                    self._channel.put(Frame(None, item.name, error=problem, position=item.position))
                    return
                self._pause(attempt)
                continue
            if data is None:
                self._video(replace(item, kind="stream"))
                return
            image, problem = None, None
            try:
                image = decode_picture(data, name=item.name, max_pixels=self._max_pixels)
            except InputError as error:
                problem = error
            elapsed = (time.perf_counter() - start) * 1e3
            self._channel.put(Frame(image, item.name, error=problem, read_ms=elapsed, position=item.position))
            return

    def _pause(self, attempts: int) -> None:
        """Wait before another attempt, the longer the more there were."""
        if self._channel.wait_closed(min(_PAUSE * 2.0**attempts, 8.0)):
            raise ClosedError

    def _open(self, item: Item) -> Any:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        with quiet():
            if item.kind == "camera":
                return cv2.VideoCapture(item.value)
            try:
                # Named, since OpenCV would otherwise also try a name with digits as the first of a row of pictures.
                return cv2.VideoCapture(item.value, cv2.CAP_FFMPEG, timeouts)
            except cv2.error:
                return cv2.VideoCapture(item.value, cv2.CAP_ANY)

    def _fail(self, item: Item, text: str, index: int, live: bool) -> None:
        error = InputError(f"{item.name}: {text}")
        self._channel.put(
            Frame(
                None, item.name, index=index, is_video=True, live=live, error=error, total=None, position=item.position
            )
        )

    def _video(self, item: Item) -> None:
        live = item.kind == "camera"
        if item.kind != "camera" and not is_text(item.value):
            # OpenCV 5 crashes on such a string.
            self._fail(item, "the name is not valid UTF-8, which OpenCV needs; rename the file", 0, live)
            return
        if item.kind == "video":
            try:
                os.close(open_regular(item.value, os.O_RDONLY))
            except FileNotFoundError:
                self._fail(item, "no such file; check the name", 0, live)
                return
            except OSError as error:
                self._fail(item, f"cannot be read ({describe(error)}); check the file and its permissions", 0, live)
                return
        try:
            require_opencv("reading a video, camera or stream")
        except DeviceError as error:
            self._fail(item, str(error), 0, live)
            return
        retries, index = 0, 0
        while True:
            capture = self._open(item)
            try:
                before = index
                if capture.isOpened():
                    index, live, done = self._read(item, capture, index)
                    if done:
                        return
                elif item.kind != "stream":
                    what = {"camera": "no such camera, or it is in use; check the number"}
                    self._fail(item, what.get(item.kind, "not a video that can be read; check the file"), index, live)
                    return
            finally:
                with quiet():
                    capture.release()
            # Only streams come here: never opened, or broken off.
            if index > before:
                retries = 0
            if retries >= self._reconnect:
                what = "the stream broke off" if index else "the stream cannot be opened"
                again = f" ({retries} more tries)" if retries else ""
                self._fail(item, f"{what}{again}; check the address and the network", index, live)
                return
            self._pause(retries)
            retries += 1

    def _read(self, item: Item, capture: Any, index: int) -> tuple[int, bool, bool]:
        """Give out the frames of an open capture; the next index, whether it is live, whether the source is done."""
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        total = round(count) if math.isfinite(count) and 0 < count < 1e9 else None
        rate = capture.get(cv2.CAP_PROP_FPS)
        fps = float(rate) if math.isfinite(rate) and 0 < rate <= 1000 else None
        live = item.kind == "camera" or (item.kind == "stream" and total is None)
        if live:
            total = None
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > self._max_pixels:
            self._fail(
                item,
                f"{width:.0f}x{height:.0f} pixels are more than the {self._max_pixels} that are decoded",
                index,
                live,
            )
            return index, live, True
        first = index
        shown = _Shown()
        while True:
            start = time.perf_counter()
            try:
                good, image = capture.read()
            except cv2.error:
                good, image = False, None
            if not good or image is None or image.size == 0:
                break
            if image.ndim == 2:
                image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
            elapsed = (time.perf_counter() - start) * 1e3
            frame = Frame(image, item.name, index, True, live, fps, total, None, elapsed, item.position)
            self._channel.put(frame, replace=live and self._policy == "latest")
            shown.add(capture.get(cv2.CAP_PROP_POS_MSEC))
            index += 1
        if item.kind == "stream" and live:
            return index, live, False
        read = index - first
        if item.kind == "camera":
            self._fail(item, "the camera gives no more frames; check its connection", index, live)
        elif read == 0:
            self._fail(item, "holds no frame that can be decoded; check the file", index, live)
        elif total is not None and total - read > max(5, 0.05 * total) and not shown.reaches(total, fps):
            self._fail(item, f"ends after {read} of {total} frames; the file is cut off or damaged", index, live)
        return index, live, True
