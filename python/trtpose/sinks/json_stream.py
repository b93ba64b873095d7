# SPDX-License-Identifier: Apache-2.0
"""Poses of many frames in one JSON file."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from .._files import atomic_path, cannot_write, discard

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sources import Frame
    from ..thresholds import Thresholds

__all__ = ["JsonStream", "entry_of", "head_of"]


def head_of(
    engine: Engine, how: Mapping[str, Any] | None = None, *, thresholds: Thresholds | None = None
) -> dict[str, Any]:
    """What ran: ``how`` has what the engine does not know, ``thresholds`` those that are not its own."""
    kept = engine.thresholds if thresholds is None else thresholds
    head = {
        "model": str(engine.model),
        "device": engine.device,
        "backend": engine.backend,
        "precision": engine.precision,
        "imgsz": list(engine.imgsz),
        "thresholds": {"conf": float(kept.conf), "iou": float(kept.iou), "max_det": int(kept.max_det)}
        | {"agnostic": bool(kept.agnostic), "nms": kept.nms},
    }
    return {**head, **(how or {})}


def entry_of(frame: Frame, poses: Poses) -> dict[str, Any]:
    """What was found in a frame, and which frame it is."""
    entry: dict[str, Any] = {"source": frame.source}
    if frame.is_video:
        entry["frame"] = frame.index
        if frame.time is not None:
            entry["time"] = round(frame.time, 6)
        if frame.arrived is not None:
            entry["utc"] = f"{dt.datetime.fromtimestamp(frame.arrived, dt.timezone.utc):%Y-%m-%dT%H:%M:%S.%f}Z"
    entry.update(poses.to_dict())
    return entry


class JsonStream:
    """The file of ``infer --json``, written as the run goes so that a long video needs no memory; whole or absent."""

    def __init__(self, path: str, engine: Engine, *, how: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._stack = contextlib.ExitStack()
        if path == "-":
            self._file: TextIO = sys.stdout
        else:
            temporary = self._stack.enter_context(atomic_path(path))
            self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
        self._write(json.dumps(head_of(engine, how))[:-1] + ', "images": [')
        self._first = True

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def add(self, frame: Frame, poses: Poses) -> None:
        self._write(("\n" if self._first else ",\n") + json.dumps(entry_of(frame, poses), allow_nan=False))
        self._first = False

    def __enter__(self) -> JsonStream:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self._write("\n]}\n")
                # Written out here, where a full disk can still be told; closing would try again.
                self._write_out()
        except BaseException:
            discard(self._stack)
            raise
        if error[0] is None:
            self._stack.close()
        else:
            discard(self._stack)

    def _write_out(self) -> None:
        try:
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._path, error) from error
