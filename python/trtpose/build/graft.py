# SPDX-License-Identifier: Apache-2.0
"""Decode and NMS inside the engine: the node of trtpose's TensorRT plugin appended to an ONNX graph.

For programs that run engines by themselves (trtexec, Triton, DeepStream); see ``docs/plugin.md``. Thresholds become
part of the engine. :class:`trtpose.Engine` does not run such engines: it has the same operations outside, where
thresholds are arguments of every call.
"""

from __future__ import annotations

import dataclasses
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..errors import DeviceError, InputError, ModelError
from ..families.registry import family_of
from ..formats.metadata import stated_spec
from ..spec import METADATA_KEY, ModelSpec
from ..thresholds import ThresholdChanges, Thresholds

if TYPE_CHECKING:
    import onnx
    from typing_extensions import Unpack

    from ..families.family import Heads
    from .onnx_model import Shapes
    from .tensorrt_api import Library

__all__ = [
    "DOMAIN",
    "OUTPUTS",
    "PLUGIN",
    "PLUGIN_VERSION",
    "SPEC_KEY",
    "Grafted",
    "find_plugin",
    "graft",
    "load_plugin",
]

PLUGIN = "trtpose_decode_nms"
PLUGIN_VERSION = "1"
DOMAIN = "trt.plugins"
"""Domain of the node. TensorRT's parser goes by the name alone; ONNX and ONNX Runtime want custom nodes in a domain of
their own, and this is the one under which ONNX Runtime offers TensorRT's plugins."""
OUTPUTS = ("num_dets", "boxes", "scores", "classes", "keypoints")
SPEC_KEY = "nms"
"""Key of the spec that a grafted network has and others have not: what was frozen into it."""

_OLDEST = (10,)  # the first TensorRT with this kind of plugin
# What the plugin's kernels have room for.
_MAX_LEVELS = 8
_MAX_ANCHORS = 8


