# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint that describes its network, or is said to be of a known one, to the network with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ..formats.checkpoint import Checkpoint, Module
from .description import Description
from .modules import Maker
from .network import Network, build
from .weights import class_names, fill, head_anchors, take_over

__all__ = ["Loaded", "load"]

_Description = TypeVar("_Description", bound=Description)


@dataclass(frozen=True)
class Loaded(Generic[_Description]):
    """A network out of a checkpoint, float32, in evaluation mode, not yet with a spec.

    Attributes:
        network: with its weights.
        description: its layers.
        strides: of its heads, in pixels.
        anchors: per head (width, height) pairs in input pixels.
        names: of its classes; empty where the file holds nothing but weights.
    """

    network: Network
    description: _Description
    strides: tuple[int, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    names: tuple[str, ...]


def load(
    path: Path,
    known: _Description | None,
    describe: Callable[[Module, str], _Description],
    heads: Mapping[str, Maker],
) -> Loaded[_Description]:
    """Read a checkpoint and build its network.

    Args:
        path: a checkpoint of the reference code, whole or, where the network is known, only its weights.
        known: the network, where the caller says what it is.
        describe: what the network in the file is, with the file's name for errors.
        heads: what may come last (:func:`~trtpose.networks.network.build`).

    Raises:
        ModelError: the file cannot be read, or its contents do not make such a network; the message says why.
    """
    with Checkpoint(path) as checkpoint:
        source = checkpoint.path
        weights = checkpoint.weights()
        if known is not None and weights is not None:
            network, strides = build(known, source, heads)
            tensors = {(key if key.startswith("model.") else f"model.{key}"): value for key, value in weights.items()}
            fill(network, tensors, checkpoint)
            return Loaded(network, known, strides, known.anchors, ())
        found = checkpoint.network()
        description = describe(found, source) if known is None else known
        network, strides = build(description, source, heads)
        take_over(network, found, checkpoint)
        fill(network, found.named_tensors(), checkpoint)
        head = found.find(f"model.{len(description.layers) - 1}")
        anchors = head_anchors(head, description, checkpoint) if head else description.anchors
        names = class_names(found.attributes.get("names"), description)
        return Loaded(network, description, strides, anchors, names)
