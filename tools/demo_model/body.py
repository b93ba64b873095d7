# SPDX-License-Identifier: Apache-2.0
"""A 3-D skeleton with joint limits, posed at random.

Axes: x to the right and y down as in the picture, z away from the viewer. A person with yaw 0 faces the viewer, so the
person's left is +x. Lengths are in statures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Pair = NDArray[np.float64]
"""Of the left and of the right side."""


def rot_x(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def rot_y(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def rot_z(a: float) -> F32:
    c, s = np.cos(a), np.sin(a)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


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


@dataclass
class Angles:
    """Of the joints, in radians: shoulders and hips forwards, away from the body and about their own axis."""

    hip_f: Pair
    hip_a: Pair
    hip_t: Pair
    knee: Pair
    sh_f: Pair
    sh_a: Pair
    sh_t: Pair
    elbow: Pair
    lean: float
    side: float
    twist: float


def _at_ease(rng: np.random.Generator) -> Angles:
    n = rng.normal
    hip_f, hip_a, hip_t = n(0.05, 0.08, 2), np.abs(n(0.06, 0.07, 2)), n(0.1, 0.12, 2)
    knee = np.abs(n(0.06, 0.08, 2))
    sh_f, sh_a, sh_t, elbow = n(0.05, 0.15, 2), np.abs(n(0.15, 0.12, 2)), n(0.1, 0.4, 2), np.abs(n(0.3, 0.25, 2))
    lean, side, twist = n(0.03, 0.05), n(0, 0.05), n(0, 0.1)
    return Angles(hip_f, hip_a, hip_t, knee, sh_f, sh_a, sh_t, elbow, lean, side, twist)


def _set_arm(a: Angles, i: int, sh_f: float, sh_a: float, sh_t: float, elbow: float) -> None:
    a.sh_f[i], a.sh_a[i], a.sh_t[i], a.elbow[i] = sh_f, sh_a, sh_t, elbow


def _stand(rng: np.random.Generator, a: Angles) -> None:
    u = rng.uniform
    if u() >= 0.5:
        return
    arm = rng.integers(0, 4, 2)  # hand on hip, arms crossed or a hand to the face, behind the back
    for i in range(2):
        if arm[i] == 1:
            _set_arm(a, i, -0.3 + u(-0.1, 0.1), 0.65 + u(-0.1, 0.2), 0.9, 1.5 + u(-0.2, 0.3))
        elif arm[i] == 2:
            _set_arm(a, i, 0.5 + u(-0.2, 0.3), 0.1, 0.7 + u(-0.3, 0.5), 1.7 + u(-0.3, 0.7))
        elif arm[i] == 3:
            _set_arm(a, i, -0.45, 0.25, 0.8, 0.8)


def _go(rng: np.random.Generator, a: Angles, walks: bool) -> None:
    u, n = rng.uniform, rng.normal
    amp = u(0.25, 0.5) if walks else u(0.5, 1.0)
    phase = u(0, 2 * np.pi)
    swing = np.array([np.sin(phase), -np.sin(phase)])
    a.hip_f = amp * swing + (0.05 if walks else 0.2)
    lift = np.maximum(0, np.array([np.cos(phase), -np.cos(phase)]))
    a.knee = 0.1 + (1.0 if walks else 1.9) * amp * lift + 0.5 * amp * np.maximum(0, swing)
    a.sh_f = -amp * swing * u(0.6, 1.2) + n(0, 0.1, 2)
    a.elbow = np.abs(n(0.35, 0.2, 2)) if walks else n(1.5, 0.25, 2)
    a.lean = u(0, 0.1) if walks else u(0.05, 0.35)


def _walk(rng: np.random.Generator, a: Angles) -> None:
    _go(rng, a, True)


def _run(rng: np.random.Generator, a: Angles) -> None:
    _go(rng, a, False)


def _sit(rng: np.random.Generator, a: Angles) -> None:
    n = rng.normal
    a.hip_f, a.hip_a = n(1.45, 0.15, 2), np.abs(n(0.18, 0.15, 2))
    a.knee = np.clip(n(1.35, 0.35, 2), 0.1, 2.3)
    a.lean = n(0.1, 0.2)
    a.sh_f, a.elbow, a.sh_t = n(0.5, 0.3, 2), np.clip(n(1.1, 0.45, 2), 0, 2.3), n(0.4, 0.35, 2)


def _crouch(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.hip_f, a.hip_a = n(1.7, 0.3, 2), np.abs(n(0.3, 0.2, 2))
    a.knee = np.clip(n(2.0, 0.3, 2), 0.8, 2.5)
    a.lean = u(0.2, 0.8)
    a.sh_f, a.elbow = n(0.9, 0.5, 2), np.clip(n(0.8, 0.5, 2), 0, 2.3)


def _raise(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    both = u() < 0.5
    for i in range(2):
        if both or i == (rng.random() < 0.5):
            _set_arm(a, i, n(0.1, 0.3), u(1.3, 2.9), n(0, 0.5), abs(n(0.5, 0.5)))


def _ski(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.hip_f, a.hip_a, a.knee = n(0.75, 0.25, 2), np.abs(n(0.15, 0.12, 2)), np.clip(n(0.9, 0.3, 2), 0.1, 1.8)
    if u() < 0.4:
        i = int(rng.integers(2))
        a.hip_f[i], a.knee[i], a.hip_a[i] = n(-0.25, 0.2), abs(n(0.4, 0.3)), u(0.1, 0.6)
    a.lean, a.sh_f, a.sh_a = u(0.2, 0.9), n(0.5, 0.5, 2), np.abs(n(0.3, 0.25, 2))
    a.elbow = np.clip(n(1.0, 0.4, 2), 0, 2)


def _swing(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.hip_f, a.hip_a, a.knee = n(0.25, 0.3, 2), np.abs(n(0.28, 0.15, 2)), np.abs(n(0.4, 0.3, 2))
    a.lean, a.twist = u(0, 0.4), n(0, 0.5)
    a.sh_f, a.sh_a = np.full(2, u(0.5, 2.2)) + n(0, 0.25, 2), np.abs(n(0.2, 0.25, 2))
    a.sh_t, a.elbow = n(0.6, 0.3, 2), np.clip(n(0.9, 0.5, 2), 0, 2.3)


def _bend(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.lean, a.hip_f, a.knee = u(0.7, 1.6), n(0.15, 0.15, 2), np.abs(n(0.3, 0.25, 2))
    a.sh_f, a.elbow = n(1.2, 0.4, 2), np.abs(n(0.4, 0.3, 2))


def _reach(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.sh_f, a.sh_a, a.elbow = n(1.4, 0.4, 2), np.abs(n(0.2, 0.3, 2)), np.abs(n(0.6, 0.5, 2))
    if u() < 0.5:
        i = int(rng.integers(2))
        a.sh_f[i], a.elbow[i] = n(0, 0.2), abs(n(0.3, 0.2))
    a.lean = n(0.15, 0.15)


def _ride(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.hip_f, a.knee = np.array([u(0.7, 1.1), u(1.1, 1.5)]), np.array([u(0.5, 1.0), u(1.2, 1.8)])
    a.lean, a.sh_f, a.elbow = u(0.2, 0.9), n(1.1, 0.15, 2), np.abs(n(0.4, 0.25, 2))


def _wild(rng: np.random.Generator, a: Angles) -> None:
    u, n = rng.uniform, rng.normal
    a.hip_f, a.hip_a, a.knee = u(-0.5, 1.7, 2), u(0, 0.9, 2), u(0, 2.1, 2)
    a.sh_f, a.sh_a, a.sh_t, a.elbow = u(-0.7, 2.9, 2), u(0, 2.6, 2), u(-1.0, 1.2, 2), u(0, 2.3, 2)
    a.lean, a.side, a.twist = u(-0.2, 1.0), n(0, 0.25), n(0, 0.4)


_TAKE = {
    "stand": _stand, "walk": _walk, "run": _run, "sit": _sit, "crouch": _crouch, "raise": _raise, "ski": _ski,
    "swing": _swing, "bend": _bend, "reach": _reach, "ride": _ride, "wild": _wild,
}  # fmt: skip


def _angles(rng: np.random.Generator, habit: Habit) -> Angles:
    """Of a pose of the habit's, within ordinary joint limits."""
    u = rng.uniform
    chances = np.array(habit.poses)
    kind = str(rng.choice(POSES, p=chances / chances.sum()))
    a = _at_ease(rng)
    _TAKE[kind](rng, a)
    if kind not in ("sit", "ride", "wild") and u() < 0.25:  # one arm does something else
        i = int(rng.integers(2))
        _set_arm(a, i, u(-0.5, 2.4), u(0, 1.4), rng.normal(0.2, 0.5), u(0, 2.3))
    a.hip_f, a.knee = np.clip(a.hip_f, -0.6, 2.1), np.clip(a.knee, 0, 2.5)
    a.sh_f, a.sh_a, a.elbow = np.clip(a.sh_f, -0.9, 3.0), np.clip(a.sh_a, -0.1, 2.9), np.clip(a.elbow, 0, 2.5)
    return a


