# SPDX-License-Identifier: Apache-2.0
"""Writing a graph anew with some of its nodes in FP16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, unique_name
from ..formats.opset import opset_of
from .fp16_rules import FLOAT, FLOAT16, allows_fp16, formal_of, schema_of

if TYPE_CHECKING:
    import onnx

__all__ = ["Writer", "copy_node"]

# The smallest scale that FP16 holds to better than half a percent.
_SMALLEST_SCALE = 2.0**-17


def copy_node(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy that outlives the list it came from."""
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


class Writer:
    """Writes the nodes anew, each in its precision, with a Cast where a tensor is wanted in the other."""

    def __init__(self, graph: Graph, kept: set[int]) -> None:
        self._graph = graph
        self._kept = kept
        self._opset = opset_of(graph.model)
        self._nodes: list[onnx.NodeProto] = []
        self._home: dict[str, int] = {}
        self._casts: dict[tuple[str, int], str] = {}
        self._names = set(graph.types) | {name for node in graph.nodes for name in [*node.input, *node.output]}
        self._made: dict[str, onnx.TensorProto] = {}

    def write(self) -> onnx.ModelProto:
        graph, model = self._graph, self._graph.model
        outputs = set(graph.outputs)
        for index, node in enumerate(graph.nodes):
            copy = copy_node(node)
            if index in self._kept:
                self._keep(copy)
            else:
                self._convert(copy)
            self._nodes.append(copy)
            if index not in self._kept:
                self._restore_outputs(copy, outputs)
        if any(name in outputs and self._home.get(name) == FLOAT16 for name in graph.inputs):
            raise ModelError("an input of the graph is its output as well; export the network again")
        target = model.graph
        del target.node[:]
        target.node.extend(self._nodes)
        self._place_constants()
        for entry in target.value_info:
            if self._home.get(entry.name) == FLOAT16:
                entry.type.tensor_type.elem_type = FLOAT16
        return model

    def _type(self, name: str) -> int:
        return self._home.get(name, self._graph.types.get(name, 0))

    def _cast(self, name: str, to: int) -> str:
        """The tensor ``name`` in the type ``to``."""
        from onnx import helper

        if self._type(name) == to:
            return name
        key = (name, to)
        if key not in self._casts:
            suffix = "fp16" if to == FLOAT16 else "fp32"
            made = unique_name(f"{name}/{suffix}", self._names)
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
            if self._graph.types.get(name) == FLOAT and self._type(name) == FLOAT16:
                renamed[name] = self._cast(name, FLOAT)
        _rename(node, renamed)

    def _convert(self, node: onnx.NodeProto) -> None:
        schema = schema_of(node, self._opset)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            self._fit_scale(node)
        touched = False
        for i, name in enumerate(node.input):
            if not name or self._graph.types.get(name, self._type(name)) != FLOAT:
                touched |= self._type(name) == FLOAT16
                continue
            formal = formal_of(schema.inputs, i)
            # The region and the scales of Resize are geometry, not pictures.
            geometry = node.op_type in ("Resize", "Upsample") and i > 0
            if allows_fp16(schema, formal) and not geometry:
                node.input[i] = self._cast(name, FLOAT16)
                touched = True
            else:
                node.input[i] = self._cast(name, FLOAT)
        if not touched:
            return
        for i, name in enumerate(node.output):
            if self._graph.types.get(name) == FLOAT and allows_fp16(schema, formal_of(schema.outputs, i)):
                self._home[name] = FLOAT16

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
            made = unique_name(f"{node.input[0]}/fitted", self._names)
            self._made[made] = numpy_helper.from_array(again, made)
            self._home[made] = self._graph.types[node.input[0]]
            node.input[0] = made

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        made = unique_name(f"{name}/fitted", self._names)
        self._graph.constants[made] = numpy_helper.from_array(values, made)
        self._graph.types[made] = FLOAT
        return made

    def _restore_outputs(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        """Outputs of the graph keep their name and are float32."""
        from onnx import helper

        for i, name in enumerate(node.output):
            if name in outputs and self._home.get(name) == FLOAT16:
                inner = unique_name(f"{name}/fp16", self._names)
                node.output[i] = inner
                self._home[inner] = FLOAT16
                self._home[name] = FLOAT
                self._casts[(name, FLOAT16)] = inner
                self._nodes.append(helper.make_node("Cast", [inner], [name], name=f"{name}/fp32", to=FLOAT))

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
