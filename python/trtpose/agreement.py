# SPDX-License-Identifier: Apache-2.0
"""Whether two sets of poses are of the same people. Needs no engine and no pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ._checks import real, shown
from ._terminal import escaped
from .errors import InputError
from .results import VISIBLE, Poses
from .skeletons import skeleton_for

__all__ = [
    "MATCH",
    "MAX_DROP",
    "SCORE",
    "TOLERANCES",
    "Agreement",
    "Limits",
    "Picture",
    "Side",
    "Spread",
    "box_iou",
    "compare",
    "match",
    "similarity",
    "table",
]


SCORE = 0.5
"""Poses of this score and more must be found by both models. Weaker ones come and go with the last bit."""

MATCH = 0.5
"""Two poses are of the same person from this similarity on, the loosest of the COCO evaluation's thresholds."""

TOLERANCES: Mapping[str, float] = {"f32": 0.1, "fp16": 0.5, "bf16": 2.0, "int8": 2.0}
"""Median keypoint error in pixels of the frame that is accepted, by the arithmetic of the second model.

FP32 engines add in another order, perhaps in TF32; FP16 keeps 11 bits of an activation, INT8 and BF16 keep 8.
"""

MAX_DROP = 1.0

# Of a probability in whole numbers, whose scale need not end at 1.
_HIGHEST_SCORE = 1.02
_F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What two models must keep to in order to agree.

    Attributes:
        tolerance_px: median keypoint error at most, in pixels of the frame.
        matched: share of the reference's poses that must be found again, 0 to 1.
        extra: poses that only the candidate finds, at most, as a share of the reference's poses.
        max_drop: AP points (hundredths) that may be lost, where there are annotations.
    """

    tolerance_px: float
    matched: float = 1.0
    extra: float = 0.0
    max_drop: float = MAX_DROP

    def __post_init__(self) -> None:
        for name, value, top in (
            ("tolerance_px", self.tolerance_px, math.inf),
            ("matched", self.matched, 1.0),
            ("extra", self.extra, math.inf),
            ("max_drop", self.max_drop, math.inf),
        ):
            if not 0.0 <= real(value, name) <= top:
                raise InputError(
                    f"{name} is {shown(value)}, expected a number from 0 {'on' if top == math.inf else 'to 1'}"
                )


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and largest of a quantity; all 0 where ``count`` is 0."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of any number of values."""
        if not values:
            return cls(0, 0.0, 0.0, 0.0)
        array = np.asarray(values)
        return cls(
            len(values), *(round(float(v), 5) for v in (np.median(array), np.quantile(array, 0.95), array.max()))
        )


@dataclass(frozen=True)
class Side:
    """One of the two models, as it ran.

    Attributes:
        model: path.
        backend, device, precision: as the engine reports them.
        arithmetic: ``f32``, ``fp16``, ``bf16`` or ``int8``: the narrowest the network computes in, or is written for.
        imgsz: height and width of the network's input.
        metrics: COCO keypoint figures, where there are annotations.
    """

    model: str
    backend: str
    device: str
    precision: str
    arithmetic: str
    imgsz: tuple[int, int]
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Picture:
    """What the comparison of one picture gave.

    Attributes:
        source: path of the picture.
        poses: poses of the reference that count (their score is at least ``Agreement.score``).
        matched: those of them that the candidate found.
        missing: box (left, top, right, bottom) and score of the others.
        extra: box and score of the candidate's poses that count and that the reference has not.
        keypoint_px: errors of the keypoints both are confident of.
    """

    source: str
    poses: int
    matched: int
    missing: tuple[tuple[tuple[float, ...], float], ...]
    extra: tuple[tuple[tuple[float, ...], float], ...]
    keypoint_px: Spread


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on a set of pictures.

    Attributes:
        reference, candidate: the two models.
        score: the score from which on a pose counts.
        poses, matched, extra: poses of the reference that count, those found again, and poses of the candidate that
            count and that the reference has not.
        keypoint_px: distance of matched poses' keypoints in pixels of the frame; only keypoints of which both are
            confident.
        box_iou: overlap of matched poses' boxes; here ``worst`` is the least and ``p95`` what 95 % are above.
        score_difference: of matched poses, absolute.
        ap_drop: AP points (hundredths) that the candidate loses; None without annotations.
        limits: what was asked for.
        problems: why the two do not agree; empty if they do.
        pictures: one by one.
    """

    reference: Side
    candidate: Side
    score: float
    poses: int
    matched: int
    extra: int
    keypoint_px: Spread
    box_iou: Spread
    score_difference: Spread
    ap_drop: float | None
    limits: Limits
    problems: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def passed(self) -> bool:
        """Whether the two agree within the limits."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """One sentence."""
        names = f"{self.candidate.model} against {self.reference.model}"
        if self.passed:
            return f"{names}: the two agree"
        return f"{names}: {'; '.join(self.problems)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""

        def plain(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [plain(entry) for entry in cast("list[Any]", value)]
            if isinstance(value, Mapping):
                return {str(key): plain(entry) for key, entry in cast("Mapping[Any, Any]", value).items()}
            if hasattr(value, "__dataclass_fields__"):
                return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
            return value

        return {"passed": self.passed, "verdict": self.verdict, **plain(self)}


def _sides(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 4) boxes at least a pixel wide and high: what is left of one that was clipped to the edge of the frame."""
    out = boxes.astype(np.float64)
    out[:, 2:] = np.maximum(out[:, 2:], out[:, :2] + 1)
    return out


