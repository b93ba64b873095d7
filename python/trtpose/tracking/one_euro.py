# SPDX-License-Identifier: Apache-2.0
"""Keypoints without the trembling of a network that sees each frame anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._checks import real
from ..errors import InputError
from ..results import VISIBLE

__all__ = ["OneEuro"]

_F64 = NDArray[np.float64]


@dataclass
class _Past:
    """Of one person: when, which keypoints were seen (K,), where (K, 2) and how fast (K, 2), in pixels and seconds."""

    time: float
    seen: NDArray[np.bool_]
    points: _F64
    speed: _F64


class OneEuro:
    """The One Euro filter (Casiez, Roussel and Vogel, CHI 2012) on the keypoints of each tracked person.

    A low-pass filter whose cutoff rises with the speed: what rests is smoothed, what moves is followed. Speeds are
    counted in sizes of the person (the root of the box's area), so that near and far people are treated alike.

    Args:
        min_cutoff: cutoff at rest, in hertz; lower trembles less.
        beta: hertz of cutoff per person's size a second; higher lags less.
        speed_cutoff: cutoff of the speed itself, in hertz.

    Raises:
        InputError: a value that is not above 0 (``beta``: below 0).
    """

    def __init__(self, min_cutoff: float = 1.5, beta: float = 10.0, speed_cutoff: float = 1.0) -> None:
        self._min_cutoff = real(min_cutoff, "min_cutoff")
        self._beta = real(beta, "beta")
        self._speed_cutoff = real(speed_cutoff, "speed_cutoff")
        if not (self._min_cutoff > 0 and self._speed_cutoff > 0 and self._beta >= 0):
            raise InputError(
                f"OneEuro: min_cutoff {min_cutoff}, speed_cutoff {speed_cutoff} and beta {beta}; the cutoffs are above "
                "0, beta is 0 or above"
            )
        self._past: dict[int, _Past] = {}

    def __call__(self, keypoints: _F64, boxes: _F64, ids: NDArray[np.int64], time: float) -> _F64:
        """The keypoints (n, K, 3) smoothed; confidences are left, and so are people without an id and keypoints below
        the confidence that counts as seen.

        Args:
            keypoints: x, y in pixels and confidence.
            boxes: (n, 4) left, top, right, bottom in pixels.
            ids: (n,), -1 where there is none.
            time: seconds; not before the last one.
        """
        out = keypoints.copy()
        for row, number in enumerate(ids.tolist()):
            if number >= 0:
                size = math.sqrt(max(float((boxes[row, 2:] - boxes[row, :2]).prod()), 1.0))
                out[row, :, :2] = self._one(int(number), keypoints[row], size, time)
        return out

    def forget(self, keep: set[int]) -> None:
        """Forget everyone but these ids."""
        self._past = {number: past for number, past in self._past.items() if number in keep}

    def reset(self) -> None:
        """Forget everyone."""
        self._past = {}

    def _one(self, number: int, person: _F64, size: float, time: float) -> _F64:
        points, seen = person[:, :2], person[:, 2] >= VISIBLE
        past = self._past.get(number)
        if past is None:
            self._past[number] = _Past(time, seen, points.copy(), np.zeros_like(points))
            return points
        dt = time - past.time
        if dt <= 0:
            return np.where((seen & past.seen)[:, None], past.points, points)
        speed = past.speed + _weight(np.float64(self._speed_cutoff), dt) * ((points - past.points) / dt - past.speed)
        pace = np.sqrt((speed**2).sum(-1, keepdims=True)) / size
        smooth = past.points + _weight(self._min_cutoff + self._beta * pace, dt) * (points - past.points)
        # What has just come into sight has no past to be smoothed with.
        both = (seen & past.seen)[:, None]
        smooth, speed = np.where(both, smooth, points), np.where(both, speed, 0.0)
        self._past[number] = _Past(time, seen, smooth, speed)
        return smooth


def _weight(cutoff: _F64 | np.float64, dt: float) -> _F64:
    """Of the new value in a low-pass filter of first order."""
    return np.asarray(1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * dt)))
