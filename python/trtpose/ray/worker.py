# SPDX-License-Identifier: Apache-2.0
"""The actor: an engine, and rows of pictures in, rows of people out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..serving.batcher import batch_sizes
from .pictures import pictures_of
from .table import table

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from .plan import Plan

__all__ = ["Finder", "found_in"]


class Finder:
    """Finds people in tables of pictures; what ``Dataset.map_batches`` makes an actor of.

    Args:
        plan: what to do.

    Raises:
        trtpose.Error: as :class:`trtpose.Engine`.
    """

    def __init__(self, plan: Plan) -> None:
        from ..engine import Engine

        self._plan = plan
        self._engine = Engine(plan.model, **plan.options)
        self._pool = ThreadPoolExecutor(plan.readers, thread_name_prefix="trtpose-decode")

    def __call__(self, rows: Any) -> Any:
        """A row of :func:`trtpose.ray.schema` for each of a ``pyarrow.Table``, and its other columns beside it.

        Raises:
            InputError: the table has no pictures, or one cannot be read where that ends the run.
            trtpose.Error: the engine failed.
        """
        plan = self._plan
        pictures = pictures_of(rows, plan.column, plan.max_pixels)
        color = plan.color if pictures.decoded else "bgr"

        def infer(frames: list[Any]) -> list[Poses]:
            return self._engine.infer(frames, color=color)

        found = found_in(infer, self._engine, pictures.loads, self._pool, plan.readers)
        if plan.raises:
            for one in found:
                if isinstance(one, InputError):
                    raise one
        done = table(pictures.names, found, self._engine.spec, plan.model)
        for name in pictures.rest.column_names:
            done = done.append_column(pictures.rest.field(name), pictures.rest.column(name))
        return done


def found_in(
    infer: Callable[[list[Any]], list[Poses]],
    engine: Engine,
    loads: Sequence[Callable[[], Any]],
    pool: ThreadPoolExecutor,
    threads: int,
) -> list[Poses | InputError]:
    """The people of each picture, or what is wrong with it.

    The pool decodes the next pictures while the engine works; no more are held than it will soon take.

    Args:
        infer: finds people in frames.
        engine: tells how many at once.
        loads: give the frames.
        pool: where they run, of so many ``threads``.
    """
    most = max(engine.batch, 1)
    found: dict[int, Poses | InputError] = {}
    ready: list[tuple[int, Any]] = []
    for number, future in _ahead(loads, pool, most + threads):
        try:
            ready.append((number, future.result()))
        except InputError as error:
            found[number] = error
        if len(ready) == most:
            found.update(_infer(infer, ready))
            ready = []
    for size in reversed(batch_sizes(most)):
        while len(ready) >= size:
            found.update(_infer(infer, ready[:size]))
            ready = ready[size:]
    return [found[number] for number in range(len(loads))]


def _ahead(
    loads: Sequence[Callable[[], Any]], pool: ThreadPoolExecutor, room: int
) -> Iterator[tuple[int, Future[Any]]]:
    """Pictures in order, begun before they are asked for, ``room`` of them at a time."""
    waiting: deque[tuple[int, Future[Any]]] = deque()
    try:
        for number, load in enumerate(loads):
            waiting.append((number, pool.submit(load)))
            if len(waiting) >= room:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()


def _infer(
    infer: Callable[[list[Any]], list[Poses]], ready: list[tuple[int, Any]]
) -> list[tuple[int, Poses | InputError]]:
    """Results of a batch; a frame that the engine refuses does not take its neighbours with it."""
    numbers = [number for number, _ in ready]
    try:
        return list(zip(numbers, infer([frame for _, frame in ready]), strict=True))
    except InputError as error:
        if len(ready) == 1:
            return [(numbers[0], error)]
    return [pair for one in ready for pair in _infer(infer, [one])]
