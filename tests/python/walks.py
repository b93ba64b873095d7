# SPDX-License-Identifier: Apache-2.0
"""People who walk, made of numbers: keypoints whose owner is known, and what a network would find of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtpose import ModelSpec, Poses

SPEC = ModelSpec(layout="final", imgsz=(64, 64), strides=(32,), names=("person",), kpt_shape=(17, 3))
SHAPE = (480, 854)

# Half widths and heights of a standing body, the height 1: x to the person's left, y down from the crown.
_BODY = np.array(
    [
        (0, 0.07), (0.02, 0.05), (-0.02, 0.05), (0.045, 0.06), (-0.045, 0.06), (0.11, 0.18), (-0.11, 0.18),
        (0.13, 0.33), (-0.13, 0.33), (0.14, 0.47), (-0.14, 0.47), (0.07, 0.5), (-0.07, 0.5), (0.07, 0.73),
        (-0.07, 0.73), (0.07, 0.95), (-0.07, 0.95),
    ]
)  # fmt: skip
_SWING = np.array([0, 0, 0, 0, 0, 0, 0, 1, -1, 2, -2, 0, 0, -1, 1, -2, 2]) * 0.05


@dataclass(frozen=True)
class Walker:
    """Somebody who walks along a line.

    Attributes:
        start, end: of the feet, in pixels.
        height: in pixels.
        first, last: frames between which the person is in the scene.
        pause: (first, last) frames of standing still.
        turn: frame in which the person walks back, if any.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    first: int
    last: int
    pause: tuple[int, int] = (0, 0)
    turn: int | None = None

    def at(self, frame: int) -> NDArray[np.float64] | None:
        """Keypoints (K, 2) in a frame, None where the person is not there."""
        if not self.first <= frame <= self.last:
            return None

        def steps_to(moment: int) -> int:
            return moment - self.first - max(0, min(moment, self.pause[1]) - self.pause[0])

        steps = steps_to(frame)
        total = max(self.last - self.first - (self.pause[1] - self.pause[0]), 1)
        if self.turn is not None and frame > self.turn:
            steps = 2 * steps_to(self.turn) - steps
        feet = np.asarray(self.start) + (np.asarray(self.end) - self.start) * (steps / total)
        body = _BODY.copy()
        moving = not self.pause[0] < frame < self.pause[1]
        body[:, 0] += _SWING * np.sin(frame * 0.35 + self.height) * moving
        return np.asarray(feet + (body - (0, 1)) * self.height)


@dataclass(frozen=True)
class Found:
    """What a network finds in one frame, and who it is.

    Attributes:
        poses: what it finds.
        owners: (n,) whose each is; -1 of what is nobody.
        truth: Poses of everybody there is to see, with ids.
    """

    poses: Poses
    owners: NDArray[np.int64]
    truth: Poses


