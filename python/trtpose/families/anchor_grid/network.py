# SPDX-License-Identifier: Apache-2.0
"""From a description and a checkpoint to a PyTorch module with weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...formats.checkpoint import Module
from ...networks import network as building
from ...networks.load import load as load_network
from ...networks.network import Network, randomise
from ...skeletons import known_skeleton
from ...spec import ModelSpec
from .catalogue import CATALOGUE, Description, lookup
from .head import HEADS, KeypointHead

__all__ = ["Network", "build", "load", "random_network"]


def build(description: Description, source: str) -> tuple[Network, tuple[int, ...]]:
    """The modules of a description without weights, and the strides (:func:`trtpose.networks.network.build`)."""
    return building.build(description, source, HEADS)


def make_spec(
    name: str,
    description: Description,
    strides: tuple[int, ...],
    class_names: tuple[str, ...],
    imgsz: int,
    anchors: Any = None,
) -> ModelSpec:
    """The spec of a network's raw heads."""
    known = known_skeleton(class_names, description.keypoints)
    return ModelSpec(
        name=name,
        layout="heads",
        imgsz=(imgsz, imgsz),
        strides=strides,
        anchors=anchors or description.anchors,
        outputs=tuple(f"head_{stride}" for stride in strides),
        names=class_names,
        kpt_shape=(description.keypoints, 3),
        kpt_names=known.names if known else (),
        skeleton=known.edges if known else (),
        sigmas=known.sigmas if known else (),
        flip_idx=known.flip if known else (),
    )


def _default_size(strides: tuple[int, ...]) -> int:
    """Side the published networks with these strides are evaluated at, for a checkpoint that does not say."""
    sizes = {64: 960, 32: 640}
    return sizes.get(max(strides), max(strides) * 20)


def _named(names: tuple[str, ...], description: Description) -> tuple[str, ...]:
    """Names of classes in place of what the reference stores unless training named the class."""
    if names == ("0",):
        for entry in CATALOGUE.values():
            if entry.description.keypoints == description.keypoints:
                return entry.names
    return names


def load(path: str | Path, arch: str | None = None) -> Network:
    """Read a checkpoint and build its network, float32, in evaluation mode.

    Args:
        path: a checkpoint of the reference repositories, whole or, with ``arch``, only its weights.
        arch: a name of the catalogue that describes the network; by default the checkpoint's own description.

    Raises:
        ModelError: the file cannot be read, or its contents do not make a pose network; the message says why.
        InputError: ``arch`` is no known name.
    """
    entry = lookup(arch) if arch else None
    read = load_network(Path(path), entry.description if entry else None, _described, HEADS)
    network, imgsz = read.network, entry.imgsz if entry else _default_size(read.strides)
    names = _named(read.names, read.description) if read.names or entry is None else entry.names
    network.spec = make_spec(Path(path).stem, read.description, read.strides, names, imgsz, read.anchors)
    return network


def _described(found: Module, source: str) -> Description:
    return Description.from_checkpoint(found.attributes.get("yaml"), source)


def random_network(name: str, seed: int = 0) -> Network:
    """A network of the catalogue with random weights, for benchmarks and tests.

    Objectness starts low, so that few anchors become candidates.

    Args:
        name: a name of :data:`~trtpose.families.anchor_grid.catalogue.CATALOGUE`.
        seed: of the random numbers; the same seed gives the same weights.

    Raises:
        InputError: no such name.
    """
    entry = lookup(name)
    network, strides = build(entry.description, name)
    randomise(network, seed)
    with torch.no_grad():
        head = cast("KeypointHead", network.model[-1])
        fields = 5 + entry.description.classes + 3 * entry.description.keypoints
        anchors = len(entry.description.anchors[0])
        for level, box in enumerate(head.m):
            points = head.m_kpt[level]
            final = cast("nn.Conv2d", points[-1] if isinstance(points, nn.Sequential) else points)
            split = cast("nn.Conv2d", box).out_channels
            for anchor in range(anchors):
                channel = anchor * fields + 4
                conv, at = (cast("nn.Conv2d", box), channel) if channel < split else (final, channel - split)
                assert conv.bias is not None
                conv.bias[at] = -4.0
    network.spec = make_spec(name, entry.description, strides, entry.names, entry.imgsz)
    network.license = "none: random weights"
    return network
