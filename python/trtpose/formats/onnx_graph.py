# SPDX-License-Identifier: Apache-2.0
"""What quantiser and FP16 conversion ask of an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import _run
from .._optional import require
from ..errors import ModelError
from . import onnx_file

if TYPE_CHECKING:
    import onnx

__all__ = [
    "CONVOLUTIONS",
    "Graph",
    "attribute",
    "label",
    "load",
    "matches",
    "onnx_package",
    "parsed",
    "subgraphs",
    "unique_name",
]

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})

_STANDARD = ("", "ai.onnx")
_MAX_FILE = (1 << 31) - 1
"""Bytes of an ONNX model in one protocol buffer."""


def onnx_package(purpose: str) -> Any:
    """The package onnx, or an error that says how to install it."""
    return require("onnx", package="onnx", extra="quantize", purpose=purpose)


def load(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ModelError: missing, unreadable or not ONNX.
    """
    _run.reads_model(path)
    return parsed(onnx_file.read(path))


def parsed(content: onnx_file.OnnxBytes) -> onnx.ModelProto:
    """The graph of a file that was read; errors as :func:`load`."""
    model = onnx_file.parse(content, extra="quantize", purpose="reading ONNX")
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{content.source}: not an ONNX model, or an empty one; export it again")
    return model


def label(node: onnx.NodeProto) -> str:
    """A node's name, or that of its first output where it has none."""
    return node.name or next((name for name in node.output if name), node.op_type)


def unique_name(name: str, taken: set[str]) -> str:
    """``name``, or with a number behind it where it is taken; taken from now on."""
    candidate, i = name, 1
    while candidate in taken:
        i += 1
        candidate = f"{name}_{i}"
    taken.add(candidate)
    return candidate


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a name is among the patterns, each a name or one with ``*`` and ``?``."""
    return name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute."""
    from onnx import helper

    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs within a node (of If, Loop, Scan)."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


