# SPDX-License-Identifier: Apache-2.0
"""From a description to a PyTorch module, without weights or with random ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ModelError
from ..spec import ModelSpec
from . import layers
from .description import Description
from .modules import MANY, MODULES, Maker, Scope
from .sizes import head_sizes

__all__ = ["Network", "arrays", "build", "randomise"]

_MAX_BLOCKS = 3000
_SMALL = 3 * 512 * 512
"""Numbers of pictures that one thread runs."""
_SIDE = 2048


class Network(nn.Module):
    """A pose network: N x C x H x W float32 pictures to one raw N x (A*F) x h x w head per stride.

    Attributes:
        spec: how to read the heads (layout ``heads``).
        license: of the weights, as far as known.
    """

    spec: ModelSpec
    license: str = "unknown: that of the checkpoint"

    def __init__(self, modules: list[nn.Module], sources: list[int | tuple[int, ...]]) -> None:
        super().__init__()
        self.model = nn.ModuleList(modules)
        self.sources = sources

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs: list[Any] = []
        for i, (module, source) in enumerate(zip(self.model, self.sources, strict=True)):
            # Layer 0 reads the picture; later negative indices count back from the layer itself.
            at = [x if i == 0 else outputs[s] for s in (source if isinstance(source, tuple) else (source,))]
            outputs.append(module(at if isinstance(source, tuple) else at[0]))
        return outputs[-1]

    def arrays(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """:meth:`forward` of an array, to arrays."""
        return arrays(self, pictures)

    @property
    def parameters_count(self) -> int:
        """Learned numbers, batch norm included."""
        return sum(p.numel() for p in self.parameters())


def arrays(network: nn.Module, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What a network that gives a list of tensors gives for pictures N x C x H x W."""
    threads = torch.get_num_threads()
    if pictures.size <= _SMALL:
        # PyTorch's threads wait for each other by turning round, 150 times here: on a busy machine ten times the work.
        torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return [tensor.numpy() for tensor in network(torch.from_numpy(pictures))]
    finally:
        torch.set_num_threads(threads)


def build(description: Description, source: str, heads: Mapping[str, Maker]) -> tuple[Network, tuple[int, ...]]:
    """Build the modules of a description on PyTorch's meta device, that is without memory for weights.

    Args:
        description: from a checkpoint or the catalogue.
        source: what to call it in errors.
        heads: what may come last, by name; each takes several layers and has no width.

    Returns:
        The network without weights, and the stride of each head in pixels.

    Raises:
        ModelError: a layer is unknown or does not fit those before it; the message names it.
    """
    repeats = sum(max(round(layer.repeats * description.depth), 1) for layer in description.layers)
    if repeats > _MAX_BLOCKS:
        raise ModelError(
            f"{source}: the network's description asks for {repeats} blocks, expected at most {_MAX_BLOCKS}"
        )
    makers = {**MODULES, **heads}
    modules: list[nn.Module] = []
    sources: list[int | tuple[int, ...]] = []
    widths: list[int] = []
    count = len(description.layers)
    with torch.device("meta"):
        for i, layer in enumerate(description.layers):
            where = f"layer {i} ({layer.kind})"
            maker = makers.get(layer.kind)
            if maker is None:
                raise ModelError(
                    f"{source}: {where} is a module that trtpose does not know; known are {', '.join(makers)}"
                )
            many = isinstance(layer.source, tuple)
            if many != (layer.kind in MANY or layer.kind in heads) or (layer.kind in heads) != (i == count - 1):
                raise ModelError(f"{source}: {where} is in a place where it cannot be; the keypoint head comes last")
            origins = layer.source if isinstance(layer.source, tuple) else (layer.source,)
            try:
                inputs = [description.channels if i == 0 else widths[o] for o in origins]
                module, width = maker(Scope(description, layer, where, source, inputs))
            except (IndexError, ValueError, RuntimeError, ZeroDivisionError, OverflowError) as error:
                raise ModelError(f"{source}: {where} cannot be built ({str(error)[:200]})") from None
            modules.append(module)
            sources.append(layer.source)
            widths.append(width)
        network = Network(modules, sources).eval()
    try:
        levels = head_sizes(network, (description.channels, _SIDE, _SIDE))
    except (RuntimeError, IndexError, TypeError) as error:
        raise ModelError(f"{source}: the layers do not fit together ({str(error)[:200]})") from None
    strides = tuple(_SIDE // width for _, width in levels)
    if any(_SIDE % width or width != height for height, width in levels) or list(strides) != sorted(set(strides)):
        raise ModelError(f"{source}: the heads have strides {strides}, expected ascending whole numbers")
    return network, strides


# Scales g with E[act(g z)^2] = 1 for normal z.
_GAINS: dict[type[nn.Module], float] = {nn.SiLU: 1.56, nn.Hardswish: 1.56, nn.ReLU: 2**0.5, nn.LeakyReLU: 1.41}


def _room(tensor: Tensor) -> Tensor:
    # nn.Module.to_empty() takes empty_like() of a meta tensor, which loads SymPy: a second.
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def randomise(network: nn.Module, seed: int) -> None:
    """Give a network without memory random weights, the same for the same seed.

    The scales are chosen so that activations keep the same second moment from layer to layer; biases of convolutions
    are 0.
    """
    generator = torch.Generator().manual_seed(seed)
    network._apply(_room)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, layers.ImplicitAdd):
                module.implicit.normal_(0, 0.02, generator=generator)
            elif isinstance(module, layers.ImplicitMultiply):
                module.implicit.normal_(1, 0.02, generator=generator)
            for norm, follower in zip(module.children(), [*module.children()][1:], strict=False):
                if isinstance(norm, nn.BatchNorm2d):
                    norm.reset_running_stats()
                    gain = next((g for kind, g in _GAINS.items() if isinstance(follower, kind)), 1.0)
                    norm.weight.uniform_(0.8 * gain, 1.2 * gain, generator=generator)
                    cast("torch.Tensor", norm.bias).uniform_(-0.2, 0.2, generator=generator)
        for module in network.modules():
            if isinstance(module, layers.Bottleneck) and module.shortcut:
                module.cv2.bn.weight.mul_(0.3)  # else every shortcut doubles the variance
    network.requires_grad_(False)
