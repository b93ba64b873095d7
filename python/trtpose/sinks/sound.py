# SPDX-License-Identifier: Apache-2.0
"""The sound of a video file, copied as it is beside the annotated pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._pyav import open_input, require_av

__all__ = ["NoSoundError", "Sound"]


class NoSoundError(Exception):
    """Why the sound of a video is not copied."""


class Sound:
    """The sound of a file as packets for another container, which is not written to yet.

    Args:
        source: the file.
        target: PyAV's output container; gets a stream.
        origin: seconds on the source's clock at which the target's begins.

    Raises:
        NoSoundError: the target cannot hold it, or it cannot be read.
    """

    def __init__(self, source: Path, target: Any, origin: float) -> None:
        av = require_av(f"{source}: reading its sound")
        self._errors = (av.FFmpegError, OSError)
        try:
            self._container = open_input(av, f"file:{source}")
        except self._errors as error:
            raise NoSoundError(f"it cannot be read ({error.strerror})") from None
        stream = self._container.streams.best("audio")
        codec = "unknown" if stream is None else stream.codec_context.name
        if stream is None or stream.codec_context.codec.canonical_name not in target.supported_codecs:
            self._container.close()
            raise NoSoundError(f"MP4 holds none of the input's kind ({codec})")
        self._stream = target.add_stream_from_template(stream)
        self._shift = round(origin / stream.time_base)
        self._packets = self._container.demux(stream)
        self._next: Any = None

    def until(self, seconds: float) -> Iterator[Any]:
        """The packets that begin before this time of the target and were not given out yet."""
        while True:
            packet, self._next = self._next, None
            if packet is None:
                try:
                    packet = next(self._packets, None)
                except self._errors:
                    return  # cut off; the reader of the pictures says so
                if packet is None:
                    return
                if packet.dts is None or packet.pts is None or packet.size == 0:
                    continue
                packet.pts, packet.dts = packet.pts - self._shift, packet.dts - self._shift
                if packet.pts < 0:
                    continue
            if packet.pts * packet.time_base >= seconds:
                self._next = packet
                return
            packet.stream = self._stream
            yield packet

    def close(self) -> None:
        self._container.close()
