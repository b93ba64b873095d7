# SPDX-License-Identifier: Apache-2.0
"""What a decoder thread does."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError, InputError
from .ahead import Ahead
from .camera import Camera
from .capture import Capture, OpenError
from .channel import Channel, ClosedError, Ended, Notice
from .decoders import Undrawn
from .frame import Frame
from .pictures import check_array, decode_picture, open_regular, read_picture, unreadable
from .plan import STILL, Item
from .video import Video
from .web import fetch_picture

__all__ = ["Reader"]


_PAUSE = 0.5
"""Seconds before a broken stream is opened again, doubled at each attempt."""

_LONGEST_PAUSE = 8.0


class _Outage:
    """The time in which a source gives nothing; each reason is said once, and that it is over."""

    def __init__(self, item: Item, channel: Channel, limit: float) -> None:
        self._item = item
        self._channel = channel
        self._count = channel.count(item.position)
        self._limit = limit
        self._begin = time.monotonic()
        self._said: set[str] = set()
        self.attempts = 0

    def next(self, reason: str) -> bool:
        """Say why there is nothing and wait; whether to try again."""
        self._channel.flows = False
        if self.attempts >= self._limit:
            return False
        if not self.attempts:
            self._begin = time.monotonic()
        self._count.trouble = reason
        if reason not in self._said:
            self._said.add(reason)
            self._channel.tell(Notice(f"{self._item.name}: {reason}; trying again"))
        if self._channel.wait_closed(min(_PAUSE * 2.0 ** min(self.attempts, 20), _LONGEST_PAUSE)):
            raise ClosedError
        self.attempts += 1
        return True

    def over(self) -> None:
        """There are frames."""
        if self._said:
            lasted = time.monotonic() - self._begin
            self._channel.tell(Notice(f"{self._item.name}: is there, after {lasted:.1f} seconds without"))
        self._said.clear()
        self._count.trouble = ""
        self.attempts = 0


class Reader:
    """What one decoder thread does.

    Args:
        plan: the sources that it reads, one after the other.
        channel: where their frames go.
        policy: ``latest`` or ``every``, for those that are live.
        reconnect: how often in a row one that may pass is tried again.
        max_pixels, transport, decode: as of :class:`trtpose.sources.Sources`.
        ahead: its picture files, some of which others decode before their turn.
    """

    def __init__(
        self,
        plan: list[Item],
        channel: Channel,
        policy: str,
        reconnect: float,
        max_pixels: int,
        transport: str,
        ahead: Ahead | None = None,
        *,
        decode: str = "cpu",
    ) -> None:
        self._plan = plan
        self._channel = channel
        self._policy = policy
        self._reconnect = reconnect
        self._max_pixels = max_pixels
        self._transport = transport
        self._decode = decode
        self._ahead = ahead

    def run(self) -> None:
        try:
            for item in self._plan:
                if item.kind in STILL:
                    self._still(item)
                elif item.kind == "web":
                    self._web(item)
                else:
                    self._video(item)
                self._channel.count(item.position).ended = True
                if item.kind not in STILL:
                    self._channel.tell(Ended(item.position))
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
        elapsed = 0.0
        try:
            if item.kind == "array":
                image = check_array(item.value, item.name)
            elif self._ahead is not None:
                image, elapsed = self._ahead.take()
            if image is None:
                image, elapsed = read_picture(item.value, max_pixels=self._max_pixels), 0.0
        except InputError as error:
            problem = error
        elapsed = elapsed or (time.perf_counter() - start) * 1e3
        self._channel.put(Frame(image, item.name, error=problem, read_ms=elapsed, position=item.position))

    def _web(self, item: Item) -> None:
        """A picture where the address answers with one, else a stream."""
        outage = _Outage(item, self._channel, self._reconnect)
        while True:
            start = time.perf_counter()
            try:
                data = fetch_picture(item.value)
            except OpenError as error:
                if error.passing and outage.next(str(error)):
                    continue
                again = f" ({outage.attempts} more tries)" if outage.attempts else ""
                problem = InputError(f"{item.name}: {error}{again}")
                self._channel.put(Frame(None, item.name, error=problem, position=item.position))
                return
            if data is None:
                self._video(replace(item, kind="stream"), outage)
                return
            image, problem = None, None
            try:
                image = decode_picture(data, name=item.name, max_pixels=self._max_pixels)
            except InputError as error:
                problem = error
            outage.over()
            elapsed = (time.perf_counter() - start) * 1e3
            self._channel.put(Frame(image, item.name, error=problem, read_ms=elapsed, position=item.position))
            return

    def _open(self, item: Item) -> Capture:
        if item.kind == "camera":
            return Camera(item.value)
        return Video(item.value, stream=item.kind == "stream", transport=self._transport, decode=self._decode)

    def _fail(self, item: Item, text: str, index: int, live: bool) -> None:
        error = InputError(f"{item.name}: {text}")
        self._channel.put(
            Frame(
                None, item.name, index=index, is_video=True, live=live, error=error, total=None, position=item.position
            )
        )

    def _file_is_there(self, item: Item) -> bool:
        try:
            os.close(open_regular(item.value, os.O_RDONLY))
        except FileNotFoundError:
            self._fail(item, "no such file; check the name", 0, False)
            return False
        except OSError as error:
            self._fail(item, unreadable(error), 0, False)
            return False
        return True

    def _video(self, item: Item, outage: _Outage | None = None) -> None:
        if item.kind == "video" and not self._file_is_there(item):
            return
        outage = _Outage(item, self._channel, self._reconnect) if outage is None else outage
        live, index, begin = item.kind == "camera", 0, time.monotonic()
        while True:
            try:
                capture = self._open(item)
            except DeviceError as error:
                self._fail(item, str(error), index, live)
                return
            except OpenError as error:
                # A camera that was there comes back; one that never was is a wrong number.
                if not error.passing and not (item.kind == "camera" and index):
                    self._fail(item, str(error), index, live)
                    return
                problem, reason = str(error), f"cannot be opened ({error})"
            else:
                try:
                    now = time.monotonic()
                    begin = now if index == 0 else begin
                    index, live, done = self._read(item, capture, index, now - begin, outage)
                    problem = "" if done else capture.problem()
                    reason = f"broke off ({problem or 'the server ended it'})"
                finally:
                    capture.close()
                if done:
                    return
            # Only what is live comes here: never opened, or broken off.
            if not outage.next(reason):
                self._fail(item, _given_up(index, outage.attempts, problem), index, live)
                return

    def _read(self, item: Item, capture: Capture, index: int, late: float, outage: _Outage) -> tuple[int, bool, bool]:
        """Give out the frames of an open capture, `late` seconds after those of the first connection; the next index,
        whether it is live, whether the source is done."""
        live = self._channel.live = capture.live
        first = index
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
                    image=None if isinstance(shot.image, Undrawn) else shot.image,
                    undrawn=shot.image if isinstance(shot.image, Undrawn) else None,
                    index=index,
                    read_ms=elapsed,
                    time=moment,
                    duration=shot.duration,
                    origin=shot.origin,
                    arrived=time.time() if live else None,
                )
                self._channel.put(frame, replace=live and self._policy == "latest")
                counted = self._channel.count(item.position)
                capture.drops = counted.dropped > counted.read // 2
                index += 1
                # One frame a connection is no stream.
                if index == first + 2 or not live:
                    self._back(item, first, outage)
                start = time.perf_counter()
        except InputError as error:
            self._fail(item, str(error), index, live)
            return index, live, True
        if item.kind != "video" and live:
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

    def _back(self, item: Item, index: int, outage: _Outage) -> None:
        """A source that was away is read from this index on."""
        if outage.attempts:
            self._channel.count(item.position).reconnects += index > 0
            outage.over()


def _given_up(frames: int, retries: int, problem: str) -> str:
    """What to say of a stream that is not opened again."""
    what = "the stream broke off" if frames else "the stream cannot be opened"
    again = f" ({retries} more tries)" if retries else ""
    return f"{what}{again}; {problem or 'check the address and the network'}"
