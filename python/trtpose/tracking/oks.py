# SPDX-License-Identifier: Apache-2.0
"""Association by keypoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..agreement import box_iou
from ..results import VISIBLE, Poses
from ..skeletons import skeleton_for

__all__ = ["OksAssociation"]

_F64 = NDArray[np.float64]

_SURE = 0.5
"""From this score on somebody found is matched first, and may begin a track."""
_ALIKE = 0.2
"""Least similarity of a person to a track: about what two keypoints of ten at their places give."""
_ALIKE_WEAK = 0.3
"""The same for people of a lower score, who are wrong more often."""
_CONFIRM, _CONFIRM_WEAK = 2, 5
"""Frames in a row in which somebody new must be found before there is an id, and the same for a score below that."""
_SIGMA = 0.08
"""OKS sigma of a keypoint where the spec has none: between COCO's for a wrist and for a shoulder."""

# How people move, in sizes of the person (the root of the box's area) and seconds.
_ACCELERATION = 2.0
_ERROR = 0.03
"""Of a measured place, as a standard deviation."""
_LIMBS = 0.3
"""What limbs move by themselves, a second."""
_COAST = 3.0
"""Seconds after which two thirds of the speed are gone of somebody who is not seen."""


@dataclass
class _Track:
    """Somebody followed. Pixels and seconds.

    Attributes:
        points, seen: (K, 2) where the keypoints are, (K,) which of them have ever been seen.
        box: left, top, right, bottom.
        velocity: (2,) of the whole person.
        spread: (2, 2) covariance of place and speed, the same for x and y (Kalman).
        time: of the last prediction; ``met``: of the last frame with this person.
        hits, needed: frames in which the person was found, and how many it takes to be sure.
        number: the id; -1 before it is sure that there is somebody.
    """

    points: _F64
    seen: NDArray[np.bool_]
    box: _F64
    class_id: int
    velocity: _F64
    spread: _F64
    time: float
    met: float
    needed: int
    hits: int = 1
    number: int = -1

    @property
    def size(self) -> float:
        return math.sqrt(max(float((self.box[2:] - self.box[:2]).prod()), 1.0))

    def predict(self, time: float) -> None:
        """Move to where the person is expected at ``time``."""
        dt = time - self.time
        if dt <= 0:
            return
        self.time = time
        kept = math.exp(-dt / _COAST)
        way = _COAST * (1.0 - kept)
        step = self.velocity * way
        self.points = self.points + step
        self.box = self.box + np.tile(step, 2)
        self.velocity = self.velocity * kept
        move = np.array([[1.0, way], [0.0, kept]])
        push = np.array([dt * dt / 2.0, dt]) * (_ACCELERATION * self.size)
        self.spread = move @ self.spread @ move.T + np.outer(push, push)
        self.spread[0, 0] += (_LIMBS * self.size * dt) ** 2

    def take(self, points: _F64, seen: NDArray[np.bool_], box: _F64, weights: _F64) -> None:
        """Take somebody found for this person: keypoints (K, 2), which of them are seen (K,), and the box."""
        both = seen & self.seen
        share = weights * both
        off = points - self.points
        if share.sum() > 0:
            miss = (off * share[:, None]).sum(0) / share.sum()
        else:
            miss = ((box[:2] + box[2:]) - (self.box[:2] + self.box[2:])) / 2.0
        noise = (_ERROR * self.size) ** 2
        gain = self.spread[:, 0] / (self.spread[0, 0] + noise)
        self.velocity = self.velocity + gain[1] * miss
        self.spread = self.spread - np.outer(gain, self.spread[0])
        # What is hidden now goes with the rest of the body.
        self.points = np.where(seen[:, None], points, self.points + miss)
        self.seen = self.seen | seen
        self.box = box
        self.met = self.time
        self.hits += 1