def box_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Around all keypoints, a little wider."""
    low, high = points.min(0), points.max(0)
    margin = 0.08 * (high - low)
    return np.concatenate([low - margin, high + margin])


def watch(
    walkers: list[Walker], frames: int, seed: int, *, walls: tuple[tuple[float, float], ...] = (), miss: float = 0.03,
    ghosts: float = 0.03, every: int = 1,
) -> list[Found]:  # fmt: skip
    """What is found of people: nearer ones (lower feet) hide those behind them, walls (left, right in pixels) everyone.

    Keypoints tremble by 1.5% of the person's size; ``miss`` and ``ghosts`` are the chances of not finding somebody
    and of finding nobody; ``every`` takes each n-th frame.
    """
    rng = np.random.default_rng(seed)
    return [_frame(rng, walkers, frame, walls, miss, ghosts) for frame in range(0, frames, every)]


def _hidden(points: NDArray[np.float64], nearer: list[NDArray[np.float64]], walls: tuple[tuple[float, float], ...]):
    hidden = np.zeros(len(points), bool)
    for box in nearer:
        middle, half = (box[0] + box[2]) / 2, (box[2] - box[0]) * 0.35
        hidden |= (abs(points[:, 0] - middle) < half) & (points[:, 1] > box[1]) & (points[:, 1] < box[3])
    for left, right in walls:
        hidden |= (points[:, 0] > left) & (points[:, 0] < right)
    return hidden


def _frame(
    rng: np.random.Generator,
    walkers: list[Walker],
    frame: int,
    walls: tuple[tuple[float, float], ...],
    miss: float,
    ghosts: float,
) -> Found:
    there = [(n, walker.at(frame)) for n, walker in enumerate(walkers)]
    there = [(n, points) for n, points in there if points is not None]
    rows: list[tuple[int, _Row]] = []
    truth: list[tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]] = []
    for n, points in there:
        nearer = [box_of(p) for m, p in there if m != n and p[:, 1].max() > points[:, 1].max()]
        out = (points < 0).any(1) | (points >= (SHAPE[1], SHAPE[0])).any(1)
        hidden = _hidden(points, nearer, walls) | out
        seen = 1 - hidden.mean()
        if seen < 0.3:
            continue
        box = box_of(points[~hidden])
        truth.append((n, points, np.where(hidden, 0.0, 1.0), box))
        if rng.random() < miss + 0.5 * (seen < 0.5):
            continue
        size = np.sqrt((box[2:] - box[:2]).prod())
        noisy = points + rng.normal(0, 0.015 * size, points.shape) * np.where(hidden, 6, 1)[:, None]
        confidence = np.clip(np.where(hidden, 0.25, 0.9) + rng.normal(0, 0.08, len(points)), 0, 1)
        score = float(np.clip(0.35 + 0.55 * seen + rng.normal(0, 0.05), 0.05, 1))
        rows.append((n, (noisy, confidence, box + rng.normal(0, 0.01 * size, 4), score)))
    if rng.random() < ghosts:
        place = rng.uniform((0, 200), (SHAPE[1], SHAPE[0]))
        points = place + (_BODY - (0, 1)) * rng.uniform(40, 150)
        rows.append((-1, (points, rng.uniform(0.1, 0.6, len(points)), box_of(points), float(rng.uniform(0.25, 0.5)))))
    order = np.argsort([-row[1][3] for row in rows], kind="stable")
    rows = [rows[i] for i in order]
    return Found(_poses([row for _, row in rows]), np.array([owner for owner, _ in rows], np.int64), _truth(truth))


_Row = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]


def _poses(rows: list[_Row]) -> Poses:
    if not rows:
        return Poses.empty(SHAPE, SPEC)
    points = np.stack([np.concatenate([p, c[:, None]], 1) for p, c, _, _ in rows]).astype(np.float32)
    boxes, scores = np.stack([b for _, _, b, _ in rows]), np.array([s for *_, s in rows])
    classes = np.zeros(len(rows), np.int32)
    return Poses(boxes.astype(np.float32), scores.astype(np.float32), classes, points, SHAPE, SPEC)


def _truth(rows: list[tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]) -> Poses:
    if not rows:
        return Poses.empty(SHAPE, SPEC)
    plain = _poses([(p, v, b, 1.0) for _, p, v, b in rows])
    return Poses(
        plain.boxes, plain.scores, plain.class_ids, plain.keypoints, SHAPE, SPEC, np.array([r[0] for r in rows])
    )


SCENES: dict[str, tuple[list[Walker], int, tuple[tuple[float, float], ...]]] = {
    "crossing": (
        [
            Walker((80, 440), (780, 440), 300, 0, 119),
            Walker((780, 400), (80, 400), 280, 0, 119),
            Walker((60, 420), (800, 425), 290, 30, 149),
            Walker((800, 380), (100, 385), 250, 20, 149),
        ],
        150,
        (),
    ),
    "pillar": (
        [
            Walker((60, 430), (800, 430), 260, 0, 149),
            Walker((800, 410), (60, 410), 260, 10, 149),
            Walker((60, 390), (800, 390), 220, 40, 149),
        ],
        150,
        ((360, 470),),
    ),
    "leaving": (
        [
            Walker((200, 440), (-300, 440), 300, 0, 140, turn=70),
            Walker((600, 430), (900, 430), 260, 0, 50),
            Walker((900, 420), (300, 420), 250, 70, 149),
            Walker((420, 400), (500, 400), 240, 0, 149, pause=(20, 120)),
        ],
        150,
        (),
    ),
    "crowd": (
        [Walker((60 + 90 * i, 300 + 20 * i), (780 - 80 * i, 310 + 18 * i), 150 + 18 * i, 3 * i, 149) for i in range(8)],
        150,
        ((200, 240),),
    ),
    "meeting": (
        [
            Walker((100, 440), (380, 440), 300, 0, 149, pause=(40, 100), turn=100),
            Walker((760, 430), (460, 430), 290, 0, 149, pause=(40, 100), turn=100),
        ],
        150,
        (),
    ),
}
