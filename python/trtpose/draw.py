# SPDX-License-Identifier: Apache-2.0
"""Drawing poses on a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ._checks import flag, real, shown, whole
from ._opencv import paint
from ._terminal import escaped
from .errors import InputError
from .skeletons import VISIBLE, Skeleton, skeleton_for

if TYPE_CHECKING:
    from .results import Poses

__all__ = ["Frame", "Style", "draw"]

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
_WIDEST = 1000
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


class Style(TypedDict, total=False):
    """How :func:`draw` draws."""

    threshold: float
    boxes: bool
    labels: bool
    line_width: int | None
    radius: float | None
    colors: Sequence[Color] | None


def _pen(
    shape: tuple[int, ...], box: NDArray[np.float32], line_width: int | None = None, radius: float | None = None
) -> _Pen:
    """Line width and radius in pixels: in proportion to the person, within bounds set by the picture."""
    picture = math.sqrt(shape[0] * shape[1])
    person = math.sqrt(max(float(box[2] - box[0]), 1.0) * max(float(box[3] - box[1]), 1.0))
    widest = max(picture / 140.0, 1.5)
    line = min(max(person / 45.0, 1.0), widest) if line_width is None else float(line_width)
    dot = max(line * 0.95, 1.3) if radius is None else radius
    return _Pen(line=max(round(line), 1), radius=dot, outline=max(round(line * 0.35), 1) if line >= 1.5 else 0)


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
    line_width: int | None = None,
    radius: float | None = None,
    colors: Sequence[Color] | None = None,
    in_place: bool = False,
) -> Frame:
    """Draw skeletons, and boxes and scores if wanted, on a frame.

    The person's left limbs are orange, the right ones blue, the rest green; a box has a colour of its own per person,
    which stays with the person where the poses have ids.
    Lines and dots grow with the person and, up to a bound, with the picture.

    Args:
        frame: (height, width, 3) uint8, BGR; the frame the poses were found in.
        poses: in pixels of that frame.
        threshold: least confidence of a keypoint that is drawn; a line needs both its ends.
        boxes: draw the box of each person.
        labels: write the id where there is one, the score, and the class where there are several, at the box.
        line_width: of limbs in pixels; without it in proportion to the person.
        radius: of keypoints in pixels; without it a little more than the line.
        colors: (blue, green, red), 0 to 255 each, of people in turn, for boxes, labels and limbs; without it boxes and
            labels have colours of ours, and limbs show the side.
        in_place: draw on ``frame`` itself, which must be writeable, instead of a copy.

    Returns:
        The annotated frame, (height, width, 3) uint8, BGR.

    Raises:
        InputError: the frame is not such an array, or has another size than the one the poses were found in.
    """
    _check(frame, poses)
    look = _look(threshold, boxes, labels, line_width, radius, colors)
    in_place = flag(in_place, "in_place")
    if frame.shape[:2] != poses.shape:
        raise InputError(
            f"draw: the frame has height and width {frame.shape[:2]}, the poses were found in {poses.shape}"
        )
    if in_place and not frame.flags.writeable:
        raise InputError("draw: the frame is read-only; draw on a copy (in_place=False)")
    # OpenCV draws only on contiguous arrays; a view in place is drawn on a copy and written back.
    canvas = frame if in_place and frame.flags.c_contiguous else np.array(frame, order="C")
    _draw_all(canvas, poses, look)
    if in_place and canvas is not frame:
        frame[...] = canvas
        return frame
    return canvas


@dataclass(frozen=True)
class _Look:
    """The parameters of :func:`draw`, checked."""

    threshold: float
    boxes: bool
    labels: bool
    line_width: int | None
    radius: float | None
    colors: tuple[Color, ...]


def _look(threshold: Any, boxes: Any, labels: Any, line_width: Any, radius: Any, colors: Any) -> _Look:
    threshold, boxes, labels = real(threshold, "threshold"), flag(boxes, "boxes"), flag(labels, "labels")
    width = None if line_width is None else whole(line_width, "line_width", 1, _WIDEST)
    dot = None if radius is None else real(radius, "radius")
    if dot is not None and not 0 < dot <= _WIDEST:
        raise InputError(f"radius is {shown(radius)}; give pixels above 0 and up to {_WIDEST}")
    chosen: tuple[Color, ...] = ()
    if colors is not None:
        try:
            chosen = tuple((int(b), int(g), int(r)) for b, g, r in colors)
        except (TypeError, ValueError):
            chosen = ()
        if not chosen or not all(0 <= value <= 255 for color in chosen for value in color):
            raise InputError(f"colors is {shown(colors)}; give a list of (blue, green, red), each 0 to 255")
    return _Look(threshold, boxes, labels, width, dot, chosen)


def _draw_all(canvas: Frame, poses: Poses, look: _Look) -> None:
    skeleton = skeleton_for(poses.spec)
    area = (poses.boxes[:, 2] - poses.boxes[:, 0]) * (poses.boxes[:, 3] - poses.boxes[:, 1])
    # Small people last: they are not covered by the lines of the large ones.
    order = np.argsort(-area, kind="stable").tolist()
    # By the id where there is one, so that a person keeps the colour from frame to frame.
    numbers = np.arange(len(poses))
    numbers = numbers if poses.ids is None else np.where(poses.ids < 0, numbers, poses.ids)
    palette = look.colors or _PEOPLE
    colors = [palette[number % len(palette)] for number in numbers.tolist()]
    pens = [_pen(canvas.shape, box, look.line_width, look.radius) for box in poses.boxes]
    for row in order:
        if look.boxes:
            _draw_box(canvas, poses.boxes[row], colors[row], pens[row])
    for row in order:
        limbs = colors[row] if look.colors else None
        _draw_person(canvas, poses.keypoints[row], skeleton, look.threshold, pens[row], limbs)
    if look.labels:
        for row in order:
            _draw_label(canvas, poses.boxes[row], _label(poses, row), colors[row])


def _label(poses: Poses, row: int) -> str:
    """What is written at a box: who, which class where there are several, the score."""
    who = f"#{poses.ids[row]} " if poses.ids is not None and poses.ids[row] >= 0 else ""
    name = f"{escaped(poses.spec.names[int(poses.class_ids[row])])} " if poses.spec.classes > 1 else ""
    return f"{who}{name}{poses.scores[row]:.2f}"


def _draw_box(canvas: Frame, box: NDArray[np.float32], color: Color, pen: _Pen) -> None:
    height, width = canvas.shape[:2]
    left, right = np.clip(box[[0, 2]], 0, width).tolist()
    top, bottom = np.clip(box[[1, 3]], 0, height).tolist()
    if right - left < 1 or bottom - top < 1:
        return
    thickness = max(round(pen.line * 0.6), 1)
    paint.rectangle(canvas, _fixed(left, top), _fixed(right, bottom), color, thickness, _SMOOTH, _SHIFT)


def _draw_person(
    canvas: Frame,
    points: NDArray[np.float32],
    skeleton: Skeleton,
    threshold: float,
    pen: _Pen,
    color: Color | None = None,
) -> None:
    shown = (points[:, 2] >= threshold) & (np.abs(points[:, :2]) < _FAR).all(axis=1)
    places = [_fixed(float(x), float(y)) for x, y in np.where(shown[:, None], points[:, :2], 0).tolist()]
    edges = [edge for edge in skeleton.edges if shown[edge[0]] and shown[edge[1]]]
    if pen.outline:
        for a, b in edges:
            paint.line(canvas, places[a], places[b], _DARK, pen.line + 2 * pen.outline, _SMOOTH, _SHIFT)
    for a, b in edges:
        paint.line(canvas, places[a], places[b], color or _SIDES[skeleton.edge_side((a, b))], pen.line, _SMOOTH, _SHIFT)
    dots = [color or _SIDES[side] for side in skeleton.sides]
    for index, place in enumerate(places):
        if not shown[index]:
            continue
        if pen.outline:
            paint.circle(canvas, place, round((pen.radius + pen.outline) * _ONE), _DARK, -1, _SMOOTH, _SHIFT)
            paint.circle(canvas, place, round(pen.radius * _ONE), _WHITE, -1, _SMOOTH, _SHIFT)
            paint.circle(canvas, place, round(pen.radius * 0.65 * _ONE), dots[index], -1, _SMOOTH, _SHIFT)
        else:
            paint.circle(canvas, place, round(pen.radius * _ONE), dots[index], -1, _SMOOTH, _SHIFT)


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
