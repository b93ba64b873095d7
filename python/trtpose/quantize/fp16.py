# SPDX-License-Identifier: Apache-2.0
"""Turning a float32 ONNX graph into one that computes in FP16.

Strongly typed TensorRT (10 on request, 11 and TensorRT for RTX always) computes in the types of the graph, so precision
is a property of the file: this writes it. Inputs and outputs keep their names and stay float32.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, label, matches

if TYPE_CHECKING:
    import onnx

__all__ = ["LARGEST", "SMALLEST_NORMAL", "Fp16Result", "converted", "simulate", "to_fp16"]

LARGEST = 65504.0
"""The largest finite number of FP16."""

SMALLEST_NORMAL = 2.0**-14
"""Below this FP16 loses digits; a set of weights all below it is kept in FP32."""

_QDQ_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take FP16 scales."""

# The smallest scale that FP16 holds to better than half a percent.
_SMALLEST_SCALE = 2.0**-17

_FLOAT, _FLOAT16 = 1, 10  # TensorProto.FLOAT, .FLOAT16


@dataclass(frozen=True)
class Fp16Result:
    """A graph in FP16.

    Attributes:
        model: the converted model; a new one, the original is not touched.
        kept: names of the floating-point nodes left in FP32.
        share: how many nodes compute in ``fp32``, ``fp16`` and ``int8``; Cast, Q/DQ and nodes on integers not counted.
        reasons: why, for each of ``kept``.
    """

    model: onnx.ModelProto
    kept: list[str]
    share: dict[str, int]
    reasons: dict[str, str] = field(default_factory=dict)


