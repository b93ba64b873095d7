# SPDX-License-Identifier: Apache-2.0
"""Poses in an Apache Parquet file, a row per person."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .._files import atomic_path, cannot_write, discard
from .._optional import require
from ..formats import pose_table

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sources import Frame

__all__ = ["Parquet"]

_GROUP = 20_000
"""Rows that are held before they are written; a group of a hundred columns is then a few megabytes."""


class Parquet:
    """The file of ``infer --parquet``: the columns of ``--csv`` with types, the numbers not rounded. The model and its
    spec stand in the file's metadata under ``trtpose``. Written as the run goes; whole or absent.

    Raises:
        DeviceError: pyarrow is not installed; the message says how.
        InputError: the file cannot be written, also in :meth:`add`.
    """

    def __init__(self, path: str, engine: Engine) -> None:
        self._arrow: Any = require("pyarrow", package="pyarrow", extra="parquet", purpose="--parquet")
        parquet: Any = require("pyarrow.parquet", package="pyarrow", extra="parquet", purpose="--parquet")
        self._path = path
        self._rows: list[list[Any]] = []
        self._schema = self._made_schema(engine)
        self._stack = contextlib.ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        try:
            self._writer: Any = parquet.ParquetWriter(str(temporary), self._schema, compression="zstd")
        except OSError as error:
            self._stack.__exit__(type(error), error, None)
            raise cannot_write(path, error) from error

    def _made_schema(self, engine: Engine) -> Any:
        pa, whole = self._arrow, self._arrow.int32()
        types = {
            "source": pa.string(),
            "frame": pa.int64(),
            "time": pa.float64(),
            "utc": pa.timestamp("us", tz="UTC"),
            "width": whole,
            "height": whole,
            "id": pa.int64(),
            "class_id": whole,
            "class": pa.string(),
        }
        names = [*pose_table.FRAME, *pose_table.columns(engine.spec)]
        fields = [pa.field(name, types.get(name, pa.float32())) for name in names]
        about = {"trtpose": engine.spec.to_json(), "model": str(engine.model)}
        return pa.schema(fields, metadata=about)

    def add(self, frame: Frame, poses: Poses) -> None:
        """Take the rows of a frame."""
        cells = pose_table.frame_cells(frame, poses)
        # Names of files may hold bytes that are no text.
        cells[0] = cells[0].encode("utf-8", "replace").decode()
        self._rows += [[*cells, *row] for row in pose_table.rows(poses)]
        if len(self._rows) >= _GROUP:
            self._write()

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        columns = zip(*rows, strict=True) if rows else ([] for _ in self._schema)
        arrays = [self._arrow.array(list(c), type=f.type) for c, f in zip(columns, self._schema, strict=True)]
        try:
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def __enter__(self) -> Parquet:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                if self._rows:
                    self._write()
                try:
                    self._writer.close()
                except OSError as problem:
                    raise cannot_write(self._path, problem) from problem
        except BaseException:
            self._discard()
            raise
        if error[0] is None:
            self._stack.close()
        else:
            self._discard()

    def _discard(self) -> None:
        """Leave no file; the error that led here is the one to report."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()
        discard(self._stack)
