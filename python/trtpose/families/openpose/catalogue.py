# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose's published network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .. import family

__all__ = ["CATALOGUE", "Entry", "lookup", "shapes"]

_BACKBONE = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)
_CHANNELS, _HIDDEN = 128, 512
_HEATMAPS, _PAFS = 19, 38


@dataclass(frozen=True)
class Entry:
    """A published network.

    Attributes:
        name: the name given on the command line.
        stages: refinement stages.
        learned: how many numbers the network learns.
        parameters: how many the published weights hold, which are of a network of three refinement stages.
        imgsz: side in pixels of the input that the reference's demo runs at, as far as it is the picture's height.
        license, url, size, sha256: of the published weights; size and digest are not published.
    """

    name: str
    stages: int
    learned: int
    parameters: int
    imgsz: int = 256
    license: str = "Apache-2.0"
    url: str = ""
    size: int = 0
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of the weights in the cache and on a mirror."""
        return "lightweight-openpose.pth"


# As the project's own read-me file names it.
_URL = (
    "https://download.01.org/opencv/openvino_training_extensions/models/human_pose_estimation/"
    "checkpoint_iter_370000.pth"
)
# The paper (arXiv:1811.12004) gives 4.1 million parameters with one refinement stage.
_ENTRIES = [
    Entry("lightweight-openpose", 1, 4_091_698, 7_308_964, url=_URL),
    Entry("lightweight-openpose-3", 3, 7_308_964, 7_308_964, url=_URL),
]
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""The networks that can be built without a checkpoint, by name."""


def lookup(name: str) -> Entry:
    """The catalogue's entry of a name.

    Raises:
        InputError: no such name; the message lists those there are.
    """
    return family.lookup(CATALOGUE, name)


def shapes(stages: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the published network's tensors by name, with so many refinement stages."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, inside: int, kernel: int, bias: bool = True, norm: str = "") -> None:
        found[f"{name}.weight"] = (out, inside, kernel, kernel)
        if bias:
            found[f"{name}.bias"] = (out,)
        if norm:
            found.update({f"{norm}.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")})

    conv("model.0.0", _BACKBONE[0], 3, 3, bias=False, norm="model.0.1")
    for i, (before, after) in enumerate(pairwise(_BACKBONE), 1):
        conv(f"model.{i}.0", before, 1, 3, bias=False, norm=f"model.{i}.1")
        conv(f"model.{i}.3", after, before, 1, bias=False, norm=f"model.{i}.4")
    conv("cpm.align.0", _CHANNELS, _BACKBONE[-1], 1)
    for i in range(3):
        conv(f"cpm.trunk.{i}.0", _CHANNELS, 1, 3, bias=False)
        conv(f"cpm.trunk.{i}.2", _CHANNELS, _CHANNELS, 1, bias=False)
        conv(f"initial_stage.trunk.{i}.0", _CHANNELS, _CHANNELS, 3)
    conv("cpm.conv.0", _CHANNELS, _CHANNELS, 3)
    for stage in ("initial_stage", *(f"refinement_stages.{i}" for i in range(stages))):
        hidden = _HIDDEN if stage == "initial_stage" else _CHANNELS
        for maps, count in (("heatmaps", _HEATMAPS), ("pafs", _PAFS)):
            conv(f"{stage}.{maps}.0.0", hidden, _CHANNELS, 1)
            conv(f"{stage}.{maps}.1.0", count, hidden, 1)
    for stage in range(stages):
        for i in range(5):
            name = f"refinement_stages.{stage}.trunk.{i}"
            conv(f"{name}.initial.0", _CHANNELS, _CHANNELS + (0 if i else _HEATMAPS + _PAFS), 1)
            for j in range(2):
                conv(f"{name}.trunk.{j}.0", _CHANNELS, _CHANNELS, 3, norm=f"{name}.trunk.{j}.1")
    return found
