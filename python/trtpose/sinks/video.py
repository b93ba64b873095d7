# SPDX-License-Identifier: Apache-2.0
"""An annotated video: H.264 in MP4, with the times of the frames as they were, and the sound."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import atomic_path, cannot_write, discard
from .._opencv import cv2
from .._pyav import open_input, require_av
from ..errors import InputError
from ..sources import Frame
from .sound import NoSoundError, Sound

__all__ = ["Video"]

_LIVE_BASE = Fraction(1, 90_000)
_FINEST_BASE = Fraction(1, 1_000_000)
"""A finer one leaves no room for pauses: MP4 counts the time between two frames in 32 bits."""

# The first that this FFmpeg has; each with what keeps the order of the frames that of showing. The preset costs as much
# time as MPEG-4 Visual does; at this quality it needs three quarters of the bytes.
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "ultrafast", "crf": "23", "bf": "0"}),
    ("libopenh264", {"bf": "0"}),
    ("mpeg4", {"bf": "0", "q": "3"}),
)

_BT601, _BT601_IN_SWSCALE, _BT709, _LIMITED = 6, 5, 1, 1
"""Colours as OpenCV converts them, which takes a quarter of swscale's time; the file says so."""


class Video:
    """One MP4, written frame by frame; it has its name when :meth:`close` has seen that it is whole.

    Args:
        target: its name.
        width, height: pixels of the frames.
        like: the first frame, for its rate and the base of its times.
        source: the file whose sound is taken, if there is one.
    """

    def __init__(self, target: Path, width: int, height: int, like: Frame, source: Path | None = None) -> None:
        self._av = require_av(f"{target}: writing a video")
        self.target = target
        self._size = width, height
        self._notes: list[str] = []
        self._base = max(like.time_base or _LIVE_BASE, _FINEST_BASE)
        self._rate = 25.0 if like.fps is None else like.fps
        self._frames = self._moved = self._scaled = 0
        # In units of the base: when the last frame is shown and ends, and how long those last that the encoder holds.
        self._last: int | None = None
        self._end = 0
        self._lasting: dict[int, int] = {}
        self._stack = contextlib.ExitStack()
        self._path = self._stack.enter_context(atomic_path(target, follow=False))
        self._sound: Sound | None = None
        try:
            with self._errors():
                self._container = self._av.open(f"file:{self._path}", "w", format="mp4")
                self._stream = self._add_stream()
        except BaseException:
            discard(self._stack)
            raise
        self._add_sound(like, source)
        reformatter = self._av.video.reformatter.VideoReformatter
        self._scale, self._convert = reformatter().reformat, reformatter().reformat

    def _add_stream(self) -> Any:
        width, height = self._size
        known = self._av.codecs_available
        name, options = next(((name, options) for name, options in _ENCODERS if name in known), _ENCODERS[-1])
        stream = self._container.add_stream(
            name, rate=Fraction(self._rate).limit_denominator(100_000), options=dict(options)
        )
        # A picture of half the colours has even sides.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._base
        context = stream.codec_context
        context.colorspace, context.color_range = _BT601, _LIMITED
        context.color_primaries = context.color_trc = _BT709
        if (stream.width, stream.height) != (width, height):
            self._notes.append(
                f"{self.target}: is {stream.width}x{stream.height} pixels for the {width}x{height} of the input, as "
                "H.264 has even sides: the last row or column is there twice"
            )
        return stream

    def _add_sound(self, like: Frame, source: Path | None) -> None:
        if not like.sound:
            return
        try:
            if source is None:
                raise NoSoundError("of an address only the pictures are recorded")
            self._sound = Sound(source, self._container, like.origin)
        except NoSoundError as error:
            self._notes.append(f"{self.target}: has no sound: {error}")

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        """PyAV's errors as ours."""
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            raise cannot_write(self.target, OSError(error.errno or 0, error.strerror or str(error))) from error
        except ValueError as error:
            width, height = self._size
            raise InputError(
                f"{self.target}: a video of {width}x{height} pixels cannot be written ({error}); use --no-draw"
            ) from error

    def add(self, drawn: NDArray[Any], frame: Frame) -> None:
        """Write the next frame.

        Args:
            drawn: (height, width, 3) uint8, BGR.
            frame: what it was drawn on, for its time.
        """
        seconds = Fraction(self._frames) / Fraction(self._rate) if frame.time is None else Fraction(frame.time)
        ticks = round(seconds / self._base)
        lasts = round(Fraction(frame.duration or 1 / self._rate) / self._base)
        if self._last is not None:
            if ticks <= self._last:
                # Each frame of an MP4 is shown after the one before it.
                ticks = self._last + 1
                self._moved += 1
            if self._last in self._lasting:
                self._lasting[self._last] = ticks - self._last
            if frame.duration is None:
                lasts = ticks - self._last
        self._last, self._lasting[ticks] = ticks, max(1, lasts)
        self._end = ticks + self._lasting[ticks]
        with self._errors():
            self._encode(self._picture(drawn, ticks))
        self._frames += 1

    def _picture(self, drawn: NDArray[Any], ticks: int) -> Any:
        """What the encoder takes."""
        width, height = self._size
        if (drawn.shape[1], drawn.shape[0]) != self._size:
            # A stream may change its size.
            other = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="bgr24")
            drawn = self._scale(other, width=width, height=height, interpolation="AREA").to_ndarray(format="bgr24")
            self._scaled += 1
        if width % 2 or height % 2:
            drawn = np.pad(drawn, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        made = self._yuv(np.ascontiguousarray(drawn))
        made.pts, made.time_base = ticks, self._base
        return made

    def _yuv(self, drawn: NDArray[Any]) -> Any:
        if cv2 is not None:
            # Copied: from_numpy_buffer, which does not, loses rows of heights such as 98 (findings/).
            return self._av.VideoFrame.from_ndarray(cv2.cvtColor(drawn, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        return self._convert(
            self._av.VideoFrame.from_numpy_buffer(drawn, format="bgr24"),  # converted before this returns
            format="yuv420p",
            dst_colorspace=_BT601_IN_SWSCALE,
            dst_color_range=_LIMITED,
            threads=1,
        )

    def _encode(self, picture: Any) -> None:
        for packet in self._stream.encode(picture):
            packet.duration = self._lasting.pop(packet.pts, 1)
            if self._sound is not None:
                for heard in self._sound.until(float(packet.pts * self._base)):
                    self._mux(heard)
            self._mux(packet)

    def _mux(self, packet: Any) -> None:
        self._container.mux(packet)

    def close(self) -> list[str]:
        """Give the file its name.

        Returns:
            In what the video differs from what was written to it, a sentence each.
        """
        try:
            with self._errors():
                self._encode(None)
                if self._sound is not None and self._last is not None:
                    for heard in self._sound.until(float(self._end * self._base)):
                        self._mux(heard)
                self._container.close()
            self._check()
        except BaseException:
            self.drop()
            raise
        if self._sound is not None:
            self._sound.close()
        self._stack.close()
        if self._moved:
            self._notes.append(
                f"{self.target}: {self._moved} frames are shown later than in the input, where they come no later than "
                "the frame before them"
            )
        if self._scaled:
            width, height = self._size
            self._notes.append(f"{self.target}: {self._scaled} frames of another size were scaled to {width}x{height}")
        return self._notes

    def _check(self) -> None:
        """Read the file back: a disk that is full need not say so."""
        written = 0
        with contextlib.suppress(self._av.FFmpegError, OSError), open_input(self._av, f"file:{self._path}") as check:
            written = check.streams.video[0].frames
        if written < self._frames:
            raise InputError(
                f"{self.target}: only {written} of {self._frames} frames could be written; is the disk full?"
            )

    def drop(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(self._av.FFmpegError, OSError, ValueError):
            self._container.close()
        if self._sound is not None:
            self._sound.close()
        discard(self._stack)
