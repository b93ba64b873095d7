# SPDX-License-Identifier: Apache-2.0
"""Poses as labels for training, one text file per picture or frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _run
from .._files import write_bytes
from ..errors import InputError
from ..formats.pose_files import yolo_lines
from .names import result_names

if TYPE_CHECKING:
    from ..results import Poses
    from ..sources import Frame, Sources

__all__ = ["YoloText"]


class YoloText:
    """The folder of ``infer --yolo``: labels in the text form that YOLO trains on, ``NAME.txt`` for a picture and
    ``NAME_FRAME.txt`` (from 1) for a frame of a video, empty where nobody was found.

    Raises:
        InputError: a file cannot be written, in :meth:`add`.
    """

    def __init__(self, folder: Path, sources: Sources) -> None:
        self._folder = folder
        self._names = [names[0][: -len(".txt")] for names in result_names(sources, lambda _: (".txt", ".txt"))]
        for number, name in enumerate(self._names):
            if sources.is_video(number) is False:
                _run.promise(folder / f"{name}.txt", follow=False)
            else:
                self._names[number] = self._apart(name, {n.lower() for i, n in enumerate(self._names) if i != number})

    @staticmethod
    def _apart(name: str, others: set[str]) -> str:
        """A video's name, changed where ``clip_7`` is another source and a frame of ``clip`` would be called so too."""
        while name.lower() in others or any(re.fullmatch(re.escape(name.lower()) + r"_[0-9]+", n) for n in others):
            name += "_frame"
        return name

    def add(self, frame: Frame, poses: Poses) -> None:
        """Write the file of a frame."""
        name = self._names[frame.position]
        target = self._folder / (f"{name}_{frame.index + 1}.txt" if frame.is_video else f"{name}.txt")
        if target.is_dir():
            raise InputError(f"{target}: is a folder where a result would be written; choose another --yolo")
        write_bytes(target, "".join(f"{line}\n" for line in yolo_lines(poses)).encode(), follow=False)
