# SPDX-License-Identifier: Apache-2.0
"""Poses of many frames, a line of JSON each, written as they come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .growing import GrowingFile
from .json_stream import entry_of, head_of

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sources import Frame, Sources

__all__ = ["JsonLines"]


class JsonLines:
    """The file of ``infer --jsonl``. A line is handed to the system whole and at once, so that what a run has found is
    there however it ends; the first, :meth:`head`, holds the model and its spec.

    Args:
        path: of the file, or ``-``.
        engine: what runs.
        keep: bytes of the file that an earlier run wrote and that stay.
        how: what the first line says beside what the engine knows, such as the tracker.
        sources: of the run; with them the first line of a video says how many ``bytes`` its file has, by which a later
            run sees that it has grown or was repaired.

    Raises:
        InputError: the file cannot be written, also in :meth:`add`.
    """

    def __init__(
        self,
        path: str,
        engine: Engine,
        *,
        keep: int = 0,
        how: Mapping[str, Any] | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._sources = sources
        self._file = GrowingFile(path, keep)
        if not keep:
            self._write(self.head(engine, how))

    @staticmethod
    def head(engine: Engine, how: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The first line."""
        return {**head_of(engine, how), "spec": engine.spec.to_dict()}

    def _write(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value, allow_nan=False) + "\n")

    def add(self, frame: Frame, poses: Poses) -> None:
        """Write the line of a frame."""
        entry = entry_of(frame, poses)
        file = None
        if frame.is_video and frame.index == 0 and self._sources is not None:
            file = self._sources.video_file(frame.position)
        if file is not None:
            with contextlib.suppress(OSError):  # removed meanwhile
                entry["bytes"] = file.stat().st_size
        self._write(entry)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
