# SPDX-License-Identifier: Apache-2.0
"""Comparing an exported model with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..errors import ModelError
from ..spec import ModelSpec

__all__ = ["Runner", "compare", "decode", "sample_pictures"]

Array = NDArray[np.float32]

# Folding batch norm in float64 and another order of summation change a head by some 1e-6 of its range.
HEAD_TOLERANCE = 1e-4
# The same error after decoding: the largest stride times twice the raw value, plus float32's spacing of large pixels.
DECODED_TOLERANCE = 1e-5
DECODED_FLOOR = 1e-2


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


def sigmoid(x: Array) -> Array:
    """The logistic function in float32, without overflow."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x))).astype(np.float32)


def decode(heads: Sequence[Array], spec: ModelSpec) -> Array:
    """Decode raw heads to N x M x F in input pixels, as ``docs/conventions.md`` defines it.

    Args:
        heads: per stride N x (A*F) x h x w.
        spec: of layout ``heads``.
    """
    levels: list[Array] = []
    first = 5 + spec.classes
    for head, stride, anchors in zip(heads, spec.strides, spec.anchors, strict=True):
        n, _, h, w = head.shape
        t = head.reshape(n, len(anchors), spec.fields, h, w).transpose(0, 1, 3, 4, 2)
        rows, columns = np.mgrid[:h, :w].astype(np.float32)
        cells = np.stack([columns, rows], -1)
        out = sigmoid(t)
        out[..., 0:2] = (out[..., 0:2] * 2 - 0.5 + cells) * stride
        out[..., 2:4] = (out[..., 2:4] * 2) ** 2 * np.array(anchors, np.float32)[None, :, None, None]
        for k in range(spec.keypoints):
            at = first + k * spec.kpt_shape[1]
            out[..., at : at + 2] = (t[..., at : at + 2] * 2 - 0.5 + cells) * stride
        levels.append(out.reshape(n, -1, spec.fields))
    return np.concatenate(levels, 1)


def compare(
    runner: Callable[[Array], list[Array]],
    reference: Callable[[Array], list[Array]],
    spec: ModelSpec,
    heads_spec: ModelSpec,
    shape: tuple[int, int, int, int],
    source: str,
) -> list[str]:
    """Run both on the sample pictures and compare.

    Args:
        runner: the exported model.
        reference: gives the raw heads.
        spec: of the exported model, layout ``heads`` or ``decoded``.
        heads_spec: the spec of the raw heads.
        shape: of the input to compare at.
        source: what to call the model in errors.

    Returns:
        One line per kind of picture with the largest differences.

    Raises:
        ModelError: they differ by more than rounding; the message holds the numbers.
    """
    lines: list[str] = []
    for kind, pictures in sample_pictures(shape, seed=0).items():
        expected = reference(pictures)
        if spec.layout == "decoded":
            expected = [decode(expected, heads_spec)]
        found = runner(pictures)
        parts: list[str] = []
        for name, ours, theirs in zip(spec.outputs, found, expected, strict=True):
            if ours.shape != theirs.shape:
                raise ModelError(
                    f"{source}: {name} has the shape {ours.shape} where {theirs.shape} is right; nothing was written"
                )
            reach = float(np.abs(theirs).max(initial=0))
            difference = float(np.abs(ours - theirs).max(initial=0))
            if spec.layout == "decoded":
                limit = max(DECODED_FLOOR, DECODED_TOLERANCE * reach)
                parts.append(f"{name} {difference:.1e} px")
            else:
                limit = HEAD_TOLERANCE * reach
                parts.append(f"{name} {difference / max(reach, 1e-30):.1e}")
            # Written so that a NaN on either side fails.
            if not difference <= limit:
                raise ModelError(
                    f"{source}: {name} differs from the network by {difference:.3g} on {kind} where {limit:.3g} is "
                    "allowed; "
                    "nothing was written"
                )
        lines.append(f"{kind}: " + ", ".join(parts))
    return lines
