# SPDX-License-Identifier: Apache-2.0
"""The one way of an ONNX model to the libraries that read it.

What they get are bytes that trtpose's own reader has checked (docs/security.md says for what), never a path: weights
that a file keeps in others are taken in by that reader. Nothing else in the package calls the functions by which onnx,
ONNX Runtime, OpenVINO and TensorRT open a model; ``tools/check_imports.py`` sees to that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .. import _core
from .._checks import file_name
from .._optional import require
from ..errors import ModelError
from .onnx_pieces import pieces

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxBytes", "checked", "openvino_model", "parse", "parse_with_tensorrt", "read", "runtime_session", "short"]


class OnnxBytes:
    """An ONNX model that was checked, whole: no weight of it is anywhere else.

    Made by :func:`read` and :func:`checked`.

    Attributes:
        data: the model.
        source: what to call it in errors.
    """

    __slots__ = ("data", "source")

    def __init__(self, data: bytes, source: str, token: object) -> None:
        if token is not _TOKEN:
            raise TypeError("OnnxBytes are made by read() and checked()")
        self.data = data
        self.source = source


_TOKEN = object()


def read(path: str | os.PathLike[str]) -> OnnxBytes:
    """Read and check an ONNX file.

    Raises:
        ModelError: missing, not ONNX, damaged, of a version that the libraries do not know, or with weights in a file
            that it may not name.
    """
    name = file_name(path, "model")
    return OnnxBytes(_core.read_onnx(name), name, _TOKEN)


def checked(model: onnx.ModelProto, source: str) -> OnnxBytes:
    """A graph that was made or changed here, as bytes that were checked.

    Raises:
        ModelError: as :func:`read`.
    """
    try:
        data = b"".join(pieces(model))
    except ValueError as error:  # protobuf ends at 2 GiB
        raise ModelError(f"{source}: the model cannot be written ({error})") from None
    _core.check_onnx(data, source)
    return OnnxBytes(data, source, _TOKEN)


def parse(content: OnnxBytes, *, extra: str, purpose: str) -> onnx.ModelProto:
    """The model as a protocol buffer.

    Args:
        content: the model.
        extra: of trtpose, that brings the package onnx.
        purpose: what it is needed for.

    Raises:
        ModelError: the package onnx does not take it.
        DeviceError: the package onnx is missing.
    """
    package: Any = require("onnx", package="onnx", extra=extra, purpose=purpose)
    try:
        return package.load_model_from_string(content.data)
    except Exception as error:  # protobuf and onnx have no common base class
        raise ModelError(f"{content.source}: cannot be read as ONNX ({short(error)}); export it again") from None


def runtime_session(content: OnnxBytes, *, extra: str, purpose: str, planned: bool = True) -> Any:
    """The model in ONNX Runtime on the CPU.

    Args:
        content: the model.
        extra: of trtpose, that brings the package onnxruntime.
        purpose: what it is needed for.
        planned: whether memory is laid out before a run from what the one before took: less work for networks of few
            outputs, and a second copy of everything where most tensors are outputs.

    Raises:
        ModelError: ONNX Runtime does not take it.
        DeviceError: the package onnxruntime is missing.
    """
    ort: Any = require("onnxruntime", package="onnxruntime", extra=extra, purpose=purpose)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors arrive as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores may be shared
    options.enable_mem_pattern = planned
    try:
        # Without the fallback, which prints and tries the same provider again.
        return ort.InferenceSession(content.data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime has no common base class for its exceptions
        raise ModelError(f"{content.source}: ONNX Runtime cannot load it ({short(error)}); export it again") from None


def openvino_model(content: OnnxBytes) -> Any:
    """The model in OpenVINO, not compiled.

    Raises:
        RuntimeError: OpenVINO does not take it.
    """
    import openvino

    return openvino.Core().read_model(content.data)


def parse_with_tensorrt(parser: Any, content: OnnxBytes) -> bool:
    """Give the model to an OnnxParser of TensorRT; False where it refuses, which it says itself."""
    return bool(parser.parse(content.data))


def short(error: Exception) -> str:
    """The first line of a library's message."""
    return (str(error).strip().splitlines() or [""])[0][:200]
