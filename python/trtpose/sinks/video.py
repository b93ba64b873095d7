# SPDX-License-Identifier: Apache-2.0
"""An annotated video."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._files import atomic_path
from .._opencv import cv2, require_opencv
from ..errors import InputError

__all__ = ["Video"]


class Video:
    """One MP4, written frame by frame; it has its name when :meth:`close` has seen that it is whole."""

    def __init__(self, target: Path, width: int, height: int, fps: float | None) -> None:
        require_opencv(f"{target}: writing a video")
        self.target = target
        self._size = width, height
        self._frames = 0
        self._stack = contextlib.ExitStack()
        try:
            str(target).encode()
        except UnicodeEncodeError:
            # OpenCV 5 crashes on such a string.
            raise InputError(
                f"{target}: the name is not valid UTF-8, which OpenCV needs; choose another --out"
            ) from None
        self._path = self._stack.enter_context(atomic_path(target))
        rate = 25.0 if fps is None else fps
        self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), rate, self._size)
        if not self._writer.isOpened():
            self.drop()
            raise InputError(
                f"{target}: OpenCV cannot write an MP4 of {width}x{height} pixels; use --no-draw or --json"
            )

    def add(self, frame: NDArray[Any]) -> None:
        if (frame.shape[1], frame.shape[0]) != self._size:
            # A stream may change its size; the writer would drop such frames without a word.
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame)
        self._frames += 1

    def close(self) -> str:
        """Give the file its name.

        Returns:
            In what the video differs from what was written to it, a sentence; empty where it does not.
        """
        self._writer.release()
        # The writer says nothing of a full disk; the file is read back to see that all frames are in it.
        check = cv2.VideoCapture(str(self._path))
        written = round(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        kept = round(check.get(cv2.CAP_PROP_FRAME_WIDTH)), round(check.get(cv2.CAP_PROP_FRAME_HEIGHT))
        check.release()
        if written < self._frames:
            self.drop()
            raise InputError(
                f"{self.target}: only {written} of {self._frames} frames could be written; is the disk full?"
            )
        self._stack.close()
        if kept == self._size:
            return ""
        return (
            f"{self.target}: is {kept[0]}x{kept[1]} pixels of the {self._size[0]}x{self._size[1]} of the input: this "
            "encoder keeps even sides alone; the JSON speaks of the input's"
        )

    def drop(self) -> None:
        self._writer.release()
        problem = InputError("discarded")
        with contextlib.suppress(InputError):
            self._stack.__exit__(InputError, problem, None)
