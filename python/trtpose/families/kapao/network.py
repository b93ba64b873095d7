# SPDX-License-Identifier: Apache-2.0
"""KAPAO's checkpoints and its networks with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from ...networks import load as loading
from ...networks import network as building
from ...networks.network import Network, randomise
from ...skeletons import COCO, Skeleton
from ...spec import ModelSpec
from . import forms
from .catalogue import CROWDPOSE, described, lookup
from .head import HEADS, ObjectHead

__all__ = ["Network", "load", "random_network"]

Anchors = tuple[tuple[tuple[float, float], ...], ...]

# Side that the published networks with this largest stride are run at, for a checkpoint that does not say.
_SIZES = {64: 1280, 32: 640}


def make_spec(name: str, names: tuple[str, ...], strides: tuple[int, ...], anchors: Anchors, imgsz: int) -> ModelSpec:
    """The spec of a network's raw heads; the classes are the person and, in their order, the keypoints."""
    # Numbers stand for names that the file does not have.
    keypoints = () if names[0] == "0" else names[1:]
    known = next((skeleton for skeleton in (COCO, CROWDPOSE) if skeleton.names == keypoints), Skeleton(keypoints))
    return ModelSpec(
        name=name,
        family="kapao",
        imgsz=(imgsz, imgsz),
        strides=strides,
        anchors=anchors,
        outputs=tuple(f"head_{stride}" for stride in strides),
        names=names,
        kpt_shape=(len(names) - 1, 2),
        kpt_names=keypoints,
        skeleton=known.edges,
        sigmas=known.sigmas,
        flip_idx=known.flip,
        extra={"form": "heads"},
    )


def load(path: str | Path, arch: str | None = None) -> Network:
    """Read a checkpoint and build its network, float32, in evaluation mode.

    Args:
        path: as KAPAO's training saves it, whole or, with ``arch``, only its weights.
        arch: a name of the catalogue; by default the checkpoint's own description.

    Raises:
        ModelError: the file cannot be read, or its contents do not make a network of KAPAO; the message says why.
        InputError: ``arch`` is no known name.
    """
    entry = lookup(arch) if arch else None
    read = loading.load(Path(path), entry.description if entry else None, described, HEADS)
    imgsz = entry.imgsz if entry else _SIZES.get(max(read.strides), 20 * max(read.strides))
    names = read.names or (entry.names if entry else ())
    read.network.spec = make_spec(Path(path).stem, names, read.strides, read.anchors, imgsz)
    return read.network


def random_network(name: str, seed: int = 0) -> Network:
    """A network of the catalogue with random weights, for benchmarks and tests.

    Objectness starts low, so that few anchors become objects.

    Args:
        name: a name of :data:`~trtpose.families.kapao.catalogue.CATALOGUE`.
        seed: of the random numbers; the same seed gives the same weights.

    Raises:
        InputError: no such name.
    """
    entry = lookup(name)
    network, strides = building.build(entry.description, name, HEADS)
    randomise(network, seed)
    fields = forms.fields(entry.description.keypoints)
    with torch.no_grad():
        for convolution in cast("ObjectHead", network.model[-1]).m:
            bias = cast("nn.Conv2d", convolution).bias
            assert bias is not None
            bias[4::fields] = -4.0
    network.spec = make_spec(name, entry.names, strides, entry.description.anchors, entry.imgsz)
    network.license = "none: random weights"
    return network
