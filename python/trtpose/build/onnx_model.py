# SPDX-License-Identifier: Apache-2.0
"""The ONNX side of a build: what the file says, the shapes it will be built for, the precision that is in it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError, ModelError
from ..formats import onnx_file
from ..formats.metadata import find_spec, literal
from ..spec import METADATA_KEY, ModelSpec
from .options import Range, Size

if TYPE_CHECKING:
    import onnx

__all__ = [
    "OnnxModel",
    "Shapes",
    "fix_shapes",
    "has_whole_weights_alone",
    "is_half",
    "is_quantised",
    "load",
    "refuse_unfit_pairs",
    "store_weights",
    "weight_bytes",
]

_FLOAT16, _UINT8, _INT32 = 10, 2, 6  # TensorProto.FLOAT16, .UINT8, .INT32
_PAIRS = ("QuantizeLinear", "DequantizeLinear")
_COMPUTE = ("Conv", "ConvTranspose", "MatMul", "Gemm")


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file and what is known of it.

    Attributes:
        path: the file.
        proto: its content.
        sha256: of the file with the weights of files beside it, hexadecimal.
        spec: how to read its outputs.
        fields: the spec as JSON values, as the file has it.
        metadata: the other keys of its ``metadata_props`` as Python values.
        input: name of its input.
        dtype: ``float32`` or ``float16``, of the input.
        shape: of the input, -1 where open.
        most_frames: per call, where an NMS of its own looks at no more; 0: nothing says so.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    spec: ModelSpec
    fields: dict[str, Any]
    metadata: dict[str, Any]
    input: str
    dtype: str
    shape: tuple[int, ...]
    most_frames: int


@dataclass(frozen=True)
class Shapes:
    """The input shapes of a build.

    Attributes:
        batch: frames per call.
        imgsz: (height, width) in pixels.
    """

    batch: Range
    imgsz: Range

    @property
    def fixed(self) -> bool:
        """Whether there is one shape only."""
        return self.batch.fixed and self.imgsz.fixed

    def dims(self) -> dict[str, list[int]]:
        """``min``, ``opt`` and ``max`` of N x 3 x H x W."""
        parts = zip(("min", "opt", "max"), ("low", "best", "high"), strict=True)
        return {key: [getattr(self.batch, at), 3, *getattr(self.imgsz, at)] for key, at in parts}

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.imgsz} pixels"


def load(
    path: str | os.PathLike[str], spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None
) -> OnnxModel:
    """Read an ONNX file and find its spec, as :class:`trtpose.Engine` does.

    Raises:
        ModelError: the file cannot be read, is not a pose network with one input, or has no spec.
        DeviceError: the package onnx is missing.
    """
    source = Path(path)
    facts = _core.read_model_file(os.fspath(source))
    if facts["kind"] != "onnx":
        raise ModelError(f"{source}: is an engine already; give the ONNX it is to be built from")
    inputs = cast("list[dict[str, Any]]", facts["inputs"])
    if len(inputs) != 1:
        names = ", ".join(str(entry["name"]) for entry in inputs)
        raise ModelError(f"{source}: has {len(inputs)} inputs ({names}); a pose network has one")
    shape = tuple(int(side) for side in inputs[0]["shape"])
    dtype = str(inputs[0]["dtype"])
    if len(shape) != 4 or shape[1] not in (3, -1) or dtype not in ("float32", "float16"):
        raise ModelError(
            f"{source}: its input {inputs[0]['name']} is {dtype} {list(shape)}; a pose network takes float N x 3 x "
            "height x width"
        )
    found = find_spec(source, spec)
    content = onnx_file.read(source)
    sha256 = hashlib.sha256(content.data).hexdigest()
    proto = onnx_file.parse(content, extra="build", purpose="building an engine")
    del content
    metadata = {entry.key: literal(entry.value) for entry in proto.metadata_props if entry.key != METADATA_KEY}
    return OnnxModel(
        source,
        proto,
        sha256,
        found.spec,
        found.fields,
        metadata,
        str(inputs[0]["name"]),
        dtype,
        shape,
        int(facts["most_frames"]),
    )


# --- Shapes -----------------------------------------------------------------------------------------------------------


def fix_shapes(model: OnnxModel, batch: Range | None, imgsz: Range | None) -> Shapes:
    """The shapes to build for; those that have one value only are written into the graph.

    Raises:
        InputError: the network does not take them; the message says what it takes.
    """
    count, _, *sides = model.shape
    if batch is None:
        batch = Range(*[count if count > 0 else 1] * 3)
    elif count > 0 and (batch.low, batch.high) != (count, count):
        raise InputError(
            f"{model.path}: takes {count} frame{'s' if count > 1 else ''} per call and no other number, batch {batch} "
            "was asked; export it with --dynamic-batch"
        )
    if 0 < model.most_frames < batch.high:
        raise InputError(
            f"{model.path}: its own NMS looks at {model.most_frames} frame(s) per call, batch {batch} was asked; "
            f"export it with batch={batch.high}, or without nms=True"
        )
    fixed: Size = (sides[0] if sides[0] > 0 else 0, sides[1] if sides[1] > 0 else 0)
    if imgsz is None:
        size = (fixed[0] or model.spec.imgsz[0], fixed[1] or model.spec.imgsz[1])
        imgsz = Range(size, size, size)
    for size in (imgsz.low, imgsz.best, imgsz.high):
        if any(mine not in (0, asked) for mine, asked in zip(fixed, size, strict=True)):
            raise InputError(
                f"{model.path}: takes pictures of {fixed[0] or 'any'}x{fixed[1] or 'any'} pixels (height x width) "
                f"only, imgsz {imgsz} was asked; export it with that --imgsz or with --dynamic"
            )
        stride = model.spec.max_stride
        if fixed != size and (size[0] % stride or size[1] % stride):
            near = "x".join(str(max(math.ceil(side / stride), 1) * stride) for side in size)
            raise InputError(
                f"imgsz {imgsz}: the network needs multiples of its largest stride {stride}, such as {near}"
            )
    shapes = Shapes(batch, imgsz)
    write_shapes(model.proto, model.input, shapes)
    return shapes


def write_shapes(proto: onnx.ModelProto, name: str, shapes: Shapes) -> None:
    """Write those dimensions of the input ``name`` into a graph that have one value only."""
    dims = next(entry for entry in proto.graph.input if entry.name == name).type.tensor_type.shape.dim
    ends = shapes.dims()
    for dim, low, high in zip(dims, ends["min"], ends["max"], strict=True):
        if low == high:
            dim.dim_value = low


# --- Precision --------------------------------------------------------------------------------------------------------


def _constants(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            for entry in node.attribute:
                if entry.name == "value":
                    tensors[node.output[0]] = entry.t
    return tensors


def is_quantised(proto: onnx.ModelProto) -> bool:
    """Whether the graph has Q/DQ pairs."""
    return any(node.op_type in _PAIRS for node in proto.graph.node)


def has_whole_weights_alone(proto: onnx.ModelProto) -> bool:
    """Whether weights are stored as whole numbers, and activations are floating-point ones."""
    kinds = {node.op_type for node in proto.graph.node}
    return "DequantizeLinear" in kinds and "QuantizeLinear" not in kinds


def is_half(proto: onnx.ModelProto) -> bool:
    """Whether most of the convolutions of the graph have FP16 weights already."""
    constants = _constants(proto)
    weights = [
        constants[name].data_type
        for node in proto.graph.node
        if node.op_type in _COMPUTE
        for name in node.input[1:2]
        if name in constants
    ]
    return weights.count(_FLOAT16) * 2 > len(weights)


def refuse_unfit_pairs(path: Path, proto: onnx.ModelProto, *, float_scales: bool) -> None:
    """See that TensorRT can take the Q/DQ pairs of a graph, and name the node where it cannot.

    Args:
        path: for messages.
        proto: the graph.
        float_scales: TensorRT 8.6, which reads scales as FP32 and wants the zero point spelled out.

    Raises:
        ModelError: a zero point that is not zero, an unsigned type, or what 8.6 cannot read.
    """
    from onnx import numpy_helper

    constants = _constants(proto)
    again = "quantise the original network with: trtpose quantize"
    for node in proto.graph.node:
        if node.op_type not in _PAIRS:
            continue
        where = f"{path}: node {node.name or node.output[0]} ({node.op_type})"
        zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is not None and numpy_helper.to_array(zero).any():
            raise ModelError(f"{where} has a zero point other than 0, and TensorRT takes symmetric INT8 only; {again}")
        if zero is not None and zero.data_type == _UINT8:
            raise ModelError(f"{where} quantises to unsigned numbers, and TensorRT takes signed INT8 only; {again}")
        if float_scales:
            scale = constants.get(node.input[1])
            if len(node.input) < 3 or not node.input[2]:
                raise ModelError(f"{where} has no zero point, which TensorRT 8 wants spelled out as 0; {again}")
            if scale is not None and scale.data_type == _FLOAT16:
                raise ModelError(f"{where} has an FP16 scale, which TensorRT 8 misreads; {again}, which writes FP32")


def _along(values: NDArray[Any], axis: int, rank: int) -> NDArray[Any]:
    """Per-channel values shaped so that they go with a tensor of ``rank`` dimensions."""
    return values.reshape([-1 if at == axis % rank else 1 for at in range(rank)]) if values.size > 1 else values.ravel()


def _axis(node: onnx.NodeProto) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "axis"), 1)


def store_weights(proto: onnx.ModelProto, *, as_int8: bool) -> None:
    """Bring quantised weights into the form that a TensorRT reads: the numbers are the same.

    Biases in 32 bits, which other tools write and no TensorRT reads, become floats.

    Args:
        proto: a graph that :func:`refuse_unfit_pairs` has passed; changed in place.
        as_int8: integers before a DequantizeLinear, so that strongly typed networks compute with them whatever type the
            floats had. False: floats before a Q/DQ pair, which is what TensorRT 8 looks for.
    """
    from onnx import helper, numpy_helper

    constants = _constants(proto)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {}
    for node in proto.graph.node:
        weights = constants.get(node.input[0]) if node.op_type in _PAIRS else None
        scale = constants.get(node.input[1]) if weights is not None else None
        bias = weights is not None and weights.data_type == _INT32
        if weights is None or scale is None or not (bias or (node.op_type == "QuantizeLinear") == as_int8):
            nodes.append(node)
            continue
        values = numpy_helper.to_array(weights)
        steps = _along(numpy_helper.to_array(scale).astype(np.float32), _axis(node), values.ndim)
        if bias:
            added[node.output[0]] = numpy_helper.from_array(values.astype(np.float32) * steps, node.output[0])
            continue
        if as_int8:
            integers = np.clip(np.rint(values.astype(np.float32) / steps), -128, 127).astype(np.int8)
            added[node.output[0]] = numpy_helper.from_array(integers, node.output[0])
            continue
        name = f"{node.input[0]}/float"
        added[name] = numpy_helper.from_array(values.astype(np.float32) * steps, name)
        quantise = helper.make_node("QuantizeLinear", [name, *node.input[1:]], [f"{name}/q"], name=f"{name}/q")
        quantise.attribute.extend(node.attribute)
        node.input[0] = f"{name}/q"
        nodes += [quantise, node]
    if not added:
        return
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    read = {name for node in kept for name in node.input} | {entry.name for entry in proto.graph.output}
    tensors = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    tensors = [type(tensor).FromString(tensor.SerializeToString()) for tensor in tensors]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend([*tensors, *added.values()])


def weight_bytes(proto: onnx.ModelProto) -> int:
    """Bytes of the constants as an engine keeps them: one each for what is quantised, else as stored."""
    quantised = {node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    sizes = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
    return sum(
        math.prod(tensor.dims) * (1 if name in quantised else sizes.get(tensor.data_type, 1))
        for name, tensor in _constants(proto).items()
    )
