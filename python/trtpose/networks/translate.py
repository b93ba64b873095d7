# SPDX-License-Identifier: Apache-2.0
"""Writing a PyTorch module as ONNX.

The graph is built node by node from a symbolic trace (``torch.fx``) of the PyTorch module, which needs no particular
exporter of PyTorch and gives the same bytes every time. On the way:

* batch norm and the implicit layers are folded into the convolutions, in float64;
* space to depth and the convolution behind it become one convolution of stride 2 with a kernel twice as large, which is
  the same sum of the same products;
* side by side max poolings of growing size become a chain, and equal nodes one node.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import fx, nn

from ..errors import ModelError
from ..formats.onnx_writer import IR_VERSION, OPSET, GraphWriter, Shape
from . import layers

__all__ = ["Translator", "cells", "grid", "model_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class _Convolution:
    """A convolution that may still take in what comes behind it.

    Attributes:
        scales: of each channel that comes out, one behind the other; those of the bias are in it already.
    """

    module: nn.Conv2d
    input: Any
    bias: Array
    scales: tuple[Array, ...] = ()

    def weights(self) -> Array:
        """The weights times the scales, in float32: computed in float64, a few channels at a time."""
        found = self.module.weight.detach().cpu().numpy().astype(np.float32)
        step = max(_BLOCK // max(found[:1].size, 1), 1)
        for begin in range(0, len(found), step):
            rows = slice(begin, begin + step)
            block = found[rows].astype(np.float64)
            for scale in self.scales:
                block *= scale[rows].reshape(-1, 1, 1, 1)
            found[rows] = block
        return found


@dataclass(frozen=True)
class _Shifted:
    """A tensor plus a number per channel, not yet added."""

    input: str
    offset: Array


@dataclass(frozen=True)
class _Packed:
    """A tensor to be taken from space to depth, not yet done."""

    input: str
    offsets: tuple[tuple[int, int], ...]


_BLOCK = 1 << 15
"""Numbers that are computed at a time, so that they stay in the processor's cache."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = (layers.SpaceToDepth, layers.ChannelShuffle, layers.ImplicitAdd, layers.ImplicitMultiply)
        return isinstance(m, own) or super().is_leaf_module(m, module_qualified_name)


def _floats(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)


