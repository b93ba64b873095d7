# SPDX-License-Identifier: Apache-2.0
"""The shapes of the forms that outputs have, see ``cpp/src/families/kapao/README.md``."""

from __future__ import annotations

from ...spec import ModelSpec
from ..family import Heads

__all__ = ["fields", "heads", "keypoints_of"]


def fields(keypoints: int) -> int:
    """Numbers of an anchor: a box, objectness, K + 1 classes, two coordinates of each keypoint."""
    return 6 + 3 * keypoints


def keypoints_of(width: int) -> int | None:
    """How many keypoints an anchor of so many numbers has; None where it is none of KAPAO's."""
    count = (width - 6) // 3
    return count if count > 0 and fields(count) == width else None


def heads(spec: ModelSpec) -> Heads:
    """The outputs that a spec describes."""
    form, width = spec.extra.get("form"), fields(spec.keypoints)
    if form == "heads":
        return Heads(len(spec.strides), 4, 1, spec.anchors_per_cell * width, sized=True)
    if form == "heads5d":
        return Heads(len(spec.strides), 5, 4, width, sized=True)
    return Heads(1, 3, 2, width, sized=False)
