# SPDX-License-Identifier: Apache-2.0
"""Modules of networks that descend from YOLOv5 and YOLOv7, in evaluation mode.

Written from the published architectures: YOLOv7 (Wang et al., arXiv:2207.02696), YOLO-Pose (Maji et al.,
arXiv:2204.06806), YOLOR's implicit layers (arXiv:2105.04206), ShuffleNet V2 (arXiv:1807.11164). The names of
sub-modules and parameters are those under which the published checkpoints store their weights. Tensors are
N x C x H x W float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["activation", "depthwise", "rounded_width"]


def activation(name: str | None) -> nn.Module:
    """A new activation module: None gives SiLU, which is what these networks use unless told otherwise.

    Raises:
        KeyError: the name is unknown.
    """
    return {
        None: nn.SiLU,
        "SiLU": nn.SiLU,
        "ReLU": nn.ReLU,
        "ReLU6": nn.ReLU6,
        "Hardswish": nn.Hardswish,
        "LeakyReLU": nn.LeakyReLU,
        "Identity": nn.Identity,
    }[name]()


class Conv(nn.Module):
    """Convolution without bias, batch norm, activation. The padding defaults to the one that keeps the size."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)
        self.act = nn.SiLU() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


def depthwise(width: int, kernel: int) -> Conv:
    """A :class:`Conv` with one filter per channel."""
    return Conv(width, width, kernel, groups=width)


class SpaceToDepth(nn.Module):
    """Each 2x2 block of pixels becomes four times the channels at half the size.

    ``offsets`` are the (row, column) offsets within a block in the order of the channel groups.
    """

    COLUMNS_FIRST = ((0, 0), (1, 0), (0, 1), (1, 1))
    ROWS_FIRST = ((0, 0), (0, 1), (1, 0), (1, 1))

    def __init__(self, offsets: tuple[tuple[int, int], ...] = COLUMNS_FIRST) -> None:
        super().__init__()
        self.offsets = offsets

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., row::2, column::2] for row, column in self.offsets], 1)


