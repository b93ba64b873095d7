# SPDX-License-Identifier: Apache-2.0
"""Comparing an exported model with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...formats.onnx_runner import sample_pictures
from ...spec import ModelSpec

__all__ = ["compare", "decode", "sigmoid"]

Array = NDArray[np.float32]

# Folding batch norm in float64 and another order of summation change a head by some 1e-6 of its range.
HEAD_TOLERANCE = 1e-4
# The same error after decoding: the largest stride times twice the raw value, plus float32's spacing of large pixels.
DECODED_TOLERANCE = 1e-5
DECODED_FLOOR = 1e-2


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
