# SPDX-License-Identifier: Apache-2.0
"""Joins the pictures of many requests into batches for the engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..thresholds import Thresholds

__all__ = ["Answer", "Batcher", "BusyError", "StoppedError", "batch_sizes", "worthwhile_sizes"]

Infer = Callable[[list[Any], "Thresholds"], "list[Poses]"]


def batch_sizes(most: int) -> list[int]:
    """Sizes of batches that are run, from 1 to ``most``: no more than an engine on the CPU keeps compiled. With each
    size that comes by, it would compile again and again."""
    return sorted({1, max(most // 4, 1), max(most // 2, 1), max(most, 1)})


_ROUNDS = 5
_ROUNDS_WITHIN = 0.5
_ALL_WITHIN = 3.0
"""Comparisons of two sizes; the seconds after which no other round is begun, and no other size."""


def worthwhile_sizes(engine: Engine) -> list[int]:
    """Those of :func:`batch_sizes` from which the network gains, each run and timed here.

    A GPU takes little more for several pictures than for one; a processor takes about the sum, where its caches are too
    small more than that, and then the first of a batch would wait for nothing. What is left is compiled already, so
    that no request waits for that.
    """
    frame = np.zeros((*engine.imgsz, 3), np.uint8)
    first, *others = batch_sizes(engine.batch)
    kept = [first]
    engine.infer([frame] * first)
    begin = time.perf_counter()
    for size in others:
        if time.perf_counter() - begin > _ALL_WITHIN:
            break
        engine.infer([frame] * size)  # which compiles
        before, now = _fastest(engine, frame, kept[-1], size)
        if now / size < before / kept[-1]:
            kept.append(size)
    return kept


def _fastest(engine: Engine, frame: Any, *sizes: int) -> list[float]:
    """Seconds of the fastest run of each size, by turns, so that what else the machine does takes from both."""
    found = [float("inf")] * len(sizes)
    begin = time.perf_counter()
    for number in range(_ROUNDS):
        if number and time.perf_counter() - begin > _ROUNDS_WITHIN:
            break
        for place, size in enumerate(sizes):
            start = time.perf_counter()
            engine.infer([frame] * size)
            found[place] = min(found[place], time.perf_counter() - start)
    return found


class BusyError(Exception):
    """So many pictures wait already that this one would wait too long."""


class StoppedError(Exception):
    """The server is going down."""


@dataclass(frozen=True)
class Answer:
    """What was found in a picture, and the seconds it waited for the engine and was in it."""

    poses: Poses
    queued: float
    computed: float


@dataclass
class _Waiting:
    frame: Any
    thresholds: Thresholds
    future: asyncio.Future[Answer]
    since: float


class Batcher:
    """Runs the pictures that wait, oldest first, as many at once as the engine takes.

    A picture that is alone does not wait. While others are on their way (:meth:`coming`), the first of a batch waits
    for them, but no longer than the deadline; while the engine is busy a batch fills by itself. Batches have one of
    a few sizes; what is left over goes next.

    Args:
        engines: functions that find people in frames, each used by one thread at a time.
        sizes: how many frames at once, 1 among them.
        deadline: seconds.
        queue: pictures that may wait.
        on_batch: called with the number of pictures of each batch.
    """

    def __init__(
        self,
        engines: Sequence[Infer],
        sizes: Sequence[int],
        *,
        deadline: float,
        queue: int,
        on_batch: Callable[[int], None],
    ) -> None:
        self._engines = list(engines)
        self._batch = max(sizes)
        self._sizes = sorted(sizes)
        self._deadline = deadline
        self._limit = queue
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._coming = 0
        self._changed = asyncio.Event()
        self._pool = ThreadPoolExecutor(len(self._engines), thread_name_prefix="trtpose-serve")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; in the event loop."""
        self._tasks = [asyncio.create_task(self._work(infer)) for infer in self._engines]

    async def stop(self) -> None:
        """Finish what is in the engines, refuse the rest."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in self._waiting:
            if not item.future.done():
                item.future.set_exception(StoppedError())
        self._waiting.clear()
        self._pool.shutdown(wait=True)

    def __len__(self) -> int:
        """Pictures that wait."""
        return len(self._waiting)

    @contextlib.contextmanager
    def coming(self) -> Generator[None]:
        """Say that a picture is on its way, while it is read and decoded."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    def check(self, count: int = 1) -> None:
        """Raise BusyError where so many more pictures cannot wait, beside those that are on their way."""
        if len(self._waiting) + self._coming + count > self._limit:
            raise BusyError

    async def submit(self, frame: Any, thresholds: Thresholds) -> Answer:
        """Find the people in a frame.

        Raises:
            BusyError: too many wait.
            StoppedError: the server is going down.
            trtpose.Error: the engine refused it.
        """
        self.check()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(frame, thresholds, future, time.perf_counter()))
        self._changed.set()
        return await future

    async def _work(self, infer: Infer) -> None:
        while True:
            group = await self._next()
            frames = [item.frame for item in group]
            begin = time.perf_counter()
            self._on_batch(len(group))
            work = asyncio.get_running_loop().run_in_executor(self._pool, _run, infer, frames, group[0].thresholds)
            try:
                found = await asyncio.shield(work)
            except asyncio.CancelledError:
                self._give(group, await work, begin)
                raise
            self._give(group, found, begin)

    @staticmethod
    def _give(group: list[_Waiting], found: list[Poses | Exception], begin: float) -> None:
        computed = time.perf_counter() - begin
        for item, poses in zip(group, found, strict=True):
            if item.future.done():
                continue  # whoever asked has gone
            if isinstance(poses, Exception):
                item.future.set_exception(poses)
            else:
                item.future.set_result(Answer(poses, begin - item.since, computed))

    async def _next(self) -> list[_Waiting]:
        """The pictures of the next batch: those of the oldest one's thresholds."""
        while True:
            self._drop_gone()
            if self._waiting:
                left = self._waiting[0].since + self._deadline - time.perf_counter()
                if self._alike() >= self._batch or not self._coming or left <= 0:
                    return self._take()
            else:
                left = None
            self._changed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _drop_gone(self) -> None:
        if any(item.future.done() for item in self._waiting):
            self._waiting = deque(item for item in self._waiting if not item.future.done())

    def _alike(self) -> int:
        first = self._waiting[0].thresholds
        return sum(item.thresholds == first for item in self._waiting)

    def _take(self) -> list[_Waiting]:
        first = self._waiting[0].thresholds
        alike = self._alike()
        count = max(size for size in self._sizes if size <= alike)
        group: list[_Waiting] = []
        rest: deque[_Waiting] = deque()
        for item in self._waiting:
            fits = len(group) < count and item.thresholds == first
            (group if fits else rest).append(item)
        self._waiting = rest
        return group


def _run(infer: Infer, frames: list[Any], thresholds: Thresholds) -> list[Poses | Exception]:
    """Results of a batch; a frame that the engine refuses does not take its neighbours with it."""
    try:
        return list(infer(frames, thresholds))
    except InputError as error:
        if len(frames) == 1:
            return [error]
    except Exception as error:
        return [error] * len(frames)
    return [result for frame in frames for result in _run(infer, [frame], thresholds)]
