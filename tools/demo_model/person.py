# SPDX-License-Identifier: Apache-2.0
"""An articulated person, dressed and drawn as shaded solids with a depth buffer.

Axes as in :mod:`body`, whose statures become pixels here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body import F32, Body, Habit, pose_body, rot_x, rot_y, rot_z
from .solids import FOLDS, TILES, Head, Layer, Paint

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10), (1, 2),
    (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
# COCO keypoint evaluation
SIGMAS = (
    0.026,
    0.025,
    0.025,
    0.035,
    0.035,
    0.079,
    0.079,
    0.072,
    0.072,
    0.062,
    0.062,
    0.107,
    0.107,
    0.087,
    0.087,
    0.089,
    0.089,
)
FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)

SKINS = np.array(
    [
        [246, 214, 190],
        [232, 190, 160],
        [220, 170, 135],
        [198, 146, 110],
        [166, 115, 82],
        [130, 88, 62],
        [95, 62, 44],
        [66, 44, 34],
    ],
    np.float32,
)
HAIRS = np.array(
    [
        [24, 20, 18],
        [44, 30, 22],
        [80, 52, 32],
        [120, 82, 48],
        [190, 150, 96],
        [150, 70, 36],
        [150, 148, 146],
        [222, 220, 214],
    ],
    np.float32,
)


@dataclass
class Drawn:
    """A drawn person: layer, keypoints (K, 3: x, y in pixels, depth), and the depth within which a keypoint is seen."""

    layer: Layer
    keypoints: F32
    slack: F32
    size: float


def _cloth(rng: np.random.Generator, plain: float) -> Paint:
    def color() -> F32:
        k = rng.random()
        if k < 0.4:
            base = np.full(3, rng.choice([18, 35, 60, 100, 150, 200, 235]), np.float32) + rng.normal(0, 10, 3).astype(
                np.float32
            )
        elif k < 0.6:
            base = np.float32([40, 55, 95]) * rng.uniform(0.5, 1.8) + rng.normal(0, 12, 3).astype(np.float32)  # denim
        else:
            base = rng.uniform(0, 255, 3).astype(np.float32)
            base = base.mean() + (base - base.mean()) * np.float32(rng.uniform(0.5, 1.8))
        return np.clip(base, 6, 250).astype(np.float32)

    tile = TILES[0] if rng.random() < plain else TILES[int(rng.integers(1, len(TILES)))]
    return Paint(
        color(), color(), tile, FOLDS[int(rng.integers(8))], rng.uniform(0.1, 0.9), float(rng.choice([0.5, 1, 1, 2])),
        rng.uniform(0, 0.25) if rng.random() < 0.3 else 0.0,
    )  # fmt: skip


@dataclass
class Clothes:
    """What a person wears; sleeves and trousers by their length: below 1 of the upper part of the limb, 2 is whole."""

    skin: F32
    hair: F32
    smooth: F32
    bare: Paint
    suit: bool
    top: Paint
    legs: Paint
    sleeves: float
    trousers: float
    skirt: bool
    loose: float
    shoe: Paint
    sock: Paint
    glove: Paint

    def cut(self, paint: Paint, change: float) -> Paint:
        """The paint as far as ``change`` along a limb, and skin from there."""
        if change <= 0:
            return self.bare
        return Paint(
            paint.first, paint.second, paint.tile, paint.fold, paint.fold_depth, paint.repeat, paint.shine, change,
            self.skin,
        )  # fmt: skip


def _dress(rng: np.random.Generator) -> Clothes:
    u = rng.uniform
    skin = SKINS[rng.integers(len(SKINS))] * rng.uniform(0.9, 1.08, 3).astype(np.float32)
    hair = HAIRS[rng.integers(len(HAIRS)) if u() < 0.4 else rng.integers(3)] * np.float32(u(0.7, 1.2))
    smooth = FOLDS[int(rng.integers(8))]
    bare = Paint(skin, skin * np.float32(0.93), TILES[-9], smooth, 0.12)
    suit = u() < 0.15
    top, legs = _cloth(rng, 0.45), _cloth(rng, 0.75)
    if suit:
        legs = top
    sleeves = rng.choice([0.0, 0.45, 0.7, 1.0, 2.0], p=[0.1, 0.25, 0.1, 0.05, 0.5])
    trousers = rng.choice([0.2, 0.6, 0.9, 2.0], p=[0.08, 0.14, 0.1, 0.68])
    skirt = u() < 0.1
    if skirt:
        trousers = 0.0
    loose = u(0.95, 1.45)
    shoe = _cloth(rng, 0.9)
    sock = _cloth(rng, 0.8)
    glove = _cloth(rng, 0.9) if u() < 0.15 else bare
    return Clothes(skin, hair, smooth, bare, suit, top, legs, sleeves, trousers, skirt, loose, shoe, sock, glove)


@dataclass
class Figure:
    """A posed person in front of the camera: joints in pixels, and the layer that is drawn on."""

    layer: Layer
    joints: dict[str, F32]
    chest: F32
    head: F32
    girth: float
    size: float
    distance: float
    light: F32
    ambient: float
    big: float
    """The head's size beside that of a grown person's."""
    child: bool

    def nearness(self, z: float) -> float:
        """Factor of lengths at depth ``z``, in pixels."""
        return self.distance / (self.distance + z / self.size)

    def solid(self, a: F32, b: F32, radii: F32, paint: Paint, head: tuple[F32, Head, F32] | None = None) -> None:
        self.layer.solid(a, b, radii, paint, self.light, self.ambient, head)

    def part(self, a: str | F32, b: str | F32, radii: tuple[float, ...], paint: Paint) -> None:
        """A round part of the body between two joints or points, its radii in girths."""
        pa = self.joints[a] if isinstance(a, str) else a
        pb = self.joints[b] if isinstance(b, str) else b
        near = self.nearness(float(pa[2] + pb[2]) / 2)
        self.solid(pa, pb, np.maximum(np.float32(radii) * self.girth * near, 0.6), paint)


def _view(rng: np.random.Generator, habit: Habit) -> F32:
    """The camera's rotation."""
    u = rng.uniform
    k = rng.random()
    if k < habit.facing:
        yaw = rng.normal(0, habit.spread)
    elif k < habit.facing + habit.aside:
        yaw = u(-1.75, 1.75)
    elif k < habit.facing + habit.aside + habit.behind:
        yaw = rng.normal(np.pi, habit.spread)
    else:
        yaw = u(-np.pi, np.pi)
    tilt = u(-0.4, 0.9) if u() < habit.steep else rng.normal(0.08, 0.15)
    roll = u(-1.6, 1.6) if u() < habit.lying else rng.normal(0, 0.08)
    return rot_z(roll) @ rot_x(tilt) @ rot_y(yaw)


