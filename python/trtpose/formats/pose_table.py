# SPDX-License-Identifier: Apache-2.0
"""Poses as a table: a row per person, a column per number."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from ..skeletons import skeleton_for

if TYPE_CHECKING:
    from ..results import Poses
    from ..sources import Frame
    from ..spec import ModelSpec

__all__ = ["BOX", "FRAME", "PERSON", "columns", "frame_cells", "keypoint_names", "rows"]

FRAME = ("source", "frame", "time", "utc", "width", "height")
"""Which frame: its source, its number and its time in seconds in a video, the time of day of a live one, its pixels."""

PERSON = ("id", "class_id", "class", "score")
"""Who: the tracker's id, the class by number and by name, the score in 0 to 1."""

BOX = ("left", "top", "right", "bottom")
"""Of the box, in pixels of the frame."""


def keypoint_names(spec: ModelSpec) -> list[str]:
    """A name for each keypoint, no two alike: what it is called, or its number."""
    names = list(skeleton_for(spec).names)
    return names if len(set(names)) == len(names) else [str(index) for index in range(len(names))]


def columns(spec: ModelSpec) -> list[str]:
    """:data:`PERSON`, :data:`BOX`, and of each keypoint ``NAME_x`` and ``NAME_y`` (pixels) and ``NAME_confidence``."""
    points = [f"{name}_{what}" for name in keypoint_names(spec) for what in ("x", "y", "confidence")]
    return [*PERSON, *BOX, *points]


def rows(poses: Poses) -> list[list[Any]]:
    """A row per person in the order of :func:`columns`; the id is None where there is none. Not rounded."""
    ids = [None] * len(poses) if poses.ids is None else [None if n < 0 else n for n in poses.ids.tolist()]
    flat = poses.keypoints.reshape(len(poses), 3 * poses.spec.keypoints).tolist()
    return [
        [who, class_id, name, score, *box, *points]
        for who, class_id, name, score, box, points in zip(
            ids,
            poses.class_ids.tolist(),
            poses.names,
            poses.scores.tolist(),
            poses.boxes.tolist(),
            flat,
            strict=True,
        )
    ]


def frame_cells(frame: Frame, poses: Poses) -> list[Any]:
    """The cells of :data:`FRAME`; None for what a picture has not. ``utc`` is a :class:`datetime.datetime`."""
    height, width = poses.shape
    utc = None if frame.arrived is None else dt.datetime.fromtimestamp(frame.arrived, dt.timezone.utc)
    time = None if frame.time is None or not frame.is_video else round(frame.time, 6)
    return [frame.source, frame.index if frame.is_video else None, time, utc, width, height]


def rounded(row: list[Any], spec: ModelSpec) -> list[Any]:
    """A row as texts and numbers to read: pixels to 2 decimals, scores and confidences to 4, as in JSON."""
    head, box, points = row[:3], row[4:8], row[8:]
    digits = [2, 2, 4] * spec.keypoints
    return [
        *head,
        round(row[3], 4),
        *(round(value, 2) for value in box),
        *(round(value, places) for value, places in zip(points, digits, strict=True)),
    ]


def normalised(poses: Poses) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Boxes (n, 4) as centre x, centre y, width, height and keypoints (n, K, 2), in widths and heights of the frame."""
    height, width = poses.shape
    sides = np.array([width, height], np.float64)
    boxes = poses.boxes.astype(np.float64)
    low, high = boxes[:, :2] / sides, boxes[:, 2:] / sides
    return np.concatenate([(low + high) / 2, high - low], axis=1), poses.xy.astype(np.float64) / sides
