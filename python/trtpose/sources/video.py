# SPDX-License-Identifier: Apache-2.0
"""Videos and streams, read by PyAV with the times that the container gives their frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._opencv import cv2
from .._pyav import open_input, require_av
from .answers import open_failure
from .capture import OpenError, Shot
from .decoders import Undrawn, accelerator, undrawn
from .display import display_turn
from .picture_head import Turn
from .slices import WholePictures

__all__ = ["Video"]

_OPEN_TIMEOUT = 10.0
_READ_TIMEOUT = 10.0

_SELF_TIMED = frozenset({"mov", "matroska", "avi", "asf"})
"""Containers that say in their head how long they are, and right; elsewhere the length is computed from the bytes that
are there, or what writes it does so badly."""

_FROM_ZERO = frozenset({"matroska"})
"""Containers whose length counts from time zero, wherever the first frame is."""

_IN_PARTS = frozenset({"rtsp", "rtp"})
"""Where the slices of a picture come one by one."""

_NO_ORDER = frozenset({"avi"})
"""Containers without presentation times: pictures that are reordered come out shifted by the decoder's delay."""


class Video:
    """A :class:`trtpose.sources.capture.Capture`.

    Args:
        address: a path or an address.
        stream: whether it is an address; one that does not say its length is then live.
        transport: ``tcp`` or ``udp``, by which RTSP is asked to send.
        decode: one of :data:`trtpose._pyav.DECODERS`.

    Attributes:
        drops: whether most of its frames are dropped, so that pixels are made of those alone that somebody asks for.

    Raises:
        OpenError: it cannot be opened.
        DeviceError: there is no PyAV.
    """

    def __init__(self, address: str, *, stream: bool = False, transport: str = "tcp", decode: str = "cpu") -> None:
        self._av = require_av("reading a video or stream")
        self._container = self._open(address, stream, transport, decode)
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            self._container.close()
            raise OpenError("holds no video, only other streams; check the file")
        kinds = set(self._container.format.name.split(","))
        self._from_zero = bool(kinds & _FROM_ZERO)
        length = (self._container.duration or 0) / 1e6
        self._said = length if length > 0 and kinds & _SELF_TIMED else None
        length -= max(0, self._container.start_time or 0) / 1e6 if self._from_zero else 0
        self.length = length if length > 0 else None
        self.total = self._stream.frames or None
        self.live = stream and self.length is None
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate is not None and 0 < rate <= 1000 else None
        self._base = self.time_base = Fraction(self._stream.time_base)
        self.width, self.height = self._stream.codec_context.width, self._stream.codec_context.height
        self.sound = bool(self._container.streams.audio)
        # Frames that are decoded at once come out later by as many, which a live picture must not.
        device = decode != "cpu" and self._stream.codec_context.is_hwaccel
        self._stream.thread_type = "SLICE" if self.live or device else "AUTO"
        # Raw pictures in a row have no times but those that they come at.
        untimed = bool(self._container.format.flags & self._av.format.Flags.no_timestamps.value)
        self._by_arrival = self.live and untimed
        if self._by_arrival:
            self.time_base = Fraction(1, 90_000)
        self._no_order = bool(kinds & _NO_ORDER)
        self._start: int | None = None if self.live or self._no_order else self._start_ticks()
        self._whole = WholePictures(self._av, self._stream.codec_context.name if kinds & _IN_PARTS else "")
        self.drops = False
        self._converts = threading.Lock()
        self._reformat = self._av.video.reformatter.VideoReformatter().reformat
        self._turn: Turn | None = None
        self._read = self._bad = 0
        # Of the sound and others: the first time; of everything: the last, both as the container counts, in seconds.
        self._heard: Fraction | None = None
        self._end = 0.0
        self._failure = ""

    def _open(self, address: str, stream: bool, transport: str, decode: str) -> Any:
        begin = time.monotonic()
        options = {"rtsp_transport": transport} if address.lower().startswith(("rtsp://", "rtsps://")) else {}
        try:
            return open_input(
                self._av,
                # Without it FFmpeg takes what stands before a colon in a name for a protocol.
                address if stream else f"file:{address}",
                options=options,
                timeout=(_OPEN_TIMEOUT, _READ_TIMEOUT),
                **accelerator(decode),
            )
        except (self._av.FFmpegError, OSError, ValueError) as error:
            if not stream:
                raise OpenError("not a video that can be read; check the file") from None
            # Cut short by the timeout FFmpeg reports whatever it was at.
            late = time.monotonic() - begin >= _OPEN_TIMEOUT
            raise open_failure(TimeoutError() if late else error) from None

    def _start_ticks(self) -> int | None:
        """The time of the container's start in the video's time base; None where the first packets tell it.

        A sound's lead-in may lie before zero; pictures there are rare and begin it then.
        """
        own: int | None = self._stream.start_time
        start: int | None = self._container.start_time
        if start is None:
            return None
        ticks = round(Fraction(start, 1_000_000) / self._base)
        return max(0, ticks) if own is None or own >= 0 else own

    def shots(self) -> Iterator[Shot]:
        before: int | None = None
        step = 1 if self.fps is None else max(1, round(1 / (Fraction(self.fps) * self._base)))
        begin = time.monotonic()
        for frame in self._frames():
            ticks = self._ticks(frame, before, step)
            if before is not None and ticks > before:
                step = ticks - before
            before = ticks
            if self._start is None:
                heard = ticks if self._heard is None else max(0, round(self._heard / self._base))
                self._start, begin = min(ticks, heard), time.monotonic()
            since = (ticks - self._start) * self._base
            lasts = float(frame.duration * self._base) if frame.duration else None
            if self._by_arrival:
                since, lasts = Fraction(time.monotonic() - begin), None
            self._read += 1
            self._end = max(self._end, float((ticks + (frame.duration or step)) * self._base))
            # The sound of an AVI waits for no decoder.
            origin = 0.0 if self._no_order else float(self._start * self._base)
            yield Shot(self._image(frame), float(since), lasts, origin)

    @staticmethod
    def _ticks(frame: Any, before: int | None, step: int) -> int:
        """When a frame is shown; without a time, one step after the one before it."""
        shown = frame.pts if frame.pts is not None else frame.dts
        if shown is not None:
            return int(shown)
        return 0 if before is None else before + step

    def _frames(self) -> Iterator[Any]:
        """Decoded frames; a packet that cannot be decoded is counted and left out."""
        packets = self._container.demux()
        while True:
            begin = time.monotonic()
            silent = False
            try:
                packet = next(packets, None)
                # Interrupted by the timeout FFmpeg first hands on what it held, and waits once more.
                silent = self.live and time.monotonic() - begin >= _READ_TIMEOUT
            except (self._av.FFmpegError, OSError) as error:
                self._failure = error.strerror or type(error).__name__
                silent = type(error).__name__ == "ExitError"
                packet = None
            if silent:
                self._failure = f"nothing came for {_READ_TIMEOUT:.0f} seconds"
                if self.live:
                    return  # what is held was taken before, and is not what the camera sees now
            if packet is None:
                # Where reading failed the decoder still has some; else it is empty already.
                for last in (*self._whole.rest(), None):
                    yield from self._decoded(last)
                return
            if packet.stream.index != self._stream.index:
                self._hear(packet)
            elif packet.size or packet.dts is None:  # else a frame that an AVI left out
                for whole in self._whole.take(packet):
                    yield from self._decoded(whole)

    def _hear(self, packet: Any) -> None:
        """Sound and others may begin before the pictures and last longer."""
        if packet.pts is None or not packet.time_base:
            return
        begin = packet.pts * Fraction(packet.time_base)
        self._heard = begin if self._heard is None else min(self._heard, begin)
        self._end = max(self._end, float(begin + (packet.duration or 0) * Fraction(packet.time_base)))

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            frames = self._stream.codec_context.decode(packet)
        except EOFError:
            return []
        except (self._av.FFmpegError, OSError):
            # A recording may begin between two whole pictures; what comes before the first is not missing.
            self._bad += self._read > 0
            return []
        if packet is not None and packet.is_corrupt:
            self._bad += self._read > 0
        return frames

    def _image(self, frame: Any) -> NDArray[np.uint8] | Undrawn:
        if frame.key_frame or self._read == 1:  # nothing is turned anew between two whole pictures
            self._turn = display_turn(frame)
        found = undrawn(frame, self._converted) if self._turn is None else None
        if found is None and self.drops and self._turn is None:
            found = Undrawn(frame, None, self._converted)
        if found is not None:
            return found
        image = self._converted(frame)
        return image if self._turn is None else _turned(image, self._turn)

    def _converted(self, frame: Any) -> NDArray[np.uint8]:
        # One thread: the frames that follow are decoded by the others. Later ones ask for what they draw.
        with self._converts:
            shown = self._reformat(frame, format="bgr24", threads=1)
        (plane,) = shown.planes
        rows = np.frombuffer(plane, np.uint8).reshape(shown.height, plane.line_size)[:, : 3 * shown.width]
        return rows.reshape(shown.height, shown.width, 3)

    def problem(self) -> str:
        if self.live:
            return self._failure
        if self._read == 0:
            return "holds no frame that can be decoded; check the file"
        end = self._end if self._from_zero else self._end - float((self._start or 0) * self._base)
        missing = (self.total or 0) - self._read
        if self._said is not None and self._said - end > max(5 / (self.fps or 25.0), 0.05 * self._said):
            shown = f"of {self.total} frames" if missing > 0 else f"frames, at {end:.2f} of {self._said:.2f} seconds"
            return f"ends after {self._read} {shown}; the file is cut off or damaged"
        if self._bad and missing > max(5, 0.05 * (self.total or 0)):
            return f"ends after {self._read} of {self.total} frames; the file is cut off or damaged"
        if self._failure:
            return f"ends after {self._read} frames ({self._failure}); the file is cut off or damaged"
        if self._bad:
            return f"{self._bad} of its frames are cut off or damaged; what could be decoded was read"
        return ""

    def close(self) -> None:
        self._container.close()


_CV2_TURNS = {1: "ROTATE_90_COUNTERCLOCKWISE", 2: "ROTATE_180", 3: "ROTATE_90_CLOCKWISE"}


def _turned(image: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    if cv2 is None or turn.mirror is not None or turn.quarters not in _CV2_TURNS:
        return turn.applied(image)
    return cv2.rotate(image, getattr(cv2, _CV2_TURNS[turn.quarters]))
