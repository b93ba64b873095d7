# SPDX-License-Identifier: Apache-2.0
"""One frame of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..nv12 import Nv12
from .decoders import Undrawn

__all__ = ["Batch", "Counters", "Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a run, or the reason why there is none.

    Attributes:
        image: (height, width, 3) uint8, BGR, turned as the file says; None where ``error`` is set. Where most
            frames of a stream are dropped it is made when it is first asked for, and of one that the decoder gave as
            NV12, which is not to be written to.
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
        undrawn: what a decoder gave; ``image`` is made of it.
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
    undrawn: Undrawn | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.image is not None and self.undrawn is not None:  # as by dataclasses.replace: what is given counts
            object.__setattr__(self, "undrawn", None)
        if self.undrawn is not None:
            object.__delattr__(self, "image")  # so that it is asked for below, once

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: with pixels, as what a decoder gave stays in its process."""
        values = [None if one.name == "undrawn" else getattr(self, one.name) for one in fields(self)]
        return type(self), tuple(values)

    def __getattr__(self, name: str) -> Any:
        undrawn: Undrawn | None = self.__dict__.get("undrawn")
        if name != "image" or undrawn is None:
            raise AttributeError(f"a Frame has no {name}")
        image = undrawn.image()
        object.__setattr__(self, "image", image)
        return image

    @property
    def given(self) -> NDArray[np.uint8] | Nv12 | None:
        """What an engine takes: NV12 where the decoder gave it, else the image."""
        planes = None if self.undrawn is None else self.undrawn.nv12
        return self.image if planes is None else planes

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels, as the decoder gave them and as they were made of it."""
        if self.undrawn is not None:
            made = self.__dict__.get("image")
            return self.undrawn.nbytes + (0 if made is None else made.nbytes)
        return 0 if self.image is None else self.image.nbytes


@dataclass
class Batch:
    """Frames that are run together.

    Attributes:
        frames: of one or several sources; only the last may have ``error`` set.
        ended: numbers (:attr:`Frame.position`) of the videos, cameras and streams whose last frame has been given out.
        read: numbers of the sources of frames without an error, and when each was read, on the monotonic clock.
    """

    frames: list[Frame] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    read: list[tuple[int, float]] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Counters:
    """What has become of one source so far.

    Attributes:
        source: its name.
        read: frames that were read and decoded.
        dropped: those of them that gave way to newer ones.
        reconnects: how often it was there again after it broke off.
        age: seconds from when a frame was read to when its result was there, the median of the last 256; None before
            the first. What the camera, the network and its buffers took before is not in it.
        trouble: why there are no frames now; empty where there are.
        ended: whether no more of it will be read.
    """

    source: str
    read: int = 0
    dropped: int = 0
    reconnects: int = 0
    age: float | None = None
    trouble: str = ""
    ended: bool = False
