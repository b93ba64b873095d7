# SPDX-License-Identifier: Apache-2.0
"""What the reader asks of an open video, stream or camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .decoders import Undrawn

__all__ = ["Capture", "OpenError", "Shot"]


class OpenError(Exception):
    """Why a source cannot be opened, without its name; ``passing`` where another try may go better."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


@dataclass(frozen=True, eq=False)
class Shot:
    """One decoded frame.

    Attributes:
        image: (height, width, 3) uint8, BGR, turned as the container says; or not converted yet.
        time: seconds from the start of the source.
        duration: seconds it is shown, where known.
        origin: seconds on the container's own clock where ``time`` is 0.
    """

    image: NDArray[np.uint8] | Undrawn
    time: float
    duration: float | None = None
    origin: float = 0.0


class Capture(Protocol):
    """An open video, stream or camera.

    Attributes:
        live: whether it does not end by itself.
        fps: frames a second, on average, where known.
        total: frames, where the container has their count; estimates are none.
        length: seconds, where the container says them.
        time_base: the times of its frames are multiples of this, in seconds.
        width, height: pixels of the first frame, 0 where not known before it is decoded.
        sound: whether there is sound beside the pictures.
        drops: said by who reads it: whether most frames are dropped, so that it is better not to convert them at once.
    """

    live: bool
    fps: float | None
    total: int | None
    length: float | None
    time_base: Fraction
    width: int
    height: int
    sound: bool
    drops: bool

    def shots(self) -> Iterator[Shot]:
        """The frames, in the order in which they are shown; ends where there are no more, for whatever reason."""
        ...

    def problem(self) -> str:
        """After the last frame: why there are no more although there should be, or which were lost; else empty."""
        ...

    def close(self) -> None: ...
