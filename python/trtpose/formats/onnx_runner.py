# SPDX-License-Identifier: Apache-2.0
"""Running an ONNX on the CPU, and pictures to run it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..errors import ModelError

__all__ = ["Runner", "sample_pictures"]

Array = NDArray[np.float32]


class Runner:
    """ONNX Runtime on the CPU.

    Args:
        model: the file or its bytes.
        source: what to call it in errors.
    """

    def __init__(self, model: Path | bytes, source: str) -> None:
        ort: Any = require("onnxruntime", package="onnxruntime", extra="export", purpose="checking the exported model")
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores may be shared
        data = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class for its exceptions
            raise ModelError(f"{source}: ONNX Runtime cannot load it ({_short(error)})") from None
        self._source = source
        self.input = self._session.get_inputs()[0]
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]

    def __call__(self, pictures: Array) -> list[Array]:
        """Run a batch, N x 3 x H x W."""
        try:
            return cast("list[Array]", self._session.run(None, {self.input.name: pictures}))
        except Exception as error:
            raise ModelError(f"{self._source}: ONNX Runtime cannot run it ({_short(error)})") from None


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def sample_pictures(shape: tuple[int, int, int, int], seed: int) -> dict[str, Array]:
    """Inputs to compare on, N x 3 x H x W in 0..1: noise, and soft shapes on the grey of a letterbox."""
    random = np.random.default_rng(seed)
    batch, channels, height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    scene = np.full(shape, 114 / 255, np.float32)
    for n in range(batch):
        for _ in range(12):
            cy, cx, size = (
                random.uniform(0, height),
                random.uniform(0, width),
                random.uniform(0.05, 0.4) * min(height, width),
            )
            blob = np.exp(-(((rows - cy) ** 2 + (columns - cx) ** 2) / size**2)).astype(np.float32)
            scene[n] += blob * random.uniform(-0.5, 0.5, (channels, 1, 1)).astype(np.float32)
    return {"noise": random.random(shape, np.float32), "shapes": scene.clip(0, 1)}
