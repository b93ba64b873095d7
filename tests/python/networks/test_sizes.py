# SPDX-License-Identifier: Apache-2.0
"""The sizes that a network without weights tells are those that it gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trtpose.families.anchor_grid.catalogue import CATALOGUE
from trtpose.families.anchor_grid.network import build, random_network
from trtpose.networks.sizes import head_sizes


class Heads(nn.Module):
    """A list of what each branch gives, as networks do."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [branch(x) for branch in self.branches]


def test_they_are_those_of_a_run() -> None:
    network = random_network("yolov7-lite-t-face")
    with torch.no_grad():
        found = network(torch.zeros(1, 3, 96, 128))
    assert head_sizes(network, (3, 96, 128)) == [tuple(head.shape[2:]) for head in found]
    assert not any("forward" in vars(module) for module in network.modules())


@pytest.mark.parametrize("options", [
    {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 6, "stride": 2, "padding": 2},
    {"kernel_size": (1, 5), "padding": (0, 2)}, {"kernel_size": 3, "dilation": 2}, {"kernel_size": 5, "stride": (3, 2)},
])  # fmt: skip
def test_a_convolution_of_any_form(options: dict[str, Any]) -> None:
    network = Heads(nn.Sequential(nn.Conv2d(3, 4, **options), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(2, 2)))
    found = network.eval()(torch.zeros(1, 3, 37, 50))
    assert head_sizes(network, (3, 37, 50)) == [tuple(found[0].shape[2:])]


@pytest.mark.parametrize("make", [
    lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5)),
    lambda: nn.Conv2d(3, 4, 50),
    lambda: nn.Conv2d(3, 4, 1, stride=0),
])  # fmt: skip
def test_layers_that_do_not_fit_are_an_error(make: Callable[[], nn.Module]) -> None:
    network = Heads(make()).eval()
    with pytest.raises(RuntimeError):
        head_sizes(network, (3, 32, 32))
    assert not any("forward" in vars(module) for module in network.modules())


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_strides_of_the_catalogue(name: str) -> None:
    network, strides = build(CATALOGUE[name].description, name)
    assert strides[0] == 8
    assert all(b == 2 * a for a, b in itertools.pairwise(strides))
    assert all(parameter.is_meta for parameter in network.parameters())