@dataclass(frozen=True)
class Grafted:
    """A network with decode and NMS inside.

    Attributes:
        model: the ONNX. Its outputs are :data:`OUTPUTS`: int32 N x 1; float32 N x D x 4 (x1, y1, x2, y2 in input
            pixels); N x D; int32 N x D; N x D x K x 3 (x, y in input pixels, confidence). D is ``max_det``; beyond an
            image's number of poses there are zeros.
        spec: the network's own, with :data:`OUTPUTS` for outputs and what was frozen under :data:`SPEC_KEY`.
        plugins: name and version of what must be loaded before the engine is.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    plugins: tuple[str, ...] = (f"{PLUGIN}/{PLUGIN_VERSION}",)


def graft(
    model: onnx.ModelProto,
    spec: ModelSpec | None = None,
    *,
    thresholds: Thresholds | None = None,
    max_candidates: int = 30000,
    shapes: Shapes | None = None,
    library: Library | None = None,
    **changes: Unpack[ThresholdChanges],
) -> Grafted:
    """Append decode and NMS to a network.

    Args:
        model: the network; not changed.
        spec: how to read its outputs; by default what its metadata says.
        thresholds: which poses are kept; ``max_det`` is the length of the outputs.
        max_candidates: candidates, best first, that are compared.
        shapes: the input shapes the engine is for; only layouts without a grid need a fixed one, to know where the
            picture ends. By default what the graph says.
        library: what the engine will be built with; given, it is refused if it has no plugins, and the plugin is
            loaded into it.
        changes: fields of :class:`trtpose.Thresholds` as keyword arguments, such as ``conf=0.3``.

    Raises:
        InputError: an argument is out of its range, or the library has no such plugins.
        ModelError: the outputs of the network are not what the spec says.
        DeviceError: the plugin's library is not there or does not load.
    """
    require("onnx", package="onnx", extra="build", purpose="nms_in_engine")
    kept = (thresholds or Thresholds()).changed(changes)
    if not 1 <= max_candidates < 1 << 30:
        raise InputError(f"max_candidates {max_candidates} must be at least 1")
    if spec is None:
        spec = _stated_spec(model)
    name = spec.name or model.graph.name or "the network"
    if kept.nms == "oks" and not spec.sigmas:
        raise ModelError(f"{name}: NMS by OKS needs sigmas in the model spec, which has none; add them or use iou")
    if SPEC_KEY in spec.extra:
        raise ModelError(f"{name}: has decode and NMS inside already")
    if library is not None:
        load_plugin(library)

    result: onnx.ModelProto = type(model)()
    result.CopyFrom(model)
    heads = _renamed(result.graph, _heads(result.graph, spec, name))
    _refuse_taken_names(result.graph, name)
    frozen = {**dataclasses.asdict(kept), "conf": float(kept.conf), "iou": float(kept.iou)}
    sized = dataclasses.replace(spec, imgsz=_imgsz(result.graph, spec, shapes, name))
    _append_node(result, heads, {"spec": sized.to_json(), **frozen, "max_candidates": max_candidates})
    _replace_outputs(result.graph, kept.max_det, spec.keypoints)
    similarity = frozen.pop("nms")
    stated = {
        "plugin": f"{PLUGIN}/{PLUGIN_VERSION}",
        **frozen,
        "max_candidates": max_candidates,
        "similarity": similarity,
    }
    after = dataclasses.replace(spec, outputs=OUTPUTS, extra={**spec.extra, SPEC_KEY: stated})
    _write_spec(result, after)
    return Grafted(result, after)


def _stated_spec(model: onnx.ModelProto) -> ModelSpec:
    name = model.graph.name or "the network"
    spec = stated_spec({entry.key: entry.value for entry in model.metadata_props}, name)
    if spec is None:
        raise ModelError(f"{name}: carries no model spec; give one")
    return spec


def _renamed(graph: onnx.GraphProto, heads: list[str]) -> list[str]:
    """The heads, of which none is called as an output of the plugin is."""
    names = {head: f"network_{head}" if head in OUTPUTS else head for head in heads}
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    for entry in (*graph.output, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)
    return [names[head] for head in heads]


def _refuse_taken_names(graph: onnx.GraphProto, name: str) -> None:
    taken = {tensor for node in graph.node for tensor in node.output}
    taken |= {entry.name for entry in (*graph.input, *graph.initializer)}
    for output in OUTPUTS:
        if output in taken:
            raise ModelError(f"{name}: a tensor of the graph is called {output}, as an output of the plugin would be")


def _append_node(model: onnx.ModelProto, heads: list[str], attributes: dict[str, Any]) -> None:
    from onnx import helper

    node = helper.make_node(
        PLUGIN,
        heads,
        list(OUTPUTS),
        name=PLUGIN,
        domain=DOMAIN,
        plugin_version=PLUGIN_VERSION,
        plugin_namespace="",
        **attributes,
    )
    model.graph.node.append(node)
    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _replace_outputs(graph: onnx.GraphProto, max_det: int, keypoints: int) -> None:
    """Give the graph the plugin's outputs in place of the heads."""
    from onnx import helper

    batch = _batch(graph)
    float32, int32 = 1, 6  # TensorProto.FLOAT, .INT32
    # What was said of the heads stays true, and inference does not find all of it again.
    described = {entry.name for entry in graph.value_info}
    graph.value_info.extend(entry for entry in graph.output if entry.name not in described)
    del graph.output[:]
    for output, kind, dims in zip(
        OUTPUTS,
        (int32, float32, float32, int32, float32),
        ([1], [max_det, 4], [max_det], [max_det], [max_det, keypoints, 3]),
        strict=True,
    ):
        graph.output.append(helper.make_tensor_value_info(output, kind, [batch, *dims]))


def _write_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = spec.to_json()
            return
    model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())


def _heads(graph: onnx.GraphProto, spec: ModelSpec, name: str) -> list[str]:
    """The tensors the plugin reads, in the order of the strides."""
    outputs = {entry.name: entry for entry in graph.output}
    expected = family_of(spec).heads(spec)
    if expected.count > _MAX_LEVELS or spec.anchors_per_cell > _MAX_ANCHORS:
        raise ModelError(
            f"{name}: {expected.count} heads of {spec.anchors_per_cell} anchors; at most {_MAX_LEVELS} of "
            f"{_MAX_ANCHORS} fit"
        )
    heads = list(spec.outputs[: expected.count] or list(outputs)[: expected.count])
    missing = [head for head in heads if head not in outputs]
    if missing or len(heads) != expected.count:
        raise ModelError(
            f"{name}: the graph's outputs are {', '.join(outputs) or 'none'}, where {_reading(spec)} needs "
            f"{', '.join(missing) or expected.count}; check the model spec"
        )
    for index, head in enumerate(heads):
        kind = outputs[head].type.tensor_type
        if kind.elem_type not in (0, 1, 10):  # unknown, FLOAT, FLOAT16
            raise ModelError(f"{name}: output {head} is neither float32 nor float16")
        if not kind.HasField("shape"):
            continue
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        _check_head(f"{name}: output {head}", dims, expected, index, spec)
    return heads


def _reading(spec: ModelSpec) -> str:
    """What the outputs are read as."""
    return f"layout {spec.layout}" if spec.layout else f"family {spec.family}"


