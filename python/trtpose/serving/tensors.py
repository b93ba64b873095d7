# SPDX-License-Identifier: Apache-2.0
"""People as the arrays in which the KServe protocol has them, from this server and from Triton alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import Poses

__all__ = ["INPUTS", "OUTPUTS", "arrays_of", "output_shapes"]

INPUTS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("bgr", "UINT8", (-1, -1, -1, 3)),
    ("rgb", "UINT8", (-1, -1, -1, 3)),
    ("encoded", "BYTES", (-1,)),
)
"""Name, type and shape of each input, of which a request has one; the name says what the numbers mean."""

_PEOPLE = ("boxes", "scores", "class_ids", "keypoints")
OUTPUTS = ("counts", *_PEOPLE, "shapes")


def output_shapes(keypoints: int) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """Name, type and shape of each of :data:`OUTPUTS`: N pictures, then the most people in one of them."""
    return (
        ("counts", "INT32", (-1,)),
        ("boxes", "FP32", (-1, -1, 4)),
        ("scores", "FP32", (-1, -1)),
        ("class_ids", "INT32", (-1, -1)),
        ("keypoints", "FP32", (-1, -1, keypoints, 3)),
        ("shapes", "INT32", (-1, 2)),
    )


def arrays_of(found: Sequence[Poses], keypoints: int) -> dict[str, NDArray[Any]]:
    """The people of several pictures in arrays, filled up with zeros behind the count of each."""
    most = max((len(poses) for poses in found), default=0)
    count = len(found)
    arrays: dict[str, NDArray[Any]] = {
        "counts": np.array([len(poses) for poses in found], np.int32),
        "boxes": np.zeros((count, most, 4), np.float32),
        "scores": np.zeros((count, most), np.float32),
        "class_ids": np.zeros((count, most), np.int32),
        "keypoints": np.zeros((count, most, keypoints, 3), np.float32),
        "shapes": np.array([poses.shape for poses in found], np.int32).reshape(count, 2),
    }
    for row, poses in enumerate(found):
        for name in _PEOPLE:
            arrays[name][row, : len(poses)] = getattr(poses, name)
    return arrays
