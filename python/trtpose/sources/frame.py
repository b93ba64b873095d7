# SPDX-License-Identifier: Apache-2.0
"""One frame of a run."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a run, or the reason why there is none.

    Attributes:
        image: (height, width, 3) uint8, BGR, turned as the file says; None where ``error`` is set.
        source: path, address (without password) or name of what it came from.
        index: number of the frame within its source, from 0.
        is_video: whether the source is a video, camera or stream.
        live: whether the source is a camera or a stream, which does not end by itself.
        fps: frames per second of a video, on average, where known.
        total: frames of the source, where the file has their count; 1 for a picture.
        error: what is wrong with this item; the run goes on with the next.
        read_ms: milliseconds it took to read and decode.
        position: number of the source within the run, from 0; two sources may have the same name.
        time: when the frame of a video is shown, in seconds from the container's start; for a camera or stream from its
            first frame. None for a picture.
        duration: seconds the frame of a video is shown, where the container says them.
        length: seconds of a video, where the container says them.
        time_base: the times of a video are multiples of this, in seconds.
        sound: whether there is sound beside the pictures of a video.
        arrived: when a frame of a camera or stream was read, in seconds since 1970 (UTC); None for others.
        origin: seconds on the container's own clock where ``time`` is 0.
    """

    image: NDArray[np.uint8] | None
    source: str
    index: int = 0
    is_video: bool = False
    live: bool = False
    fps: float | None = None
    total: int | None = 1
    error: InputError | None = None
    read_ms: float = 0.0
    position: int = 0
    time: float | None = None
    duration: float | None = None
    length: float | None = None
    time_base: Fraction | None = None
    sound: bool = False
    origin: float = 0.0
    arrived: float | None = None
