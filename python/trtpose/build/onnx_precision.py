# SPDX-License-Identifier: Apache-2.0
"""The second step of a build: the precision asked for, put into the ONNX."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelError
from ..formats import onnx_file
from ..formats.onnx_file import OnnxBytes
from . import onnx_model
from .options import Options
from .resolve import Resolved

if TYPE_CHECKING:
    import onnx

__all__ = ["TypedNetwork", "put_precision_in"]

Say = Callable[[str], None]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class TypedNetwork:
    """A graph of the precision asked for, ready for the parser.

    Attributes:
        onnx: the graph, serialised.
        nodes: names of its nodes, in order.
        keep: names of the nodes to compute in FP32, which TensorRT 8 is told apart from the graph.
        fields: the model spec of its outputs, as JSON values.
        plugins: name and version of what must be loaded before the engine is.
        weights: bytes of its constants as an engine keeps them.
    """

    onnx: OnnxBytes = field(repr=False)
    nodes: list[str] = field(repr=False)
    keep: tuple[str, ...]
    fields: dict[str, Any] = field(repr=False)
    plugins: list[str]
    weights: int


def put_precision_in(
    resolved: Resolved, options: Options, *, report: Say, progress: Progress | None = None
) -> TypedNetwork:
    """Quantise where INT8 is asked, convert to FP16 where that is, and append decode and NMS where they go in.

    Raises:
        ModelError: the graph is not what was asked, or cannot be made so.
        InputError: an option does not fit the graph.
    """
    model, library = resolved.model, resolved.library
    proto = _in_int8_or_float(resolved, options, report, progress)
    _name_nodes(proto)
    proto, keep = _in_half(model.path, proto, options, report, strongly_typed=library.strongly_typed)
    fields, plugins = model.fields, list[str]()
    if options.nms_in_engine:
        from .graft import graft

        grafted = graft(proto, model.spec, thresholds=options.thresholds, shapes=resolved.shapes, library=library)
        proto, fields, plugins = grafted.model, grafted.spec.to_dict(), list(grafted.plugins)
    return TypedNetwork(
        onnx=onnx_file.checked(proto, str(model.path)),
        nodes=[node.name for node in proto.graph.node],
        keep=keep,
        fields=fields,
        plugins=plugins,
        weights=onnx_model.weight_bytes(proto),
    )


def _in_int8_or_float(resolved: Resolved, options: Options, report: Say, progress: Progress | None) -> onnx.ModelProto:
    """The graph, with Q/DQ pairs that the library reads where INT8 is asked."""
    model, strongly_typed = resolved.model, resolved.library.strongly_typed
    proto, asked = model.proto, options.precision
    quantised = onnx_model.is_quantised(proto)
    if quantised and options.calib is not None:
        raise InputError(f"{model.path}: has Q/DQ pairs and needs no calibration; leave --calib out")
    if quantised and asked != "int8":
        if onnx_model.has_whole_weights_alone(proto):
            raise ModelError(
                f"{model.path}: its weights are whole numbers, and nothing else of it is; write a copy whose weights "
                f"are plain and give that: trtpose export {shlex.quote(str(model.path))} (Lightweight OpenPose's; of "
                "another family give the float network that it was made from)"
            )
        raise ModelError(
            f"{model.path}: its Q/DQ pairs make it INT8, and {asked} was asked; use --int8, or give the ONNX it "
            "was quantised from"
        )
    if asked != "int8":
        if options.calib is not None:
            raise InputError(f"{model.path}: --calib is for --int8, and {asked} was asked")
        return proto
    if not quantised:
        if options.calib is None:
            raise InputError(
                f"{model.path}: INT8 needs ranges, and it has no Q/DQ pairs; give a folder of pictures with --calib, "
                "or quantise it with: trtpose quantize"
            )
        proto = _quantise(resolved, options.calib, options, report, progress)
    onnx_model.refuse_unfit_pairs(model.path, proto, float_scales=not strongly_typed)
    onnx_model.store_weights(proto, as_int8=strongly_typed)
    return proto


def _quantise(
    resolved: Resolved, calib: Path, options: Options, say: Say, progress: Progress | None
) -> onnx.ModelProto:
    from ..quantize import quantize

    model, shapes = resolved.model, resolved.shapes

    def step(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done / max(total, 1))

    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        proto = quantize(
            model.path,
            calib,
            output=Path(folder) / "int8.onnx",
            spec=model.spec,
            imgsz=None if min(model.shape[2:]) > 0 else shapes.imgsz.best,
            keep=list(options.keep),
            report=say,
            progress=step,
            on_error=lambda error: say(f"left out: {error}"),
        ).model
    onnx_model.write_shapes(proto, model.input, shapes)
    return proto


def _name_nodes(proto: onnx.ModelProto) -> None:
    """Layers are known by the names of their nodes, in what is kept in FP32 as in errors."""
    for node in proto.graph.node:
        if not node.name and node.output:
            node.name = f"{node.op_type}/{node.output[0]}"


def _in_half(
    path: Path, proto: onnx.ModelProto, options: Options, report: Say, *, strongly_typed: bool
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The graph in FP16, or, for TensorRT 8, as it is; and the nodes that keep FP32."""
    if options.precision == "fp32":
        return proto, ()
    if onnx_model.is_half(proto):
        if not strongly_typed:
            report(f"{path}: is FP16 already; TensorRT 8 decides by itself which layers keep FP32")
        return proto, ()
    from ..quantize.fp16 import to_fp16

    half = to_fp16(proto, keep=options.keep)
    return half.model if strongly_typed else proto, tuple(half.kept)
