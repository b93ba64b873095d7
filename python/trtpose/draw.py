# SPDX-License-Identifier: Apache-2.0
"""Drawing poses on a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._checks import flag, real, shown
from ._opencv import paint
from ._terminal import escaped
from .errors import InputError
from .skeletons import VISIBLE, Skeleton, skeleton_for

if TYPE_CHECKING:
    from .results import Poses

__all__ = ["Frame", "draw"]

Frame = NDArray[np.uint8]
Color = tuple[int, int, int]

# BGR. The person's left side is warm and the right side cool, so that a swapped limb is seen at a glance.
_LEFT: Color = (40, 140, 255)
_RIGHT: Color = (255, 190, 60)
_MIDDLE: Color = (120, 230, 120)
_DARK: Color = (25, 25, 25)
_WHITE: Color = (255, 255, 255)
_SIDES = {"left": _LEFT, "right": _RIGHT, "": _MIDDLE}
# One per person for boxes and labels, in turn.
_PEOPLE: tuple[Color, ...] = (
    (80, 175, 76),
    (243, 150, 33),
    (60, 76, 231),
    (176, 39, 156),
    (7, 193, 255),
    (212, 188, 0),
    (99, 30, 233),
    (74, 195, 139),
    (72, 85, 121),
    (181, 81, 63),
)

# Coordinates are given to OpenCV with 4 fractional bits, so that small people are not snapped to the pixel grid.
_SHIFT = 4
_ONE = 1 << _SHIFT
# Beyond this a coordinate could overflow OpenCV's 32-bit fixed point; it is far outside any frame.
_FAR = 1e6
_FONT = paint.FONT_HERSHEY_SIMPLEX
_SMOOTH = paint.LINE_AA
# Height in pixels of a capital letter of that font at scale 1.
_FONT_HEIGHT = 21.0


@dataclass(frozen=True)
class _Pen:
    line: int
    radius: float
    outline: int


def _pen(shape: tuple[int, ...], box: NDArray[np.float32]) -> _Pen:
    """Line width and radius in pixels: in proportion to the person, within bounds set by the picture."""
    picture = math.sqrt(shape[0] * shape[1])
    person = math.sqrt(max(float(box[2] - box[0]), 1.0) * max(float(box[3] - box[1]), 1.0))
    widest = max(picture / 140.0, 1.5)
    line = min(max(person / 45.0, 1.0), widest)
    return _Pen(
        line=max(round(line), 1), radius=max(line * 0.95, 1.3), outline=max(round(line * 0.35), 1) if line >= 1.5 else 0
    )


def _fixed(x: float, y: float) -> tuple[int, int]:
    # A pixel's centre is at one half for us and at a whole number for OpenCV.
    return round((x - 0.5) * _ONE), round((y - 0.5) * _ONE)


def _check(frame: Any, poses: Any) -> None:
    if not all(hasattr(poses, name) for name in ("boxes", "keypoints", "shape", "spec")):
        raise InputError(f"draw: poses is {shown(poses)}; give the Poses of one frame")
    if not isinstance(frame, np.ndarray):
        raise InputError(
            f"draw: the frame is a {type(frame).__name__}, expected a numpy array of shape (height, width, 3)"
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise InputError(f"draw: the frame has shape {frame.shape}, expected (height, width, 3)")
    if frame.dtype != np.uint8:
        raise InputError(f"draw: the frame has dtype {frame.dtype}, expected uint8")


def draw(
    frame: Frame,
    poses: Poses,
    *,
    threshold: float = VISIBLE,
    boxes: bool = True,
    labels: bool = True,
    in_place: bool = False,
) -> Frame:
    """Draw skeletons, and boxes and scores if wanted, on a frame.

    The person's left limbs are orange, the right ones blue, the rest green; a box has a colour of its own per person.
    Lines and dots grow with the person and, up to a bound, with the picture.

    Args:
        frame: (height, width, 3) uint8, BGR; the frame the poses were found in.
        poses: in pixels of that frame.
        threshold: least confidence of a keypoint that is drawn; a line needs both its ends.
        boxes: draw the box of each person.
        labels: write the score, and the class where there are several, at the box.
        in_place: draw on ``frame`` itself, which must be writeable, instead of a copy.

    Returns:
        The annotated frame, (height, width, 3) uint8, BGR.

    Raises:
        InputError: the frame is not such an array, or has another size than the one the poses were found in.
    """
    _check(frame, poses)
    threshold = real(threshold, "threshold")
    boxes, labels, in_place = flag(boxes, "boxes"), flag(labels, "labels"), flag(in_place, "in_place")
    if frame.shape[:2] != poses.shape:
        raise InputError(
            f"draw: the frame has height and width {frame.shape[:2]}, the poses were found in {poses.shape}"
        )
    if in_place and not frame.flags.writeable:
        raise InputError("draw: the frame is read-only; draw on a copy (in_place=False)")
    # OpenCV draws only on contiguous arrays; a view in place is drawn on a copy and written back.
    canvas = frame if in_place and frame.flags.c_contiguous else np.array(frame, order="C")
    skeleton = skeleton_for(poses.spec)
    area = (poses.boxes[:, 2] - poses.boxes[:, 0]) * (poses.boxes[:, 3] - poses.boxes[:, 1])
    # Small people last: they are not covered by the lines of the large ones.
    order = np.argsort(-area, kind="stable").tolist()
    for row in order:
        if boxes:
            _draw_box(canvas, poses.boxes[row], _PEOPLE[row % len(_PEOPLE)], _pen(canvas.shape, poses.boxes[row]))
    for row in order:
        _draw_person(canvas, poses.keypoints[row], skeleton, threshold, _pen(canvas.shape, poses.boxes[row]))
    if labels:
        for row in order:
            name = f"{escaped(poses.spec.names[int(poses.class_ids[row])])} " if poses.spec.classes > 1 else ""
            _draw_label(canvas, poses.boxes[row], f"{name}{poses.scores[row]:.2f}", _PEOPLE[row % len(_PEOPLE)])
    if in_place and canvas is not frame:
        frame[...] = canvas
        return frame
    return canvas


def _draw_box(canvas: Frame, box: NDArray[np.float32], color: Color, pen: _Pen) -> None:
    height, width = canvas.shape[:2]
    left, right = np.clip(box[[0, 2]], 0, width).tolist()
    top, bottom = np.clip(box[[1, 3]], 0, height).tolist()
    if right - left < 1 or bottom - top < 1:
        return
    thickness = max(round(pen.line * 0.6), 1)
    paint.rectangle(canvas, _fixed(left, top), _fixed(right, bottom), color, thickness, _SMOOTH, _SHIFT)


def _draw_person(canvas: Frame, points: NDArray[np.float32], skeleton: Skeleton, threshold: float, pen: _Pen) -> None:
    shown = (points[:, 2] >= threshold) & (np.abs(points[:, :2]) < _FAR).all(axis=1)
    places = [_fixed(float(x), float(y)) for x, y in np.where(shown[:, None], points[:, :2], 0).tolist()]
    edges = [edge for edge in skeleton.edges if shown[edge[0]] and shown[edge[1]]]
    if pen.outline:
        for a, b in edges:
            paint.line(canvas, places[a], places[b], _DARK, pen.line + 2 * pen.outline, _SMOOTH, _SHIFT)
    for a, b in edges:
        paint.line(canvas, places[a], places[b], _SIDES[skeleton.edge_side((a, b))], pen.line, _SMOOTH, _SHIFT)
    sides = skeleton.sides
    for index, place in enumerate(places):
        if not shown[index]:
            continue
        if pen.outline:
            paint.circle(canvas, place, round((pen.radius + pen.outline) * _ONE), _DARK, -1, _SMOOTH, _SHIFT)
            paint.circle(canvas, place, round(pen.radius * _ONE), _WHITE, -1, _SMOOTH, _SHIFT)
            paint.circle(canvas, place, round(pen.radius * 0.65 * _ONE), _SIDES[sides[index]], -1, _SMOOTH, _SHIFT)
        else:
            paint.circle(canvas, place, round(pen.radius * _ONE), _SIDES[sides[index]], -1, _SMOOTH, _SHIFT)


def _draw_label(canvas: Frame, box: NDArray[np.float32], text: str, color: Color) -> None:
    height, width = canvas.shape[:2]
    # OpenCV's fonts hold ASCII only.
    text = text.encode("ascii", "replace").decode()
    person = max(float(box[2] - box[0]), 1.0)
    # Letters between 7 and 1/48 of the picture's mean side high, no wider than the box where that is still legible.
    tallest = max(math.sqrt(height * width) / 48.0, 7.0)
    (unit, _), _ = paint.getTextSize(text, _FONT, 1.0, 1)
    letters = min(max(person / unit * _FONT_HEIGHT * 0.9, 7.0), tallest)
    scale = letters / _FONT_HEIGHT
    if unit * scale > 3.0 * person:
        return
    thickness = max(round(scale * 1.6), 1)
    (text_width, text_height), _ = paint.getTextSize(text, _FONT, scale, thickness)
    margin = max(round(letters * 0.3), 2)
    tag_width, tag_height = text_width + 2 * margin, text_height + 2 * margin
    left = int(np.clip(box[0], 0, max(width - tag_width, 0)))
    above = float(box[1]) - tag_height
    top = int(np.clip(above if above >= 0 else box[1], 0, max(height - tag_height, 0)))
    paint.rectangle(canvas, (left, top), (left + tag_width - 1, top + tag_height - 1), color, -1)
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = _DARK if luminance > 140 else _WHITE
    paint.putText(canvas, text, (left + margin, top + margin + text_height), _FONT, scale, ink, thickness, _SMOOTH)
