# SPDX-License-Identifier: Apache-2.0
"""A file that somebody wants exported, as the families look at it in turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import _core
from . import onnx_file
from .checkpoint import Checkpoint

if TYPE_CHECKING:
    import onnx

__all__ = ["SourceFile"]


class SourceFile:
    """An ONNX file or a checkpoint. What a family asks of it is read then, and once for all of them.

    Use it as a context manager: a checkpoint stays open until the end.

    Attributes:
        path: the file.
        is_onnx: whether its name says that it is an ONNX file; else it is read as a checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_onnx = path.suffix.lower() == ".onnx"
        self._opened: Checkpoint | None = None

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What an ONNX file says of its inputs, outputs and metadata, as ``_core.read_model_file`` gives it.

        Raises:
            ModelError: it cannot be read.
        """
        return _core.read_model_file(str(self.path))

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The graph of an ONNX file. Not to be changed: others look at it too.

        Raises:
            ModelError: it cannot be read.
            DeviceError: the package onnx is missing.
        """
        return onnx_file.parse(onnx_file.read(self.path), extra="export", purpose="reading ONNX")

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """A checkpoint, open.

        Raises:
            ModelError: it cannot be read.
        """
        self._opened = Checkpoint(self.path)
        return self._opened
