# SPDX-License-Identifier: Apache-2.0
"""A tracker for each source of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..results import Poses
from .methods import Method
from .tracker import Tracker

if TYPE_CHECKING:
    from ..sources import Frame

__all__ = ["Trackers"]


class Trackers:
    """Ids for the frames of several sources, each source by itself. Pictures have no frame before them and get none.

    Args:
        method, smooth: as of :class:`Tracker`.

    Raises:
        DeviceError, InputError: as :class:`Tracker` does, at once.
    """

    def __init__(self, method: Method = "oks", *, smooth: bool = False) -> None:
        self._method: Method = method
        self._smooth = smooth
        self._trackers: dict[int, tuple[Tracker, float]] = {}
        Tracker(method, smooth=smooth)  # says now what is missing

    def update(self, frame: Frame, poses: Poses) -> Poses:
        """The poses of ``frame`` with ids; -1 in a picture."""
        if not frame.is_video:
            return replace(poses, ids=np.full(len(poses), -1, np.int64))
        if frame.position not in self._trackers:
            rate = frame.fps if frame.fps and frame.fps > 0 else 30.0
            self._trackers[frame.position] = Tracker(self._method, rate=rate, smooth=self._smooth), -np.inf
        tracker, last = self._trackers[frame.position]
        if frame.time is None:
            return tracker.update(poses)
        # A file may show two frames at one time, or say that a later one is shown earlier.
        time = max(frame.time, last)
        self._trackers[frame.position] = tracker, time
        return tracker.update(poses, time)

    def end(self, position: int) -> None:
        """Forget a source that has come to its end."""
        self._trackers.pop(position, None)
