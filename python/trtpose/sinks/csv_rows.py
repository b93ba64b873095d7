# SPDX-License-Identifier: Apache-2.0
"""Poses as comma-separated values, a row per person, written as they come."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from ..formats import pose_table
from .growing import GrowingFile

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sources import Frame

__all__ = ["CsvRows"]


class CsvRows:
    """The file of ``infer --csv``: a row of names, then a row for each person found. The rows of a frame are handed to
    the system whole and at once, so that what a run has found is there however it ends. A frame with nobody has no row.

    Raises:
        InputError: the file cannot be written, also in :meth:`add`.
    """

    def __init__(self, path: str, engine: Engine) -> None:
        self._file = GrowingFile(path)
        self._spec = engine.spec
        self._write([[*pose_table.FRAME, *pose_table.columns(engine.spec)]])

    def add(self, frame: Frame, poses: Poses) -> None:
        """Write the rows of a frame."""
        cells = pose_table.frame_cells(frame, poses)
        cells[3] = None if cells[3] is None else f"{cells[3]:%Y-%m-%dT%H:%M:%S.%f}Z"
        self._write([[*cells, *pose_table.rounded(row, self._spec)] for row in pose_table.rows(poses)])

    def _write(self, rows: list[list[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue())

    def __enter__(self) -> CsvRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