def _project(body: Body, view: F32, distance: float, centre: tuple[float, float], size: float) -> dict[str, F32]:
    """The joints in pixels, the middle of the body at ``centre``."""
    names = list(body.joints)
    points = np.stack([body.joints[n] for n in names]) @ view.T
    centre3 = (points.max(0) + points.min(0)) / 2
    points = points - centre3
    scale = size * distance / (distance + points[:, 2])
    return {
        n: np.float32([centre[0] + points[i, 0] * scale[i], centre[1] + points[i, 1] * scale[i], points[i, 2] * size])
        for i, n in enumerate(names)
    }


def _draw_limbs(rng: np.random.Generator, figure: Figure, wear: Clothes) -> None:
    u, part, cut = rng.uniform, figure.part, wear.cut
    for side in ("left_", "right_"):
        wide = 1 + (wear.loose - 1) * 0.7 if wear.trousers > 0 else 1
        part(side + "hip", side + "knee", (0.052 * wide, 0.047 * wide, 0.036 * wide), cut(wear.legs, wear.trousers))
        low = cut(wear.legs, wear.trousers - 1) if wear.trousers > 1 else (wear.sock if u() < 0.15 else wear.bare)
        w2 = wide if wear.trousers > 1 else 1
        part(side + "knee", side + "ankle", (0.035 * w2, 0.036 * w2, 0.028 * w2, 0.022 * w2), low)
        part(side + "heel", side + "toe", (0.026, 0.027, 0.02), wear.shoe if u() < 0.96 else wear.bare)
        wa = 1 + (wear.loose - 1) * 0.8 if wear.sleeves > 0 else 1
        part(
            side + "shoulder",
            side + "elbow",
            (0.036 * wa, 0.031 * wa, 0.026 * wa),
            cut(wear.top, wear.sleeves if wear.sleeves < 1 else 2) if wear.sleeves > 0 else wear.bare,
        )
        wf = wa if wear.sleeves > 1 else 1
        fore = wear.top if wear.sleeves > 1 else wear.bare
        part(side + "elbow", side + "wrist", (0.025 * wf, 0.025 * wf, 0.018 * wf), fore)
        part(side + "wrist", side + "hand", (0.017, 0.022, 0.017), wear.glove)


def _draw_trunk(rng: np.random.Generator, figure: Figure, wear: Clothes) -> None:
    """It is wide seen from the front and thinner from the side."""
    u, part, p, loose = rng.uniform, figure.part, figure.joints, wear.loose
    turn = abs(float(figure.chest[2, 2]))
    thick = (0.55 + 0.45 * turn) * (1 + (loose - 1) * 0.5)
    part(
        "pelvis",
        "waist",
        (0.078 * (0.72 + 0.28 * turn) * loose**0.3, 0.09 * (0.72 + 0.28 * turn), 0.086 * thick, 0.084 * thick),
        wear.top if u() < 0.5 and not wear.skirt else wear.legs,
    )
    part(
        "pelvis",
        "waist",
        (0.07 * (0.72 + 0.28 * turn), 0.087 * (0.72 + 0.28 * turn), 0.09 * thick, 0.09 * thick),
        wear.legs if wear.suit else wear.top,
    )
    part("waist", "neck", (0.09 * thick, 0.106 * thick, 0.108 * thick, 0.085 * thick, 0.035), wear.top)
    part("left_shoulder", "right_shoulder", (0.04 * loose**0.4, 0.046, 0.04 * loose**0.4), wear.top)
    if wear.skirt or u() < 0.06:
        knees = (p["left_knee"] + p["right_knee"]) / 2
        hem = p["pelvis"] + (knees - p["pelvis"]) * np.float32(u(0.6, 1.4))
        part("pelvis", hem, (0.08, 0.1 * loose, 0.13 * loose), wear.legs if wear.skirt else wear.top)
    part("neck", p["neck"] + (p["head"] - p["neck"]) * np.float32(0.6), (0.034, 0.031), wear.bare)


