# SPDX-License-Identifier: Apache-2.0
"""The combinations: version, option of the export, keypoints, classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .peer import VERSIONS, Network

SIZE = 160
"""Pixels of a side of the input, small enough to export and run hundreds of networks."""

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dynamic": {"dynamic": True},
    "half": {"half": True},
    "nms": {"nms": True},
    "end2end": {"end2end": True},
    "batch": {"batch": 4},
    "rectangular": {"imgsz": [96, 160]},
    "opset": {"opset": 20},
}
"""Arguments of the export. 8.4.190 takes half=True as quantize=16 and end2end=True as nms=False; of v8 and 11, which
have no such head, the latter is the plain file."""
PAIRS = [
    "dynamic+half",
    "dynamic+nms",
    "dynamic+end2end",
    "dynamic+batch",
    "half+nms",
    "half+end2end",
    "nms+batch",
    "nms+rectangular",
    "nms+opset",
    "end2end+batch",
    "end2end+rectangular",
    "end2end+opset",
    "dynamic+nms+batch",
]
"""Options together, where the one changes what the other writes."""

KEYPOINTS = ((17, 3), (5, 2), (21, 3), (1, 3), (4, 2))
CLASSES = (1, 2, 3)


@dataclass(frozen=True)
class Case:
    """One export.

    Attributes:
        network: what is exported.
        option: a key of OPTIONS, or several joined by +.
    """

    network: Network
    option: str

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the export, without thresholds."""
        out: dict[str, Any] = {"imgsz": SIZE}
        for option in self.option.split("+"):
            out |= OPTIONS[option]
        return out

    def has(self, option: str) -> bool:
        return option in self.option.split("+")

    def __str__(self) -> str:
        network = self.network
        return f"{network.version:<3} {self.option:<18} keypoints {list(network.keypoints)} classes {network.classes}"


def everything() -> list[Case]:
    """The whole product, by network, and the pairs of options of one network per version."""
    product = itertools.product(VERSIONS, KEYPOINTS, CLASSES)
    networks = [Network(*fields, seed=seed) for seed, fields in enumerate(product)]
    singles = [Case(network, option) for network in networks for option in OPTIONS]
    first = [Network(version, KEYPOINTS[0], 2, seed=100) for version in VERSIONS]
    return singles + [Case(network, option) for network in first for option in PAIRS]


def _facts(case: Case) -> Iterator[tuple[str, str]]:
    network = case.network
    return itertools.combinations((network.version, case.option, str(network.keypoints), str(network.classes)), 2)


def pairwise() -> list[Case]:
    """Few cases in which any two of version, option, keypoints and classes that go together do so once."""
    left = everything()
    missing = {fact for case in left for fact in _facts(case)}
    chosen = []
    while missing:
        best = max(left, key=lambda case: len(missing.intersection(_facts(case))))
        missing.difference_update(_facts(best))
        chosen.append(best)
    return sorted(chosen, key=everything().index)