def _shown(dims: Sequence[int]) -> str:
    return "x".join("?" if dim < 0 else str(dim) for dim in dims)


def _check_head(what: str, dims: list[int], expected: Heads, index: int, spec: ModelSpec) -> None:
    """See that an output is one that the plugin reads."""
    whose = f"{_reading(spec)} of {spec.classes} class(es) and {spec.keypoints} keypoints"
    if expected.shapes:
        wanted = expected.shapes[index]
        pairs = zip(dims, wanted, strict=True) if len(dims) == len(wanted) else [(0, 1)]
        if any(-1 not in (one, other) and one != other for one, other in pairs):
            raise ModelError(f"{what} is {_shown(dims)}, {whose} has {_shown(wanted)}; check the model spec")
    elif len(dims) != expected.rank or dims[expected.axis] not in (-1, expected.width):
        raise ModelError(
            f"{what} is {_shown(dims)}, {whose} has {expected.width} in dimension {expected.axis}; check the model spec"
        )


def _imgsz(graph: onnx.GraphProto, spec: ModelSpec, shapes: Shapes | None, name: str) -> tuple[int, int]:
    """Height and width of the input. Heads on a grid say by themselves how large it is."""
    if shapes is not None and shapes.imgsz.fixed:
        height, width = shapes.imgsz.best
        return int(height), int(width)
    dims = graph.input[0].type.tensor_type.shape.dim if graph.input else []
    if shapes is None and len(dims) == 4 and dims[2].dim_value > 0 and dims[3].dim_value > 0:
        return int(dims[2].dim_value), int(dims[3].dim_value)
    if family_of(spec).heads(spec).sized:
        return spec.imgsz
    raise ModelError(
        f"{name}: {_reading(spec)} does not say how large the input is, and the plugin must know; build it for one "
        "size, or export raw heads"
    )


def _batch(graph: onnx.GraphProto) -> int | str:
    """The first dimension of the input."""
    dims = graph.input[0].type.tensor_type.shape.dim if graph.input else []
    if len(dims) and dims[0].dim_value > 0:
        return int(dims[0].dim_value)
    return str(dims[0].dim_param or "batch") if len(dims) else "batch"


# --- The library ------------------------------------------------------------------------------------------------------


def _places(file: str) -> Iterator[Path]:
    given = os.environ.get("TRTPOSE_PLUGIN")
    if given:
        yield Path(given)
        return
    yield Path(__file__).resolve().parent.parent / "lib" / file
    folders = [sysconfig.get_config_var("LIBDIR"), "/usr/local/lib", "/usr/lib"]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for folder in folders:
        if folder:
            yield Path(folder) / file


def find_plugin(major: int) -> Path:
    """The plugin's library for a major version of TensorRT: ``$TRTPOSE_PLUGIN``, else in the package, else where the
    system keeps libraries.

    Raises:
        DeviceError: there is none; the message says where it comes from.
    """
    file = f"libtrtpose_plugin{major}.so"
    for place in _places(file):
        if place.is_file():
            return place
    given = os.environ.get("TRTPOSE_PLUGIN")
    where = f"{given} (TRTPOSE_PLUGIN) does not exist" if given else f"{file} was not found"
    raise DeviceError(
        f"nms_in_engine needs trtpose's TensorRT plugin, and {where}; build it with CMake and "
        "-DTRTPOSE_TENSORRT_INCLUDE_DIR=<folder of NvInfer.h>, and name it with TRTPOSE_PLUGIN"
    )


def load_plugin(library: Library) -> None:
    """Make the plugin known to a TensorRT that is to parse or run a grafted network.

    Raises:
        InputError: that TensorRT has no such plugins.
        DeviceError: the plugin's library is not there or does not load.
    """
    if library.runtime == "rtx":
        # Its builder has no layer for plugins, and its parser ends the process over one it knows.
        raise InputError(
            f"{library.title} has no plugins, which nms_in_engine needs; build with --runtime tensorrt, or leave "
            "--nms-in-engine out: trtpose then does NMS behind the engine"
        )
    if library.release < _OLDEST:
        raise InputError(
            f"{library.title} has no plugins of this kind, which nms_in_engine needs; they came with TensorRT 10"
        )
    registry = library.trt.get_plugin_registry()
    known = [(creator.name, creator.plugin_version) for creator in registry.all_creators]
    if (PLUGIN, PLUGIN_VERSION) in known:
        return
    path = find_plugin(library.release[0])
    if registry.load_library(str(path)) is None:
        raise DeviceError(
            f"{path}: {library.title} does not load it; the plugin must be built with the headers of that major "
            "version and with a CUDA that the driver knows"
        )
