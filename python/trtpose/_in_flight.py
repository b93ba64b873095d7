# SPDX-License-Identifier: Apache-2.0
"""Series of calls of an engine of which several are in flight, their results in order."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Error, InputError

if TYPE_CHECKING:
    from .engine import Engine
    from .results import Poses
    from .sources import Sources
    from .thresholds import Thresholds

__all__ = ["beginner", "overlapped", "when_live"]

_Group = TypeVar("_Group")
_Result = TypeVar("_Result")


def beginner(
    engine: Engine, thresholds: Thresholds | None = None
) -> tuple[Callable[[list[Any]], Callable[[], list[Poses]]], int]:
    """What begins a call and returns what waits for its results; and how many calls may be in flight.

    What acts as an engine and cannot submit does all of it when it begins; and so does an engine that has no room, as
    another stream or the caller himself has calls in flight.
    """
    most = int(getattr(engine, "max_in_flight", 1))

    def begin(images: list[Any]) -> Callable[[], list[Poses]]:
        if not images:
            return list
        if most > 1:
            with contextlib.suppress(InputError):  # no room; or a frame is wrong, which infer says again
                return partial(engine.collect, engine.submit(images, thresholds=thresholds))
        found = engine.infer(images, thresholds=thresholds)
        return lambda: found

    return begin, most


def when_live(engine: Engine, sources: Sources) -> bool | Callable[[int], bool]:
    """For :func:`overlapped`, when results of cameras and streams are wanted: at once, unless the engine computes
    another call beside it and a frame is waiting, which would be older by then."""
    beside = int(getattr(engine, "max_in_flight", 1)) - 1
    return True if beside < 2 else lambda begun: begun >= beside or not sources.waiting


def overlapped(
    groups: Iterator[tuple[_Group, bool | Callable[[int], bool]]],
    begin: Callable[[_Group], Callable[[], _Result]],
    most: int,
) -> Generator[tuple[_Group, _Result]]:
    """Groups with their results, in order, while others are in flight.

    Args:
        groups: each with whether its results are wanted before the next is asked for, which may be long in coming; or
            what says so of the first of so many that have begun, and is asked again after each.
        begin: begins a call for a group and returns what waits for its results.
        most: groups at most that have begun and were not given out.

    Raises:
        What ``groups`` and ``begin`` raise, behind the results of the groups before.
    """
    begun: deque[tuple[_Group, Callable[[], _Result]]] = deque()
    failure: Exception | None = None

    def take() -> tuple[_Group, _Result]:
        group, finish = begun.popleft()
        return group, finish()

    try:
        while failure is None:
            try:
                group, at_once = next(groups)
            except StopIteration:
                break
            except Exception as error:  # raised below
                failure = error
                break
            if len(begun) == most:
                yield take()
            try:
                begun.append((group, begin(group)))
            except Exception as error:
                failure = error
                break
            while begun and (at_once(len(begun)) if callable(at_once) else at_once):
                yield take()
        while begun:
            yield take()
        if failure is not None:
            raise failure
    finally:
        for _, finish in begun:  # left early: the engine's next calls need the room
            with contextlib.suppress(Error):
                finish()
