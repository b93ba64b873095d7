# SPDX-License-Identifier: Apache-2.0
"""Networks with trtpose's plugin inside: people come out, in pixels of the letterboxed input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError, ModelError
from ..results import Poses
from ..spec import ModelSpec
from ..thresholds import Thresholds

__all__ = ["DecodedNetwork"]


class DecodedNetwork:
    """Brings frames to such a network and its people back to the frames.

    Args:
        run: gives num_dets (N×1), boxes (N×D×4), scores (N×D), classes (N×D) and keypoints (N×D×K×3) for an input of
            N×3×height×width.
        spec: of the network; it names the thresholds that are built in.
        size: height and width of the input in pixels.
        least, most: frames that a run takes.
    """

    def __init__(
        self,
        run: Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]],
        spec: ModelSpec,
        *,
        size: tuple[int, int],
        least: int,
        most: int,
    ) -> None:
        self._run, self._spec, self._size = run, spec, size
        self._least, self._most = least, most

    def infer(
        self, frames: Sequence[NDArray[np.uint8]], *, color: Literal["bgr", "rgb"], thresholds: Thresholds | None
    ) -> list[Poses]:
        """The people in frames of height×width×3 uint8, in each frame's pixels.

        Raises:
            InputError: a frame cannot be used, or thresholds are asked for, which are part of the engine.
            ModelError: the network gives something else.
        """
        if thresholds is not None:
            raise InputError("this engine has its thresholds built in; leave them out, or build it with others")
        found: list[Poses] = []
        for first in range(0, len(frames), self._most):
            found += self._group(frames[first : first + self._most], color)
        return found

    def _group(self, frames: Sequence[NDArray[np.uint8]], color: str) -> list[Poses]:
        spec = self._spec.to_json()
        made = [_core.letterbox(frame, self._size, color, spec) for frame in frames]
        images = np.zeros((max(len(frames), self._least), 3, *self._size), np.float32)
        for row, (image, _) in enumerate(made):
            images[row] = image
        outputs = self._run(images)
        self._check(outputs, len(images))
        return [self._poses(outputs, row, frame.shape, made[row][1]) for row, frame in enumerate(frames)]

    def _check(self, outputs: Sequence[NDArray[np.float32]], count: int) -> None:
        shapes = [one.shape for one in outputs]
        room = shapes[1][1] if len(shapes) == 5 and len(shapes[1]) == 3 else 0
        people = (count, room)
        if shapes != [(count, 1), (*people, 4), people, people, (*people, self._spec.keypoints, 3)]:
            raise ModelError(f"the network gave outputs of {shapes} for {count} frames, not those of trtpose's plugin")
        if not ((outputs[0] >= 0) & (outputs[0] <= room)).all():
            raise ModelError(f"the network gave counts of {outputs[0].ravel().tolist()}, with room for {room}")

    def _poses(
        self, outputs: Sequence[NDArray[np.float32]], row: int, shape: tuple[int, ...], placement: dict[str, Any]
    ) -> Poses:
        """Image ``row``'s people: the border taken off, and each axis scaled back by its own factor."""
        counts, boxes, scores, classes, keypoints = outputs
        count = int(counts[row, 0])
        height, width = shape[0], shape[1]
        start = np.array([placement["left"], placement["top"]], np.float32)
        # In float32, as in cpp/include/trtpose/math/letterbox.hpp.
        end = np.array([width, height], np.float32)
        factor = end / np.array([placement["width"], placement["height"]], np.float32)
        corners = (boxes[row, :count].reshape(count, 2, 2) - start) * factor
        points = keypoints[row, :count].copy()
        points[..., :2] = (points[..., :2] - start) * factor
        return Poses(
            boxes=np.minimum(np.maximum(corners, np.float32(0)), end).reshape(count, 4),
            scores=scores[row, :count],
            class_ids=classes[row, :count].astype(np.int32),
            keypoints=points,
            shape=(height, width),
            spec=self._spec,
        )