class Focus(nn.Module):
    """Space to depth, then a convolution."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, padding: int | None, groups: int, act: nn.Module
    ) -> None:
        super().__init__()
        self.contract = SpaceToDepth(SpaceToDepth.ROWS_FIRST)
        self.conv = Conv(c_in * 4, c_out, kernel, stride, padding, groups, act)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.contract(x))


class ConvFocus(nn.Module):
    """A 3x3 convolution of stride 2 in place of space to depth, then a convolution."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int,
        padding: int | None,
        groups: int,
        acts: tuple[nn.Module, nn.Module],
    ) -> None:
        super().__init__()
        self.conv_slice = Conv(c_in, c_in * 4, 3, 2, padding, groups, acts[0])
        self.conv = Conv(c_in * 4, c_out, kernel, stride, padding, groups, acts[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv_slice(x))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, with a shortcut around both if asked and possible."""

    def __init__(self, c_in: int, c_out: int, shortcut: bool, groups: int, expansion: float, act: str | None) -> None:
        super().__init__()
        hidden = int(c_out * expansion)
        self.cv1 = Conv(c_in, hidden, act=activation(act))
        self.cv2 = Conv(hidden, c_out, 3, groups=groups, act=activation(act))
        self.shortcut = shortcut and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block of three convolutions around a chain of bottlenecks."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        count: int,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
        act: str | None = None,
    ) -> None:
        super().__init__()
        hidden = int(c_out * expansion)
        self.cv1 = Conv(c_in, hidden, act=activation(act))
        self.cv2 = Conv(c_in, hidden, act=activation(act))
        self.cv3 = Conv(2 * hidden, c_out, act=activation(act))
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, groups, 1.0, act) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class Pool(nn.Module):
    """Max pooling; a chain of n 3x3 poolings of stride 1 equals one of size 2n + 1, so one kernel size says it all."""

    def __init__(self, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        self.m = nn.MaxPool2d(kernel, stride, kernel // 2 if padding is None else padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.m(x)


class SpatialPyramid(nn.Module):
    """Max poolings of several sizes side by side between two 1x1 convolutions."""

    def __init__(self, c_in: int, c_out: int, kernels: Sequence[int]) -> None:
        super().__init__()
        hidden = c_in // 2
        self.cv1 = Conv(c_in, hidden)
        self.cv2 = Conv(hidden * (len(kernels) + 1), c_out)
        self.pools = nn.ModuleList(Pool(kernel) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x] + [pool(x) for pool in self.pools], 1))


class SpatialPyramidCSP(nn.Module):
    """:class:`SpatialPyramid` with 3x3 convolutions before and after, and a second branch past all of it."""

    def __init__(self, c_in: int, c_out: int, expansion: float, kernels: Sequence[int]) -> None:
        super().__init__()
        hidden = int(2 * c_out * expansion)
        self.cv1 = Conv(c_in, hidden)
        self.cv2 = Conv(c_in, hidden)
        self.cv3 = Conv(hidden, hidden, 3)
        self.cv4 = Conv(hidden, hidden)
        self.pools = nn.ModuleList(Pool(kernel) for kernel in kernels)
        self.cv5 = Conv((len(kernels) + 1) * hidden, hidden)
        self.cv6 = Conv(hidden, hidden, 3)
        self.cv7 = Conv(2 * hidden, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv4(self.cv3(self.cv1(x)))
        y = self.cv6(self.cv5(torch.cat([y] + [pool(y) for pool in self.pools], 1)))
        return self.cv7(torch.cat((y, self.cv2(x)), 1))


class StemBlock(nn.Module):
    """Quarter of the size: a strided convolution, then a strided convolution and a pooling side by side."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, padding: int | None, groups: int, act: nn.Module
    ) -> None:
        super().__init__()
        self.stem_1 = Conv(c_in, c_out, kernel, stride, padding, groups, act)
        self.stem_2a = Conv(c_out, c_out // 2)
        self.stem_2b = Conv(c_out // 2, c_out, 3, 2)
        self.stem_2p = nn.MaxPool2d(2, 2)
        self.stem_3 = Conv(c_out * 2, c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_1(x)
        return self.stem_3(torch.cat((self.stem_2b(self.stem_2a(x)), self.stem_2p(x)), 1))


class ConvPool(nn.Module):
    """A strided 3x3 convolution and a strided 3x3 max pooling."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False), nn.BatchNorm2d(c_out, eps=1e-3), nn.SiLU()
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool(self.conv(x))


class DepthwiseSeparable(nn.Module):
    """A depthwise and a 1x1 convolution, each with batch norm and activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, kernel, stride, kernel // 2, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in, eps=1e-3)
        self.act1 = nn.SiLU()
        self.conv2 = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out, eps=1e-3)
        self.act2 = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))


class ChannelShuffle(nn.Module):
    """Interleave the channels of ``groups`` equal parts."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.channels, self.groups = channels, groups

    def forward(self, x: Tensor) -> Tensor:
        part = self.channels // self.groups
        return x[:, [group * part + i for i in range(part) for group in range(self.groups)]]


class ShuffleBlock(nn.Module):
    """ShuffleNet V2 unit: stride 1 transforms one half of the channels, stride 2 transforms all of them twice."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half = c_out // 2

        def pointwise(c: int) -> list[nn.Module]:
            return [nn.Conv2d(c, half, 1, bias=False), nn.BatchNorm2d(half, eps=1e-3), nn.SiLU()]

        def spatial(c: int) -> list[nn.Module]:
            return [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c, eps=1e-3)]

        self.split = stride == 1
        self.part = half
        if not self.split:
            self.branch1 = nn.Sequential(*spatial(c_in), *pointwise(c_in))
        self.branch2 = nn.Sequential(*pointwise(half if self.split else c_in), *spatial(half), *pointwise(half))
        self.shuffle = ChannelShuffle(2 * half, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.split:
            kept, changed = torch.split(x, self.part, 1)
            return self.shuffle(torch.cat((kept, self.branch2(changed)), 1))
        return self.shuffle(torch.cat((self.branch1(x), self.branch2(x)), 1))


class Concat(nn.Module):
    """Concatenation along the channels."""

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(x), 1)


class Add(nn.Module):
    """The first input plus ``alpha`` times the second."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return x[0] + (x[1] if self.alpha == 1 else x[1] * self.alpha)


class ImplicitAdd(nn.Module):
    """A learned number per channel, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.implicit


class ImplicitMultiply(nn.Module):
    """A learned number per channel, multiplied."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.implicit


def rounded_width(channels: int, factor: float) -> int:
    """Channels of a scaled network: the next multiple of 8."""
    return math.ceil(channels * factor / 8) * 8
