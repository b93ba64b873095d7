# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose's grouping as people write it in Python: NumPy, OpenCV and loops over keypoints.

Written from the description in cpp/src/families/openpose/README.md, not from anybody's code. It judges trtpose's
answers (rule ``reference``) and is what their speed is compared with.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

LIMBS = (
    *((1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4)),
    *((1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36)),
    *((2, 16, 18), (5, 17, 26)),
)
"""From, to, channel of the field's x; the last :data:`FILLING` fill what poses lack."""
FILLING = 2
COCO = {
    0: 0,
    2: 6,
    3: 8,
    4: 10,
    5: 5,
    6: 7,
    7: 9,
    8: 12,
    9: 14,
    10: 16,
    11: 11,
    12: 13,
    13: 15,
    14: 2,
    15: 1,
    16: 4,
    17: 3,
}
"""The place in COCO's order of each keypoint; the neck has none."""

Peak = tuple[int, int, float]


def enlarge(maps: Any, factor: int = 4) -> Any:
    """C x h x w maps, bicubic."""
    grown = [cv2.resize(one, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) for one in maps]
    return np.stack(grown)


def find_peaks(heatmap: Any) -> list[Peak]:
    """Peaks (x, y, score) of one enlarged map, column by column."""
    heatmap = np.where(heatmap < np.float32(0.1), np.float32(0), heatmap)
    around = np.pad(heatmap, 1)
    middle = around[1:-1, 1:-1]
    strict = (middle > around[1:-1, :-2]) & (middle > around[1:-1, 2:])
    strict &= (middle > around[:-2, 1:-1]) & (middle > around[2:, 1:-1])
    ys, xs = np.nonzero(strict)
    order = np.lexsort((ys, xs))
    kept: list[Peak] = []
    for x, y in zip(xs[order].tolist(), ys[order].tolist(), strict=True):
        if all(math.hypot(x - a, y - b) >= 6 for a, b, _ in kept):
            kept.append((x, y, float(heatmap[y, x])))
    return kept


def limb_score(a: Peak, b: Peak, x_field: Any, y_field: Any) -> tuple[float, int]:
    """Mean of the field along a limb over the points where it goes that way, and how many of ten these are."""
    vx, vy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
    length = math.sqrt(vx * vx + vy * vy) + 1e-6
    ux, uy = vx / length, vy / length
    step = np.float32(1 / 9)
    total, count = 0.0, 0
    for i in range(10):
        x = round(float(np.float32(a[0]) + np.float32(i) * (step * vx)))
        y = round(float(np.float32(a[1]) + np.float32(i) * (step * vy)))
        along = float(x_field[y, x]) * ux + float(y_field[y, x]) * uy
        if along > 0.05:
            total += along
            count += 1
    return total / (count + 1e-6), count


def joints(first: list[Peak], second: list[Peak], x_field: Any, y_field: Any) -> list[tuple[int, int, float]]:
    """The pairs of one limb, best first, each keypoint once."""
    found: list[tuple[float, int, int]] = []
    for j, b in enumerate(second):
        for i, a in enumerate(first):
            score, count = limb_score(a, b, x_field, y_field)
            if score > 0 and count > 8:
                found.append((score, j, i))
    chosen: list[tuple[int, int, float]] = []
    for score, j, i in sorted(found, reverse=True):
        if all(i != a and j != b for a, b, _ in chosen):
            chosen.append((i, j, score))
    return chosen


def group(peaks: list[list[Peak]], fields: Any) -> list[dict[str, Any]]:
    """Poses from the peaks of each keypoint and the enlarged fields: ``ids`` by keypoint, ``score``, ``count``."""
    poses: list[dict[str, Any]] = []
    for number, (ka, kb, channel) in enumerate(LIMBS):
        for i, j, score in joints(peaks[ka], peaks[kb], fields[channel], fields[channel + 1]):
            if number >= len(LIMBS) - FILLING:
                for pose in poses:
                    if pose["ids"].get(ka) == i and kb not in pose["ids"]:
                        pose["ids"][kb] = j
                    elif pose["ids"].get(kb) == j and ka not in pose["ids"]:
                        pose["ids"][ka] = i
                continue
            holding = [pose for pose in poses if pose["ids"].get(ka) == i]
            for pose in holding:
                pose["ids"][kb] = j
                pose["count"] += 1
                pose["score"] += peaks[kb][j][2] + score
            if not holding:
                total = peaks[ka][i][2] + peaks[kb][j][2] + score
                poses.append({"ids": {ka: i, kb: j}, "count": 2, "score": total})
    return [pose for pose in poses if pose["count"] >= 3 and pose["score"] / pose["count"] >= 0.2]


def decode(heatmaps: Any, fields: Any) -> tuple[list[list[Peak]], list[dict[str, Any]]]:
    """Peaks of each keypoint and poses of one image's maps, 19 x h x w and 38 x h x w."""
    peaks = [find_peaks(one) for one in enlarge(heatmaps[:-1])]
    return peaks, group(peaks, enlarge(fields))
