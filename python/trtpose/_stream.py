# SPDX-License-Identifier: Apache-2.0
"""Frames of sources with the people in them, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ._in_flight import beginner, overlapped, when_live
from .errors import InputError
from .sources import Batch, Frame, Sources
from .tracking.sources import Trackers

if TYPE_CHECKING:
    from .engine import Engine
    from .results import Poses
    from .thresholds import Thresholds
    from .tracking.methods import Method

__all__ = ["stream"]


def stream(
    engine: Engine,
    thresholds: Thresholds,
    sources: Any,
    *,
    track: bool | Method = False,
    smooth: bool = False,
    on_error: Callable[[InputError], None] | None = None,
) -> Iterator[tuple[Frame, Poses]]:
    """As :meth:`trtpose.Engine.stream`."""
    trackers = None
    if track or smooth:
        trackers = Trackers("oks" if isinstance(track, bool) else track, smooth=smooth)
    frames = sources if isinstance(sources, Sources) else Sources(sources)
    # Errors of the arguments are raised by the call, not by the first step of the iteration.
    return _pairs(engine, thresholds, frames, frames is sources, trackers, on_error)


def _pairs(
    engine: Engine,
    thresholds: Thresholds,
    frames: Sources,
    borrowed: bool,
    trackers: Trackers | None,
    on_error: Callable[[InputError], None] | None,
) -> Iterator[tuple[Frame, Poses]]:
    begin, most = beginner(engine, thresholds)

    def begin_batch(batch: Batch) -> Callable[[], list[Poses]]:
        return begin([frame.given for frame in batch.frames if frame.error is None])

    with contextlib.nullcontext() if borrowed else frames:
        # Whoever leaves early keeps the frames of sources that he has lent.
        at_once = borrowed or (not frames.at_hand and when_live(engine, frames))
        batches = ((batch, at_once) for batch in frames.batches(max(engine.batch, 1), timed=False))
        # Closed before the sources are: calls are in flight.
        with contextlib.closing(overlapped(batches, begin_batch, most)) as results:
            for batch, found in results:
                frames.note_results(batch)
                good = [frame for frame in batch.frames if frame.error is None]
                for frame, poses in zip(good, found, strict=True):
                    yield frame, poses if trackers is None else trackers.update(frame, poses)
                if trackers is not None:
                    for position in batch.ended:
                        trackers.end(position)
                _tell_errors(batch, on_error)


def _tell_errors(batch: Batch, on_error: Callable[[InputError], None] | None) -> None:
    for frame in batch.frames:
        if frame.error is None:
            continue
        if on_error is None:
            raise frame.error
        on_error(frame.error)
