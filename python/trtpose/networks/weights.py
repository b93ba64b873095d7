# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's modules say of a network, and their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from ..formats.checkpoint import Checkpoint, Module, Tensor
from . import layers
from .description import Description, brief

__all__ = ["class_names", "fill", "head_anchors", "take_over"]

_IMPLICIT = (layers.ImplicitAdd, layers.ImplicitMultiply)
_ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.Identity)


def take_over(network: nn.Module, found: Module, checkpoint: Checkpoint) -> None:
    """Take over from the checkpoint's modules what the description leaves open.

    That is: activations, batch norm's epsilon, convolutions that were fused with their batch norm, implicit layers that
    were fused. The geometry of convolutions is compared.
    """
    source = checkpoint.path
    for path, module in list(network.named_modules()):
        theirs = found.find(path)
        parent_path, _, name = path.rpartition(".")
        parent = network.get_submodule(parent_path) if parent_path else network

        def replace(new: nn.Module, parent: nn.Module = parent, name: str = name) -> None:
            setattr(parent, name, new)

        if isinstance(module, layers.Focus) and theirs is not None and "contract" not in theirs.children:
            module.contract = layers.SpaceToDepth(layers.SpaceToDepth.COLUMNS_FIRST)
        elif isinstance(module, _ACTIVATIONS) and theirs is not None and theirs.kind != type(module).__name__:
            try:
                replace(layers.activation(theirs.kind))
            except KeyError:
                raise ModelError(f"{source}: {path} is the activation {theirs.kind}, which is not supported") from None
            module = network.get_submodule(path)
        if isinstance(module, nn.LeakyReLU) and theirs is not None:
            slope = theirs.attributes.get("negative_slope", module.negative_slope)
            if not isinstance(slope, (int, float)):
                raise ModelError(f"{source}: {path} has the slope {brief(slope)}, expected a number")
            module.negative_slope = float(slope)
        elif isinstance(module, (nn.BatchNorm2d, *_IMPLICIT)) and theirs is None:
            replace(nn.Identity())
        elif isinstance(module, nn.BatchNorm2d) and theirs is not None:
            eps = theirs.attributes.get("eps", module.eps)
            if not isinstance(eps, float) or not 0 < eps < 1:
                raise ModelError(f"{source}: {path} has eps {brief(eps)}, expected a small positive number")
            module.eps = eps
        elif isinstance(module, nn.Conv2d):
            if theirs is None:
                raise ModelError(f"{source}: the checkpoint lacks {path}, which its own description asks for")
            for key in ("kernel_size", "stride", "padding", "dilation", "groups"):
                value = theirs.attributes.get(key, getattr(module, key))
                value = tuple(cast("list[Any]", value)) if isinstance(value, list) else value
                if value != getattr(module, key):
                    flat = isinstance(value, tuple) and all(isinstance(v, int) for v in cast("tuple[Any, ...]", value))
                    shown = str(value)[:40] if flat else brief(value)
                    raise ModelError(
                        f"{source}: {path} has {key} {shown} where its description gives {getattr(module, key)}"
                    )
            if "bias" in theirs.tensors and module.bias is None:
                module.bias = nn.Parameter(torch.empty(module.out_channels, device="meta"))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Give a network its weights, float32; every tensor must have its place, and every place its tensor.

    Raises:
        ModelError: one has not, is of another shape, or holds what no weight can be; the message names it.
    """
    source = checkpoint.path
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    ignored = re.compile(r"(^|\.)(num_batches_tracked|anchors|anchor_grid|grid|stride)$")
    extra = [name for name in tensors if name not in wanted and not ignored.search(name)]
    missing = [name for name in wanted if name not in tensors]
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the network has no place for"
        raise ModelError(f"{source}: the checkpoint {what}; the weights do not belong to this network")
    state: dict[str, torch.Tensor] = {}
    for name, value in wanted.items():
        stored = tensors[name]
        if tuple(stored.shape) != tuple(value.shape):
            raise ModelError(
                f"{source}: {name} has the shape {tuple(stored.shape)} where the network needs {tuple(value.shape)}; "
                "the weights do not belong to this network"
            )
        array = checkpoint.array(stored)
        if array.dtype.kind != "f":
            raise ModelError(
                f"{source}: {name} holds {array.dtype} instead of floating-point numbers; the checkpoint is damaged"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ModelError(
                f"{source}: {name} holds NaN or infinity; the checkpoint is damaged or its training diverged"
            )
        if name.endswith("running_var") and float(array.min(initial=0)) < 0:
            raise ModelError(f"{source}: {name} holds a negative variance; the checkpoint is damaged")
        state[name] = torch.from_numpy(array)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=value.dtype)
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False)


def head_anchors(
    found: Module, description: Description, checkpoint: Checkpoint
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The anchors the head uses, in pixels: those of the head's buffer, which training may have adapted to its data,
    or the description's exact numbers where the two agree up to the rounding of half precision."""
    described = np.array(description.anchors)
    tensor = found.tensors.get("anchor_grid")
    if tensor is None or int(np.prod(tensor.shape)) != described.size:
        return description.anchors
    used = checkpoint.array(tensor).astype(np.float64).reshape(described.shape)
    if not np.isfinite(used).all() or used.min() <= 0:
        raise ModelError(f"{checkpoint.path}: the head's anchors are not positive numbers; the checkpoint is damaged")
    if np.allclose(used, described, rtol=1e-3):
        return description.anchors
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in used)


def class_names(value: Any, description: Description) -> tuple[str, ...]:
    """The names that a checkpoint gives to its classes, a number each where it has none of that many."""
    names = list(cast("dict[Any, Any]", value).values()) if isinstance(value, dict) else value
    if not isinstance(names, (list, tuple)) or len(cast("list[Any]", names)) != description.classes:
        names = [str(i) for i in range(description.classes)]
    return tuple(
        str(name)[:100] if isinstance(name, (str, int)) else str(i) for i, name in enumerate(cast("list[Any]", names))
    )
