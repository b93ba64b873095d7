# SPDX-License-Identifier: Apache-2.0
"""Parsing and building ONNX with the parser and builder of TensorRT for RTX, which need neither a GPU nor a driver."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

REASON = "TensorRT for RTX is not installed; pip install tensorrt_rtx_cu13_libs tensorrt_rtx_cu13_bindings"


def load() -> Any:
    """The module, or skip the test with the reason."""
    try:
        return importlib.import_module("tensorrt_rtx_bindings")
    except ImportError:
        pytest.skip(REASON)


def build(model: bytes | Path, profiles: dict[str, tuple[tuple[int, ...], ...]] | None = None) -> bytes:
    """Build an engine from an ONNX model.

    Args:
        model: the model or the file it is in.
        profiles: smallest, best and largest shape of each input with open dimensions.

    Returns:
        The plan.

    Raises:
        AssertionError: the parser or the builder refused the model; the message holds what they said.
    """
    trt = load()

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.lines.append(msg)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    data = model.read_bytes() if isinstance(model, Path) else model
    if not parser.parse(data):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise AssertionError(f"the TensorRT parser refused the model: {errors + log.lines}")
    config = builder.create_builder_config()
    if profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in profiles.items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, f"the TensorRT builder refused the model: {log.lines}"
    return bytes(plan)
