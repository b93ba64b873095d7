# SPDX-License-Identifier: Apache-2.0
"""KAPAO's published networks, and what a checkpoint of it says of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ...errors import ModelError
from ...formats.checkpoint import Module
from ...networks.description import Description, Given, Layer, brief
from ...networks.recipe import P6_ANCHORS, Recipe, yolov5_p6
from ...skeletons import COCO, Skeleton
from .. import family

__all__ = ["CATALOGUE", "CROWDPOSE", "Entry", "described", "is_kapao", "lookup"]

CROWDPOSE = Skeleton(
    names=(
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck"),
    ),
    edges=(
        *((0, 13), (1, 13), (0, 2), (2, 4), (1, 3), (3, 5), (0, 6), (6, 7), (1, 7)),
        *((6, 8), (8, 10), (7, 9), (9, 11), (12, 13)),
    ),
    flip=(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13),
    # From the CrowdPose evaluation, https://github.com/Jeff-sjtu/CrowdPose.
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)
"""The keypoints of CrowdPose."""

_HEAD = "Detect"


@dataclass(frozen=True)
class Entry:
    """A published network.

    Attributes:
        name: the name given on the command line.
        description: its layers; the classes are the person and each keypoint.
        skeleton: its keypoints.
        parameters: how many numbers it learns.
        imgsz: side in pixels of the square input it was trained at.
        license, url, size, sha256: of the published weights, which lie where no program fetches them from.
    """

    name: str
    description: Description
    skeleton: Skeleton
    parameters: int
    imgsz: int = 1280
    license: str = "GPL-3.0"
    url: str = ""
    size: int = 0
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of the weights in the cache and on a mirror."""
        return f"{self.name}.pt"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return ("person", *self.skeleton.names)


def is_kapao(found: Module) -> bool:
    """Whether the network in a checkpoint says that it gives coordinates of keypoints beside its classes."""
    return found.attributes.get("num_coords") is not None


def described(found: Module, source: str) -> Description:
    """What the network in a checkpoint is.

    Raises:
        ModelError: its numbers of classes and coordinates do not belong together, or its description is none.
    """
    coordinates, values = found.attributes.get("num_coords"), found.attributes.get("yaml")
    if not isinstance(values, Mapping):
        raise ModelError(
            f"{source}: the checkpoint does not describe its network; name it with --arch, such as kapao-s-coco"
        )
    if not isinstance(coordinates, int) or not 2 <= coordinates <= 2000 or coordinates % 2:
        raise ModelError(f"{source}: num_coords is {brief(coordinates)}, expected two for each keypoint")
    given = Given(cast("Mapping[str, Any]", values), source)
    keypoints = coordinates // 2
    # The reference counts the coordinates as classes where it builds its head.
    if given.data.get("nc") != 1 + 3 * keypoints:
        raise given.bad("nc", f"{1 + 3 * keypoints}: a person, {keypoints} keypoints and {coordinates} coordinates")
    return Description(**given.common(), classes=1 + keypoints, keypoints=keypoints)


def _layers() -> tuple[Layer, ...]:
    r = Recipe()
    r.add(_HEAD, "nc", "anchors", source=tuple(yolov5_p6(r, "Focus")))
    return tuple(r.layers)


def _entry(size: str, data: str, skeleton: Skeleton, depth: float, width: float, parameters: int) -> Entry:
    count = len(skeleton)
    description = Description(_layers(), 1 + count, count, P6_ANCHORS, depth=depth, width=width)
    return Entry(f"kapao-{size}-{data}", description, skeleton, parameters)


# The paper (arXiv:2111.08557) gives 12.6, 35.8 and 77.0 million parameters for S, M and L on COCO.
_ENTRIES = [
    _entry("s", "coco", COCO, 0.33, 0.50, 12_559_980),
    _entry("m", "coco", COCO, 0.67, 0.75, 35_755_404),
    _entry("l", "coco", COCO, 1.0, 1.0, 77_047_852),
    _entry("s", "crowdpose", CROWDPOSE, 0.33, 0.50, 12_525_312),
    _entry("m", "crowdpose", CROWDPOSE, 0.67, 0.75, 35_703_456),
    _entry("l", "crowdpose", CROWDPOSE, 1.0, 1.0, 76_978_624),
]
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The networks that can be built without a checkpoint, by name."""


def lookup(name: str) -> Entry:
    """The catalogue's entry of a name.

    Raises:
        InputError: no such name; the message lists those there are.
    """
    return family.lookup(CATALOGUE, name)
