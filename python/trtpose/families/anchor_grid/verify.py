# SPDX-License-Identifier: Apache-2.0
"""The decode of raw heads in NumPy, which an exported model is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...networks.compare import sigmoid
from ...spec import ModelSpec

__all__ = ["decode"]

Array = NDArray[np.float32]


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