class Graph:
    """A model's top graph, indexed.

    Attributes:
        model: the model; read only while this index is in use.
        constants: initialisers by name.
        producer: node number that makes a tensor.
        readers: node numbers that read a tensor, those within whose subgraphs it is read included.
        types: element type of each tensor, as far as inference gets.
        outputs: names of the graph's outputs, in order.
        inputs: names of the graph's inputs that are not initialisers.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = list(graph.node)
        self.constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs: list[str] = [output.name for output in graph.output]
        self.inputs: list[str] = [entry.name for entry in graph.input if entry.name not in self.constants]
        self.producer: dict[str, int] = {}
        self.readers: dict[str, list[int]] = {}
        known = {*self.constants, *self.inputs, *(entry.values.name for entry in graph.sparse_initializer)}
        for index, node in enumerate(self.nodes):
            # protobuf gives bytes where a file's text is not UTF-8
            texts: list[Any] = [node.name, node.op_type, *node.input, *node.output]
            if not all(isinstance(text, str) for text in texts):
                raise _inconsistent("a name is not text")
            for name in self.reads(node):
                if name not in known:
                    raise _inconsistent(f"{label(node)} reads {name}, which nothing makes before it")
                self.readers.setdefault(name, []).append(index)
            for name in node.output:
                if name in known:
                    raise _inconsistent(f"{name} is made twice")
                if name:
                    self.producer[name] = index
                    known.add(name)
        if missing := [name for name in self.outputs if name not in known]:
            raise _inconsistent(f"nothing makes the output {missing[0]}")
        self.types: dict[str, int] = _types(model)

    @staticmethod
    def reads(node: onnx.NodeProto) -> list[str]:
        """Every tensor a node reads, each once, also within its subgraphs."""
        names = dict.fromkeys(name for name in node.input if name)
        for graph in subgraphs(node):
            inner = list(graph.node)
            made = {entry.name for entry in graph.input} | {tensor.name for tensor in graph.initializer}
            made.update(name for other in inner for name in other.output)
            for other in inner:
                names.update(dict.fromkeys(name for name in Graph.reads(other) if name not in made))
            names.update(dict.fromkeys(output.name for output in graph.output if output.name not in made))
        return list(names)

    def values(self, name: str) -> NDArray[Any] | None:
        """The numbers of a constant, or None if the tensor is not one."""
        from onnx import numpy_helper

        tensor = self.constants.get(name)
        if tensor is None:
            return None
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise _inconsistent(f"constant {name}: {error}") from None

    def shapes(self, pictures: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of tensors, as far as inference gets, for an input of the shape ``pictures``."""
        bare = _without_weights(self.model)
        for entry in bare.graph.input:
            if entry.name == self.inputs[0]:
                for dim, length in zip(entry.type.tensor_type.shape.dim, pictures, strict=True):
                    dim.dim_value = length
        for entry in bare.graph.output:
            entry.type.tensor_type.ClearField("shape")  # what a file says of them may be of another input
        del bare.graph.value_info[:]
        found: dict[str, tuple[int, ...]] = {}
        for entry in _values(_inferred(bare)):
            tensor = entry.type.tensor_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                found[entry.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        return found

    def follows_pictures(self) -> list[bool]:
        """For each node whether it computes on the pictures, rather than on shapes and constants alone."""
        live = set(self.inputs)
        result: list[bool] = []
        for node in self.nodes:
            found = node.op_type not in ("Shape", "Size") and any(name in live for name in self.reads(node))
            if found:
                live.update(node.output)
            result.append(found)
        return result

    def tail(self) -> set[int]:
        """The nodes of the raw heads: from each output back to the first convolution with a bias, that one included.

        A convolution without a bias on that way is a fixed sum (an integral over a map, the expectation of distances
        in bins), whose terms have to be exact as well, so the walk goes on through it. A product with a constant
        matrix counts as a convolution. Nodes that compute on shapes alone are not part of it.
        """
        live = self.follows_pictures()
        found: set[int] = set()
        stack = [self.producer[name] for name in self.outputs if name in self.producer]
        while stack:
            index = stack.pop()
            if index in found or not live[index]:
                continue
            node = self.nodes[index]
            found.add(index)
            if node.op_type in CONVOLUTIONS and len(node.input) > 2 and node.input[2]:
                continue
            if node.op_type in ("MatMul", "Gemm") and any(self.is_constant(name) for name in node.input):
                continue
            stack.extend(self.producer[name] for name in self.reads(node) if name in self.producer)
        return found

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initialiser, or one dequantised."""
        if name in self.constants:
            return True
        index = self.producer.get(name)
        return (
            index is not None
            and self.nodes[index].op_type == "DequantizeLinear"
            and (self.is_constant(self.nodes[index].input[0]))
        )


def _inconsistent(why: str) -> ModelError:
    return ModelError(f"the ONNX graph is not consistent ({why}); export the network again")


_SMALL = 64
"""Numbers of a constant that may be a shape, axes or scales, which inference reads."""


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large weights are inputs."""
    import onnx
    from onnx import TensorProto, helper

    bare = onnx.ModelProto()
    bare.ir_version = model.ir_version
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    source, graph = model.graph, bare.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    known = {entry.name for entry in source.input}
    for tensor in source.initializer:
        if tensor.name in known:
            continue
        if tensor.data_type in (TensorProto.INT64, TensorProto.INT32) or math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return bare


def _inferred(bare: onnx.ModelProto) -> onnx.GraphProto:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(bare).graph
    except Exception as error:  # onnx has no common base class for its exceptions
        raise _inconsistent((str(error).strip().splitlines() or [""])[0][:200]) from None


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types by inference on a copy without the large weights."""
    types: dict[str, int] = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for entry in _values(_inferred(_without_weights(model))):
        if entry.type.HasField("tensor_type"):
            types[entry.name] = entry.type.tensor_type.elem_type
    for node in model.graph.node:
        _guess_types(node, types)
    return types


def _guess_types(node: onnx.NodeProto, types: dict[str, int]) -> None:
    """Inference ends at an operator ONNX does not know: take it to give what it is given, and go on from there."""
    if all(types.get(name) for name in node.output if name):
        return
    given = next((types[name] for name in node.input if types.get(name)), 0)
    if node.op_type == "Cast" and node.domain in _STANDARD:
        given = attribute(node, "to", given)
    elif node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
        given = 7  # TensorProto.INT64
    for name in node.output:
        if name and not types.get(name):
            types[name] = given


def _values(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    yield from graph.input
    yield from graph.value_info
    yield from graph.output
