# SPDX-License-Identifier: Apache-2.0
"""An articulated person: a 3-D skeleton with joint limits, drawn as shaded solids with a depth buffer.

Axes: x to the right and y down as in the picture, z away from the viewer. A person with yaw 0 faces the viewer, so the
person's left is +x. Lengths are in statures until :func:`project` turns them into pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

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


def rot_x(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def rot_y(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def rot_z(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def smooth_noise(rng: np.random.Generator, size: int, octaves: int = 4, base: int = 4) -> F32:
    """Periodic value noise of ``size`` × ``size`` in 0..1."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cells = min(size, base << octave)
        grid = rng.random((cells, cells), np.float32)
        pos = np.arange(size, dtype=np.float32) * cells / size
        i = pos.astype(int)
        f = pos - i
        f = f * f * (3 - 2 * f)
        j = (i + 1) % cells
        rows = grid[i] * (1 - f)[:, None] + grid[j] * f[:, None]
        total += weight * (rows[:, i] * (1 - f) + rows[:, j] * f)
        weight *= 0.55
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


TILE = 64


def cloth_tiles() -> list[F32]:
    """Patterns of two colours, 0..1, indexed along and across a limb."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    tiles: list[F32] = [np.zeros((TILE, TILE), np.float32)]
    for period in (8, 16, 32):
        tiles.append((y % period < period / 2).astype(np.float32))
        tiles.append((x % period < period / 2).astype(np.float32))
        tiles.append((y % period < period / 6).astype(np.float32))
        tiles.append(((x % period < period / 2) * 0.5 + (y % period < period / 2) * 0.5).astype(np.float32))
        tiles.append(((x + y) % period < period / 2).astype(np.float32))
        tiles.append(
            (((x % period - period / 2) ** 2 + (y % period - period / 2) ** 2) < (period / 3.5) ** 2).astype(np.float32)
        )
    for _ in range(6):
        noise = smooth_noise(rng, TILE, 3, 4)
        tiles.append((noise > np.median(noise)).astype(np.float32))
        tiles.append(noise)
    for _ in range(8):  # bands and blocks, as on sports clothes
        tile = np.zeros((TILE, TILE), np.float32)
        for _ in range(int(rng.integers(1, 4))):
            a, b = sorted(rng.integers(0, TILE, 2))
            if rng.random() < 0.6:
                tile[a:b] = rng.random()
            else:
                tile[:, a:b] = rng.random()
        tiles.append(tile)
    return tiles


_TILES = cloth_tiles()
_FOLDS = [smooth_noise(np.random.default_rng(100 + i), TILE, 4, 3) - 0.5 for i in range(8)]
_PLAIN = len(_TILES)


@dataclass
class Paint:
    """Colour of a solid: ``first`` and ``second`` mixed by a tile; from ``change`` on along the axis, ``after``."""

    first: F32
    second: F32
    tile: F32
    fold: F32
    fold_depth: float = 0.25
    repeat: float = 1.0
    shine: float = 0.0
    change: float = 2.0
    after: F32 | None = None


class Layer:
    """One person's pixels: colour (RGB 0..255), depth (infinite where empty)."""

    def __init__(self, height: int, width: int) -> None:
        self.color = np.zeros((height, width, 3), np.float32)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.box = [width, height, 0, 0]

    def solid(
        self,
        a: F32,
        b: F32,
        profile: F32,
        paint: Paint,
        light: F32,
        ambient: float,
        head: tuple[F32, Head, F32] | None = None,
    ) -> None:
        """Draw a round solid about the axis a-b (x, y, z in pixels); ``profile`` holds radii at even steps along it.

        ``head``: rotation, description and centre of the head that is painted on it by direction.
        """
        height, width = self.depth.shape
        reach = float(profile.max()) + 1
        x0, x1 = int(max(0, min(a[0], b[0]) - reach)), int(min(width, max(a[0], b[0]) + reach + 1))
        y0, y1 = int(max(0, min(a[1], b[1]) - reach)), int(min(height, max(a[1], b[1]) + reach + 1))
        if x0 >= x1 or y0 >= y1:
            return
        x = np.arange(x0, x1, dtype=np.float32) + (0.5 - a[0])
        y = (np.arange(y0, y1, dtype=np.float32) + (0.5 - a[1]))[:, None]
        dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
        square = dx * dx + dy * dy + 1e-3
        t = np.clip((x * dx + y * dy) / square, 0, 1)
        ex, ey = x - t * dx, y - t * dy
        steps = len(profile) - 1
        if steps > 1:
            r = np.interp(t, np.linspace(0, 1, steps + 1, dtype=np.float32), profile).astype(np.float32)
        else:
            r = profile[0] + (profile[1] - profile[0]) * t
        u2 = (ex * ex + ey * ey) / (r * r)
        depth = self.depth[y0:y1, x0:x1]
        inside = u2 < 1
        nz = np.sqrt(np.maximum(1 - u2, 0))
        z = a[2] + (b[2] - a[2]) * t - r * nz
        inside &= z < depth
        k = np.nonzero(inside)
        if not len(k[0]):
            return
        t, r, nz, z = t[k], r[k], nz[k], z[k]
        nx, ny = ex[k] / r, ey[k] / r
        length = np.sqrt(square)
        across = (ny * dx - nx * dy) / length
        row = (t * (length / max(float(profile.mean()), 1.0)) * 10 * paint.repeat).astype(np.int32) % TILE
        col = ((across + 1) * 0.5 * (TILE - 1) * paint.repeat).astype(np.int32) % TILE
        lit = nx * light[0] + ny * light[1] + nz * light[2]
        lit += paint.fold_depth * paint.fold[row, col]
        shade = ambient + (1 - ambient) * np.maximum(lit, 0)
        shade *= 0.72 + 0.28 * nz
        mix = paint.tile[row, col][:, None]
        color = paint.first + (paint.second - paint.first) * mix
        if paint.after is not None:
            color = np.where((t > paint.change)[:, None], paint.after, color)
        if head is not None:
            rows, cols = k
            out = np.stack([cols + (x0 + 0.5 - head[2][0]), rows + (y0 + 0.5 - head[2][1]), z - head[2][2]], 1).astype(
                np.float32
            )
            out /= np.sqrt((out * out).sum(1, keepdims=True)) + 1e-6
            color = head[1].paint(out @ head[0], color)
        color = color * shade[:, None]
        if paint.shine:
            color += 255 * paint.shine * np.maximum(lit, 0)[:, None] ** 8
        rows, cols = k[0] + y0, k[1] + x0
        self.color[rows, cols] = color
        self.depth[rows, cols] = z
        self.grow(x0, y0, x1, y1)

    def grow(self, x0: int, y0: int, x1: int, y1: int) -> None:
        self.box = [min(self.box[0], x0), min(self.box[1], y0), max(self.box[2], x1), max(self.box[3], y1)]


