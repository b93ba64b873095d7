# SPDX-License-Identifier: Apache-2.0
"""From a layer of a description to a PyTorch module."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import nn

from ..errors import ModelError
from . import layers
from .description import Description, Layer

__all__ = ["MANY", "MODULES", "Built", "Maker", "Scope"]


@dataclass
class Scope:
    """What the constructors below need: the description, the input channels, and the layer for error messages."""

    description: Description
    layer: Layer
    where: str
    source: str
    inputs: list[int]

    def fail(self, what: str) -> ModelError:
        return ModelError(f"{self.source}: {self.where} {what}")

    def arguments(self, *expected: tuple[str, Any]) -> list[Any]:
        """The layer's arguments as (type, default) says; a default of ``...`` means required.

        Types: ``int``, ``optional``, ``float``, ``bool``, ``ints``, ``act``.
        """
        given = self.layer.arguments
        if len(given) > len(expected):
            raise self.fail(f"has {len(given)} arguments, expected at most {len(expected)}")
        values: list[Any] = []
        for i, (kind, default) in enumerate(expected):
            value = given[i] if i < len(given) else default
            if value is ...:
                raise self.fail(f"lacks argument {i + 1}")
            values.append(self._convert(kind, value, i))
        return values

    def _convert(self, kind: str, value: Any, i: int) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind == "act":
            return self.act(value)
        if kind == "optional" and value in (None, "None"):
            return None
        if kind in ("int", "optional") and number and value == int(value) and value >= 0:
            return int(value)
        if kind == "float" and number and value > 0:
            return float(value)
        if kind == "bool" and (isinstance(value, bool) or value in ("True", "False", 0, 1)):
            return value in (True, "True")
        if kind == "ints":
            items = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
            if 1 <= len(items) <= 16 and all(
                isinstance(k, int) and not isinstance(k, bool) and 1 <= k < 100 for k in items
            ):
                return items
        raise self.fail(f"has {str(value)[:40]!r} as argument {i + 1}, which is not supported")

    def act(self, value: Any) -> nn.Module:
        """A new activation: the layer's own argument, else the description's, else SiLU."""
        if value is True or value is None or value == "True":
            value = self.description.activation
        if value in (False, "False"):
            value = "Identity"
        if value is None:
            return nn.SiLU()
        match = re.fullmatch(r"(?:torch\.)?(?:nn\.)?([A-Za-z0-9]+)(?:\(([^()]*)\))?", str(value))
        try:
            if match is None:
                raise KeyError
            module = layers.activation(match[1])
            if isinstance(module, nn.LeakyReLU) and match[2]:
                module = nn.LeakyReLU(float(match[2].partition("=")[2] or match[2]))
        except (KeyError, ValueError):
            raise self.fail(f"has the activation {str(value)[:40]!r}, which is not supported") from None
        return module

    @property
    def act_name(self) -> str | None:
        """The description's activation by name, for blocks that make several."""
        self.act(None)
        name = self.description.activation
        return name.rpartition(".")[2].partition("(")[0] if name else None

    def width(self, channels: int) -> int:
        # The reference leaves a layer alone whose width equals this number, an older count of the head's outputs.
        d = self.description
        if channels == len(d.anchors[0]) * (d.classes + 5 + 2 * d.keypoints):
            return channels
        return layers.rounded_width(channels, d.width)

    @property
    def repeats(self) -> int:
        n = self.layer.repeats
        return max(round(n * self.description.depth), 1) if n > 1 else n


Built = tuple[nn.Module, int]
"""A module and the channels of what it gives."""
Maker = Callable[[Scope], Built]


def _repeated(scope: Scope, make: Callable[[], nn.Module], width: int) -> Built:
    count = scope.repeats
    return (make() if count == 1 else nn.Sequential(*(make() for _ in range(count)))), width


_CONV: tuple[tuple[str, Any], ...] = (
    ("int", ...), ("int", 1), ("int", 1), ("optional", None), ("int", 1), ("act", True),
)  # fmt: skip


def _conv(s: Scope, depthwise: bool = False) -> Built:
    if depthwise:
        c_out, kernel, stride, act = s.arguments(("int", ...), ("int", 1), ("int", 1), ("act", True))
        padding, groups = None, int(np.gcd(s.inputs[0], s.width(c_out)))
    else:
        c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    c_out = s.width(c_out)
    if min(c_out, kernel, stride, groups) < 1 or s.inputs[0] % groups or c_out % groups:
        raise s.fail(f"cannot be built from {s.inputs[0]} input channels with the arguments {s.layer.arguments}")
    return _repeated(s, lambda: layers.Conv(s.inputs[0], c_out, kernel, stride, padding, groups, act), c_out)


def _focus(s: Scope) -> Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    return layers.Focus(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, act), s.width(c_out)


def _conv_focus(s: Scope) -> Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    acts = (s.arguments(*_CONV)[5], act)
    return layers.ConvFocus(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, acts), s.width(c_out)


def _c3(s: Scope) -> Built:
    c_out, shortcut, groups, expansion = s.arguments(("int", ...), ("bool", True), ("int", 1), ("float", 0.5))
    width = s.width(c_out)
    return layers.C3(s.inputs[0], width, s.repeats, shortcut, groups, expansion, s.act_name), width


