# SPDX-License-Identifier: Apache-2.0
"""Small networks of Lightweight OpenPose, and checkpoints of them as its training saves them."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import export_support as support
from trtpose.families.openpose import catalogue, layers, network


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue at a fraction of its width."""
    monkeypatch.setattr(catalogue, "_BACKBONE", (4, 8, 8, 8, 12, 12, 16, 16, 16, 16, 16, 16))
    monkeypatch.setattr(catalogue, "_CHANNELS", 8)
    monkeypatch.setattr(catalogue, "_HIDDEN", 12)


def weights(stages: int = 1, seed: int = 0) -> dict[str, Any]:
    """A state dict of the catalogue's shapes in which every number matters."""
    given = catalogue.shapes(stages)
    with torch.device("meta"):
        built = network.Network(layers.Shapes(given, "test"), stages)
    support.randomise(built, seed)
    return built.state_dict()


def save(path: Path, state: Any, change: Callable[[dict[str, Any]], Any] = lambda root: root) -> Path:
    """Write a checkpoint."""
    schedule = {"milestones": collections.Counter([100, 200]), "gamma": 0.333, "last_epoch": 3}
    root = {"state_dict": state, "optimizer": {"state": {}, "param_groups": []}, "scheduler": schedule, "iter": 7}
    torch.save(change(root), path)
    return path
