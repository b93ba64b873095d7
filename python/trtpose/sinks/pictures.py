# SPDX-License-Identifier: Apache-2.0
"""Annotated pictures and videos in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import _run
from .._files import write_bytes
from .._opencv import encode
from ..errors import InputError
from ..sources import Frame, Sources
from .names import result_names
from .video import Video

__all__ = ["FormatError", "Pictures"]


_KEPT_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def _endings(suffix: str) -> tuple[str, str]:
    return suffix if suffix.lower() in _KEPT_SUFFIXES else ".png", ".mp4"


class FormatError(InputError):
    """One result that its format cannot hold; the run can go on."""


class Pictures:
    """Annotated pictures and videos in one folder, each whole or absent, none over an input or over another.

    A link that has the name of a result is replaced: the file it leads to was not named.
    """

    def __init__(self, folder: Path, sources: Sources) -> None:
        self._folder = folder
        self._sources = sources
        # Of each source the name of a picture, and that of a video; both where the source has yet to tell.
        self._names = result_names(sources, _endings)
        for name in dict.fromkeys(name for names in self._names for name in names):
            target = folder / name
            _run.promise(target, follow=False)
            if target.is_dir():
                raise InputError(f"{target}: is a folder where a result would be written; choose another --out")
        # Those being written, by the number of their source.
        self._videos: dict[int, Video] = {}

    def add_to_video(self, frame: Frame, drawn: NDArray[Any]) -> None:
        """Write a frame of a video with the poses drawn on it, (height, width, 3) uint8, BGR.

        Raises:
            InputError: the file cannot be written.
        """
        if frame.position not in self._videos:
            source = self._sources.video_file(frame.position)
            target = self._target(frame)
            self._videos[frame.position] = Video(target, drawn.shape[1], drawn.shape[0], frame, source)
        self._videos[frame.position].add(drawn, frame)

    def encoded(self, frame: Frame, drawn: NDArray[Any]) -> bytes:
        """The file of a picture with the poses drawn on it, (height, width, 3) uint8, BGR. From any thread.

        Raises:
            FormatError: the format of this picture cannot hold it; others can still be written.
        """
        target = self._target(frame)
        data = encode(target.suffix.lower(), drawn)
        if data is None:
            raise FormatError(
                f"{target}: a picture of {drawn.shape[1]}x{drawn.shape[0]} pixels cannot be written in this format"
            )
        return data

    def write(self, frame: Frame, data: bytes) -> None:
        """Write what :meth:`encoded` made of a picture.

        Raises:
            InputError: the file cannot be written.
        """
        write_bytes(self._target(frame), data, follow=False)

    def _target(self, frame: Frame) -> Path:
        return self._folder / self._names[frame.position][frame.is_video]

    def end_video(self, position: int) -> list[str]:
        """Close the video of a source, if one is being written, and give it its name; what :meth:`Video.close` says."""
        video = self._videos.pop(position, None)
        return [] if video is None else video.close()

    def drop_videos(self) -> None:
        """Leave nothing of the videos being written."""
        while self._videos:
            self._videos.popitem()[1].drop()
