# SPDX-License-Identifier: Apache-2.0
"""The box trackers of the package ``trackers``, through a bridge that keeps each id with its person."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._optional import require
from ..results import Poses

__all__ = ["BoxAssociation"]

_CLASSES = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}
_ROW = "trtpose_row"


class BoxAssociation:
    """One of that package's trackers, with its own defaults.

    It gives detections back in an order of its own and leaves some out, so that ids read by position belong to other
    people; each detection carries its row with it here.
    """

    def __init__(self, method: str, lost: float, rate: float) -> None:
        library: Any = require("trackers", package="trackers", extra="trackers", purpose=f"tracking by {method}")
        self._sv: Any = require("supervision", package="supervision", extra="supervision", purpose="tracking by boxes")
        # The package counts the buffer in frames of a video of 30 frames a second.
        options: dict[str, Any] = {"lost_track_buffer": round(lost * 30), "frame_rate": rate}
        if method == "botsort":
            options["enable_cmc"] = False  # it would need the pictures
        self._tracker: Any = getattr(library, _CLASSES[method])(**options)
        self._seen: dict[int, float] = {}
        self._lost = lost

    @property
    def alive(self) -> set[int]:
        return set(self._seen)

    def assign(self, poses: Poses, time: float) -> NDArray[np.int64]:
        detections = self._sv.Detections(
            xyxy=poses.boxes.astype(np.float64),
            confidence=poses.scores.astype(np.float64),
            class_id=poses.class_ids.astype(int),
            data={_ROW: np.arange(len(poses))},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tracked = self._tracker.update(detections, timestamp=time)
        ids = np.full(len(poses), -1, np.int64)
        if len(tracked) and tracked.tracker_id is not None:
            ids[np.asarray(tracked.data[_ROW], int)] = tracked.tracker_id
        self._seen = {n: t for n, t in self._seen.items() if time - t <= self._lost}
        self._seen.update((n, time) for n in ids.tolist() if n >= 0)
        return ids
