# SPDX-License-Identifier: Apache-2.0
"""Drawn pictures with people: background, people from far to near, things in front of them, and exact annotations.

A picture depends on ``(seed, index, height, width)`` alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .body import EVERYDAY, F32, HARD, TURNED, VARIED, Habit
from .person import FLIP, KEYPOINTS, SKELETON, SKINS, Drawn, draw_person
from .solids import FOLDS, TILES, Layer, Paint, smooth_noise

U8 = NDArray[np.uint8]

SUPERSAMPLE = 1.4
MIN_VISIBLE = 0.3
"""A person of whom less than this share is seen is annotated without keypoints: present, but not to be found."""


@dataclass(frozen=True)
class Kind:
    """What is in a picture and how often; chances in 0..1.

    Attributes:
        counts: weight of 0, 1, 2, 3, 4, 5, 7 and 9 people.
        biggest: range of the tallest person's stature, in heights of the picture.
        smallest: least stature.
        spread: how much smaller others are at most.
        crowd: chance that all stand close together.
        between: chance, for each person, of a thing before who is farther away.
        before: chance of up to three things before everybody.
        held: chance, for each person, of something in a hand.
        margin: least distance of a person's middle from the left and right border, in widths of the picture.
        habit: how people stand.
    """

    counts: tuple[float, ...]
    biggest: tuple[float, float]
    smallest: float
    spread: float
    crowd: float
    between: float
    before: float
    held: float
    margin: float
    habit: Habit


KINDS = {
    "everyday": Kind(
        (0.03, 0.5, 0.27, 0.12, 0.05, 0.03, 0.0, 0.0), (0.7, 1.35), 0.45, 0.55, 0.08, 0.08, 0.12, 0.15, 0.15,
        EVERYDAY,
    ),
    "varied": Kind(
        (0.03, 0.4, 0.27, 0.15, 0.08, 0.04, 0.02, 0.01), (0.6, 1.5), 0.32, 0.45, 0.12, 0.12, 0.2, 0.25, 0.1, VARIED
    ),
    "hard": Kind(
        (0.03, 0.27, 0.26, 0.19, 0.12, 0.07, 0.04, 0.02), (0.45, 1.75), 0.2, 0.3, 0.22, 0.25, 0.35, 0.25, 0.04,
        HARD,
    ),
}  # fmt: skip
KINDS["turned"] = replace(KINDS["varied"], habit=TURNED)


@dataclass
class Scene:
    """A picture and its people.

    Attributes:
        image: height × width × 3, uint8, BGR.
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels: the whole body as drawn, hidden parts too, within the frame.
        keypoints: (n, K, 3) float32, x, y in pixels and visibility: 2 seen, 1 hidden, 0 not labelled (x = y = 0):
            out of the frame, or nobody could say where it is (:func:`label`).
        areas: (n,) float32, pixels covered by the body within the frame, hidden parts too.
        ignored: (n,) bool, hardly visible; all visibilities are 0.
    """

    image: U8
    boxes: F32
    keypoints: F32
    areas: F32
    ignored: NDArray[np.bool_]

    def mirrored(self) -> Scene:
        """The picture seen in a mirror, left and right keypoints swapped."""
        width = self.image.shape[1]
        boxes = self.boxes.copy()
        boxes[:, [0, 2]] = width - self.boxes[:, [2, 0]]
        points = self.keypoints[:, list(FLIP)].copy()
        points[..., 0] = np.where(points[..., 2] > 0, width - points[..., 0], 0)
        return Scene(np.ascontiguousarray(self.image[:, ::-1]), boxes, points, self.areas, self.ignored)


@functools.cache
def _textures() -> list[U8]:
    rng = np.random.default_rng(11)
    size = 512
    bank: list[U8] = []
    for base, octaves in ((2, 4), (4, 5), (8, 5), (16, 4), (64, 3), (4, 7), (3, 3), (128, 2)) * 2:
        bank.append((255 * smooth_noise(rng, size, octaves, base)).astype(np.uint8))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    for period in (16, 40):
        warp = 12 * smooth_noise(rng, size, 4, 4)
        bank.append((127 + 127 * np.sin((y + 3 * warp) * 2 * np.pi / period)).astype(np.uint8))  # planks
        row = (y // period).astype(int)
        brick = ((y % period < 2) | ((x + row % 2 * period) % (2 * period) < 2)) * 120
        bank.append(np.clip(200 - brick - 50 * smooth_noise(rng, size, 5, 16), 0, 255).astype(np.uint8))
        bank.append((((x // period + y // period) % 2) * 160 + 60 * smooth_noise(rng, size, 4, 8)).astype(np.uint8))
        bank.append(((x % period < period * 0.15) * 200 + (y % period < period * 0.1) * 55).astype(np.uint8))
    for _ in range(4):  # leaves, pebbles, crowds of small shapes
        canvas = np.full((size, size), 90, np.uint8)
        for _ in range(1400):
            cx, cy, r = (*rng.integers(0, size, 2).tolist(), int(rng.integers(3, 16)))
            cv2.ellipse(
                canvas,
                (cx, cy),
                (r, max(2, r // 2)),
                float(rng.uniform(0, 180)),
                0,
                360,
                int(rng.integers(20, 255)),
                -1,
            )
        bank.append(canvas)
    return bank


def _color(rng: np.random.Generator) -> F32:
    base = rng.uniform(10, 245, 3)
    grey = base.mean() if rng.random() < 0.7 else rng.uniform(10, 250)
    vivid = rng.uniform(0, 0.35) if rng.random() < 0.7 else rng.uniform(0.3, 1.2)  # most of the world is greyish
    return np.clip(grey + (base - base.mean()) * vivid, 4, 252).astype(np.float32)


def _texture(rng: np.random.Generator, height: int, width: int, contrast: float = 1.0) -> U8:
    """A textured patch: a stretch of the bank through a palette of three colours."""
    bank = _textures()
    source = bank[int(rng.integers(len(bank)))]
    side = int(np.exp(rng.uniform(np.log(60), np.log(500))))
    y, x = (int(v) for v in rng.integers(0, 513 - side, 2))
    patch = cv2.resize(source[y : y + side, x : x + side], (width, height), interpolation=cv2.INTER_LINEAR)
    a, b = _color(rng), _color(rng)
    c = a + (b - a) * rng.uniform(0.2, 0.8) + rng.normal(0, 25, 3)
    if contrast < 1:
        b, c = a + (b - a) * contrast, a + (c - a) * contrast
    lut = np.empty((256, 3), np.float32)
    ramp = np.linspace(0, 1, 128, dtype=np.float32)[:, None]
    lut[:128], lut[128:] = a + (c - a) * ramp, c + (b - c) * ramp
    return np.clip(lut, 0, 255).astype(np.uint8)[patch]


def _polygon(rng: np.random.Generator, height: int, width: int) -> NDArray[np.int32]:
    centre = rng.uniform(0, 1, 2) * (width, height)
    size = np.exp(rng.uniform(np.log(0.04), np.log(0.5), 2)) * max(height, width)
    kind = rng.random()
    if kind < 0.55:
        shape = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float) * size / 2
        shape[:2, 0] *= rng.uniform(0.6, 1.2)
    elif kind < 0.8:
        t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        shape = np.stack([np.cos(t), np.sin(t)], 1) * size / 2 * rng.uniform(0.8, 1.2, (16, 1))
    else:  # a long thin thing: a pole, a branch, a rail
        shape = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float) * (size.max(), size.min() * 0.12 + 2) / 2
    angle = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    if kind >= 0.8 and rng.random() < 0.5:
        angle += np.pi / 2
    c, s = np.cos(angle), np.sin(angle)
    return (centre + shape @ np.array([[c, s], [-s, c]])).round().astype(np.int32)


def _thing(rng: np.random.Generator, image: U8, owner: NDArray[np.int8] | None = None) -> None:
    """Paint a textured thing, with light falling off across it; where ``owner`` is given, it hides people there."""
    height, width = image.shape[:2]
    outline = _polygon(rng, height, width)
    x, y, w, h = cv2.boundingRect(outline)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.fillPoly(mask, [outline - np.int32([x1, y1])], 1)
    patch = _texture(rng, y2 - y1, x2 - x1, rng.uniform(0, 1)).astype(np.float32)
    fall = np.linspace(*rng.uniform(0.55, 1.25, 2), x2 - x1, dtype=np.float32)
    patch *= (
        fall[:, None]
        if rng.random() < 0.7
        else np.linspace(*rng.uniform(0.55, 1.25, 2), y2 - y1, dtype=np.float32)[:, None, None]
    )
    inside = mask > 0
    image[y1:y2, x1:x2][inside] = np.clip(patch, 0, 255)[inside].astype(np.uint8)
    if owner is not None:
        owner[y1:y2, x1:x2][inside] = -1


def _background(rng: np.random.Generator, height: int, width: int) -> U8:
    image = _texture(rng, height, width, rng.uniform(0.1, 1))
    horizon = int(height * rng.uniform(0.15, 0.8))
    if rng.random() < 0.8:
        image[horizon:] = _texture(rng, height - horizon, width, rng.uniform(0.05, 1))
    for _ in range(int(rng.integers(0, 5))):  # walls, houses, trees on the horizon
        w, h = int(width * rng.uniform(0.08, 0.6)), int(height * rng.uniform(0.08, 0.7))
        x, y = int(rng.integers(-w // 2, width)), max(0, horizon - h + int(0.1 * h))
        x1, x2, y2 = max(x, 0), min(x + w, width), min(y + h, height)
        if x2 - x1 > 4 and y2 - y > 4:
            image[y:y2, x1:x2] = _texture(rng, y2 - y, x2 - x1, rng.uniform(0, 0.8))
    for _ in range(int(rng.integers(0, 14))):
        _thing(rng, image)
    for _ in range(int(rng.integers(0, 5))):  # limb-like solids that belong to nobody
        layer = Layer(height, width)
        a, b = rng.uniform(0, 1, (2, 2)) * (width, height)
        b = a + (b - a) * rng.uniform(0.1, 0.7)
        r = np.float32(rng.uniform(0.01, 0.06, 3) * height)
        colour = _color(rng) if rng.random() < 0.5 else SKINS[rng.integers(8)]
        paint = Paint(colour, _color(rng), TILES[int(rng.integers(6)) * (rng.random() < 0.4)], FOLDS[0], 0.3)
        layer.solid(np.float32([*a, 0]), np.float32([*b, 0]), r, paint, np.float32([-0.4, -0.5, 0.77]), 0.4)
        mask = np.isfinite(layer.depth)
        image[mask] = np.clip(layer.color[mask], 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        sigma = rng.uniform(0.5, 3.5)
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return image


def _paste(rng: np.random.Generator, image: U8, owner: NDArray[np.int8], drawn: Drawn, index: int) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = drawn.layer.box
    mask = np.isfinite(drawn.layer.depth[y0:y1, x0:x1])
    part = image[y0:y1, x0:x1]
    if rng.random() < 0.6:  # a shadow on what is behind
        dx, dy = int(rng.normal(0, 0.04) * drawn.size), int(abs(rng.normal(0, 0.03)) * drawn.size)
        shadow = cv2.warpAffine(mask.astype(np.float32), np.float32([[1, 0, dx], [0, 1, dy]]), (x1 - x0, y1 - y0))
        shadow = cv2.blur(shadow, (9, 9))[..., None] * np.float32(rng.uniform(0.1, 0.5))
        part[:] = (part * (1 - shadow)).astype(np.uint8)
    part[mask] = np.clip(drawn.layer.color[y0:y1, x0:x1][mask], 0, 255).astype(np.uint8)
    owner[y0:y1, x0:x1][mask] = index
    return mask


def _held(rng: np.random.Generator, image: U8, owner: NDArray[np.int8], drawn: Drawn) -> None:
    """A stick, a ball or a bag in a hand."""
    wrist = drawn.keypoints[9 + int(rng.integers(2)), :2]
    colour = tuple(float(v) for v in _color(rng))
    mask = np.zeros(owner.shape, np.uint8)
    kind = rng.random()
    s = drawn.size
    if kind < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * s * rng.uniform(0.2, 0.7)
        back = wrist - step * rng.uniform(0, 0.4)
        ends = (tuple(int(v) for v in back), tuple(int(v) for v in wrist + step))
        cv2.line(mask, *ends, 1, max(1, int(s * rng.uniform(0.006, 0.03))))
    elif kind < 0.8:
        cv2.circle(mask, tuple(int(v) for v in wrist), max(1, int(s * rng.uniform(0.02, 0.08))), 1, -1)
    else:
        a = (wrist + np.array([-0.07 * s, 0.02 * s])).astype(int)
        b = (wrist + rng.uniform(0.05, 0.12) * s + (0, 0.1 * s)).astype(int)
        cv2.rectangle(mask, tuple(a.tolist()), tuple(b.tolist()), 1, -1)
    inside = mask > 0
    image[inside] = colour
    owner[inside] = -1


# The joint that a limb hangs from.
PARENTS = {
    child: parent
    for side in ("left_", "right_")
    for child, parent in (
        (side + "elbow", side + "shoulder"), (side + "wrist", side + "elbow"),
        (side + "knee", side + "hip"), (side + "ankle", side + "knee"),
    )
}  # fmt: skip


def label(drawn: Drawn, owner: NDArray[np.int8], index: int) -> F32:
    """Keypoints (K, 3) of a drawn person as an annotator of COCO would set them.

    ``owner`` holds the index of the person seen in each pixel; ``index`` is this one's. Visibility is 2 for what is
    seen, and 0 for what is hidden of the face. Other joints have 1 where the person's own body hides them. Where
    something else does, they have 1 if their place can be told from what is seen beside it, which is the joint before
    or after it on the limb, or the same joint of the other side for shoulders and hips; else 0. ``x`` and ``y`` of what
    has 0 are 0.
    """
    h, w = owner.shape
    xy = drawn.keypoints[:, :2]
    points = np.zeros((len(KEYPOINTS), 3), np.float32)
    covered = np.zeros(len(KEYPOINTS), np.bool_)
    for k in np.flatnonzero((xy[:, 0] >= 0) & (xy[:, 0] < w) & (xy[:, 1] >= 0) & (xy[:, 1] < h)):
        cx, cy = int(xy[k, 0]), int(xy[k, 1])
        window = np.s_[max(cy - 1, 0) : cy + 2, max(cx - 1, 0) : cx + 2]
        mine = owner[window] == index
        near = drawn.layer.depth[window][mine] > drawn.keypoints[k, 2] - drawn.slack[k]
        points[k] = (xy[k, 0], xy[k, 1], 2 if near.any() else 1)
        covered[k] = not mine.any()
    seen = points[:, 2] == 2
    helps = np.zeros(len(KEYPOINTS), np.bool_)
    face = np.array([n.endswith(("nose", "eye", "ear")) for n in KEYPOINTS])
    for child, parent in PARENTS.items():
        a, b = KEYPOINTS.index(child), KEYPOINTS.index(parent)
        helps[a] |= seen[b]
        helps[b] |= seen[a]
    trunk = [KEYPOINTS.index(s + n) for n in ("shoulder", "hip") for s in ("left_", "right_")]
    for k in trunk:
        helps[k] |= seen[FLIP[k]]
    points[(points[:, 2] == 1) & ((covered & ~helps) | face)] = 0
    return points


@dataclass
class _Canvas:
    """A picture being drawn: pixels, whose each of them is (-1: nobody's), and who has been drawn."""

    image: U8
    owner: NDArray[np.int8]
    people: list[Drawn]
    masks: list[tuple[tuple[int, int, int, int], int]]
    """Of each: the box of what was drawn of it, and how many pixels."""


def _sizes(rng: np.random.Generator, what: Kind, count: int, h: int, w: int) -> F32:
    """Statures in pixels, the farthest first."""
    low, high = what.biggest
    biggest = rng.uniform(low, high) if count < 4 else rng.uniform(0.78 * low, 0.65 * high)
    share = np.sort(np.exp(rng.uniform(np.log(what.spread), 0, count)))
    if rng.random() < 0.35:
        share = np.sort(rng.uniform(0.8, 1, count))  # a group at one distance
    return np.maximum(share * biggest, what.smallest) * min(h, w * 1.2)


def _draw_people(rng: np.random.Generator, what: Kind, canvas: _Canvas, light: F32, ambient: float) -> None:
    h, w = canvas.owner.shape
    sizes = _sizes(rng, what, int(rng.choice([0, 1, 2, 3, 4, 5, 7, 9], p=what.counts)), h, w)
    crowd = rng.uniform(0.2, 1.2) if rng.random() < what.crowd else 3.0
    anchor = rng.uniform(0.3, 0.7) * w
    for size in sizes:
        x = (
            float(np.clip(anchor + rng.normal(0, 0.35) * crowd * size, 0, w))
            if crowd < 3
            else rng.uniform(what.margin, 1 - what.margin) * w
        )
        low, high = (0.35, 0.7) if size < 0.9 * h else (0.45, 1.1) if size > 1.2 * h else (0.4, 0.75)
        y = h * rng.uniform(low, high)
        if rng.random() < what.between:
            _thing(rng, canvas.image, canvas.owner)
        drawn = draw_person(rng, h, w, (x, float(y)), float(size), light, ambient, what.habit)
        x0, y0, x1, y1 = drawn.layer.box
        if x1 - x0 < 4 or y1 - y0 < 4:
            continue
        mask = _paste(rng, canvas.image, canvas.owner, drawn, len(canvas.people))
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        box = (x0 + int(cols[0]), y0 + int(rows[0]), x0 + int(cols[-1]) + 1, y0 + int(rows[-1]) + 1)
        canvas.masks.append((box, int(mask.sum())))
        canvas.people.append(drawn)
        if rng.random() < what.held:
            _held(rng, canvas.image, canvas.owner, drawn)


def _annotate(canvas: _Canvas) -> tuple[F32, F32, F32, NDArray[np.bool_]]:
    """Boxes, keypoints, areas and who is ignored, in pixels of the canvas."""
    n = len(canvas.people)
    points = np.zeros((n, len(KEYPOINTS), 3), np.float32)
    boxes = np.zeros((n, 4), np.float32)
    areas = np.zeros(n, np.float32)
    ignored = np.zeros(n, np.bool_)
    for i, drawn in enumerate(canvas.people):
        box, area = canvas.masks[i]
        seen = int((canvas.owner == i).sum())
        points[i] = label(drawn, canvas.owner, i)
        # Joints lie inside the drawn body but for rounding; the box is of both.
        got = points[i, points[i, :, 2] > 0, :2]
        boxes[i] = box
        if len(got):
            boxes[i, :2] = np.minimum(boxes[i, :2], got.min(0))
            boxes[i, 2:] = np.maximum(boxes[i, 2:], got.max(0))
        areas[i] = area
        if seen < MIN_VISIBLE * area or (points[i, :, 2] == 2).sum() < 3 or seen < 40 * SUPERSAMPLE**2:
            ignored[i] = True
            points[i] = 0
    return boxes, points, areas, ignored


def draw_scene(seed: int, index: int, height: int = 320, width: int = 320, kind: str = "everyday") -> Scene:
    """Draw picture ``index`` of the sequence ``seed`` at ``height`` × ``width`` pixels; ``kind``: of :data:`KINDS`."""
    what = KINDS[kind]
    rng = np.random.default_rng([seed, index, height, width])
    h, w = round(height * SUPERSAMPLE), round(width * SUPERSAMPLE)
    canvas = _Canvas(_background(rng, h, w), np.full((h, w), -1, np.int8), [], [])
    light = np.float32([rng.normal(0, 0.6), -abs(rng.normal(0.3, 0.5)), abs(rng.normal(0.6, 0.4)) + 0.15])
    light /= np.linalg.norm(light)
    _draw_people(rng, what, canvas, light, float(rng.uniform(0.25, 0.75)))
    if rng.random() < what.before:
        for _ in range(int(rng.integers(1, 4))):
            _thing(rng, canvas.image, canvas.owner)
    boxes, points, areas, ignored = _annotate(canvas)
    scale = np.float32([width / w, height / h])
    image = cv2.resize(canvas.image, (width, height), interpolation=cv2.INTER_AREA)
    points[..., :2] *= scale
    boxes *= np.tile(scale, 2)
    areas *= scale[0] * scale[1]
    if rng.random() < 0.5:
        image = np.clip(image + rng.normal(0, rng.uniform(1, 9), image.shape), 0, 255).astype(np.uint8)
    return Scene(image[..., ::-1].copy(), boxes, points, areas, ignored)


def coco(scenes: list[tuple[str, Scene]]) -> dict[str, Any]:
    """The annotations of named scenes in COCO's keypoint format."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, scene) in enumerate(scenes, 1):
        images.append({"id": number, "file_name": name, "height": scene.image.shape[0], "width": scene.image.shape[1]})
        for i, (x1, y1, x2, y2) in enumerate(scene.boxes.tolist()):
            points = scene.keypoints[i].astype(float).round(2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round(float(scene.areas[i]), 1),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                    "keypoints": [v if c < 2 else int(v) for point in points.tolist() for c, v in enumerate(point)],
                }
            )
    category = {
        "id": 1, "name": "person", "supercategory": "person", "keypoints": list(KEYPOINTS),
        "skeleton": [[a + 1, b + 1] for a, b in SKELETON],
    }  # fmt: skip
    return {
        "info": {"description": "Pictures drawn by tools/demo_model"},
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }


def show(scene: Scene) -> U8:
    """The picture with its annotations drawn on it: seen keypoints green, hidden ones red."""
    image = scene.image.copy()
    for box, points, ignored in zip(scene.boxes, scene.keypoints, scene.ignored, strict=True):
        cv2.rectangle(
            image,
            box[:2].astype(int).tolist(),
            box[2:].astype(int).tolist(),
            (128, 128, 128) if ignored else (255, 160, 0),
            1,
        )
        for a, b in SKELETON:
            if points[a, 2] and points[b, 2]:
                cv2.line(
                    image,
                    points[a, :2].astype(int).tolist(),
                    points[b, :2].astype(int).tolist(),
                    (255, 255, 0),
                    1,
                    cv2.LINE_AA,
                )
        for k, (x, y, v) in enumerate(points):
            if v:
                cv2.circle(image, (int(x), int(y)), 2, (0, 255, 0) if v == 2 else (0, 0, 255), -1)
                if k % 2 and k > 4:
                    cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), 1)
    return image