@dataclass
class Head:
    """What is painted on the head, by direction in the head's own axes (front is -z, up is -y)."""

    hair: F32
    hairline: float
    back: float
    bald: bool
    hat: F32 | None
    beard: F32 | None
    glasses: F32 | None

    def paint(self, n: F32, color: F32) -> F32:
        up, front, side = -n[:, 1], -n[:, 2], np.abs(n[:, 0])
        if self.beard is not None:
            color = np.where(
                ((up < -0.35) & (front > -0.1) & ~((up > -0.55) & (side < 0.2)))[:, None], self.beard, color
            )
        eyes = (np.abs(up - 0.1) < 0.09) & (np.abs(side - 0.40) < 0.13) & (front > 0)
        color = np.where(
            (eyes & (side < 0.46) & (side > 0.33))[:, None],
            np.float32([30, 24, 22]),
            np.where(eyes[:, None], color * 0.55 + 90, color),
        )
        brow = (np.abs(up - 0.27) < 0.045) & (np.abs(side - 0.40) < 0.17) & (front > 0)
        color = np.where(brow[:, None], self.hair * 0.8, color)
        mouth = (np.abs(up + 0.45) < 0.05) & (side < 0.24) & (front > 0)
        color = np.where(mouth[:, None], color * np.float32([0.75, 0.45, 0.45]), color)
        if self.glasses is not None:
            band = (np.abs(up - 0.1) < 0.15) & (front > -0.2)
            color = np.where(band[:, None], self.glasses, color)
        if not self.bald:
            hair = (up > self.hairline + 0.25 * front) | ((front < self.back) & (up > -0.55))
            color = np.where(hair[:, None], self.hair, color)
        if self.hat is not None:
            color = np.where((up > 0.36 + 0.1 * front)[:, None], self.hat, color)
        return color


