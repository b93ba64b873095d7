# SPDX-License-Identifier: Apache-2.0
"""What the decoder thread does."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .._files import describe
from ..errors import DeviceError, InputError
from .camera import Camera
from .capture import Capture, OpenError
from .channel import Channel, ClosedError
from .frame import Frame
from .pictures import check_array, decode_picture, open_regular, read_picture
from .plan import STILL, Item
from .video import Video
from .web import fetch_picture

__all__ = ["Reader"]


_PAUSE = 0.5
"""Seconds before a broken stream is opened again, doubled at each attempt."""


class Reader:
    """What the decoder thread does."""

    def __init__(
        self, plan: list[Item], channel: Channel, policy: str, reconnect: int, max_pixels: int, transport: str
    ) -> None:
        self._plan = plan
        self._channel = channel
        self._policy = policy
        self._reconnect = reconnect
        self._max_pixels = max_pixels
        self._transport = transport

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
            except OpenError as error:
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

    def _open(self, item: Item) -> Capture:
        if item.kind == "camera":
            return Camera(item.value)
        return Video(item.value, stream=item.kind == "stream", transport=self._transport)

    def _fail(self, item: Item, text: str, index: int, live: bool) -> None:
        error = InputError(f"{item.name}: {text}")
        self._channel.put(
            Frame(
                None, item.name, index=index, is_video=True, live=live, error=error, total=None, position=item.position
            )
        )

    def _video(self, item: Item) -> None:
        live = item.kind == "camera"
        if item.kind == "video":
            try:
                os.close(open_regular(item.value, os.O_RDONLY))
            except FileNotFoundError:
                self._fail(item, "no such file; check the name", 0, live)
                return
            except OSError as error:
                self._fail(item, f"cannot be read ({describe(error)}); check the file and its permissions", 0, live)
                return
        retries, index, begin = 0, 0, time.monotonic()
        while True:
            before, problem = index, ""
            try:
                capture = self._open(item)
            except DeviceError as error:
                self._fail(item, str(error), index, live)
                return
            except OpenError as error:
                if not error.passing:
                    self._fail(item, str(error), index, live)
                    return
                problem = str(error)
            else:
                try:
                    now = time.monotonic()
                    begin = now if index == 0 else begin
                    index, live, done = self._read(item, capture, index, now - begin)
                finally:
                    capture.close()
                if done:
                    return
            # Only streams come here: never opened, or broken off. One frame a connection is no stream.
            if index > before + 1:
                retries = 0
            if retries >= self._reconnect:
                self._fail(item, _given_up(index, retries, problem), index, live)
                return
            self._pause(retries)
            retries += 1

    def _read(self, item: Item, capture: Capture, index: int, late: float) -> tuple[int, bool, bool]:
        """Give out the frames of an open capture, `late` seconds after those of the first connection; the next index,
        whether it is live, whether the source is done."""
        live = capture.live
        kept = Frame(
            None,
            item.name,
            is_video=True,
            live=live,
            fps=capture.fps,
            total=capture.total,
            position=item.position,
            length=capture.length,
            time_base=capture.time_base,
            sound=capture.sound,
        )
        if self._too_large(item, capture.width, capture.height, index, live):
            return index, live, True
        start = time.perf_counter()
        try:
            for shot in capture.shots():
                height, width = shot.image.shape[:2]
                if self._too_large(item, width, height, index, live):
                    return index, live, True
                elapsed = (time.perf_counter() - start) * 1e3
                moment = shot.time + late if live else shot.time
                frame = replace(
                    kept,
                    image=shot.image,
                    index=index,
                    read_ms=elapsed,
                    time=moment,
                    duration=shot.duration,
                    origin=shot.origin,
                    arrived=time.time() if live else None,
                )
                self._channel.put(frame, replace=live and self._policy == "latest")
                index += 1
                start = time.perf_counter()
        except InputError as error:
            self._fail(item, str(error), index, live)
            return index, live, True
        if item.kind == "stream" and live:
            return index, live, False
        problem = capture.problem()
        if problem:
            self._fail(item, problem, index, live)
        return index, live, True

    def _too_large(self, item: Item, width: int, height: int, index: int, live: bool) -> bool:
        if width * height <= self._max_pixels:
            return False
        text = f"{width}x{height} pixels are more than the {self._max_pixels} that are decoded"
        self._fail(item, text, index, live)
        return True


def _given_up(frames: int, retries: int, problem: str) -> str:
    """What to say of a stream that is not opened again."""
    what = "the stream broke off" if frames else "the stream cannot be opened"
    again = f" ({retries} more tries)" if retries else ""
    return f"{what}{again}; {problem or 'check the address and the network'}"
