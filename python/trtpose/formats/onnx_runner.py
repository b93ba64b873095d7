# SPDX-License-Identifier: Apache-2.0
"""Running an ONNX on the CPU, and pictures to run it on."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from . import onnx_file

__all__ = ["Runner", "sample_pictures"]

Array = NDArray[np.float32]


class Runner:
    """ONNX Runtime on the CPU.

    Args:
        model: what to run; errors call it by its source.
    """

    def __init__(self, model: onnx_file.OnnxBytes) -> None:
        self._session = onnx_file.runtime_session(model, extra="export", purpose="checking the exported model")
        self._source = model.source
        self.input = self._session.get_inputs()[0]
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]

    def __call__(self, pictures: Array) -> list[Array]:
        """Run a batch, N x 3 x H x W. Numbers in half precision become and were float32, as an engine has them."""
        half = pictures.dtype == np.float32 and self.input.type == "tensor(float16)"
        fed = pictures.astype(np.float16) if half else pictures
        try:
            found = cast("list[Array]", self._session.run(None, {self.input.name: fed}))
        except Exception as error:
            raise ModelError(f"{self._source}: ONNX Runtime cannot run it ({onnx_file.short(error)})") from None
        return [values.astype(np.float32) if values.dtype == np.float16 else values for values in found]


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
