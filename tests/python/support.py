# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an engine, so that what surrounds one is tested without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trtpose.errors import InputError
from trtpose.nv12 import Nv12
from trtpose.results import Poses
from trtpose.skeletons import COCO
from trtpose.spec import ModelSpec
from trtpose.thresholds import Thresholds

Frame = NDArray[np.uint8]

PERSON = ModelSpec(
    layout="heads",
    imgsz=(64, 96),
    strides=(8,),
    names=("person",),
    kpt_shape=(len(COCO), 3),
    anchors=(((10.0, 13.0),),),
    name="stand-in",
)


def spec_with(keypoints: int, **fields: Any) -> ModelSpec:
    values = {**PERSON.to_dict(), "kpt_shape": [keypoints, 3], **fields}
    return ModelSpec.from_dict(values)


def make_poses(count: int, shape: tuple[int, int] = (240, 320), spec: ModelSpec = PERSON, seed: int = 0) -> Poses:
    """``count`` people with keypoints inside their boxes, best first."""
    rng = np.random.default_rng(seed)
    height, width = shape
    corner = rng.uniform(0, 0.5, (count, 2)) * (width, height)
    size = rng.uniform(0.2, 0.5, (count, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    keypoints = np.empty((count, spec.keypoints, 3), np.float32)
    keypoints[..., :2] = corner[:, None] + rng.uniform(0, 1, (count, spec.keypoints, 2)) * size[:, None]
    keypoints[..., 2] = rng.uniform(0, 1, (count, spec.keypoints))
    scores = np.sort(rng.uniform(0.3, 1, count).astype(np.float32))[::-1]
    return Poses(boxes, scores, np.zeros(count, np.int32), keypoints, shape, spec)


class FakeEngine:
    """Has the attributes of ``trtpose.Engine`` and finds what ``answer`` says, by default one person per frame."""

    def __init__(
        self,
        model: str = "stand-in.onnx",
        *,
        batch: int | None = None,
        spec: ModelSpec = PERSON,
        answer: Callable[[Frame], Poses] | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self.spec = spec
        self.device = "cpu"
        self.backend = "stand-in"
        self.precision = "f32"
        self.batch = batch or 1
        self.imgsz = spec.imgsz
        self.options = options
        self.memory = {"weights": 1, "total": 1}
        self.timings: dict[str, float] = {}
        self.calls: list[int] = []
        self.thresholds: Thresholds = options.get("thresholds") or Thresholds()
        self.given: list[dict[str, Any]] = []  # thresholds of each call
        self._answer = answer or (lambda frame: make_poses(1, frame.shape[:2], self.spec))

    def infer(self, batch: Sequence[Frame], **thresholds: Any) -> list[Poses]:
        self.calls.append(len(batch))
        self.given.append(thresholds)
        for frame in batch:
            if isinstance(frame, Nv12):
                continue
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise InputError(f"frame of shape {frame.shape}")
        self.timings = {"letterbox": 0.1, "network": 1.0, "decode": 0.2, "nms": 0.05, "total": 1.4}
        return [self._answer(frame) for frame in batch]


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Frame:
    """A smooth coloured picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(suffix: str, image: Frame | None = None, *options: int) -> bytes:
    good, data = cv2.imencode(suffix, picture() if image is None else image, list(options))
    assert good
    return data.tobytes()


def write_picture(path: Path, image: Frame | None = None) -> Path:
    path.write_bytes(encoded(path.suffix, image))
    return path


def write_video(path: Path, frames: int = 12, fps: float = 10.0, size: tuple[int, int] = (48, 64)) -> Path:
    """A video whose frame i has the grey value 20 i."""
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (size[1], size[0]))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((*size, 3), min(20 * index, 255), np.uint8))
    writer.release()
    return path
