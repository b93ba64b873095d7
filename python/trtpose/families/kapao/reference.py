# SPDX-License-Identifier: Apache-2.0
"""The decode of raw heads in NumPy, which an exported model is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...networks.compare import sigmoid
from ...spec import ModelSpec
from . import forms

__all__ = ["decode"]

Array = NDArray[np.float32]


def decode(heads: Sequence[Array], spec: ModelSpec, form: str = "decoded") -> Array:
    """Decode raw heads to N x M x F in input pixels: the box's centre, width and height, objectness, a probability for
    each class, and x, y of each keypoint. The formulas are those of ``cpp/src/families/kapao/README.md``.

    Args:
        heads: per stride N x (A*F) x h x w.
        spec: of the form ``heads``.
        form: ``decoded``, ``undecoded`` (of the boxes alone) or ``sigmoid`` (of nothing).
    """
    levels: list[Array] = []
    fields = forms.fields(spec.keypoints)
    for head, stride, pairs in zip(heads, spec.strides, spec.anchors, strict=True):
        n, _, h, w = head.shape
        out = sigmoid(head.reshape(n, len(pairs), fields, h, w).transpose(0, 1, 3, 4, 2))
        rows, columns = np.mgrid[:h, :w].astype(np.float32)
        corners = np.stack([columns, rows], -1) * stride
        anchors = np.array(pairs, np.float32)[None, :, None, None]
        if form != "sigmoid":
            out[..., 0:2] = (out[..., 0:2] * 2 - 0.5) * stride + corners
            out[..., 2:4] = (out[..., 2:4] * 2) ** 2 * anchors
        for at in range(fields - 2 * spec.keypoints, fields, 2) if form == "decoded" else ():
            out[..., at : at + 2] = (out[..., at : at + 2] * 4 - 2) * anchors + corners
        levels.append(out.reshape(n, -1, fields))
    return np.concatenate(levels, 1)
