# SPDX-License-Identifier: Apache-2.0
"""The sizes of what a module without weights gives.

PyTorch's meta device tells them as well, but its normalisations and activations are decomposed in Python, for which it
loads its compiler: seconds for what takes hundredths. Here a batch of no pictures passes through, on which every
operation without weights works as it is and costs nothing; those with weights only say the size of their result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["head_sizes"]


def head_sizes(network: nn.Module, picture: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Height and width of each tensor that a network gives.

    Args:
        network: in evaluation mode; its weights are not looked at and may be on the meta device.
        picture: channels, height and width.

    Raises:
        RuntimeError, IndexError, TypeError: the layers do not fit together.
    """
    replaced: list[nn.Module] = []
    try:
        for module in network.modules():
            own = [*module.parameters(recurse=False)]
            if isinstance(module, nn.Conv2d):
                module.__dict__["forward"] = _convolved(module)
            elif own:
                module.__dict__["forward"] = _kept(type(module).__name__, own)
            else:
                continue
            replaced.append(module)
        with torch.no_grad():
            return [(tensor.shape[-2], tensor.shape[-1]) for tensor in network(torch.zeros(0, *picture))]
    finally:
        for module in replaced:
            del module.__dict__["forward"]


def _convolved(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    padding = cast("tuple[int, int]", module.padding)
    if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0:
        raise RuntimeError(f"a convolution of kernel {kernel}, stride {stride}, padding {padding}")

    def forward(x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != module.in_channels:
            raise RuntimeError(f"a convolution takes {module.in_channels} channels, and is given {[*x.shape]}")
        sides = [
            (x.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
            for axis in (0, 1)
        ]
        if min(sides) < 1:
            raise RuntimeError(f"a kernel of {kernel} is larger than what it is given, {[*x.shape]}")
        return x.new_empty((x.shape[0], module.out_channels, *sides))

    return forward


def _kept(kind: str, own: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Of a module that changes numbers by its weights, one per channel, and no size."""
    numbers = {tensor.numel() for tensor in own}

    def forward(x: Tensor) -> Tensor:
        if numbers != {x.shape[1]}:
            raise RuntimeError(f"{kind} takes {sorted(numbers)} channels, and is given {[*x.shape]}")
        return x

    return forward
