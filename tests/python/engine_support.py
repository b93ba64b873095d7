# SPDX-License-Identifier: Apache-2.0
"""Networks and pictures that the tests of the engine share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import onnx_models
from trtpose import Poses

LAYOUTS = ("heads", "heads5d", "decoded", "channels_first", "final")


def pictures(count: int, seed: int = 0, size: tuple[int, int] | None = None) -> list[Any]:
    rng = np.random.default_rng(seed)
    sizes = [size or tuple(rng.integers(20, 200, 2)) for _ in range(count)]
    # Coarse noise: different in every cell of a network, yet smooth enough to survive scaling.
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (w, h)) for h, w in sizes]


def write_models(folder: Path) -> Path:
    """One network for each layout, and others of layout ``heads``: a batch of 3, an open size, one without a spec."""
    for layout in LAYOUTS:
        metadata = {"trtpose": json.dumps(onnx_models.spec_fields(layout))}
        onnx_models.write_model(folder / f"{layout}.onnx", layout, metadata=metadata)
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    onnx_models.write_model(folder / "fixed3.onnx", batch=3, metadata=metadata)
    onnx_models.write_model(folder / "dynamic.onnx", dynamic=True, metadata=metadata)
    onnx_models.write_model(folder / "bare.onnx")
    return folder


def same(a: Poses, b: Poses) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in zip(
            (a.boxes, a.scores, a.class_ids, a.keypoints), (b.boxes, b.scores, b.class_ids, b.keypoints), strict=True
        )
    )