class Translator:
    """One pass over the trace. Values are names of ONNX tensors, lists of them, or one of the pending forms above.

    Args:
        network: with weights, in evaluation mode; takes pictures and gives a list of tensors.
        writer: takes the nodes.
        head: the module, by its dotted name, whose nodes have names that begin with ``head.``, for tools that keep it
            out of quantisation.
    """

    def __init__(self, network: nn.Module, writer: GraphWriter, head: str = "") -> None:
        self.writer = writer
        self._network = network
        self._head = f"{head}." if head else ""
        # The first of the names that a module has.
        self._names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
        self._values: dict[fx.Node, Any] = {}
        self._users: dict[fx.Node, int] = {}
        self._pools: dict[str, dict[int, str]] = {}

    def run(self) -> list[str]:
        """Translate everything; returns the names of the heads."""
        graph = _Tracer().trace(self._network)
        for node in graph.nodes:
            self._users[node] = len(node.users)
            if node.op == "placeholder":
                self._values[node] = "images"
            elif node.op == "call_module":
                self._values[node] = self._module(node)
            elif node.op == "call_function":
                self._values[node] = self._function(node)
            elif node.op == "output":
                return [self._plain(value) for value in cast("list[fx.Node]", node.args[0])]
            else:
                raise ModelError(f"the network uses {node.op} {node.target}, which cannot be exported")
        raise ModelError("the network has no output")

    def _plain(self, argument: Any) -> str:
        """The ONNX tensor of a trace node, written now if it was pending."""
        value = self._values[argument]
        if isinstance(value, str):
            return value
        if isinstance(value, _Convolution):
            written = self._write(value)
        elif isinstance(value, _Shifted):
            offset = self.writer.constant(
                f"{argument.target}.offset", value.offset.astype(np.float32).reshape(1, -1, 1, 1)
            )
            written = self.writer.node("Add", [value.input, offset], str(argument.target))
        elif isinstance(value, _Packed):
            written = self._space_to_depth(value, str(argument.target))
        else:
            raise ModelError(f"{argument.name}: a list of tensors where one was expected")
        self._values[argument] = written
        return written

    def _name(self, target: str) -> str:
        return "head." + target[len(self._head) :] if self._head and target.startswith(self._head) else target

    def _module(self, node: fx.Node) -> Any:
        target = str(node.target)
        module = self._network.get_submodule(target)
        source = cast("fx.Node", node.args[0])
        if isinstance(module, nn.Identity):
            return self._values[source]
        if isinstance(module, nn.Conv2d):
            return self._convolution(module, source)
        if isinstance(module, layers.SpaceToDepth):
            return _Packed(self._plain(source), module.offsets)
        if isinstance(module, layers.ImplicitAdd):
            return _Shifted(self._plain(source), _floats(module.implicit).reshape(-1))
        name = self._name(target)
        pending = self._values[source]
        foldable = isinstance(pending, _Convolution) and self._users[source] == 1
        if isinstance(module, nn.BatchNorm2d):
            scale = 1 / np.sqrt(_floats(cast("torch.Tensor", module.running_var)) + module.eps)
            scale = scale * _floats(module.weight)
            offset = (
                _floats(cast("torch.Tensor", module.bias)) - _floats(cast("torch.Tensor", module.running_mean)) * scale
            )
            if not foldable:
                raise ModelError(f"{target}: batch norm without a convolution before it cannot be exported")
            return self._scaled(cast("_Convolution", pending), scale, offset, target)
        if isinstance(module, layers.ImplicitMultiply):
            scale = _floats(module.implicit).reshape(-1)
            if foldable:
                return self._scaled(cast("_Convolution", pending), scale, np.zeros_like(scale), target)
            factor = self.writer.constant(f"{name}.factor", scale.astype(np.float32).reshape(1, -1, 1, 1))
            return self.writer.node("Mul", [self._plain(source), factor], name)
        x = self._plain(source)
        if isinstance(module, nn.MaxPool2d):
            return self._pool(x, module, name)
        if isinstance(module, layers.ChannelShuffle):
            return self._shuffle(x, module, name)
        if isinstance(module, nn.Upsample):
            factor = float(cast("float", module.scale_factor))
            scales = self.writer.constant(f"{name}.scales", np.array([1, 1, factor, factor], np.float32))
            return self.writer.node(
                "Resize",
                [x, "", scales],
                name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        return self._activation(module, x, name)

    def _activation(self, module: nn.Module, x: str, name: str) -> str:
        w = self.writer
        if isinstance(module, nn.SiLU):
            return w.node("Mul", [x, w.node("Sigmoid", [x], name)], name)
        if isinstance(module, nn.ReLU):
            return w.node("Relu", [x], name)
        if isinstance(module, nn.ReLU6):
            bounds = [w.constant(f"{name}.{bound}", np.array(bound, np.float32)) for bound in (0, 6)]
            return w.node("Clip", [x, *bounds], name)
        if isinstance(module, nn.LeakyReLU):
            return w.node("LeakyRelu", [x], name, alpha=float(module.negative_slope))
        if isinstance(module, nn.ELU):
            return w.node("Elu", [x], name, alpha=float(module.alpha))
        if isinstance(module, nn.Hardswish):
            return w.node("Mul", [x, w.node("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)], name)
        raise ModelError(f"{name}: {type(module).__name__} cannot be exported")

    def _convolution(self, module: nn.Conv2d, source: fx.Node) -> _Convolution:
        bias = _floats(module.bias) if module.bias is not None else np.zeros(module.out_channels)
        value = self._values[source]
        if isinstance(value, _Shifted) and module.padding == (0, 0) and module.groups == 1:
            bias = bias + _floats(module.weight).sum((2, 3)) @ value.offset
            return _Convolution(module, value.input, bias)
        if isinstance(value, _Packed) and module.stride == (1, 1) and module.groups == 1 and module.dilation == (1, 1):
            return _Convolution(module, value, bias)
        return _Convolution(module, self._plain(source), bias)

    def _scaled(self, value: _Convolution, scale: Array, offset: Array, name: str) -> _Convolution:
        if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
            raise ModelError(f"{name}: folding gives NaN or infinity; the checkpoint is damaged")
        return replace(value, bias=value.bias * scale + offset, scales=(*value.scales, scale))

    def _write(self, value: _Convolution) -> str:
        module = value.module
        name = self._name(self._names[module])
        weight, source = value.weights(), value.input
        strides, pads = list(module.stride), [int(p) for p in cast("tuple[int, int]", module.padding)] * 2
        if isinstance(source, _Packed):
            # Channel group g at tap (i, j) of the packed picture is the pixel (2i + row_g, 2j + column_g).
            c_out, packed, rows, columns = weight.shape
            channels = packed // len(source.offsets)
            wide = np.zeros((c_out, channels, 2 * rows, 2 * columns), np.float32)
            for group, (row, column) in enumerate(source.offsets):
                wide[:, :, row::2, column::2] = weight[:, group * channels : (group + 1) * channels]
            weight, source = wide, source.input
            strides, pads = [2, 2], [2 * p for p in pads]
        inputs = [
            cast("str", source),
            self.writer.constant(f"{name}.weight", weight),
            self.writer.constant(f"{name}.bias", value.bias.astype(np.float32)),
        ]
        return self.writer.node(
            "Conv", inputs, name, kernel_shape=list(weight.shape[2:]), strides=strides, pads=pads,
            dilations=[int(d) for d in module.dilation], group=module.groups,
        )  # fmt: skip

    def _space_to_depth(self, value: _Packed, name: str) -> str:
        w = self.writer
        parts: list[str] = []
        for row, column in value.offsets:
            ends = [np.iinfo(np.int64).max] * 2
            ranges = {"starts": [row, column], "ends": ends, "axes": [2, 3], "steps": [2, 2]}
            inputs = [w.constant(f"{name}.{what}", np.array(value, np.int64)) for what, value in ranges.items()]
            parts.append(w.node("Slice", [value.input, *inputs], name))
        return w.node("Concat", parts, name, axis=1)

    def _pool(self, x: str, module: nn.MaxPool2d, name: str) -> str:
        def pair(value: Any) -> list[int]:
            return [int(v) for v in cast("tuple[int, int]", value)] if isinstance(value, tuple) else [int(value)] * 2

        kernel, stride, padding = pair(module.kernel_size), pair(module.stride), pair(module.padding)
        size = kernel[0]
        if stride == [1, 1] and kernel == [size, size] and padding == [size // 2] * 2 and size % 2:
            # A pooling of a pooling is a larger pooling: whatever the larger window reaches inside the picture is
            # reached over a pixel inside the picture.
            done = self._pools.setdefault(x, {})
            smaller = max((k for k in done if k < size), default=None)
            if size not in done:
                step = size if smaller is None else size - smaller + 1
                source = x if smaller is None else done[smaller]
                done[size] = self.writer.node(
                    "MaxPool", [source], name, kernel_shape=[step, step], strides=stride, pads=[step // 2] * 4
                )
            return done[size]
        return self.writer.node("MaxPool", [x], name, kernel_shape=kernel, strides=stride, pads=padding * 2)

    def _shuffle(self, x: str, module: layers.ChannelShuffle, name: str) -> str:
        # The size is taken from the tensor and not written down, so that the graph serves any input size.
        w = self.writer
        apart = w.constant(
            f"{name}.apart", np.array([0, module.groups, module.channels // module.groups, -1], np.int64)
        )
        turned = w.node("Transpose", [w.node("Reshape", [x, apart], name)], name, perm=[0, 2, 1, 3])
        return w.node("Reshape", [turned, w.node("Shape", [x], name)], name)

    def _function(self, node: fx.Node) -> Any:
        target = node.target
        name = self._name(node.name)
        if target is torch.cat:
            parts = [self._plain(a) for a in cast("list[fx.Node]", node.args[0])]
            return self.writer.node("Concat", parts, name, axis=int(cast("int", node.args[1])))
        if target is torch.split:
            source, size = node.args[:2]
            axis = int(cast("int", node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else 0)))
            x = self._plain(source)
            split = self.writer.constant(f"{name}.sizes", np.array([size, size], np.int64))
            return self.writer.nodes_of("Split", [x, split], name, 2, axis=axis)
        if target is operator.getitem:
            return self._values[cast("fx.Node", node.args[0])][cast("int", node.args[1])]
        if target in (operator.add, torch.add):
            return self.writer.node("Add", [self._plain(a) for a in node.args], name)
        raise ModelError(f"{node.name}: the operation {target} cannot be exported")


def grid(w: GraphWriter, head: str, stride: int, shape: Shape, name: str, offset: float) -> str:
    """(column + offset, row + offset) * stride of every cell of a head, 1 x 1 x (h*w) x 2."""
    if shape.height is not None and shape.width is not None:
        rows, columns = np.mgrid[: shape.height // stride, : shape.width // stride]
        cells = np.stack([columns, rows], -1).reshape(1, 1, -1, 2)
        return w.constant(f"{name}.grid", ((cells + offset) * stride).astype(np.float32))
    # The whole shape and then Gather: older TensorRT parsers ignore the attributes of Shape.
    size = w.node("Shape", [head], name)
    sides = w.node("Gather", [size, w.constant("sides", np.array([2, 3], np.int64))], name, axis=0)
    area = w.node("Concat", [sides, w.constant("one", np.array([1], np.int64))], f"{name}/area", axis=0)
    limits = [w.constant(key, np.array(value, np.int64)) for key, value in (("from", 0), ("step", 1))]
    axes: list[str] = []
    for axis, lengths in ((3, [1, -1, 1]), (2, [-1, 1, 1])):
        length = w.node("Gather", [size, w.constant(f"axis_{axis}", np.array(axis, np.int64))], name, axis=0)
        line = w.node("Cast", [w.node("Range", [limits[0], length, limits[1]], name)], name, to=TensorProto.FLOAT)
        line = w.node("Reshape", [line, w.constant(f"{name}.line_{axis}", np.array(lengths, np.int64))], name)
        axes.append(w.node("Expand", [line, area], name))
    cells = w.node("Concat", axes, name, axis=2)
    cells = w.node("Reshape", [cells, w.constant(f"{name}.cells", np.array([1, 1, -1, 2], np.int64))], name)
    factor = w.constant(f"{name}.stride", np.array(stride, np.float32))
    return w.node(
        "Add",
        [w.node("Mul", [cells, factor], name), w.constant(f"{name}.half", np.array(offset * stride, np.float32))],
        name,
    )


def cells(shape: Shape, stride: int) -> list[Any]:
    """Height and width in cells of a stride, with a text for what is open."""
    return [f"{d}/{stride}" if isinstance(d, str) else d // stride for d in shape.dims[2:]]


def model_of(
    writer: GraphWriter, results: Sequence[str], outputs: Mapping[str, list[Any]], shape: Shape, name: str
) -> onnx.ModelProto:
    """The model of what was written, with one input ``images``.

    Args:
        results: tensors of the graph, which become the outputs.
        outputs: the outputs' names and shapes, in that order.
        shape: of the input.
        name: of the graph.
    """
    renamed = dict(zip(results, outputs, strict=True))
    for node in writer.nodes:
        node.input[:] = [renamed.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [renamed.get(tensor, tensor) for tensor in node.output]
    graph = helper.make_graph(
        writer.nodes,
        name or "pose",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape.dims)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims) for output, dims in outputs.items()],
        list(writer.constants.values()),
    )
    model = helper.make_model(graph, producer_name="trtpose", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model
