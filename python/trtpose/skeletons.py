# SPDX-License-Identifier: Apache-2.0
"""What the keypoints of a person are called and which are joined by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .spec import ModelSpec

__all__ = ["COCO", "FACE", "KNOWN", "VISIBLE", "Skeleton", "known_skeleton", "skeleton_for"]

VISIBLE = 0.5
"""A keypoint is taken as seen, and drawn, from this confidence on."""


@dataclass(frozen=True)
class Skeleton:
    """Names, lines and evaluation constants of one set of keypoints.

    Attributes:
        names: one name per keypoint. ``left`` and ``right`` are those of the person in :data:`COCO`.
        edges: pairs of 0-based keypoint indices joined by a line.
        flip: the index each keypoint takes in a mirrored picture; empty where unknown.
        sigmas: OKS constants, one per keypoint; empty where there is no agreed set.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sides(self) -> tuple[str, ...]:
        """Per keypoint ``left``, ``right`` or an empty string, from the names."""
        return tuple(_side(name) for name in self.names)

    def edge_side(self, edge: tuple[int, int]) -> str:
        """``left`` or ``right`` where both ends are on that side, ``left`` or ``right`` of the one end that has a side
        where the other has none, else an empty string."""
        found = {side for side in (_side(self.names[index]) for index in edge) if side}
        return found.pop() if len(found) == 1 else ""


def _side(name: str) -> str:
    words = name.lower().replace("-", "_").replace(" ", "_").split("_")
    if "left" in words or words[0] == "l":
        return "left"
    if "right" in words or words[0] == "r":
        return "right"
    return ""


COCO = Skeleton(
    names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    edges=(
        (15, 13),
        (13, 11),
        (16, 14),
        (14, 12),
        (11, 12),
        (5, 11),
        (6, 12),
        (5, 6),
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (1, 2),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
    ),
    flip=(0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
    # From the COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval.
    sigmas=(
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
    ),
)
"""The keypoints of COCO persons."""

FACE = Skeleton(
    names=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    edges=((0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    flip=(1, 0, 2, 4, 3),
)
"""Five facial landmarks in the order and with the names of the common face detectors: left is left in the picture."""

KNOWN: dict[int, Skeleton] = {len(skeleton): skeleton for skeleton in (COCO, FACE)}
"""Known sets by number of keypoints."""


_PERSONS = frozenset({"person", "persons", "people", "human", "pedestrian"})
_CLASSES: dict[int, frozenset[str]] = {len(COCO): _PERSONS, len(FACE): frozenset({"face", "faces", "head"})}


def known_skeleton(classes: Sequence[str], keypoints: int, names: Sequence[str] = ()) -> Skeleton | None:
    """The known set that keypoints are of, or None.

    Args:
        classes: names of the network's classes.
        keypoints: how many a pose has.
        names: the keypoints' own, where they have any. They decide; without them only those of a person, or of a face,
            are taken for a known set.
    """
    known = KNOWN.get(keypoints)
    if known is None:
        return None
    if names:
        return known if tuple(names) == known.names else None
    return known if all(name.lower() in _CLASSES[keypoints] for name in classes) else None


def skeleton_for(spec: ModelSpec) -> Skeleton:
    """The skeleton of a model: its own where the spec gives lines or names, else a known one of that many keypoints,
    else plain points named by their number.

    A known set is not taken where the names of keypoints or classes contradict it (:func:`known_skeleton`).
    """
    known = known_skeleton(spec.names, spec.keypoints, spec.kpt_names)
    names = spec.kpt_names or (known.names if known else tuple(str(index) for index in range(spec.keypoints)))
    return Skeleton(
        names=names,
        edges=spec.skeleton or (known.edges if known else ()),
        flip=spec.flip_idx or (known.flip if known else ()),
        sigmas=spec.sigmas or (known.sigmas if known else ()),
    )
