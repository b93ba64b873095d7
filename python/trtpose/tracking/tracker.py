# SPDX-License-Identifier: Apache-2.0
"""The tracker that a user holds: poses of frame after frame in, the same poses with ids out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._checks import choice, flag, real
from ..errors import InputError
from ..results import Poses
from .methods import METHODS, Method
from .one_euro import OneEuro

__all__ = ["Association", "Tracker"]


class Association(Protocol):
    """What decides who is who. Serves one video."""

    def assign(self, poses: Poses, time: float) -> NDArray[np.int64]:
        """The id of each person in the order of ``poses``, -1 where there is none yet; ``time`` in seconds."""
        ...

    @property
    def alive(self) -> set[int]:
        """Ids that may come again."""
        ...


class Tracker:
    """Follows people from frame to frame by their keypoints, or by their boxes.

    ``oks`` compares where keypoints are with where they are expected, by COCO's object keypoint similarity. The others
    compare boxes and are those of the package ``trackers`` (extra ``trackers``), each with its own defaults.

    Args:
        method: ``oks``, or ``sort``, ``bytetrack``, ``ocsort``, ``botsort`` of that package.
        lost: seconds that somebody is remembered without being seen.
        rate: frames a second, for frames without a time.
        smooth: pass the keypoints of each person through a :class:`OneEuro` filter; True takes its defaults.

    Raises:
        DeviceError: SciPy, or the package ``trackers``, is not installed; the message says how.
        InputError: an argument has no valid value.
    """

    def __init__(
        self, method: Method = "oks", *, lost: float = 2.0, rate: float = 30.0, smooth: bool | OneEuro = False
    ) -> None:
        self._method = choice(method, "method", METHODS)
        self._lost, self._rate = real(lost, "lost"), real(rate, "rate")
        if not (0 <= self._lost < math.inf and 0 < self._rate < math.inf):
            raise InputError(
                f"Tracker: lost is {lost}, rate is {rate}; give seconds from 0 on, and frames a second above 0"
            )
        if isinstance(smooth, OneEuro):
            self._filter: OneEuro | None = smooth
        else:
            self._filter = OneEuro() if flag(smooth, "smooth") else None
        self._association = self._made()
        self._time: float | None = None

    def _made(self) -> Association:
        if self._method == "oks":
            from .oks import OksAssociation

            return OksAssociation(self._lost)
        from .boxes import BoxAssociation

        return BoxAssociation(self._method, self._lost, self._rate)

    def update(self, poses: Poses, time: float | None = None) -> Poses:
        """The poses of the next frame, the same people in the same order, with :attr:`Poses.ids`.

        Args:
            poses: of one frame.
            time: of the frame in seconds from any beginning; None counts frames at ``rate``.

        Raises:
            InputError: ``time`` lies before the last frame's, or is not finite.
        """
        now = real(time, "time") if time is not None else 0.0 if self._time is None else self._time + 1.0 / self._rate
        if not math.isfinite(now):
            raise InputError(f"Tracker: a frame of time {now}; give seconds, or None where a frame has no time")
        if self._time is not None and now < self._time:
            raise InputError(
                f"Tracker: a frame of {now:g} s after one of {self._time:g} s; give frames in order, and another video "
                "to another Tracker, or call reset() before it"
            )
        ids = self._association.assign(poses, now)
        self._time = now
        keypoints = poses.keypoints
        if self._filter is not None:
            smooth = self._filter(keypoints.astype(np.float64), poses.boxes.astype(np.float64), ids, now)
            keypoints = smooth.astype(np.float32)
            self._filter.forget(self._association.alive)
        return replace(poses, ids=ids, keypoints=keypoints)

    def reset(self) -> None:
        """Begin another video; ids start anew."""
        self._association = self._made()
        self._time = None
        if self._filter is not None:
            self._filter.reset()
