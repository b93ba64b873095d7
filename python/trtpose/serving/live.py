# SPDX-License-Identifier: Apache-2.0
"""The newest frame of each source of a run, for those who look.

The run's thread leaves each frame and the people in it here (:meth:`Live.add`), which costs it no more than that. What
is shown is made in the thread of the server, when there is somebody to show it to: see :mod:`trtpose.serving.live_app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _opencv
from .._process import yield_to_others

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engine import Engine
    from ..results import Poses
    from ..sources import Counters, Frame, Sources
    from .settings import Settings

__all__ = ["PAUSE", "SIDES", "Live", "Shot", "Viewer", "state_of"]

SIDES = (640, 1280)
"""Pixels of a shown picture's longer side at most: of one among many, and of one looked at alone."""

PAUSE = 1 / 15
"""Seconds between two pictures of a source to the same viewer at least: to look at, more of them are no better."""

_LISTED = 64
"""Where there are more sources, cameras and streams are listed and of the others those seen last."""

_KEPT = 8
_KEPT_BYTES = 128 << 20
"""Of sources that are files the newest frames that are kept, and their bytes; one is kept in any case."""


@dataclass(frozen=True)
class Shot:
    """A frame as it came out of the run: its number among all, the people in it, when it was there (monotonic)."""

    number: int
    frame: Frame
    poses: Poses
    since: float


class Viewer:
    """What somebody who looks wants, and has got.

    Attributes:
        changed: there may be something new for them.
        only: numbers of the sources that they want pictures of; None for all.
        large: whether they want pictures of the larger size.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.only: frozenset[int] | None = None
        self.large = False
        self._sent: dict[int, tuple[int, bool, float]] = {}
        self._on_the_way: set[int] = set()

    def due(self, newest: Sequence[Shot], now: float) -> tuple[list[Shot], float]:
        """What to send of the newest frames, and the seconds until there may be more. Of each source one picture is on
        its way at most, and none soon after another."""
        found: list[Shot] = []
        rest = math.inf
        self._sent = {shot.frame.position: sent for shot in newest if (sent := self._sent.get(shot.frame.position))}
        for shot in newest:
            position = shot.frame.position
            if position in self._on_the_way or (self.only is not None and position not in self.only):
                continue
            number, large, moment = self._sent.get(position, (0, False, -math.inf))
            if (number, large) == (shot.number, self.large):
                continue
            left = moment + PAUSE - now
            if left > 0 and large == self.large:
                rest = min(rest, left)
            else:
                found.append(shot)
        return found, rest

    def send(self, shot: Shot, now: float) -> None:
        """It is on its way."""
        self._sent[shot.frame.position] = shot.number, self.large, now
        self._on_the_way.add(shot.frame.position)

    def shown(self, position: int) -> None:
        """They have shown the picture of that source that was on its way."""
        self._on_the_way.discard(position)
        self.changed.set()


class Live:
    """The newest frame of each source of a run.

    Args:
        engine: what runs.
        sources: where frames come from.
        settings: bounds and access.
    """

    def __init__(self, engine: Engine, sources: Sources, settings: Settings) -> None:
        self.engine = engine
        self.sources = sources
        self.settings = settings
        self._positions = [i for i in range(len(sources.names)) if not sources.is_passed_over(i)]
        self._cameras = [i for i in self._positions if sources.is_live(i)]
        self.viewers: set[Viewer] = set()
        self.ended = False
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._live: dict[int, Shot] = {}
        self._others: dict[int, Shot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waking = False
        self._made: dict[tuple[int, int, bool], tuple[int, asyncio.Future[bytes | None]]] = {}
        # One thread, so that those who look take one core at most, and that only where the run leaves it.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="trtpose-live", initializer=yield_to_others)

    # In the run's thread

    def add(self, frame: Frame, poses: Poses) -> None:
        """Show a frame from now on. Its pixels stay as they are: whoever draws on them later gets a copy."""
        if frame.error is not None:
            return
        if (frame.undrawn is None or frame.undrawn.nv12 is None) and frame.image is not None:
            frame.image.setflags(write=False)
        shot = Shot(next(self._numbers), frame, poses, time.monotonic())
        with self._lock:
            if frame.live:
                self._live[frame.position] = shot
            else:
                self._others.pop(frame.position, None)
                self._others[frame.position] = shot
                self._forget_old()
        if self.viewers:
            self._wake()

    def _forget_old(self) -> None:
        def held() -> int:
            return sum(shot.frame.nbytes for shot in self._others.values())

        while len(self._others) > 1 and (len(self._others) > _KEPT or held() > _KEPT_BYTES):
            self._others.pop(next(iter(self._others)))

    def end(self) -> None:
        """The run is over."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waking or self._loop is None:
            return
        self._waking = True
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell)

    # In the event loop

    def begin(self) -> None:
        """Those who look come through the running loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Nobody looks any more."""
        self._encoder.shutdown(wait=True, cancel_futures=True)

    def _tell(self) -> None:
        self._waking = False  # before they look, so that what comes now wakes them again
        for viewer in self.viewers:
            viewer.changed.set()

    def newest(self) -> list[Shot]:
        """The newest frame of each source that has one, in the order of the sources."""
        with self._lock:
            found = {**self._live, **self._others}
        return [found[position] for position in sorted(found)]

    async def picture(self, shot: Shot, *, large: bool = False, drawn: bool = False) -> bytes | None:
        """A frame as JPEG, made once for all who want it; None where the format cannot hold it.

        Args:
            shot: the frame.
            large: of :data:`SIDES` the second.
            drawn: with the people drawn on it, in its own size.
        """
        key = shot.frame.position, 0 if drawn else SIDES[large], drawn
        number, work = self._made.get(key, (0, None))
        if work is None or number != shot.number:
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._encoder, _jpeg, shot, key[1], drawn)
            seen = {one.frame.position for one in self.newest()}
            self._made = {other: made for other, made in self._made.items() if other[0] in seen}
            self._made[key] = shot.number, work
        return await asyncio.shield(work)

    def states(self) -> list[dict[str, Any]]:
        """What is to be said of each source; of very many of those alone that say something."""
        now = time.monotonic()
        newest = {shot.frame.position: shot for shot in self.newest()}
        positions = self._positions if len(self._positions) <= _LISTED else sorted({*self._cameras, *newest})
        return [state_of(i, self.sources.counters_of(i), newest.get(i), now) for i in positions]


