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
from ..sources import PICTURES, VIDEOS, Frame, Sources
from .video import Video

__all__ = ["FormatError", "Pictures"]


_KEPT_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


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
        self._names: list[tuple[str, str]] = []
        taken: set[str] = set()
        videos = set(VIDEOS)
        for number, name in enumerate(sources.names):
            path = Path(name.replace("://", "_").rstrip("/")) if "://" in name else Path(name)
            suffix = path.suffix.lower()
            video = sources.is_video(number)
            stem = path.stem if suffix in videos or video is False or suffix in PICTURES else path.name
            still = path.suffix if suffix in _KEPT_SUFFIXES else ".png"
            endings = {True: (".mp4", ".mp4"), False: (still, still), None: (still, ".mp4")}[video]
            stem = "".join(c if c.isalnum() or c in " ._-+()" else "_" for c in stem)[:150] or "frame"
            # Compared without case: some file systems do not tell a.jpg and A.jpg apart.
            chosen, count = stem, 0
            while any((chosen + ending).lower() in taken for ending in endings):
                count += 1
                chosen = f"{stem}_{count}"
            taken |= {(chosen + ending).lower() for ending in endings}
            self._names.append((chosen + endings[0], chosen + endings[1]))
        for name in dict.fromkeys(name for names in self._names for name in names):
            target = folder / name
            _run.promise(target, follow=False)
            if target.is_dir():
                raise InputError(f"{target}: is a folder where a result would be written; choose another --out")
        self._video: Video | None = None

    def add(self, frame: Frame, drawn: NDArray[Any]) -> None:
        """Write a frame with the poses drawn on it, (height, width, 3) uint8, BGR.

        Raises:
            FormatError: the format of this picture cannot hold it; others can still be written.
            InputError: the file cannot be written.
        """
        target = self._folder / self._names[frame.position][frame.is_video]
        if frame.is_video:
            if self._video is None or self._video.target != target:
                self.end_video()
                source = self._sources.video_file(frame.position)
                self._video = Video(target, drawn.shape[1], drawn.shape[0], frame, source)
            self._video.add(drawn, frame)
            return
        data = encode(target.suffix.lower(), drawn)
        if data is None:
            raise FormatError(
                f"{target}: a picture of {drawn.shape[1]}x{drawn.shape[0]} pixels cannot be written in this format"
            )
        write_bytes(target, data, follow=False)

    def end_video(self) -> list[str]:
        """Close the video being written, if there is one, and give it its name; what :meth:`Video.close` says."""
        video, self._video = self._video, None
        return [] if video is None else video.close()

    def drop_video(self) -> None:
        """Leave nothing of the video being written, if there is one."""
        video, self._video = self._video, None
        if video is not None:
            video.drop()