def to_fp16(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> Fp16Result:
    """Convert a graph to FP16.

    In FP32 stay: what ``keep`` names; with ``keep_heads`` the raw heads, that is everything from the last convolutions
    on (decoded pixels included, of which FP16 holds only every half one above 512); arithmetic on shapes; operators
    that ONNX does not define for FP16, those of other domains and those with subgraphs; and nodes with a constant that
    FP16 cannot hold. A graph with Q/DQ pairs gets FP16 scales, which needs opset 19: an older one is raised to it.
    Nodes that are FP16 already stay so, so converting twice changes nothing.

    Args:
        model: the graph in float32.
        keep: names of nodes to leave in FP32, ``*`` and ``?`` allowed.
        keep_heads: whether to leave the raw heads in FP32.

    Returns:
        The new model and what was left in FP32. Names and types of inputs and outputs, metadata and open dimensions are
        those of ``model``.

    Raises:
        ModelError: the graph is not consistent.
        DeviceError: the package onnx is not installed.
    """
    package = graphs.onnx_package("converting to FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in work.graph.node)
    if quantised and _opset(work) < _QDQ_OPSET:
        work = _raise_opset(work)
    _tidy(work)
    graph = Graph(work)
    reasons = _kept(graph, keep, keep_heads)
    result = _Writer(graph, set(reasons)).write()
    named = {
        label(graph.nodes[index]): why for index, why in sorted(reasons.items()) if _counts(graph.nodes[index], graph)
    }
    return Fp16Result(result, list(named), _share(result), named)


def simulate(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> onnx.ModelProto:
    """A float32 graph that rounds where the graph of :func:`to_fp16` does, to see on a CPU what FP16 does to poses.

    Processors without FP16 run an FP16 graph in float32 throughout, which shows nothing but the rounded weights. Here
    every result of an FP16 node is rounded to its 11 digits by T. J. Dekker's splitting ("A floating-point technique
    for extending the available precision", 1971): x -> c - (c - x) with c = 8193 x. Range is not simulated; see
    :func:`trtpose.quantize.half.convert`.
    """
    from onnx import helper, numpy_helper

    package = graphs.onnx_package("simulating FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    _tidy(work)
    graph = Graph(work)
    kept = _kept(graph, keep, keep_heads)
    outputs = set(graph.outputs)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {
        "trtpose/split": numpy_helper.from_array(np.array(2.0**13 + 1, np.float32), "trtpose/split")
    }

    def rounded(source: str, target: str) -> None:
        nodes.append(helper.make_node("Mul", [source, "trtpose/split"], [f"{target}/far"]))
        nodes.append(helper.make_node("Sub", [f"{target}/far", source], [f"{target}/low"]))
        nodes.append(helper.make_node("Sub", [f"{target}/far", f"{target}/low"], [target]))

    for name in graph.inputs:
        if graph.types.get(name) == _FLOAT:
            rounded(name, f"{name}/fp16")
    for index, node in enumerate(graph.nodes):
        copy = _copy(node)
        nodes.append(copy)
        if index in kept or not _counts(node, graph):
            continue
        for i, name in enumerate(node.input):
            if name in graph.inputs and graph.types.get(name) == _FLOAT:
                copy.input[i] = f"{name}/fp16"
            values = graph.values(name)
            if values is not None and values.dtype == np.float32 and not (node.op_type == "Resize" and i > 0):
                copy.input[i] = f"{name}/fp16"
                half = values.astype(np.float16).astype(np.float32)
                added[f"{name}/fp16"] = numpy_helper.from_array(half, f"{name}/fp16")
        for i, name in enumerate(node.output):
            if graph.types.get(name) == _FLOAT and name not in outputs and node.op_type not in _EXACT:
                copy.output[i] = f"{name}/exact"
                rounded(f"{name}/exact", name)
    del work.graph.node[:]
    work.graph.node.extend(nodes)
    work.graph.initializer.extend(added.values())
    return work


# Results are among the arguments.
_EXACT = frozenset({"Concat", "Gather", "MaxPool", "Relu", "Reshape", "Slice", "Split", "Transpose", "Unsqueeze"})


def converted(model: onnx.ModelProto, *, keep: Collection[str] = (), keep_heads: bool = True) -> dict[str, list[str]]:
    """The tensors that become FP16, each with the names of the node that makes it and of those that read it."""
    package = graphs.onnx_package("converting to FP16")
    work: onnx.ModelProto = package.ModelProto()
    work.CopyFrom(model)
    _tidy(work)
    graph = Graph(work)
    kept = _kept(graph, keep, keep_heads)
    found: dict[str, list[str]] = {}
    for index, node in enumerate(graph.nodes):
        if index in kept or not _counts(node, graph):
            continue
        for name in node.output:
            if graph.types.get(name) == _FLOAT:
                readers = [label(graph.nodes[i]) for i in graph.readers.get(name, [])]
                found[name] = [label(node), *readers]
    return found


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import version_converter

    try:
        raised = version_converter.convert_version(model, _QDQ_OPSET)
    except Exception as error:  # onnx has no common base class for its exceptions
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"Q/DQ with FP16 scales needs opset {_QDQ_OPSET}, and this graph of opset {_opset(model)} cannot be raised "
            f"to it ({line}); export the network with opset {_QDQ_OPSET}"
        ) from None
    del raised.metadata_props[:]
    raised.metadata_props.extend(model.metadata_props)
    raised.producer_name, raised.producer_version = model.producer_name, model.producer_version
    raised.doc_string = model.doc_string
    raised.ir_version = max(raised.ir_version, 9)  # the IR of opset 19
    return raised


def _tidy(model: onnx.ModelProto) -> None:
    """Make float constants initialisers, and drop Cast nodes that change nothing."""
    from onnx import numpy_helper

    graph = model.graph
    types = Graph(model).types
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    inner = {name for node in graph.node for name in Graph.reads(node)} - {n for node in graph.node for n in node.input}
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in renamed:
                node.input[i] = renamed[name]
        if node.op_type == "Constant" and node.output[0] not in outputs:
            value = graphs.attribute(node, "value", None)
            if value is None:
                plain = graphs.attribute(node, "value_float", graphs.attribute(node, "value_floats", None))
                value = None if plain is None else numpy_helper.from_array(np.asarray(plain, np.float32))
            if value is not None and value.data_type == _FLOAT:
                value.name = node.output[0]
                graph.initializer.append(value)
                continue
        same = node.op_type == "Cast" and types.get(node.input[0]) == graphs.attribute(node, "to", 0)
        if same and node.output[0] not in outputs | inner:
            renamed[node.output[0]] = node.input[0]
            continue
        nodes.append(node)
    kept = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy that outlives the list it came from."""
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


_UNCOUNTED = frozenset({"Cast", "Constant", "DequantizeLinear", "QuantizeLinear", "Shape", "Size"})


def _counts(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a node computes on floating-point numbers."""
    return node.op_type not in _UNCOUNTED and any(graph.types.get(name) == _FLOAT for name in node.output if name)


def _kept(graph: Graph, keep: Collection[str], keep_heads: bool) -> dict[int, str]:
    """The nodes that stay as they are, with the reason."""
    live = graph.follows_pictures()
    tail = graph.tail() if keep_heads else set[int]()
    opset = _opset(graph.model)
    reasons: dict[int, str] = {}
    weights: list[int] = []
    for index, node in enumerate(graph.nodes):
        if node.op_type == "DequantizeLinear" and graph.is_constant(node.output[0]):
            weights.append(index)
        elif matches(label(node), keep):
            reasons[index] = "asked for"
        elif index in tail:
            reasons[index] = "raw head"
        elif not live[index]:
            reasons[index] = "arithmetic on shapes or constants"
        elif node.op_type == "Cast":
            reasons[index] = "a conversion"
        elif any(True for _ in graphs.subgraphs(node)):
            reasons[index] = "has subgraphs"
        elif (why := _unsupported(node, opset)) is not None or (why := _unfit_constant(graph, node)) is not None:
            reasons[index] = why
    for index in weights:  # in the precision of the convolution they are for
        readers = graph.readers.get(graph.nodes[index].output[0], [])
        if all(reader in reasons for reader in readers):
            reasons[index] = "weights of a node in FP32"
    return reasons


def _schema(node: onnx.NodeProto, opset: int) -> Any:
    import onnx

    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _allows_fp16(schema: Any, formal: Any) -> bool:
    if formal.type_str.startswith("tensor("):
        return formal.type_str == "tensor(float16)"
    return any(
        "tensor(float16)" in constraint.allowed_type_strs
        for constraint in schema.type_constraints
        if constraint.type_param_str == formal.type_str
    )


def _formal(parameters: Any, index: int) -> Any:
    return parameters[min(index, len(parameters) - 1)]  # the last one may be variadic


def _unsupported(node: onnx.NodeProto, opset: int) -> str | None:
    schema = _schema(node, opset)
    if schema is None:
        return "not an operator of ONNX"
    if graphs.attribute(node, "dtype", None) is not None:
        return "states its type"
    if not schema.outputs or not _allows_fp16(schema, _formal(schema.inputs, 0)):
        dequantises = node.op_type == "DequantizeLinear"
        if not dequantises and not any(_allows_fp16(schema, formal) for formal in schema.inputs):
            return "not defined for FP16"
    return None


def _unfit_constant(graph: Graph, node: onnx.NodeProto) -> str | None:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return None  # scales are handled apart
    for name in node.input:
        tensor = graph.constants.get(name)
        if tensor is None or tensor.data_type != _FLOAT:
            continue
        values = graph.values(name)
        assert values is not None
        largest = float(np.abs(values).max(initial=0))
        if not largest <= LARGEST:
            return f"a constant of {largest:.3g}"
        if 0 < largest < SMALLEST_NORMAL:
            return f"a constant of {largest:.3g}"
    return None


class _Writer:
    """Writes the nodes anew, each in its precision, with a Cast where a tensor is wanted in the other."""

    def __init__(self, graph: Graph, kept: set[int]) -> None:
        self._graph = graph
        self._kept = kept
        self._opset = _opset(graph.model)
        self._nodes: list[onnx.NodeProto] = []
        self._home: dict[str, int] = {}
        self._casts: dict[tuple[str, int], str] = {}
        self._names = set(graph.types) | {name for node in graph.nodes for name in [*node.input, *node.output]}
        self._made: dict[str, onnx.TensorProto] = {}

    def write(self) -> onnx.ModelProto:
        graph, model = self._graph, self._graph.model
        outputs = set(graph.outputs)
        for index, node in enumerate(graph.nodes):
            copy = _copy(node)
            if index in self._kept:
                self._keep(copy)
            else:
                self._convert(copy)
            self._nodes.append(copy)
            if index not in self._kept:
                self._restore_outputs(copy, outputs)
        if any(name in outputs and self._home.get(name) == _FLOAT16 for name in graph.inputs):
            raise ModelError("an input of the graph is its output as well; export the network again")
        target = model.graph
        del target.node[:]
        target.node.extend(self._nodes)
        self._place_constants()
        for entry in target.value_info:
            if self._home.get(entry.name) == _FLOAT16:
                entry.type.tensor_type.elem_type = _FLOAT16
        return model

    def _type(self, name: str) -> int:
        return self._home.get(name, self._graph.types.get(name, 0))

    def _unique(self, name: str) -> str:
        candidate, i = name, 1
        while candidate in self._names:
            i += 1
            candidate = f"{name}_{i}"
        self._names.add(candidate)
        return candidate

    def _cast(self, name: str, to: int) -> str:
        """The tensor ``name`` in the type ``to``."""
        from onnx import helper

        if self._type(name) == to:
            return name
        key = (name, to)
        if key not in self._casts:
            suffix = "fp16" if to == _FLOAT16 else "fp32"
            made = self._unique(f"{name}/{suffix}")
            self._casts[key] = made
            if name in self._graph.constants:
                self._made[made] = self._half(name, made)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], name=made, to=to))
            self._home[made] = to
        return self._casts[key]

    def _half(self, name: str, made: str) -> onnx.TensorProto:
        from onnx import numpy_helper

        values = self._graph.values(name)
        assert values is not None
        return numpy_helper.from_array(values.astype(np.float16), made)

    def _keep(self, node: onnx.NodeProto) -> None:
        """A node that goes on reading what it read: FP32 where that was FP32."""
        renamed: dict[str, str] = {}
        for name in Graph.reads(node):
            if self._graph.types.get(name) == _FLOAT and self._type(name) == _FLOAT16:
                renamed[name] = self._cast(name, _FLOAT)
        _rename(node, renamed)

    def _convert(self, node: onnx.NodeProto) -> None:
        schema = _schema(node, self._opset)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            self._fit_scale(node)
        touched = False
        for i, name in enumerate(node.input):
            if not name or self._graph.types.get(name, self._type(name)) != _FLOAT:
                touched |= self._type(name) == _FLOAT16
                continue
            formal = _formal(schema.inputs, i)
            # The region and the scales of Resize are geometry, not pictures.
            geometry = node.op_type in ("Resize", "Upsample") and i > 0
            if _allows_fp16(schema, formal) and not geometry:
                node.input[i] = self._cast(name, _FLOAT16)
                touched = True
            else:
                node.input[i] = self._cast(name, _FLOAT)
        if not touched:
            return
        for i, name in enumerate(node.output):
            if self._graph.types.get(name) == _FLOAT and _allows_fp16(schema, _formal(schema.outputs, i)):
                self._home[name] = _FLOAT16

    def _fit_scale(self, node: onnx.NodeProto) -> None:
        """Give weights whose scale is too small for FP16 a larger one, and activations' scales the nearest it has."""
        from onnx import numpy_helper

        scales = self._graph.values(node.input[1])
        if scales is None or scales.dtype != np.float32:
            return
        fitted = np.maximum(scales, np.float32(_SMALLEST_SCALE)).astype(np.float16).astype(np.float32)
        weights = self._graph.values(node.input[0])
        if (fitted == scales.astype(np.float16)).all() or (weights is not None and weights.dtype == np.int32):
            return
        node.input[1] = self._constant(node.input[1], fitted)
        if weights is not None and weights.dtype == np.int8:
            axis = graphs.attribute(node, "axis", 1)
            ratio = (scales.astype(np.float64) / fitted).reshape(
                [-1 if i == axis % weights.ndim and scales.ndim else 1 for i in range(weights.ndim)]
            )
            again = np.clip(np.rint(weights * ratio), -128, 127).astype(np.int8)
            made = self._unique(f"{node.input[0]}/fitted")
            self._made[made] = numpy_helper.from_array(again, made)
            self._home[made] = self._graph.types[node.input[0]]
            node.input[0] = made

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        made = self._unique(f"{name}/fitted")
        self._graph.constants[made] = numpy_helper.from_array(values, made)
        self._graph.types[made] = _FLOAT
        return made

    def _restore_outputs(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        """Outputs of the graph keep their name and are float32."""
        from onnx import helper

        for i, name in enumerate(node.output):
            if name in outputs and self._home.get(name) == _FLOAT16:
                inner = self._unique(f"{name}/fp16")
                node.output[i] = inner
                self._home[inner] = _FLOAT16
                self._home[name] = _FLOAT
                self._casts[(name, _FLOAT16)] = inner
                self._nodes.append(helper.make_node("Cast", [inner], [name], name=f"{name}/fp32", to=_FLOAT))

    def _place_constants(self) -> None:
        """Keep the initialisers that are still read, and add the new ones."""
        graph = self._graph.model.graph
        read = {name for node in self._nodes for name in Graph.reads(node)} | set(self._graph.outputs)
        placed: list[onnx.TensorProto] = []
        named_inputs = {entry.name for entry in graph.input}
        for name, tensor in [*self._graph.constants.items(), *self._made.items()]:
            if name in read or name in named_inputs:
                copy = type(tensor)()
                copy.CopyFrom(tensor)
                placed.append(copy)
        del graph.initializer[:]
        graph.initializer.extend(placed)


def _rename(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    if not renamed:
        return
    for i, name in enumerate(node.input):
        node.input[i] = renamed.get(name, name)
    for inner in graphs.subgraphs(node):
        for other in inner.node:
            _rename(other, renamed)


def _share(model: onnx.ModelProto) -> dict[str, int]:
    graph = Graph(model)
    share = {"fp32": 0, "fp16": 0, "int8": 0}
    for node in graph.nodes:
        if node.op_type in _UNCOUNTED:
            continue
        types = {graph.types.get(name) for name in node.output if name}
        sources = [graph.producer.get(name) for name in node.input[:2]]
        from_integers = len(sources) == 2 and all(
            source is not None and graph.nodes[source].op_type == "DequantizeLinear" for source in sources
        )
        if from_integers and node.op_type in (*graphs.CONVOLUTIONS, "MatMul", "Gemm"):
            share["int8"] += 1
        elif _FLOAT16 in types:
            share["fp16"] += 1
        elif _FLOAT in types:
            share["fp32"] += 1
    return share
