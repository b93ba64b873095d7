# SPDX-License-Identifier: Apache-2.0
"""Poses of many frames, a line of JSON each, written as they come."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from .._files import cannot_write, open_growing
from .json_stream import entry_of, head_of

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sources import Frame

__all__ = ["JsonLines"]


class JsonLines:
    """The file of ``infer --jsonl``. A line is handed to the system whole and at once, so that what a run has found is
    there however it ends; the first holds the model and its spec.

    Raises:
        InputError: the file cannot be written, also in :meth:`add`.
    """

    def __init__(self, path: str, engine: Engine) -> None:
        self._path = path
        self._file = None if path == "-" else open_growing(path)
        self._write({**head_of(engine), "spec": engine.spec.to_dict()})

    def _write(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, allow_nan=False) + "\n"
        data = memoryview(line.encode())
        try:
            if self._file is None:
                sys.stdout.write(line)
                sys.stdout.flush()
                return
            while data:
                data = data[os.write(self._file, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def add(self, frame: Frame, poses: Poses) -> None:
        """Write the line of a frame."""
        self._write(entry_of(frame, poses))

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
