# SPDX-License-Identifier: Apache-2.0
"""The modules of Lightweight OpenPose, in evaluation mode.

Written from the published architecture (Osokin, arXiv:1811.12004): MobileNet to stride 8 with one dilated block, a
context block of depthwise convolutions, a stage that predicts maps, and stages that refine them. The names of
sub-modules and parameters are those under which its checkpoints store their weights, and widths are those of the
weights, so that narrowed and pruned networks are built alike. Tensors are N x C x H x W float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...errors import ModelError

__all__ = ["PoseNet", "Shapes", "stages_of"]

STRIDES = {0: 2, 2: 2, 4: 2}
DILATIONS = {7: 2}
"""Of the backbone's blocks that have another than 1. Weights do not tell them, so that only its block count is read."""
BLOCKS = 12
CONTEXT, TRUNK, REFINEMENT = 3, 3, 5
"""Blocks of the context, convolutions before the first maps, and blocks of a refinement stage."""


class Shapes:
    """The shapes of a network's tensors by name, and modules made by them.

    Args:
        shapes: parameters and buffers.
        source: what to call the file in errors.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
        self._shapes = shapes
        self._source = source

    def has(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._shapes

    def _shape(self, name: str, rank: int) -> tuple[int, ...]:
        shape = self._shapes.get(name)
        if shape is None:
            raise ModelError(f"{self._source}: the checkpoint lacks {name}; it is not of Lightweight OpenPose")
        if len(shape) != rank or min(shape) < 1:
            raise ModelError(
                f"{self._source}: {name} has the shape {shape}, expected {rank} lengths; it is not of Lightweight "
                "OpenPose"
            )
        return shape

    def conv(self, name: str, stride: int = 1, dilation: int = 1, depthwise: bool = False) -> nn.Conv2d:
        """A convolution that keeps the size but for its stride."""
        out, inside, height, width = self._shape(f"{name}.weight", 4)
        if height != width or height not in (1, 3) or (depthwise and inside != 1):
            raise ModelError(
                f"{self._source}: {name}.weight has the shape {(out, inside, height, width)}, which no layer of "
                "Lightweight OpenPose has in this place"
            )
        groups = out if depthwise else 1
        return nn.Conv2d(
            inside * groups, out, height, stride, height // 2 * dilation, dilation, groups, self.has(f"{name}.bias")
        )

    def norm(self, name: str) -> nn.BatchNorm2d:
        """A batch norm."""
        return nn.BatchNorm2d(self._shape(f"{name}.weight", 1)[0])

    def block(
        self, name: str, stride: int = 1, dilation: int = 1, norm: bool = False, act: bool = True
    ) -> nn.Sequential:
        """A convolution with what is behind it."""
        made: list[nn.Module] = [self.conv(f"{name}.0", stride, dilation)]
        if norm:
            made.append(self.norm(f"{name}.1"))
        return nn.Sequential(*made, *([nn.ReLU()] if act else []))

    def separable(self, name: str, stride: int = 1, dilation: int = 1) -> nn.Sequential:
        """A depthwise and a 1x1 convolution, each with batch norm and ReLU."""
        return nn.Sequential(
            self.conv(f"{name}.0", stride, dilation, depthwise=True), self.norm(f"{name}.1"), nn.ReLU(),
            self.conv(f"{name}.3"), self.norm(f"{name}.4"), nn.ReLU(),
        )  # fmt: skip

    def plain_separable(self, name: str) -> nn.Sequential:
        """A depthwise and a 1x1 convolution, each with ELU."""
        return nn.Sequential(self.conv(f"{name}.0", depthwise=True), nn.ELU(), self.conv(f"{name}.2"), nn.ELU())

    def maps(self, name: str) -> nn.Sequential:
        """The two 1x1 convolutions that end in maps."""
        return nn.Sequential(self.block(f"{name}.0"), self.block(f"{name}.1", act=False))


class Context(nn.Module):
    """Fewer channels, and depthwise convolutions with a shortcut around them."""

    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.align = shapes.block(f"{name}.align")
        self.trunk = nn.Sequential(*(shapes.plain_separable(f"{name}.trunk.{i}") for i in range(CONTEXT)))
        self.conv = shapes.block(f"{name}.conv")

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        return self.conv(x + self.trunk(x))


class Refiner(nn.Module):
    """A 1x1 convolution, and two 3x3 ones with a shortcut around them."""

    def __init__(self, shapes: Shapes, name: str) -> None:
        super().__init__()
        self.initial = shapes.block(f"{name}.initial")
        self.trunk = nn.Sequential(
            shapes.block(f"{name}.trunk.0", norm=True), shapes.block(f"{name}.trunk.1", dilation=2, norm=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        return x + self.trunk(x)


class Stage(nn.Module):
    """Predicts heatmaps and part affinity fields."""

    def __init__(self, shapes: Shapes, name: str, first: bool) -> None:
        super().__init__()
        made = (
            [shapes.block(f"{name}.trunk.{i}") for i in range(TRUNK)]
            if first
            else [Refiner(shapes, f"{name}.trunk.{i}") for i in range(REFINEMENT)]
        )
        self.trunk = nn.Sequential(*made)
        self.heatmaps = shapes.maps(f"{name}.heatmaps")
        self.pafs = shapes.maps(f"{name}.pafs")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class PoseNet(nn.Module):
    """N x 3 x H x W pictures to the heatmaps and the part affinity fields of the last stage, at 1/8 of the size."""

    def __init__(self, shapes: Shapes, stages: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            shapes.block("model.0", STRIDES[0], norm=True),
            *(
                shapes.separable(f"model.{i}", STRIDES.get(i, 1), DILATIONS.get(i, 1))
                for i in range(1, BLOCKS)
            ),
        )  # fmt: skip
        self.cpm = Context(shapes, "cpm")
        self.initial_stage = Stage(shapes, "initial_stage", first=True)
        self.refinement_stages = nn.ModuleList(
            Stage(shapes, f"refinement_stages.{i}", first=False) for i in range(stages)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.cpm(self.model(x))
        heatmaps, pafs = self.initial_stage(features)
        for stage in self.refinement_stages:
            heatmaps, pafs = stage(torch.cat([features, heatmaps, pafs], 1))
        return [heatmaps, pafs]


def stages_of(names: Mapping[str, object]) -> int:
    """How many refinement stages there are tensors of."""
    numbers = {name.split(".")[1] for name in names if name.startswith("refinement_stages.")}
    return max((int(number) + 1 for number in numbers if number.isdecimal() and len(number) < 3), default=0)
