# SPDX-License-Identifier: Apache-2.0
"""Small networks of KAPAO, and checkpoints of them as its training saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_support as support
from trtpose.families.kapao import network
from trtpose.families.kapao.head import HEADS
from trtpose.networks import network as building
from trtpose.networks.description import Description, Given

NAMES = ("person", "nose", "left_hand", "right_hand", "tail", "hat")


def yaml_of(keypoints: int) -> dict[str, Any]:
    """A description with strides 4 and 8; the reference counts coordinates as classes."""
    fields = {key: value for key, value in support.FOCUS.items() if key not in ("nkpt", "dw_conv_kpt", "act")}
    head = [*support.FOCUS["head"][:2], [[7, 5], 1, "Detect", ["nc", "anchors"]]]
    return {**fields, "nc": 1 + 3 * keypoints, "head": head}


def make_network(keypoints: int = 3, seed: int = 0) -> network.Network:
    """A network with random weights that half precision holds exactly."""
    given = Given(yaml_of(keypoints), "test")
    description = Description(**given.common(), classes=1 + keypoints, keypoints=keypoints)
    built, strides = building.build(description, "test", HEADS)
    support.randomise(built, seed)
    built.half().float()
    built.spec = network.make_spec("small", NAMES[: keypoints + 1], strides, description.anchors, 64)
    return built


def save(
    path: Path,
    source: network.Network,
    change: Callable[[Any], Any] = lambda model: {"epoch": -1, "model": model.half(), "ema": None},
    **attributes: Any,
) -> Path:
    """Write a checkpoint with the attributes that the training gives; ``change`` makes of the model what is saved."""
    keypoints = source.spec.keypoints

    def trained(model: Any) -> Any:
        given = {"num_coords": 2 * keypoints, "names": list(source.spec.names), "nc": 1 + keypoints, **attributes}
        for name, value in given.items():
            setattr(model, name, value)
        return change(model)

    return support.save_checkpoint(path, source, yaml_of(keypoints), trained)
