# SPDX-License-Identifier: Apache-2.0
"""Following one person through a video with a square around where the person was, as MoveNet's users know it.

The rule is that of TensorFlow's MoveNet tutorial (https://www.tensorflow.org/hub/tutorials/movenet): where a shoulder
and a hip are seen, the next frame is cut to a square about the middle of the hips, as wide as the trunk and what
else is seen need. Else the whole frame is taken, also where the square would be larger than that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..results import Poses
from ..skeletons import skeleton_for
from ..spec import ModelSpec

if TYPE_CHECKING:
    from ..sources import Frame

__all__ = ["Crops", "Square", "square_around"]

_SEEN = 0.2  # a keypoint's confidence from which it is taken as seen
_TRUNK, _BODY = 1.9, 1.2  # room around the farthest point of the trunk, and of all that is seen
_SHOULDERS = ("left_shoulder", "right_shoulder")
_HIPS = ("left_hip", "right_hip")


@dataclass(frozen=True)
class Square:
    """Part of a frame in whole pixels; it may reach beyond the frame, where it is black."""

    left: int
    top: int
    side: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its pixels, side x side x 3."""
        out = np.zeros((self.side, self.side, 3), np.uint8)
        height, width = image.shape[:2]
        x1, y1 = max(self.left, 0), max(self.top, 0)
        x2, y2 = min(self.left + self.side, width), min(self.top + self.side, height)
        if x1 < x2 and y1 < y2:
            out[y1 - self.top : y2 - self.top, x1 - self.left : x2 - self.left] = image[y1:y2, x1:x2]
        return out

    def back(self, poses: Poses, shape: tuple[int, int]) -> Poses:
        """Poses found in its pixels as poses of a frame of height and width ``shape``."""
        shift = np.array([self.left, self.top], np.float32)
        height, width = shape
        boxes = poses.boxes + np.concatenate([shift, shift])
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        keypoints = poses.keypoints.copy()
        # What is not there stays where it is.
        there = keypoints.any(axis=2)
        keypoints[..., :2] += np.where(there[..., None], shift, np.float32(0))
        return replace(poses, boxes=boxes, keypoints=keypoints, shape=shape)


def square_around(keypoints: NDArray[np.float32], names: tuple[str, ...], shape: tuple[int, int]) -> Square | None:
    """Where a person is looked for in the next frame.

    Args:
        keypoints: K x 3: x, y, confidence.
        names: of the keypoints.
        shape: height and width of the frame.

    Returns:
        The square, or None for the whole frame.
    """
    place = {name: index for index, name in enumerate(names)}
    shoulders, hips = ([place[name] for name in side] for side in (_SHOULDERS, _HIPS))
    seen = keypoints[:, 2] > _SEEN
    if not seen[shoulders].any() or not seen[hips].any():
        return None
    points = keypoints[:, :2].astype(float)
    middle = points[hips].mean(axis=0)
    away = np.abs(points - middle)
    half = max(_TRUNK * away[[*shoulders, *hips]].max(), _BODY * away[seen].max())
    height, width = shape
    half = min(half, max(*middle, width - middle[0], height - middle[1]))
    if not 1 <= half <= max(shape) / 2:
        return None
    left, top = np.round(middle - half).astype(int)
    return Square(int(left), int(top), round(2 * half))


class _Finds(Protocol):
    @property
    def spec(self) -> ModelSpec: ...

    def infer(self, images: list[NDArray[np.uint8]], /) -> list[Poses]: ...


class Crops:
    """A square for each source of a run.

    Args:
        engine: what finds people; its best one is followed.

    Raises:
        InputError: the network's keypoints are not known to have shoulders and hips.
    """

    def __init__(self, engine: _Finds) -> None:
        self._engine = engine
        self._names = skeleton_for(engine.spec).names
        missing = [name for name in (*_SHOULDERS, *_HIPS) if name not in self._names]
        if missing:
            raise InputError(
                f"{engine.spec.name}: following a person by a crop goes by shoulders and hips, and the network has no "
                f"{', '.join(missing)}; leave --crop out, or name the keypoints in the model spec (kpt_names)"
            )
        self._squares: dict[int, Square] = {}

    def infer(self, frame: Frame) -> Poses:
        """The best person of a frame, looked for where it was in the frame before; of a picture, in all of it."""
        image = frame.image
        assert image is not None
        height, width = image.shape[:2]
        square = self._squares.get(frame.position)
        if square is None:
            found = self._engine.infer([image])[0]
        else:
            found = square.back(self._engine.infer([square.cut(image)])[0], (height, width))
        found = found[:1]
        following = square_around(found.keypoints[0], self._names, (height, width)) if len(found) else None
        if following is None or not frame.is_video:
            self.end(frame.position)
        else:
            self._squares[frame.position] = following
        return found

    def end(self, position: int) -> None:
        """Forget a source that has come to its end."""
        self._squares.pop(position, None)