def _bottleneck(s: Scope) -> Built:
    c_out, shortcut, groups, expansion = s.arguments(("int", ...), ("bool", True), ("int", 1), ("float", 0.5))
    width = s.width(c_out)
    make = lambda: layers.Bottleneck(s.inputs[0], width, shortcut, groups, expansion, s.act_name)  # noqa: E731
    return _repeated(s, make, width)


def _spp(s: Scope) -> Built:
    c_out, kernels = s.arguments(("int", ...), ("ints", (3, 3, 3)))
    return layers.SpatialPyramid(s.inputs[0], s.width(c_out), kernels), s.width(c_out)


def _sppf(s: Scope) -> Built:
    c_out, kernel = s.arguments(("int", ...), ("int", 5))
    return layers.SpatialPyramid(s.inputs[0], s.width(c_out), _chained(kernel)), s.width(c_out)


def _chained(kernel: int) -> tuple[int, ...]:
    """Sizes that one, two and three poolings of ``kernel`` in a row amount to."""
    return tuple(n * (kernel - 1) + 1 for n in (1, 2, 3))


def _sppcspc(s: Scope) -> Built:
    c_out, *_, expansion, kernels = s.arguments(
        ("int", ...), ("bool", False), ("int", 1), ("float", 0.5), ("ints", (5, 9, 13))
    )
    return layers.SpatialPyramidCSP(s.inputs[0], s.width(c_out), expansion, kernels), s.width(c_out)


def _sppfcspc(s: Scope) -> Built:
    # The reference does not insert a repeat count here, so the arguments behind the width are shifted by one.
    c_out, *_, expansion, kernel = s.arguments(
        ("int", ...), ("int", 1), ("bool", False), ("int", 1), ("float", 0.5), ("int", 5)
    )
    return layers.SpatialPyramidCSP(s.inputs[0], s.width(c_out), expansion, _chained(kernel)), s.width(c_out)


def _stem(s: Scope) -> Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(("int", ...), ("int", 3), ("int", 2), *_CONV[3:])
    return layers.StemBlock(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, act), s.width(c_out)


def _shuffle(s: Scope) -> Built:
    c_out, stride = s.arguments(("int", ...), ("int", ...))
    width = s.width(c_out)
    if stride not in (1, 2, 3) or (stride == 1 and s.inputs[0] != width // 2 * 2):
        raise s.fail(f"cannot be built from {s.inputs[0]} input channels with the arguments {s.layer.arguments}")
    return _repeated(s, lambda: layers.ShuffleBlock(s.inputs[0], width, stride), width)


def _separable(s: Scope) -> Built:
    c_out, kernel, stride = s.arguments(("int", ...), ("int", ...), ("int", ...))
    width = s.width(c_out)
    return _repeated(s, lambda: layers.DepthwiseSeparable(s.inputs[0], width, kernel, stride), width)


def _conv_pool(s: Scope) -> Built:
    (c_out,) = s.arguments(("int", ...))
    return layers.ConvPool(s.inputs[0], s.width(c_out)), s.width(c_out)


def _pool(s: Scope, halve: bool) -> Built:
    kernel, stride = s.arguments(("int", 2 if halve else 3), ("int", 1))
    return (layers.Pool(kernel, kernel, 0) if halve else layers.Pool(kernel, stride)), s.inputs[0]


def _upsample(s: Scope) -> Built:
    size, factor, mode = (*s.layer.arguments, "nearest")[:3] if len(s.layer.arguments) >= 2 else (0, 0, "")
    if size not in (None, "None") or factor not in (2, 4, 8) or mode != "nearest":
        raise s.fail(f"has the arguments {s.layer.arguments}; only nearest upsampling by 2, 4 or 8 is supported")
    return nn.Upsample(scale_factor=cast("int", factor), mode="nearest"), s.inputs[0]


def _add(s: Scope) -> Built:
    (alpha,) = s.arguments(("float", 0.5))
    if len(s.inputs) != 2 or s.inputs[0] != s.inputs[1]:
        raise s.fail(f"adds tensors of {s.inputs} channels, expected two of the same")
    return layers.Add(alpha), s.inputs[0]


MODULES: dict[str, Maker] = {
    "Conv": _conv,
    "DWConv": lambda s: _conv(s, depthwise=True),
    "Focus": _focus,
    "ConvFocus": _conv_focus,
    "ReOrg": lambda s: (layers.SpaceToDepth(), s.inputs[0] * 4),
    "Contract": lambda s: (layers.SpaceToDepth(layers.SpaceToDepth.ROWS_FIRST), s.inputs[0] * 4),
    "Bottleneck": _bottleneck,
    "C3": _c3,
    "SPP": _spp,
    "SPPF": _sppf,
    "SPPCSPC": _sppcspc,
    "SPPFCSPC": _sppfcspc,
    "MP": lambda s: _pool(s, halve=True),
    "SP": lambda s: _pool(s, halve=False),
    "SPF": lambda s: _pool(s, halve=False),
    "StemBlock": _stem,
    "Shuffle_Block": _shuffle,
    "DWConvblock": _separable,
    "conv_bn_relu_maxpool": _conv_pool,
    "nn.Upsample": _upsample,
    "Upsample": _upsample,
    "Concat": lambda s: (layers.Concat(), sum(s.inputs)),
    "ADD": _add,
}
MANY = ("Concat", "ADD")