def state_of(position: int, counters: Counters, shot: Shot | None, now: float) -> dict[str, Any]:
    """What is to be said of a source at a moment of the monotonic clock.

    ``state`` is ``waiting`` (nothing has come yet), ``connected``, ``reconnecting`` or ``ended``, ``why`` says more of
    the last two; ``age`` is in seconds from a frame's reading to its result, ``since`` in seconds since that.
    """
    if counters.ended:
        state = "ended"
    elif counters.trouble:
        state = "reconnecting"
    else:
        state = "connected" if counters.read else "waiting"
    ids = [] if shot is None or shot.poses.ids is None else [int(i) for i in shot.poses.ids.tolist() if i >= 0]
    return {
        "position": position,
        "name": counters.source,
        "state": state,
        "why": counters.trouble,
        "read": counters.read,
        "dropped": counters.dropped,
        "reconnects": counters.reconnects,
        "age": None if counters.age is None else round(counters.age, 4),
        "frame": None if shot is None else shot.frame.index,
        "since": None if shot is None else round(now - shot.since, 3),
        "people": None if shot is None else len(shot.poses),
        "ids": ids,
    }


def _image(shot: Shot) -> NDArray[Any]:
    assert shot.frame.image is not None
    return shot.frame.image


def _jpeg(shot: Shot, side: int, drawn: bool) -> bytes | None:
    from ..draw import draw

    image = _image(shot)
    if drawn:
        return _opencv.encode(".jpg", draw(image, shot.poses))
    return _opencv.encode(".jpg", _small(image, side))


def _small(image: NDArray[Any], side: int) -> NDArray[Any]:
    """A picture whose longer side is ``side`` at most."""
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return image
    if _opencv.cv2 is None:
        step = -(-longer // side)
        return image[::step, ::step].copy()
    size = max(round(width * side / longer), 1), max(round(height * side / longer), 1)
    return _opencv.cv2.resize(image, size, interpolation=_opencv.cv2.INTER_AREA)