def _draw_hat(
    rng: np.random.Generator, figure: Figure, wear: Clothes, hat: F32 | None, hs: float, up: F32, front: F32
) -> None:
    """The brim of a hat, which not every hat has."""
    if hat is None or rng.uniform() >= 0.5:
        return
    c = figure.joints["head"]
    brim = Paint(hat * np.float32(0.8), hat, TILES[0], wear.smooth, 0.1)
    wide_brim = rng.uniform() < 0.3
    figure.solid(
        c + up * 0.03 * hs + front * (-0.06 if wide_brim else 0.04) * hs,
        c + up * 0.03 * hs + front * 0.085 * hs,
        np.float32([0.02, 0.03, 0.02]) * hs,
        brim,
    )


def _draw_head(rng: np.random.Generator, figure: Figure, wear: Clothes) -> tuple[float, bool]:
    """The size of the head in pixels, and whether the hair is long."""
    u, p, hair = rng.uniform, figure.joints, wear.hair
    c = p["head"]
    hs = figure.size * figure.nearness(float(c[2])) * figure.big
    up, front = figure.head @ np.float32([0, -1, 0]), figure.head @ np.float32([0, 0, -1])
    hat = _cloth(rng, 0.9).first if u() < 0.22 else None
    long_hair = u() < 0.35
    face = Head(
        hair, u(0.3, 0.62), u(-0.35, 0.1), u() < 0.06, hat, hair * 0.8 if u() < 0.15 and not figure.child else None,
        (np.float32([20, 20, 24]) if u() < 0.7 else rng.uniform(0, 255, 3).astype(np.float32)) if u() < 0.12 else None,
    )  # fmt: skip
    figure.solid(
        c + up * 0.022 * hs + front * -0.004 * hs, c - up * 0.034 * hs + front * 0.012 * hs,
        np.float32([0.062, 0.061, 0.05, 0.038]) * hs, Paint(wear.skin, wear.skin, TILES[0], wear.smooth, 0.05),
        (figure.head, face, c),
    )  # fmt: skip
    if long_hair and not face.bald:
        back = c - front * 0.03 * hs
        mane = Paint(hair, hair * np.float32(0.7), TILES[1 + int(rng.integers(18))], FOLDS[3], 0.6)
        figure.solid(back + up * 0.03 * hs, back - up * u(0.05, 0.15) * hs, np.float32([0.056, 0.058, 0.04]) * hs, mane)
    _draw_hat(rng, figure, wear, hat, hs, up, front)
    for ear in ("left_ear", "right_ear"):
        if not (long_hair and u() < 0.7):
            figure.solid(p[ear] + up * 0.01 * hs, p[ear] - up * 0.012 * hs, np.float32([0.013, 0.009]) * hs, wear.bare)
    figure.solid(
        c + front * 0.058 * hs + up * 0.012 * hs,
        p["nose"] - front * 0.004 * hs,
        np.float32([0.007, 0.011]) * hs,
        wear.bare,
    )
    return hs, long_hair


def draw_person(
    rng: np.random.Generator,
    height: int,
    width: int,
    centre: tuple[float, float],
    size: float,
    light: F32,
    ambient: float,
    habit: Habit,
) -> Drawn:
    """Pose and draw one person; ``centre`` is the middle of the body in pixels, ``size`` the stature in pixels."""
    body = pose_body(rng, habit)
    view = _view(rng, habit)
    distance = rng.uniform(2.0, 9.0)
    joints = _project(body, view, distance, centre, size)
    big = 1.25 if body.child else 1.0
    figure = Figure(
        Layer(height, width), joints, view @ body.chest, view @ body.head, body.girth * size, size, distance, light,
        ambient, big, body.child,
    )  # fmt: skip
    wear = _dress(rng)
    _draw_limbs(rng, figure, wear)
    _draw_trunk(rng, figure, wear)
    hs, long_hair = _draw_head(rng, figure, wear)

    keypoints = np.stack([joints[n] for n in KEYPOINTS])
    slack = np.full(len(KEYPOINTS), 0.075, np.float32) * figure.girth
    slack[:5] = 0.035 * hs
    slack[11:13] = 0.11 * figure.girth
    if long_hair:
        slack[3:5] = 0.02 * hs
    return Drawn(figure.layer, keypoints.astype(np.float32), slack, size)
