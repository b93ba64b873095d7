# SPDX-License-Identifier: Apache-2.0
"""MoveNet's own decoding in plain NumPy, the judge of what is cut out of a graph.

Formulas and names as in ``cpp/src/families/movenet/README.md``. Everything is in cells until the end; pairs are (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Constants", "decode_multi", "decode_single"]

Array = NDArray[np.float64]

_SAME_PEAK = 1e-6  # neighbours that are nearly equal are peaks both
_REACH = 2


@dataclass(frozen=True)
class Constants:
    """The numbers that exporters round.

    Attributes:
        softening: added to distances that scores are divided by.
        spread: of the bell around an expected keypoint, times the grid's shorter side.
        counted: keypoints above it count for a person's score.
        cell: of one axis, by which a place in cells becomes a part of the input; None: one by the grid's side.
    """

    softening: float = 1.8
    spread: float = 0.3
    counted: float = 0.127
    cell: float | None = None


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _distances(place: Array | tuple[float, float], shape: tuple[int, ...]) -> Array:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - place[0], columns - place[1])


def _pairs(head: NDArray[np.float32], row: int, column: int) -> Array:
    """The pairs of channels of one cell, as rows of (y, x)."""
    return head[:, row, column].astype(np.float64).reshape(-1, 2)


def _best(values: Array) -> tuple[int, int]:
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return int(row), int(column)


def decode_single(heads: list[NDArray[np.float32]], constants: Constants) -> Array:
    """One person.

    Args:
        heads: heatmap K x h x w, center 1 x h x w, regress and offset 2K x h x w; logits and cells.
        constants: of the network.

    Returns:
        K x 3: y and x in parts of the input, score.
    """
    heatmap, center, regress, offset = heads
    shape = heatmap.shape[1:]
    near_middle = _distances((shape[0] / 2, shape[1] / 2), shape) + constants.softening
    middle = _best(_sigmoid(center[0].astype(np.float64)) / near_middle)
    expected = _pairs(regress, *middle) + middle
    out = np.empty((len(heatmap), 3))
    for k, scores in enumerate(_sigmoid(heatmap.astype(np.float64))):
        cell = _best(scores / (_distances(expected[k], shape) + constants.softening))
        place = _pairs(offset, *cell)[k] + cell
        out[k, :2] = place * (constants.cell or 1 / np.array(shape))
        out[k, 2] = scores[cell]
    return out


def _peaks(scores: Array, people: int) -> tuple[list[tuple[int, int]], int]:
    """The greatest peaks, the first of equal ones first, and how many of them are peaks: a network that finds fewer
    fills up with any cells."""
    padded = np.pad(scores, _REACH, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * _REACH + 1, 2 * _REACH + 1))
    kept = np.where(windows.max(axis=(2, 3)) - scores < _SAME_PEAK, scores, 0)
    order = np.argsort(-kept.ravel(), kind="stable")[:people]
    cells = [(int(i) // scores.shape[1], int(i) % scores.shape[1]) for i in order]
    return cells, int((kept > 0).sum())


def decode_multi(heads: list[NDArray[np.float32]], constants: Constants, people: int) -> Array:
    """As many people as the network gives.

    Args:
        heads: heatmap K x h x w, center 1 x h x w, regress and offset 2K x h x w, box_scale and box_offset 2 x h x w.
        constants: of the network.
        people: how many.

    Returns:
        people x (3K + 5), in the order of their centres: K of y, x, score, then ymin, xmin, ymax, xmax, score; not a
        number where there are fewer peaks.
    """
    heatmap, center, regress, offset, box_scale, box_offset = heads
    shape = heatmap.shape[1:]
    sides = np.array(shape, np.float64)
    centers = _sigmoid(center[0].astype(np.float64))
    scores = _sigmoid(heatmap.astype(np.float64))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    chosen, found = _peaks(centers, people)
    maps, boxes = [], []
    for cell in chosen:
        middle = _pairs(box_offset, *cell)[0] + cell
        half = np.maximum(_pairs(box_scale, *cell)[0], 0) / 2
        box = np.concatenate([np.clip(middle - half, 0, sides), np.clip(middle + half, 0, sides)])
        boxes.append(box)
        inside = (rows >= box[0]) & (rows < box[2]) & (columns >= box[1]) & (columns < box[3])
        expected = _pairs(regress, *cell) + cell
        bells = [np.exp(-(_distances(place, shape) ** 2) / (constants.spread * min(shape))) for place in expected]
        maps.append(scores * np.stack(bells) * inside)
    best = np.max(maps, axis=0)
    out = np.empty((people, 3 * len(heatmap) + 5))
    for row, cell, weighted, box in zip(out, chosen, maps, boxes, strict=True):
        points = row[: 3 * len(heatmap)].reshape(-1, 3)
        for k, point in enumerate(points):
            at = _best(weighted[k])
            point[:2] = (_pairs(offset, *at)[k] + at) / sides
            point[2] = best[k][at]
        row[-5:-1] = np.clip(box / np.tile(sides, 2), 0, 1)
        counted = points[:, 2][points[:, 2] > constants.counted]
        row[-1] = centers[cell] * (counted.mean() if len(counted) else 0)
    out[found:] = np.nan
    return out