@dataclass
class Body:
    """A posed person in statures: joints by name (x, y, z), rotation of the head, and radii factors."""

    joints: dict[str, F32]
    chest: F32
    head: F32
    pelvis: F32
    girth: float
    child: bool


POSES = ("stand", "walk", "run", "sit", "crouch", "raise", "ski", "swing", "bend", "reach", "ride", "wild")


@dataclass(frozen=True)
class Habit:
    """How people stand and face the viewer; chances in 0..1, angles in radians.

    Attributes:
        poses: weight of each of :data:`POSES`.
        facing: chance of a yaw about 0 with a deviation of ``spread``.
        aside: chance of an even yaw within ±1.75, besides.
        behind: chance of a yaw about π with a deviation of ``spread``, besides; what is left is an even yaw.
        spread: deviation of the yaw.
        steep: chance that the camera looks from well below or above.
        lying: chance of any roll within ±1.6.
    """

    poses: tuple[float, ...]
    facing: float
    aside: float
    behind: float
    spread: float
    steep: float
    lying: float


EVERYDAY = Habit(
    (0.34, 0.22, 0.08, 0.09, 0.02, 0.1, 0.02, 0.04, 0.01, 0.06, 0.01, 0.01), 0.74, 0.17, 0.07, 0.5, 0.05, 0.01
)
VARIED = Habit(
    (0.27, 0.19, 0.09, 0.12, 0.03, 0.1, 0.03, 0.05, 0.02, 0.06, 0.02, 0.02), 0.6, 0.24, 0.13, 0.6, 0.08, 0.025
)
TURNED = replace(VARIED, facing=0.25, aside=0.25, behind=0.45)
HARD = Habit((0.16, 0.13, 0.11, 0.14, 0.07, 0.08, 0.07, 0.08, 0.04, 0.05, 0.03, 0.04), 0.5, 0.0, 0.0, 0.6, 0.15, 0.06)


