# SPDX-License-Identifier: Apache-2.0
"""One export in trtpose and in the program that wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trtpose

from . import peer
from .matrix import Case
from .peer import F32, Found, Picture

BOX_TOLERANCE, KEYPOINT_TOLERANCE = 0.05, 0.25
"""Pixels of the picture."""
SCORE_TOLERANCE = 1e-3

MOST = 300
"""Poses in a picture, both programs' default and the number of rows of exports that suppress themselves."""


@dataclass
class Difference:
    """Largest differences.

    Attributes:
        poses: how many were compared.
        box, keypoint: pixels of the picture.
        score, confidence: of poses and of keypoints.
        problem: why nothing could be compared, else empty.
    """

    poses: int = 0
    box: float = 0.0
    keypoint: float = 0.0
    score: float = 0.0
    confidence: float = 0.0
    problem: str = ""

    def take(self, other: Difference) -> None:
        self.poses += other.poses
        for name in ("box", "keypoint", "score", "confidence"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.problem = self.problem or other.problem

    @property
    def small(self) -> bool:
        near = self.box <= BOX_TOLERANCE and self.keypoint <= KEYPOINT_TOLERANCE
        return near and max(self.score, self.confidence) <= SCORE_TOLERANCE and not self.problem


@dataclass
class Result:
    """What became of a case.

    Attributes:
        case: which.
        ways: differences by the way in which it ran.
        refused: the sentence with which trtpose refused the file, else empty.
    """

    case: Case
    ways: dict[str, Difference] = field(default_factory=dict)
    refused: str = ""

    @property
    def total(self) -> Difference:
        out = Difference()
        for way in self.ways.values():
            out.take(way)
        return out


def _pairs(distance: F32) -> NDArray[np.int64]:
    """For each row its column of a square matrix of distances, the nearest pairs first."""
    columns = np.full(len(distance), -1)
    taken = np.zeros(len(distance), bool)
    for place in np.argsort(distance, axis=None, kind="stable"):
        row, column = divmod(int(place), len(distance))
        if columns[row] < 0 and not taken[column]:
            columns[row], taken[column] = column, True
    return columns


def compare(mine: trtpose.Poses, theirs: Found, shape: Sequence[int]) -> Difference:
    """Pair the poses of a picture by class and box, and take the largest differences."""
    if len(mine) != len(theirs.boxes):
        return Difference(problem=f"{len(mine)} poses where the other program finds {len(theirs.boxes)}")
    if not len(mine):
        return Difference(problem="nothing was found, nothing compared")
    points = mine.keypoints.copy()
    points[..., :2] = points[..., :2].clip(0, (shape[1], shape[0]))
    apart = np.abs(mine.boxes[:, None] - theirs.boxes[None]).max(2)
    apart_points = np.abs(points[:, None, :, :2] - theirs.keypoints[None, ..., :2]).max((2, 3))
    distance = np.maximum(apart, apart_points)
    distance[mine.class_ids[:, None] != theirs.classes[None]] = np.inf
    pairs = _pairs(distance)
    confidences = np.abs(points[..., 2:] - theirs.keypoints[pairs][..., 2:]) if theirs.keypoints.shape[2] > 2 else 0
    rows = np.arange(len(pairs))
    return Difference(
        len(mine),
        float(apart[rows, pairs].max()),
        float(apart_points[rows, pairs].max()),
        float(np.abs(mine.scores - theirs.scores[pairs]).max()),
        float(np.max(confidences)),
    )


def _middle_of_widest_gap(values: F32, low: float, high: float) -> float:
    values = np.unique(np.concatenate([values[(values > low) & (values < high)], [low, high]]))
    gaps = np.diff(values)
    return float(values[gaps.argmax()] + gaps.max() / 2)


def _overlaps(found: Found) -> F32:
    """IoU of every two poses of a class."""
    boxes = found.boxes.astype(np.float64)
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    ious = shared / np.maximum(area[:, None] + area[None] - shared, 1e-9)
    return ious[np.triu(found.classes[:, None] == found.classes[None], 1)].astype(np.float32)


def thresholds(
    model: Any, pictures: Sequence[Picture], share: tuple[float, float] = (0.6, 0.85), **options: Any
) -> dict[str, float]:
    """Thresholds that lie in the widest gap of what they cut, so that rounding decides about no pose.

    ``share``: least and most of the candidates that fall below the threshold of the scores.
    """
    found = peer.predict(model, pictures, conf=1e-3, iou=1.0, max_det=3000, **options)
    scores = np.concatenate([each.scores for each in found])
    if not len(scores):
        raise RuntimeError("a network without any candidate: its weights do not vary")
    conf = _middle_of_widest_gap(scores, *np.quantile(scores, share))
    kept = [each.scores > conf for each in found]
    above = [Found(f.boxes[k], f.scores[k], f.classes[k], f.keypoints[k]) for f, k in zip(found, kept, strict=True)]
    return {"conf": conf, "iou": _middle_of_widest_gap(np.concatenate([_overlaps(f) for f in above]), 0.4, 0.7)}


def _ways(case: Case, file: Path, model: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """How the other program is asked, with what, and how trtpose is: as it asks, and padded as little as can be."""
    exact = peer.load(peer.widened(file, file.with_suffix(".wide.onnx")) if case.has("half") else file)
    yield "file", exact, {"rect": False}
    if case.has("dynamic"):
        yield "file, least padding", exact, {"rect": True}
    if not case.has("half"):
        yield "weights", model, {"rect": False, **({"nms": False} if case.has("end2end") else {})}


def run(case: Case, model: Any, folder: Path, pictures: Sequence[Picture]) -> Result:
    """Export the network and compare what both find in the pictures."""
    options, result = case.options, Result(case)
    size, baked = options["imgsz"], {}
    if case.has("nms"):
        baked = thresholds(model, pictures, imgsz=size, rect=False)
    file = peer.export(model, folder, {**options, **baked})
    for way, other, asked in _ways(case, file, model):
        # Both find the same in a batch as alone, but pictures of two shapes are padded least only one by one.
        batches = [[picture] for picture in pictures] if asked["rect"] else [list(pictures)]
        same = {"imgsz": size, **asked}
        total = result.ways.setdefault(way, Difference())
        for batch in batches:
            limits = baked or thresholds(other, batch, **same)
            theirs = peer.predict(other, batch, max_det=MOST, **limits, **same)
            # An NMS inside the graph looks at as many pictures as the export was for.
            at_once = case.has("dynamic") and (case.has("batch") or not case.has("nms"))
            many = {"batch": len(batch)} if at_once else {}
            try:
                engine = trtpose.Engine(file, rect=asked["rect"], threads=1, max_det=MOST, **limits, **many)
            except trtpose.Error as error:
                result.refused = str(error)
                return result
            for mine, found, picture in zip(engine.infer(batch), theirs, batch, strict=True):
                total.take(compare(mine, found, picture.shape))
    return result