_SIDES = (("left_", 1), ("right_", -1))
_DOWN, _FORWARDS = np.float32([0, 1, 0]), np.float32([0, 0, -1])


def _arm(rng: np.random.Generator, j: dict[str, F32], a: Angles, i: int, chest: F32, width: float, limb: float) -> None:
    """Joints of an arm, from the neck on; ``limb``: factor of its length."""
    name, s = _SIDES[i]
    shrug = 0.03 * max(0.0, np.sin(min(a.sh_a[i], np.pi / 2)))
    j[name + "shoulder"] = j["neck"] + chest @ np.float32([s * width, 0.035 - shrug, 0])
    arm = chest @ rot_z(-s * a.sh_a[i]) @ rot_x(-a.sh_f[i]) @ rot_y(s * a.sh_t[i])
    fore = arm @ rot_x(-a.elbow[i])
    j[name + "elbow"] = j[name + "shoulder"] + arm @ _DOWN * (0.168 * limb)
    j[name + "wrist"] = j[name + "elbow"] + fore @ _DOWN * (0.145 * limb)
    j[name + "hand"] = j[name + "wrist"] + fore @ rot_x(rng.normal(0, 0.3)) @ _DOWN * 0.055


def _leg(
    rng: np.random.Generator, j: dict[str, F32], a: Angles, i: int, pelvis: F32, girth: float, limb: float
) -> None:
    """Joints of a leg, from the middle of the pelvis on."""
    name, s = _SIDES[i]
    j[name + "hip"] = pelvis @ np.float32([s * 0.062 * (0.6 + 0.4 * girth), 0.01, 0])
    leg = pelvis @ rot_z(-s * a.hip_a[i]) @ rot_x(-a.hip_f[i]) @ rot_y(-s * a.hip_t[i])
    shin = leg @ rot_x(a.knee[i])
    j[name + "knee"] = j[name + "hip"] + leg @ _DOWN * (0.245 * limb)
    j[name + "ankle"] = j[name + "knee"] + shin @ _DOWN * (0.235 * limb)
    bent = 0.35 * (a.knee[i] - max(0.0, a.hip_f[i]))
    foot = shin @ rot_x(float(np.clip(rng.normal(-0.1, 0.2) + bent, -0.6, 0.7)))
    j[name + "heel"] = j[name + "ankle"] + shin @ _DOWN * 0.02 - foot @ _FORWARDS * 0.02
    j[name + "toe"] = j[name + "ankle"] + shin @ _DOWN * 0.028 + foot @ _FORWARDS * 0.105