class OksAssociation:
    """People are matched with the tracks they are most alike to, all at once (Hungarian algorithm), those of a good
    score first and the weaker ones with what is left, as ByteTrack does with boxes.

    Likeness is COCO's OKS between the keypoints and where they are expected, over those that both have, with the box's
    overlap as one keypoint more. Where somebody is expected comes from a Kalman filter over the whole body; its
    uncertainty widens the tolerance, so that people are found again after a while out of sight.
    """

    def __init__(self, lost: float) -> None:
        optimize: Any = require("scipy.optimize", package="scipy", extra="track", purpose="tracking by keypoints")
        self._solve = optimize.linear_sum_assignment
        self._lost = lost
        self._tracks: list[_Track] = []
        self._next = 0
        self._first = True

    @property
    def alive(self) -> set[int]:
        return {track.number for track in self._tracks if track.number >= 0}

    def assign(self, poses: Poses, time: float) -> NDArray[np.int64]:
        self._tracks = [track for track in self._tracks if time - track.met <= self._lost]
        for track in self._tracks:
            track.predict(time)
        scene = _Scene(poses)
        ids = np.full(len(poses), -1, np.int64)
        sure = np.flatnonzero(poses.scores >= _SURE)
        weak = np.flatnonzero(poses.scores < _SURE)
        # Who is known goes before who may be nobody: two boxes on one person must not take the id.
        known = [track for track in self._tracks if track.number >= 0]
        tentative = [track for track in self._tracks if track.number < 0]
        sure, known = self._match(scene, sure, known, ids, _ALIKE)
        weak, known = self._match(scene, weak, known, ids, _ALIKE_WEAK)
        sure, tentative = self._match(scene, sure, tentative, ids, _ALIKE)
        weak, tentative = self._match(scene, weak, tentative, ids, _ALIKE_WEAK)
        gone = {id(track) for track in tentative}
        self._tracks = [track for track in self._tracks if id(track) not in gone]
        self._begin(scene, sure, ids, time, _CONFIRM)
        self._begin(scene, weak, ids, time, _CONFIRM_WEAK)
        self._first = self._first and len(poses) == 0
        return ids

    def _match(
        self, scene: _Scene, rows: NDArray[np.intp], tracks: list[_Track], ids: NDArray[np.int64], least: float
    ) -> tuple[NDArray[np.intp], list[_Track]]:
        """Give people to tracks; the people and the tracks that are left."""
        if not len(rows) or not tracks:
            return rows, tracks
        alike = np.stack([scene.alike(track)[rows] for track in tracks])
        people, taken = set(range(len(rows))), set(range(len(tracks)))
        # Pairs that may not be must not pull others away from their partners.
        for number, column in zip(*self._solve(np.where(alike >= least, alike, -1.0), maximize=True), strict=True):
            if alike[number, column] < least:
                continue
            track, row = tracks[number], int(rows[column])
            track.take(scene.points[row], scene.seen[row], scene.boxes[row], scene.weights)
            if track.number < 0 and track.hits >= track.needed:
                track.number, self._next = self._next, self._next + 1
            ids[row] = track.number
            people.discard(int(column))
            taken.discard(int(number))
        return rows[sorted(people)], [tracks[number] for number in sorted(taken)]

    def _begin(self, scene: _Scene, rows: NDArray[np.intp], ids: NDArray[np.int64], time: float, needed: int) -> None:
        """New tracks for people that nobody else has been taken for."""
        for row in rows.tolist():
            box = scene.boxes[row]
            size = math.sqrt(max(float((box[2:] - box[:2]).prod()), 1.0))
            spread = np.diag([(_ERROR * size) ** 2, size**2])
            track = _Track(
                scene.points[row],
                scene.seen[row],
                box,
                int(scene.class_ids[row]),
                np.zeros(2),
                spread,
                time,
                time,
                needed,
            )
            if self._first and needed == _CONFIRM:  # everybody in a video's first frame is new
                track.number, self._next = self._next, self._next + 1
                ids[row] = track.number
            self._tracks.append(track)


class _Scene:
    """The people of one frame in the form that tracks are compared with."""

    def __init__(self, poses: Poses) -> None:
        self.points = poses.xy.astype(np.float64)
        self.seen = poses.visible(VISIBLE)
        self.boxes = poses.boxes.astype(np.float64)
        self.class_ids = poses.class_ids
        sigmas = np.asarray(skeleton_for(poses.spec).sigmas or [_SIGMA] * poses.spec.keypoints, np.float64)
        self._variance = (2.0 * sigmas) ** 2
        self.weights = 1.0 / self._variance

    def alike(self, track: _Track) -> _F64:
        """(n,) how alike each person is to a track, 0 to 1."""
        area = track.size**2
        far = ((self.points - track.points) ** 2).sum(-1)
        each = np.exp(-far / (2.0 * (area * self._variance + track.spread[0, 0])))
        both = self.seen & track.seen
        alike = ((each * both).sum(-1) + box_iou(self.boxes, track.box[None])[:, 0]) / (both.sum(-1) + 1)
        return np.where(self.class_ids == track.class_id, alike, 0.0)
