# SPDX-License-Identifier: Apache-2.0
"""The float network that is to be quantised, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _files, _run
from .._checks import file_name, file_path
from .._kinds import ONNX
from .._sizes import parse_imgsz
from ..errors import InputError, ModelError
from ..formats import onnx_file
from ..formats import onnx_graph as graphs
from ..formats.metadata import find_spec
from ..formats.onnx_graph import Graph
from ..formats.opset import opset_of, raised
from ..spec import ModelSpec
from .placement import candidates

__all__ = ["METADATA", "Progress", "Say", "Source", "no_progress", "open_source", "silent", "target_for"]

_OPSET = 13  # the first one with a scale per channel
METADATA = "trtpose_int8"
"""Key of ``metadata_props`` under which a quantised file says how it was made."""

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def silent(_: str) -> None:
    """Tell nobody."""


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Source:
    """A float network that can be quantised.

    Attributes:
        path: its file.
        graph: its nodes, of an older operator set than INT8 can be written in raised to one that is new enough.
        spec: how to read its outputs.
        size: height and width of the input in pixels.
        digest: SHA-256 of the file with the weights of files beside it, hexadecimal.
    """

    path: Path
    graph: Graph
    spec: ModelSpec
    size: tuple[int, int]
    digest: str


def open_source(path: str | Path, spec: ModelSpec | Mapping[str, Any] | str | Path | None, imgsz: Any) -> Source:
    """Read and check the float network."""
    where = Path(file_name(path, "model", "the path of an ONNX model"))
    _run.reads_model(where)
    content = onnx_file.read(where)
    digest = hashlib.sha256(content.data).hexdigest()
    model = graphs.parsed(content)
    del content
    kinds = {node.op_type for node in model.graph.node}
    if "DequantizeLinear" in kinds and "QuantizeLinear" not in kinds:
        raise ModelError(
            f"{where}: its weights are whole numbers already; give the float network it was made from, or what trtpose "
            "export makes of it where that is Lightweight OpenPose's"
        )
    if kinds & {"QuantizeLinear", "DequantizeLinear"}:
        raise ModelError(f"{where}: is quantised already; give the float network it was made from")
    try:
        if opset_of(model) < _OPSET:
            model = raised(model, _OPSET, "a scale per channel")
        graph = Graph(model)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    if len(graph.inputs) != 1:
        raise ModelError(f"{where}: has {len(graph.inputs)} inputs, expected one, a batch of pictures")
    if not candidates(graph):
        raise ModelError(f"{where}: {_why_none(graph)}")
    known = find_spec(where, spec).spec
    return Source(where, graph, known, _input_size(where, graph, known, imgsz), digest)


def _input_size(where: Path, graph: Graph, spec: ModelSpec, imgsz: Any) -> tuple[int, int]:
    """Height and width: the file's where it states them, else those asked for, else the spec's."""
    entries = graph.model.graph.input
    dims = next(entry for entry in entries if entry.name == graph.inputs[0]).type.tensor_type.shape.dim
    if len(dims) != 4:
        raise ModelError(f"{where}: the input has {len(dims)} dimensions, expected a batch of pictures with 4")
    fixed = (dims[2].dim_value, dims[3].dim_value)
    asked = parse_imgsz(imgsz)
    if min(fixed) > 0:
        if asked not in ((0, 0), fixed):
            raise InputError(f"{where}: the network is made for {fixed[0]}x{fixed[1]} pixels; leave imgsz out")
        size = fixed
    else:
        size = spec.imgsz if asked == (0, 0) else asked
    if size[0] % spec.max_stride or size[1] % spec.max_stride:
        raise InputError(f"imgsz {size[0]}x{size[1]}: the network needs multiples of {spec.max_stride}")
    return size[0], size[1]


def target_for(source: Source, output: str | Path | None, ending: str) -> Path:
    """Where to write: ``output``, else the network's name with ``ending``.

    Raises:
        InputError: that is the float network itself or another input, or cannot be written.
    """
    target = file_path(output, "output") if output is not None else source.path.with_name(f"{source.path.stem}{ending}")
    _files.check_writable(target, ONNX)
    return target


def _why_none(graph: Graph) -> str:
    kinds = {node.op_type for node in graph.nodes}
    if not kinds & {"Conv"}:
        return "has no convolution, so there is nothing to quantise"
    half = 10  # TensorProto.FLOAT16
    if any(tensor.data_type == half for tensor in graph.constants.values()):
        return "computes in FP16 already; give the float32 network it was made from"
    return "no convolution has constant float32 weights outside the raw heads, so there is nothing to quantise"
