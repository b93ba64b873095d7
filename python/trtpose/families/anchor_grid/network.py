# SPDX-License-Identifier: Apache-2.0
"""From a description and a checkpoint to a PyTorch module with weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...formats.checkpoint import Checkpoint
from ...skeletons import known_skeleton
from ...spec import ModelSpec
from . import layers
from .catalogue import Description, lookup
from .modules import HEADS, MANY, MODULES, Scope
from .weights import class_names, fill, head_anchors, take_over

__all__ = ["Network", "build", "load", "random_network"]

_MAX_BLOCKS = 3000


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

    @property
    def parameters_count(self) -> int:
        """Learned numbers, batch norm included."""
        return sum(p.numel() for p in self.parameters())


def build(description: Description, source: str) -> tuple[Network, tuple[int, ...]]:
    """Build the modules of a description on PyTorch's meta device, that is without memory for weights.

    Args:
        description: from a checkpoint or the catalogue.
        source: what to call it in errors.

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
    modules: list[nn.Module] = []
    sources: list[int | tuple[int, ...]] = []
    widths: list[int] = []
    count = len(description.layers)
    with torch.device("meta"):
        for i, layer in enumerate(description.layers):
            where = f"layer {i} ({layer.kind})"
            maker = MODULES.get(layer.kind)
            if maker is None:
                raise ModelError(
                    f"{source}: {where} is a module that trtpose does not know; known are {', '.join(MODULES)}"
                )
            many = isinstance(layer.source, tuple)
            if many != (layer.kind in MANY) or (layer.kind in HEADS) != (i == count - 1):
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
        side = 2048
        try:
            with torch.no_grad():
                heads = network(torch.zeros(1, description.channels, side, side))
        except (RuntimeError, IndexError, TypeError) as error:
            raise ModelError(f"{source}: the layers do not fit together ({str(error)[:200]})") from None
    strides = tuple(side // head.shape[-1] for head in heads)
    if any(side % head.shape[-1] or head.shape[-1] != head.shape[-2] for head in heads) or list(strides) != sorted(
        set(strides)
    ):
        raise ModelError(f"{source}: the heads have strides {strides}, expected ascending whole numbers")
    return network, strides


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


def load(path: str | Path, arch: str | None = None) -> Network:
    """Read a checkpoint and build its network, float32, in evaluation mode.

    Args:
        path: a checkpoint of the reference repositories, whole or, with ``arch``, only its weights.
        arch: a name of the catalogue that describes the network; by default the checkpoint's own description.

    Raises:
        ModelError: the file cannot be read, or its contents do not make a pose network; the message says why.
        InputError: ``arch`` is no known name.
    """
    with Checkpoint(path) as checkpoint:
        entry = lookup(arch) if arch else None
        weights = checkpoint.weights()
        if entry is not None and weights is not None:
            network, strides = build(entry.description, checkpoint.path)
            tensors = {(key if key.startswith("model.") else f"model.{key}"): value for key, value in weights.items()}
            fill(network, tensors, checkpoint)
            network.spec = make_spec(Path(path).stem, entry.description, strides, entry.names, entry.imgsz)
            return network
        found = checkpoint.network()
        description = (
            entry.description if entry else Description.from_checkpoint(found.attributes.get("yaml"), checkpoint.path)
        )
        network, strides = build(description, checkpoint.path)
        take_over(network, found, checkpoint)
        tensors = {
            f"{module.path}.{name}" if module.path else name: tensor
            for module in found.walk()
            for name, tensor in module.tensors.items()
        }
        fill(network, tensors, checkpoint)
        head = found.find(f"model.{len(description.layers) - 1}")
        anchors = head_anchors(head, description, checkpoint) if head else description.anchors
        imgsz = entry.imgsz if entry else _default_size(strides)
        names = class_names(found.attributes.get("names"), description)
        network.spec = make_spec(Path(path).stem, description, strides, names, imgsz, anchors)
        return network


# Scales g with E[act(g z)^2] = 1 for normal z.
_GAINS: dict[type[nn.Module], float] = {nn.SiLU: 1.56, nn.Hardswish: 1.56, nn.ReLU: 2**0.5, nn.LeakyReLU: 1.41}


def random_network(name: str, seed: int = 0) -> Network:
    """A network of the catalogue with random weights, for benchmarks and tests.

    The scales are chosen so that activations keep the same second moment from layer to layer, and objectness starts
    low, so that few anchors become candidates.

    Args:
        name: a name of :data:`~trtpose.families.anchor_grid.catalogue.CATALOGUE`.
        seed: of the random numbers; the same seed gives the same weights.

    Raises:
        InputError: no such name.
    """
    entry = lookup(name)
    network, strides = build(entry.description, name)
    generator = torch.Generator().manual_seed(seed)
    network.to_empty(device="cpu")
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
        head = cast("layers.KeypointHead", network.model[-1])
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
    network.requires_grad_(False)
    network.spec = make_spec(name, entry.description, strides, entry.names, entry.imgsz)
    network.license = "none: random weights"
    return network