def box_iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of (n, 4) and (m, 4) boxes, left, top, right, bottom in pixels: (n, m)."""
    first, second = _sides(a)[:, None], _sides(b)[None]
    shared = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    inter = shared.clip(0).prod(-1)
    return inter / ((first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - inter)


def similarity(reference: Poses, candidate: Poses) -> NDArray[np.float64]:
    """How alike each pose of one set is to each of the other, (n, m) in 0 to 1; 0 between different classes.

    OKS as COCO defines it (cocodataset.org, "Keypoint Evaluation"), over the keypoints the reference is confident of,
    with the area of the reference's box. Where it is confident of none, or the spec has no sigmas, the overlap of the
    boxes.
    """
    alike = box_iou(reference.boxes, candidate.boxes)
    sigmas = np.asarray(skeleton_for(reference.spec).sigmas, np.float64)
    if len(sigmas) and len(reference) and len(candidate):
        a, b = reference.xy.astype(np.float64)[:, None], candidate.xy.astype(np.float64)[None]
        boxes = _sides(reference.boxes)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        spread = 2 * area[:, None, None] * (2 * sigmas) ** 2
        each = np.exp(-((a - b) ** 2).sum(-1) / spread)
        seen = reference.visible()[:, None]
        count = seen.sum(-1)
        oks = (each * seen).sum(-1) / np.maximum(count, 1)
        alike = np.where(count > 0, oks, alike)
    return np.where(reference.class_ids[:, None] == candidate.class_ids[None], alike, 0.0)


def match(reference: Poses, candidate: Poses, threshold: float = MATCH) -> list[tuple[int, int]]:
    """Pairs of poses of the same person, one to one, the most alike pair first and ties by index.

    The COCO evaluation lets each pose in turn take its best partner, which with people close to each other depends on
    the order of scores that are almost equal; of two sets that are almost the same this finds every pair.
    """
    alike = similarity(reference, candidate)
    pairs: list[tuple[int, int]] = []
    rows: set[int] = set()
    columns: set[int] = set()
    for flat in np.argsort(-alike, axis=None, kind="stable").tolist():
        row, column = divmod(int(flat), alike.shape[1])
        if alike[row, column] < threshold:
            break
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column))
    return sorted(pairs)


@dataclass
class _Sums:
    """What comparing frame after frame adds up to."""

    keypoint_px: list[float]
    box_iou: list[float]
    score_difference: list[float]
    pictures: list[Picture]


def _compare(source: str, reference: Poses, candidate: Poses, score: float, sums: _Sums) -> None:
    pairs = match(reference, candidate)
    found = {row for row, _ in pairs}
    known = {column for _, column in pairs}
    ious = box_iou(reference.boxes, candidate.boxes)
    errors: list[float] = []
    matched = 0
    for row, column in pairs:
        if reference.scores[row] < score:
            continue
        matched += 1
        both = (reference.confidence[row] >= VISIBLE) & (candidate.confidence[column] >= VISIBLE)
        apart = reference.xy[row].astype(np.float64) - candidate.xy[column].astype(np.float64)
        errors += np.hypot(apart[both, 0], apart[both, 1]).tolist()
        sums.box_iou.append(float(ious[row, column]))
        sums.score_difference.append(abs(float(reference.scores[row]) - float(candidate.scores[column])))
    sums.keypoint_px += errors

    def listed(poses: Poses, left_out: set[int]) -> tuple[tuple[tuple[float, ...], float], ...]:
        return tuple(
            (tuple(round(v, 2) for v in poses.boxes[i].tolist()), round(float(poses.scores[i]), 4))
            for i in range(len(poses))
            if i not in left_out and poses.scores[i] >= score
        )

    sums.pictures.append(
        Picture(
            source=source,
            poses=int((reference.scores >= score).sum()),
            matched=matched,
            missing=listed(reference, found),
            extra=listed(candidate, known),
            keypoint_px=Spread.of(errors),
        )
    )


def compare(
    frames: list[tuple[str, Poses, Poses]],
    reference: Side,
    candidate: Side,
    *,
    limits: Limits,
    score: float = SCORE,
) -> Agreement:
    """Judge poses that are there already.

    Args:
        frames: for each picture its name and what the reference and the candidate found in it, with scores well below
            ``score``, so that a pose at the threshold has its partner.
        reference, candidate: the two models; their metrics are compared if both have some.
        limits: what is asked for.
        score: the score from which on a pose counts.
    """
    sums = _Sums([], [], [], [])
    for source, first, second in frames:
        _compare(source, first, second, score, sums)
    poses = sum(picture.poses for picture in sums.pictures)
    matched = sum(picture.matched for picture in sums.pictures)
    extra = sum(len(picture.extra) for picture in sums.pictures)
    keypoint_px = Spread.of(sums.keypoint_px)
    drop: float | None = None
    if reference.metrics is not None and candidate.metrics is not None:
        drop = round(100 * (reference.metrics["AP"] - candidate.metrics["AP"]), 4)
    return Agreement(
        reference=reference,
        candidate=candidate,
        score=score,
        poses=poses,
        matched=matched,
        extra=extra,
        keypoint_px=keypoint_px,
        box_iou=_lowest(sums.box_iou),
        score_difference=Spread.of(sums.score_difference),
        ap_drop=drop,
        limits=limits,
        problems=(
            *_no_probabilities(frames),
            *_problems(limits, score, len(frames), poses, matched, extra, keypoint_px, drop),
        ),
        pictures=tuple(sums.pictures),
    )


def _lowest(values: list[float]) -> Spread:
    """As :class:`Spread` for a quantity whose low end is the bad one."""
    turned = Spread.of([-value for value in values])
    return Spread(turned.count, -turned.median + 0.0, -turned.p95 + 0.0, -turned.worst + 0.0)


def _no_probabilities(frames: list[tuple[str, Poses, Poses]]) -> list[str]:
    """Scores that pass every confidence threshold, whatever is in the picture."""
    problems: list[str] = []
    sides = {"reference": [first for _, first, _ in frames], "candidate": [second for _, _, second in frames]}
    for label, found in sides.items():
        highest = max((float(np.max(poses.scores, initial=0.0)) for poses in found), default=0.0)
        if highest > _HIGHEST_SCORE:
            problems.append(
                f"the {label} gives scores of up to {highest:.3g}, and a probability is 1 at most; export the network "
                "with the sigmoid of its scores inside, or say in its spec what they are"
            )
    return problems


def _problems(
    limits: Limits, score: float, pictures: int, poses: int, matched: int, extra: int, px: Spread, drop: float | None
) -> list[str]:
    problems: list[str] = []
    if not poses:
        problems.append(
            f"the reference finds nobody with a score of {score:g} in {pictures} picture(s), so that there is nothing "
            "to compare; take pictures with people in them or a lower score"
        )
        return problems
    if matched < limits.matched * poses:
        problems.append(f"{poses - matched} of {poses} poses are not found again")
    if extra > limits.extra * poses:
        problems.append(f"{extra} pose(s) are found that the reference has not")
    if px.median > limits.tolerance_px:
        problems.append(f"the median keypoint is {px.median:.3g} px off, more than {limits.tolerance_px:g}")
    if matched and not px.count:
        problems.append("no keypoint has a confidence of 0.5 in both, so that none could be compared")
    if drop is not None and drop > limits.max_drop:
        problems.append(f"{drop:.2f} points of AP are lost, more than {limits.max_drop:g}")
    return problems


def table(result: Agreement) -> str:
    """A comparison as text for people."""
    lines: list[str] = []
    for label, side in (("reference", result.reference), ("candidate", result.candidate)):
        height, width = side.imgsz
        written = "" if side.arithmetic == side.precision else f" (written for {side.arithmetic})"
        where = f"{side.backend} on {side.device}, {side.precision}{written}"
        lines.append(f"{label} {side.model}: {where}, {height}x{width} (height x width)")
    lines += [
        f"{len(result.pictures)} pictures, poses with a score of at least {result.score:g}",
        "",
        f"poses found again {result.matched:>6} of {result.poses}",
        f"poses of its own  {result.extra:>6}",
        "",
        f"{'':<18} {'median':>9} {'95 %':>9} {'worst':>9} {'limit':>9}",
    ]
    limit = f"{result.limits.tolerance_px:>9.3f}"
    for name, spread, note in (
        ("keypoint error, px", result.keypoint_px, limit),
        ("box overlap (IoU)", result.box_iou, ""),
        ("score difference", result.score_difference, ""),
    ):
        lines.append(f"{name:<18} {spread.median:>9.4f} {spread.p95:>9.4f} {spread.worst:>9.4f} {note}".rstrip())
    if result.reference.metrics is not None and result.candidate.metrics is not None:
        first, second = result.reference.metrics["AP"], result.candidate.metrics["AP"]
        lost = f"{result.ap_drop:.2f} points lost of {result.limits.max_drop:g}"
        lines += ["", f"AP {first:.4f} and {second:.4f}: {lost}"]
    for picture in result.pictures:
        lines += [f"{picture.source}: not found again: score {score:.2f}, box {box}" for box, score in picture.missing]
        lines += [f"{picture.source}: of its own: score {score:.2f}, box {box}" for box, score in picture.extra]
    lines += ["", "the two agree" if result.passed else "the two do NOT agree"]
    return "\n".join(escaped(line) for line in lines)