def pose_body(rng: np.random.Generator, habit: Habit) -> Body:
    """Draw a pose and return the joints. Angles in radians stay within ordinary joint limits."""
    u = rng.uniform
    chances = np.array(habit.poses)
    kind = str(rng.choice(POSES, p=chances / chances.sum()))
    n = rng.normal
    hip_f, hip_a, hip_t = n(0.05, 0.08, 2), np.abs(n(0.06, 0.07, 2)), n(0.1, 0.12, 2)
    knee = np.abs(n(0.06, 0.08, 2))
    sh_f, sh_a, sh_t, elbow = n(0.05, 0.15, 2), np.abs(n(0.15, 0.12, 2)), n(0.1, 0.4, 2), np.abs(n(0.3, 0.25, 2))
    lean, side, twist = n(0.03, 0.05), n(0, 0.05), n(0, 0.1)
    if kind == "stand" and u() < 0.5:
        arm = rng.integers(0, 4, 2)  # hand on hip, arms crossed or a hand to the face, behind the back
        for i in range(2):
            if arm[i] == 1:
                sh_f[i], sh_a[i], sh_t[i], elbow[i] = -0.3 + u(-0.1, 0.1), 0.65 + u(-0.1, 0.2), 0.9, 1.5 + u(-0.2, 0.3)
            elif arm[i] == 2:
                sh_f[i], sh_a[i], sh_t[i], elbow[i] = 0.5 + u(-0.2, 0.3), 0.1, 0.7 + u(-0.3, 0.5), 1.7 + u(-0.3, 0.7)
            elif arm[i] == 3:
                sh_f[i], sh_a[i], sh_t[i], elbow[i] = -0.45, 0.25, 0.8, 0.8
    elif kind in ("walk", "run"):
        amp = u(0.25, 0.5) if kind == "walk" else u(0.5, 1.0)
        phase = u(0, 2 * np.pi)
        swing = np.array([np.sin(phase), -np.sin(phase)])
        hip_f = amp * swing + (0.05 if kind == "walk" else 0.2)
        lift = np.maximum(0, np.array([np.cos(phase), -np.cos(phase)]))
        knee = 0.1 + (1.0 if kind == "walk" else 1.9) * amp * lift + 0.5 * amp * np.maximum(0, swing)
        sh_f = -amp * swing * u(0.6, 1.2) + n(0, 0.1, 2)
        elbow = np.abs(n(0.35, 0.2, 2)) if kind == "walk" else n(1.5, 0.25, 2)
        lean = u(0, 0.1) if kind == "walk" else u(0.05, 0.35)
    elif kind == "sit":
        hip_f, hip_a = n(1.45, 0.15, 2), np.abs(n(0.18, 0.15, 2))
        knee = np.clip(n(1.35, 0.35, 2), 0.1, 2.3)
        lean = n(0.1, 0.2)
        sh_f, elbow, sh_t = n(0.5, 0.3, 2), np.clip(n(1.1, 0.45, 2), 0, 2.3), n(0.4, 0.35, 2)
    elif kind == "crouch":
        hip_f, hip_a = n(1.7, 0.3, 2), np.abs(n(0.3, 0.2, 2))
        knee = np.clip(n(2.0, 0.3, 2), 0.8, 2.5)
        lean = u(0.2, 0.8)
        sh_f, elbow = n(0.9, 0.5, 2), np.clip(n(0.8, 0.5, 2), 0, 2.3)
    elif kind == "raise":
        both = u() < 0.5
        for i in range(2):
            if both or i == (rng.random() < 0.5):
                sh_f[i], sh_a[i], sh_t[i], elbow[i] = n(0.1, 0.3), u(1.3, 2.9), n(0, 0.5), abs(n(0.5, 0.5))
    elif kind == "ski":
        hip_f, hip_a, knee = n(0.75, 0.25, 2), np.abs(n(0.15, 0.12, 2)), np.clip(n(0.9, 0.3, 2), 0.1, 1.8)
        if u() < 0.4:
            i = int(rng.integers(2))
            hip_f[i], knee[i], hip_a[i] = n(-0.25, 0.2), abs(n(0.4, 0.3)), u(0.1, 0.6)
        lean, sh_f, sh_a, elbow = u(0.2, 0.9), n(0.5, 0.5, 2), np.abs(n(0.3, 0.25, 2)), np.clip(n(1.0, 0.4, 2), 0, 2)
    elif kind == "swing":
        hip_f, hip_a, knee = n(0.25, 0.3, 2), np.abs(n(0.28, 0.15, 2)), np.abs(n(0.4, 0.3, 2))
        lean, twist = u(0, 0.4), n(0, 0.5)
        sh_f, sh_a = np.full(2, u(0.5, 2.2)) + n(0, 0.25, 2), np.abs(n(0.2, 0.25, 2))
        sh_t, elbow = n(0.6, 0.3, 2), np.clip(n(0.9, 0.5, 2), 0, 2.3)
    elif kind == "bend":
        lean, hip_f, knee = u(0.7, 1.6), n(0.15, 0.15, 2), np.abs(n(0.3, 0.25, 2))
        sh_f, elbow = n(1.2, 0.4, 2), np.abs(n(0.4, 0.3, 2))
    elif kind == "reach":
        sh_f, sh_a, elbow = n(1.4, 0.4, 2), np.abs(n(0.2, 0.3, 2)), np.abs(n(0.6, 0.5, 2))
        if u() < 0.5:
            i = int(rng.integers(2))
            sh_f[i], elbow[i] = n(0, 0.2), abs(n(0.3, 0.2))
        lean = n(0.15, 0.15)
    elif kind == "ride":
        hip_f, knee = np.array([u(0.7, 1.1), u(1.1, 1.5)]), np.array([u(0.5, 1.0), u(1.2, 1.8)])
        lean, sh_f, elbow = u(0.2, 0.9), n(1.1, 0.15, 2), np.abs(n(0.4, 0.25, 2))
    elif kind == "wild":
        hip_f, hip_a, knee = u(-0.5, 1.7, 2), u(0, 0.9, 2), u(0, 2.1, 2)
        sh_f, sh_a, sh_t, elbow = u(-0.7, 2.9, 2), u(0, 2.6, 2), u(-1.0, 1.2, 2), u(0, 2.3, 2)
        lean, side, twist = u(-0.2, 1.0), n(0, 0.25), n(0, 0.4)
    if kind not in ("sit", "ride", "wild") and u() < 0.25:  # one arm does something else
        i = int(rng.integers(2))
        sh_f[i], sh_a[i], sh_t[i], elbow[i] = u(-0.5, 2.4), u(0, 1.4), n(0.2, 0.5), u(0, 2.3)
    hip_f, knee = np.clip(hip_f, -0.6, 2.1), np.clip(knee, 0, 2.5)
    sh_f, sh_a, elbow = np.clip(sh_f, -0.9, 3.0), np.clip(sh_a, -0.1, 2.9), np.clip(elbow, 0, 2.5)

    child = u() < 0.12
    limb = u(0.93, 1.07) * (0.88 if child else 1)
    girth = float(np.clip(n(1.0, 0.13), 0.78, 1.45))
    chest_size = (0.9 if child else 1) * u(0.9, 1.1)
    down, fwd = np.float32([0, 1, 0]), np.float32([0, 0, -1])
    pelvis = rot_z(n(0, 0.04)) @ rot_x(0.25 * lean)
    chest = pelvis @ rot_x(0.75 * lean) @ rot_z(side) @ rot_y(twist)
    j: dict[str, F32] = {"pelvis": np.zeros(3, np.float32)}
    mid = pelvis @ np.float32([0, -0.13, 0]) * 0.5 + chest @ np.float32([0, -0.13, 0]) * 0.5
    j["waist"] = mid
    j["neck"] = mid + chest @ np.float32([0, -0.2 * chest_size, 0.005])
    head = (
        chest
        @ rot_y(float(np.clip(n(0, 0.45), -1.3, 1.3)))
        @ rot_x(float(np.clip(n(0.08, 0.25) - 0.55 * lean, -0.9, 0.7)))
        @ rot_z(n(0, 0.12))
    )
    scale = 1.25 if child else 1.0
    j["head"] = j["neck"] + chest @ np.float32([0, -0.035, -0.008]) + head @ np.float32([0, -0.062 * scale, -0.012])
    for i, s in ((0, 1), (1, -1)):
        name = ("left_", "right_")[i]
        width = 0.108 * chest_size * (0.8 + 0.2 * girth)
        shrug = 0.03 * max(0.0, np.sin(min(sh_a[i], np.pi / 2)))
        j[name + "shoulder"] = j["neck"] + chest @ np.float32([s * width, 0.035 - shrug, 0])
        arm = chest @ rot_z(-s * sh_a[i]) @ rot_x(-sh_f[i]) @ rot_y(s * sh_t[i])
        fore = arm @ rot_x(-elbow[i])
        j[name + "elbow"] = j[name + "shoulder"] + arm @ down * (0.168 * limb)
        j[name + "wrist"] = j[name + "elbow"] + fore @ down * (0.145 * limb)
        j[name + "hand"] = j[name + "wrist"] + fore @ rot_x(n(0, 0.3)) @ down * 0.055
        j[name + "hip"] = pelvis @ np.float32([s * 0.062 * (0.6 + 0.4 * girth), 0.01, 0])
        leg = pelvis @ rot_z(-s * hip_a[i]) @ rot_x(-hip_f[i]) @ rot_y(-s * hip_t[i])
        shin = leg @ rot_x(knee[i])
        j[name + "knee"] = j[name + "hip"] + leg @ down * (0.245 * limb)
        j[name + "ankle"] = j[name + "knee"] + shin @ down * (0.235 * limb)
        foot = shin @ rot_x(float(np.clip(n(-0.1, 0.2) + 0.35 * (knee[i] - max(0.0, hip_f[i])), -0.6, 0.7)))
        j[name + "heel"] = j[name + "ankle"] + shin @ down * 0.02 - foot @ fwd * 0.02
        j[name + "toe"] = j[name + "ankle"] + shin @ down * 0.028 + foot @ fwd * 0.105
    for name, point in (
        ("nose", (0, 0.012, -0.073)), ("left_eye", (0.027, -0.012, -0.058)), ("right_eye", (-0.027, -0.012, -0.058)),
        ("left_ear", (0.063, 0.0, 0.008)), ("right_ear", (-0.063, 0.0, 0.008)),
    ):  # fmt: skip
        j[name] = j["head"] + head @ (np.float32(point) * scale)
    return Body(j, chest, head, pelvis, girth, child)


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

    tile = _TILES[0] if rng.random() < plain else _TILES[int(rng.integers(1, _PLAIN))]
    return Paint(
        color(), color(), tile, _FOLDS[int(rng.integers(8))], rng.uniform(0.1, 0.9), float(rng.choice([0.5, 1, 1, 2])),
        rng.uniform(0, 0.25) if rng.random() < 0.3 else 0.0,
    )  # fmt: skip


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
    view = rot_z(roll) @ rot_x(tilt) @ rot_y(yaw)
    distance = u(2.0, 9.0)
    names = list(body.joints)
    points = np.stack([body.joints[n] for n in names]) @ view.T
    centre3 = (points.max(0) + points.min(0)) / 2
    points = points - centre3
    scale = size * distance / (distance + points[:, 2])
    p = {
        n: np.float32([centre[0] + points[i, 0] * scale[i], centre[1] + points[i, 1] * scale[i], points[i, 2] * size])
        for i, n in enumerate(names)
    }
    chest, head = view @ body.chest, view @ body.head
    layer = Layer(height, width)

    skin = SKINS[rng.integers(len(SKINS))] * rng.uniform(0.9, 1.08, 3).astype(np.float32)
    hair = HAIRS[rng.integers(len(HAIRS)) if u() < 0.4 else rng.integers(3)] * np.float32(u(0.7, 1.2))
    smooth = _FOLDS[int(rng.integers(8))]
    bare = Paint(skin, skin * np.float32(0.93), _TILES[-9], smooth, 0.12)
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
    g = body.girth * size

    def part(a: str | F32, b: str | F32, radii: tuple[float, ...], paint: Paint) -> None:
        pa = p[a] if isinstance(a, str) else a
        pb = p[b] if isinstance(b, str) else b
        near = distance / (distance + float(pa[2] + pb[2]) / 2 / size)
        layer.solid(pa, pb, np.maximum(np.float32(radii) * g * near, 0.6), paint, light, ambient)

    def cut(paint: Paint, change: float) -> Paint:
        if change <= 0:
            return bare
        return Paint(
            paint.first, paint.second, paint.tile, paint.fold, paint.fold_depth, paint.repeat, paint.shine, change, skin
        )

    shoe = _cloth(rng, 0.9)
    sock = _cloth(rng, 0.8)
    glove = _cloth(rng, 0.9) if u() < 0.15 else bare
    for side in ("left_", "right_"):
        wide = 1 + (loose - 1) * 0.7 if trousers > 0 else 1
        part(side + "hip", side + "knee", (0.052 * wide, 0.047 * wide, 0.036 * wide), cut(legs, trousers))
        low = cut(legs, trousers - 1) if trousers > 1 else (sock if u() < 0.15 else bare)
        w2 = wide if trousers > 1 else 1
        part(side + "knee", side + "ankle", (0.035 * w2, 0.036 * w2, 0.028 * w2, 0.022 * w2), low)
        part(side + "heel", side + "toe", (0.026, 0.027, 0.02), shoe if u() < 0.96 else bare)
        wa = 1 + (loose - 1) * 0.8 if sleeves > 0 else 1
        part(
            side + "shoulder",
            side + "elbow",
            (0.036 * wa, 0.031 * wa, 0.026 * wa),
            cut(top, sleeves if sleeves < 1 else 2) if sleeves > 0 else bare,
        )
        wf = wa if sleeves > 1 else 1
        part(side + "elbow", side + "wrist", (0.025 * wf, 0.025 * wf, 0.018 * wf), top if sleeves > 1 else bare)
        part(side + "wrist", side + "hand", (0.017, 0.022, 0.017), glove)
    # The trunk is wide seen from the front and thinner from the side.
    turn = abs(float(chest[2, 2]))
    thick = (0.55 + 0.45 * turn) * (1 + (loose - 1) * 0.5)
    part(
        "pelvis",
        "waist",
        (0.078 * (0.72 + 0.28 * turn) * loose**0.3, 0.09 * (0.72 + 0.28 * turn), 0.086 * thick, 0.084 * thick),
        top if u() < 0.5 and not skirt else legs,
    )
    part(
        "pelvis",
        "waist",
        (0.07 * (0.72 + 0.28 * turn), 0.087 * (0.72 + 0.28 * turn), 0.09 * thick, 0.09 * thick),
        legs if suit else top,
    )
    part("waist", "neck", (0.09 * thick, 0.106 * thick, 0.108 * thick, 0.085 * thick, 0.035), top)
    part("left_shoulder", "right_shoulder", (0.04 * loose**0.4, 0.046, 0.04 * loose**0.4), top)
    if skirt or u() < 0.06:
        knees = (p["left_knee"] + p["right_knee"]) / 2
        hem = p["pelvis"] + (knees - p["pelvis"]) * np.float32(u(0.6, 1.4))
        part("pelvis", hem, (0.08, 0.1 * loose, 0.13 * loose), legs if skirt else top)
    part("neck", p["neck"] + (p["head"] - p["neck"]) * np.float32(0.6), (0.034, 0.031), bare)

    big = 1.25 if body.child else 1.0
    near = distance / (distance + float(p["head"][2]) / size)
    hs = size * near * big
    up = head @ np.float32([0, -1, 0])
    front = head @ np.float32([0, 0, -1])
    hat = _cloth(rng, 0.9).first if u() < 0.22 else None
    long_hair = u() < 0.35
    face = Head(
        hair, u(0.3, 0.62), u(-0.35, 0.1), u() < 0.06, hat, hair * 0.8 if u() < 0.15 and not body.child else None,
        (np.float32([20, 20, 24]) if u() < 0.7 else rng.uniform(0, 255, 3).astype(np.float32)) if u() < 0.12 else None,
    )  # fmt: skip
    c = p["head"]
    skull = Paint(skin, skin, _TILES[0], smooth, 0.05)
    layer.solid(
        c + up * 0.022 * hs + front * -0.004 * hs, c - up * 0.034 * hs + front * 0.012 * hs,
        np.float32([0.062, 0.061, 0.05, 0.038]) * hs, skull, light, ambient, (head, face, c),
    )  # fmt: skip
    if long_hair and not face.bald:
        back = c - front * 0.03 * hs
        mane = Paint(hair, hair * np.float32(0.7), _TILES[1 + int(rng.integers(18))], _FOLDS[3], 0.6)
        layer.solid(
            back + up * 0.03 * hs,
            back - up * u(0.05, 0.15) * hs,
            np.float32([0.056, 0.058, 0.04]) * hs,
            mane,
            light,
            ambient,
        )
    if hat is not None and u() < 0.5:
        brim = Paint(hat * np.float32(0.8), hat, _TILES[0], smooth, 0.1)
        wide_brim = u() < 0.3
        layer.solid(
            c + up * 0.03 * hs + front * (-0.06 if wide_brim else 0.04) * hs, c + up * 0.03 * hs + front * 0.085 * hs,
            np.float32([0.02, 0.03, 0.02]) * hs, brim, light, ambient,
        )  # fmt: skip
    for ear in ("left_ear", "right_ear"):
        if not (long_hair and u() < 0.7):
            layer.solid(
                p[ear] + up * 0.01 * hs, p[ear] - up * 0.012 * hs, np.float32([0.013, 0.009]) * hs, bare, light, ambient
            )
    layer.solid(
        c + front * 0.058 * hs + up * 0.012 * hs,
        p["nose"] - front * 0.004 * hs,
        np.float32([0.007, 0.011]) * hs,
        bare,
        light,
        ambient,
    )

    keypoints = np.stack([p[n] for n in KEYPOINTS])
    slack = np.full(len(KEYPOINTS), 0.075, np.float32) * g
    slack[:5] = 0.035 * hs
    slack[11:13] = 0.11 * g
    if long_hair:
        slack[3:5] = 0.02 * hs
    return Drawn(layer, keypoints.astype(np.float32), slack, size)
