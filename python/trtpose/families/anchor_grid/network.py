# SPDX-License-Identifier: Apache-2.0
"""From a description and a checkpoint to a PyTorch module with weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...formats.checkpoint import Checkpoint, Module
from ...skeletons import KNOWN
from ...spec import ModelSpec
from . import layers
from .catalogue import CATALOGUE, Description, Layer, brief, lookup

__all__ = ["Network", "build", "load", "random_network"]

_MAX_BLOCKS = 3000
_IMPLICIT = (layers.ImplicitAdd, layers.ImplicitMultiply)
_ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.Identity)


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


@dataclass
class _Scope:
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


_Built = tuple[nn.Module, int]


def _repeated(scope: _Scope, make: Callable[[], nn.Module], width: int) -> _Built:
    count = scope.repeats
    return (make() if count == 1 else nn.Sequential(*(make() for _ in range(count)))), width


_CONV: tuple[tuple[str, Any], ...] = (
    ("int", ...), ("int", 1), ("int", 1), ("optional", None), ("int", 1), ("act", True),
)  # fmt: skip


def _conv(s: _Scope, depthwise: bool = False) -> _Built:
    if depthwise:
        c_out, kernel, stride, act = s.arguments(("int", ...), ("int", 1), ("int", 1), ("act", True))
        padding, groups = None, int(np.gcd(s.inputs[0], s.width(c_out)))
    else:
        c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    c_out = s.width(c_out)
    if min(c_out, kernel, stride, groups) < 1 or s.inputs[0] % groups or c_out % groups:
        raise s.fail(f"cannot be built from {s.inputs[0]} input channels with the arguments {s.layer.arguments}")
    return _repeated(s, lambda: layers.Conv(s.inputs[0], c_out, kernel, stride, padding, groups, act), c_out)


def _focus(s: _Scope) -> _Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    return layers.Focus(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, act), s.width(c_out)


def _conv_focus(s: _Scope) -> _Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(*_CONV)
    acts = (s.arguments(*_CONV)[5], act)
    return layers.ConvFocus(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, acts), s.width(c_out)


def _c3(s: _Scope) -> _Built:
    c_out, shortcut, groups, expansion = s.arguments(("int", ...), ("bool", True), ("int", 1), ("float", 0.5))
    width = s.width(c_out)
    return layers.C3(s.inputs[0], width, s.repeats, shortcut, groups, expansion, s.act_name), width


def _bottleneck(s: _Scope) -> _Built:
    c_out, shortcut, groups, expansion = s.arguments(("int", ...), ("bool", True), ("int", 1), ("float", 0.5))
    width = s.width(c_out)
    make = lambda: layers.Bottleneck(s.inputs[0], width, shortcut, groups, expansion, s.act_name)  # noqa: E731
    return _repeated(s, make, width)


def _spp(s: _Scope) -> _Built:
    c_out, kernels = s.arguments(("int", ...), ("ints", (3, 3, 3)))
    return layers.SpatialPyramid(s.inputs[0], s.width(c_out), kernels), s.width(c_out)


def _sppf(s: _Scope) -> _Built:
    c_out, kernel = s.arguments(("int", ...), ("int", 5))
    return layers.SpatialPyramid(s.inputs[0], s.width(c_out), _chained(kernel)), s.width(c_out)


def _chained(kernel: int) -> tuple[int, ...]:
    """Sizes that one, two and three poolings of ``kernel`` in a row amount to."""
    return tuple(n * (kernel - 1) + 1 for n in (1, 2, 3))


def _sppcspc(s: _Scope) -> _Built:
    c_out, *_, expansion, kernels = s.arguments(
        ("int", ...), ("bool", False), ("int", 1), ("float", 0.5), ("ints", (5, 9, 13))
    )
    return layers.SpatialPyramidCSP(s.inputs[0], s.width(c_out), expansion, kernels), s.width(c_out)


def _sppfcspc(s: _Scope) -> _Built:
    # The reference does not insert a repeat count here, so the arguments behind the width are shifted by one.
    c_out, *_, expansion, kernel = s.arguments(
        ("int", ...), ("int", 1), ("bool", False), ("int", 1), ("float", 0.5), ("int", 5)
    )
    return layers.SpatialPyramidCSP(s.inputs[0], s.width(c_out), expansion, _chained(kernel)), s.width(c_out)


def _stem(s: _Scope) -> _Built:
    c_out, kernel, stride, padding, groups, act = s.arguments(("int", ...), ("int", 3), ("int", 2), *_CONV[3:])
    return layers.StemBlock(s.inputs[0], s.width(c_out), kernel, stride, padding, groups, act), s.width(c_out)


def _shuffle(s: _Scope) -> _Built:
    c_out, stride = s.arguments(("int", ...), ("int", ...))
    width = s.width(c_out)
    if stride not in (1, 2, 3) or (stride == 1 and s.inputs[0] != width // 2 * 2):
        raise s.fail(f"cannot be built from {s.inputs[0]} input channels with the arguments {s.layer.arguments}")
    return _repeated(s, lambda: layers.ShuffleBlock(s.inputs[0], width, stride), width)


def _separable(s: _Scope) -> _Built:
    c_out, kernel, stride = s.arguments(("int", ...), ("int", ...), ("int", ...))
    width = s.width(c_out)
    return _repeated(s, lambda: layers.DepthwiseSeparable(s.inputs[0], width, kernel, stride), width)


def _conv_pool(s: _Scope) -> _Built:
    (c_out,) = s.arguments(("int", ...))
    return layers.ConvPool(s.inputs[0], s.width(c_out)), s.width(c_out)


def _pool(s: _Scope, halve: bool) -> _Built:
    kernel, stride = s.arguments(("int", 2 if halve else 3), ("int", 1))
    return (layers.Pool(kernel, kernel, 0) if halve else layers.Pool(kernel, stride)), s.inputs[0]


def _upsample(s: _Scope) -> _Built:
    size, factor, mode = (*s.layer.arguments, "nearest")[:3] if len(s.layer.arguments) >= 2 else (0, 0, "")
    if size not in (None, "None") or factor not in (2, 4, 8) or mode != "nearest":
        raise s.fail(f"has the arguments {s.layer.arguments}; only nearest upsampling by 2, 4 or 8 is supported")
    return nn.Upsample(scale_factor=cast("int", factor), mode="nearest"), s.inputs[0]


def _add(s: _Scope) -> _Built:
    (alpha,) = s.arguments(("float", 0.5))
    if len(s.inputs) != 2 or s.inputs[0] != s.inputs[1]:
        raise s.fail(f"adds tensors of {s.inputs} channels, expected two of the same")
    return layers.Add(alpha), s.inputs[0]


def _head(s: _Scope, implicit: bool) -> _Built:
    d = s.description
    if len(s.inputs) != len(d.anchors):
        raise s.fail(f"reads {len(s.inputs)} levels but there are anchors for {len(d.anchors)}")
    head = layers.KeypointHead(s.inputs, len(d.anchors[0]), d.classes, d.keypoints, d.deep_keypoints, implicit)
    return head, 0


_MODULES: dict[str, Callable[[_Scope], _Built]] = {
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
    "Detect": lambda s: _head(s, implicit=False),
    "IDetect": lambda s: _head(s, implicit=True),
    "IKeypoint": lambda s: _head(s, implicit=True),
}
_MANY = ("Concat", "ADD", "Detect", "IDetect", "IKeypoint")
_HEADS = ("Detect", "IDetect", "IKeypoint")


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
            maker = _MODULES.get(layer.kind)
            if maker is None:
                raise ModelError(
                    f"{source}: {where} is a module that trtpose does not know; known are {', '.join(_MODULES)}"
                )
            many = isinstance(layer.source, tuple)
            if many != (layer.kind in _MANY) or (layer.kind in _HEADS) != (i == count - 1):
                raise ModelError(f"{source}: {where} is in a place where it cannot be; the keypoint head comes last")
            origins = layer.source if isinstance(layer.source, tuple) else (layer.source,)
            try:
                inputs = [description.channels if i == 0 else widths[o] for o in origins]
                module, width = maker(_Scope(description, layer, where, source, inputs))
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


def _adopt(network: Network, found: Module, checkpoint: Checkpoint) -> None:
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


def _fill(network: Network, tensors: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    source = checkpoint.path
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    ignored = re.compile(r"(^|\.)(num_batches_tracked|anchors|anchor_grid|grid|stride)$")
    extra = [name for name in tensors if name not in wanted and not ignored.search(name)]
    missing = [name for name in wanted if name not in tensors]
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which the network has no place for"
        raise ModelError(f"{source}: the checkpoint {what}; the weights do not belong to this network")
    state: dict[str, Tensor] = {}
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


def _anchors(
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


def _class_names(value: Any, description: Description) -> tuple[str, ...]:
    names = list(cast("dict[Any, Any]", value).values()) if isinstance(value, dict) else value
    if not isinstance(names, (list, tuple)) or len(cast("list[Any]", names)) != description.classes:
        names = [str(i) for i in range(description.classes)]
    texts = tuple(
        str(name)[:100] if isinstance(name, (str, int)) else str(i) for i, name in enumerate(cast("list[Any]", names))
    )
    if texts == ("0",):  # what the reference stores unless training named the class
        for entry in CATALOGUE.values():
            if entry.description.keypoints == description.keypoints:
                return entry.names
    return texts


def make_spec(
    name: str,
    description: Description,
    strides: tuple[int, ...],
    class_names: tuple[str, ...],
    imgsz: int,
    anchors: Any = None,
) -> ModelSpec:
    """The spec of a network's raw heads."""
    known = KNOWN.get(description.keypoints)
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
            _fill(network, tensors, checkpoint)
            network.spec = make_spec(Path(path).stem, entry.description, strides, entry.names, entry.imgsz)
            return network
        found = checkpoint.network()
        description = (
            entry.description if entry else Description.from_checkpoint(found.attributes.get("yaml"), checkpoint.path)
        )
        network, strides = build(description, checkpoint.path)
        _adopt(network, found, checkpoint)
        tensors = {
            f"{module.path}.{name}" if module.path else name: tensor
            for module in found.walk()
            for name, tensor in module.tensors.items()
        }
        _fill(network, tensors, checkpoint)
        head = found.find(f"model.{len(description.layers) - 1}")
        anchors = _anchors(head, description, checkpoint) if head else description.anchors
        imgsz = entry.imgsz if entry else _default_size(strides)
        names = _class_names(found.attributes.get("names"), description)
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