def pose_body(rng: np.random.Generator, habit: Habit) -> Body:
    """Draw a pose and return the joints."""
    u, n = rng.uniform, rng.normal
    a = _angles(rng, habit)
    child = u() < 0.12
    limb = u(0.93, 1.07) * (0.88 if child else 1)
    girth = float(np.clip(n(1.0, 0.13), 0.78, 1.45))
    chest_size = (0.9 if child else 1) * u(0.9, 1.1)
    pelvis = rot_z(n(0, 0.04)) @ rot_x(0.25 * a.lean)
    chest = pelvis @ rot_x(0.75 * a.lean) @ rot_z(a.side) @ rot_y(a.twist)
    j: dict[str, F32] = {"pelvis": np.zeros(3, np.float32)}
    mid = pelvis @ np.float32([0, -0.13, 0]) * 0.5 + chest @ np.float32([0, -0.13, 0]) * 0.5
    j["waist"] = mid
    j["neck"] = mid + chest @ np.float32([0, -0.2 * chest_size, 0.005])
    head = (
        chest
        @ rot_y(float(np.clip(n(0, 0.45), -1.3, 1.3)))
        @ rot_x(float(np.clip(n(0.08, 0.25) - 0.55 * a.lean, -0.9, 0.7)))
        @ rot_z(n(0, 0.12))
    )
    scale = 1.25 if child else 1.0
    j["head"] = j["neck"] + chest @ np.float32([0, -0.035, -0.008]) + head @ np.float32([0, -0.062 * scale, -0.012])
    for i in range(2):
        _arm(rng, j, a, i, chest, 0.108 * chest_size * (0.8 + 0.2 * girth), limb)
        _leg(rng, j, a, i, pelvis, girth, limb)
    for name, point in (
        ("nose", (0, 0.012, -0.073)), ("left_eye", (0.027, -0.012, -0.058)), ("right_eye", (-0.027, -0.012, -0.058)),
        ("left_ear", (0.063, 0.0, 0.008)), ("right_ear", (-0.063, 0.0, 0.008)),
    ):  # fmt: skip
        j[name] = j["head"] + head @ (np.float32(point) * scale)
    return Body(j, chest, head, pelvis, girth, child)
