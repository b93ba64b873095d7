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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..errors import DeviceError, InputError, ModelError
from ..spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx

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

_GRID = ("heads", "heads5d")
_OLDEST = (10,)  # the first TensorRT with this kind of plugin
# What the plugin's kernels have room for.
_MAX_LEVELS = 8
_MAX_ANCHORS = 8
_MAX_DET = 30000


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
    conf: float = 0.25,
    iou: float = 0.65,
    max_det: int = 300,
    max_candidates: int = 30000,
    agnostic: bool = False,
    nms: str = "iou",
    shapes: Shapes | None = None,
    library: Library | None = None,
) -> Grafted:
    """Append decode and NMS to a network.

    Args:
        model: the network; not changed.
        spec: how to read its outputs; by default what its metadata says.
        conf: least score of a pose, 0 to 1.
        iou: similarity above which the weaker of two poses goes, 0 to 1.
        max_det: most poses per image, and the length of the outputs.
        max_candidates: candidates, best first, that are compared.
        agnostic: let poses of different classes suppress each other.
        nms: ``iou`` or ``oks`` (the spec needs sigmas), what makes two poses alike.
        shapes: the input shapes the engine is for; only layouts without a grid need a fixed one, to know where the
            picture ends. By default what the graph says.
        library: what the engine will be built with; given, it is refused if it has no plugins, and the plugin is
            loaded into it.

    Raises:
        InputError: an argument is out of its range, or the library has no such plugins.
        ModelError: the outputs of the network are not what the spec says.
        DeviceError: the plugin's library is not there or does not load.
    """
    helper: Any = require("onnx", package="onnx", extra="build", purpose="nms_in_engine").helper
    for name, value in (("conf", conf), ("iou", iou)):
        if not 0 <= value <= 1:
            raise InputError(f"{name} {value} must lie between 0 and 1")
    if not 1 <= max_det <= _MAX_DET:
        raise InputError(f"max_det {max_det} must lie between 1 and {_MAX_DET}")
    if not 1 <= max_candidates < 1 << 30:
        raise InputError(f"max_candidates {max_candidates} must be at least 1")
    if nms not in ("iou", "oks"):
        raise InputError(f"nms {nms!r} is not one of iou, oks")
    if spec is None:
        texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
        if not texts:
            raise ModelError(f"{model.graph.name or 'the network'}: carries no model spec; give one")
        spec = ModelSpec.from_json(texts[0], source=model.graph.name or "the network")
    name = spec.name or model.graph.name or "the network"
    if nms == "oks" and not spec.sigmas:
        raise ModelError(f"{name}: NMS by OKS needs sigmas in the model spec, which has none; add them or use iou")
    if SPEC_KEY in spec.extra:
        raise ModelError(f"{name}: has decode and NMS inside already")
    if library is not None:
        load_plugin(library)

    result: onnx.ModelProto = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    heads = _heads(graph, spec, name)
    taken = {tensor for node in graph.node for tensor in node.output}
    taken |= {entry.name for entry in (*graph.input, *graph.initializer)}
    for output in OUTPUTS:
        if output in taken:
            raise ModelError(f"{name}: a tensor of the graph is called {output}, as an output of the plugin would be")

    attributes: dict[str, Any] = {
        "plugin_version": PLUGIN_VERSION,
        "plugin_namespace": "",
        "layout": spec.layout,
        "num_classes": spec.classes,
        "num_keypoints": spec.keypoints,
        "keypoint_dims": spec.kpt_shape[1],
        "imgsz": list(_imgsz(graph, spec, shapes, name)),
        "conf": float(conf),
        "iou": float(iou),
        "max_det": max_det,
        "max_candidates": max_candidates,
        "agnostic": int(agnostic),
        "nms": nms,
    }
    # The parser warns of every attribute that a node lacks, and cannot take empty ones.
    if spec.layout in _GRID:
        attributes["strides"] = list(spec.strides)
        attributes["anchors"] = [float(side) for level in spec.anchors for pair in level for side in pair]
    if spec.sigmas:
        attributes["sigmas"] = [float(sigma) for sigma in spec.sigmas]
    graph.node.append(helper.make_node(PLUGIN, heads, list(OUTPUTS), name=PLUGIN, domain=DOMAIN, **attributes))
    if not any(entry.domain == DOMAIN for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid(DOMAIN, 1))

    batch = _batch(graph)
    float32, int32 = 1, 6  # TensorProto.FLOAT, .INT32
    # What was said of the heads stays true, and inference does not find all of it again.
    described = {entry.name for entry in graph.value_info}
    graph.value_info.extend(entry for entry in graph.output if entry.name not in described)
    del graph.output[:]
    for output, kind, dims in zip(
        OUTPUTS,
        (int32, float32, float32, int32, float32),
        ([1], [max_det, 4], [max_det], [max_det], [max_det, spec.keypoints, 3]),
        strict=True,
    ):
        graph.output.append(helper.make_tensor_value_info(output, kind, [batch, *dims]))

    frozen = {
        "plugin": f"{PLUGIN}/{PLUGIN_VERSION}",
        "conf": float(conf),
        "iou": float(iou),
        "max_det": max_det,
        "max_candidates": max_candidates,
        "agnostic": bool(agnostic),
        "similarity": nms,
    }
    after = dataclasses.replace(spec, outputs=OUTPUTS, extra={**spec.extra, SPEC_KEY: frozen})
    for entry in result.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = after.to_json()
            break
    else:
        result.metadata_props.add(key=METADATA_KEY, value=after.to_json())
    return Grafted(result, after)


def _heads(graph: onnx.GraphProto, spec: ModelSpec, name: str) -> list[str]:
    """The tensors the plugin reads, in the order of the strides."""
    outputs = {entry.name: entry for entry in graph.output}
    count = len(spec.strides) if spec.layout in _GRID else 1
    if count > _MAX_LEVELS or spec.anchors_per_cell > _MAX_ANCHORS:
        raise ModelError(
            f"{name}: {count} heads of {spec.anchors_per_cell} anchors; at most {_MAX_LEVELS} of {_MAX_ANCHORS} fit"
        )
    heads = list(spec.outputs[:count] or list(outputs)[:count])
    missing = [head for head in heads if head not in outputs]
    if missing or len(heads) != count:
        raise ModelError(
            f"{name}: the graph's outputs are {', '.join(outputs) or 'none'}, where layout {spec.layout} needs "
            f"{', '.join(missing) or count}; check the model spec"
        )
    points = spec.keypoints * spec.kpt_shape[1]
    channels = {
        "heads": (4, 1, spec.anchors_per_cell * spec.fields),
        "heads5d": (5, 4, spec.fields),
        "decoded": (3, 2, spec.fields),
        "channels_first": (3, 1, 4 + spec.classes + points),
        "final": (3, 2, 6 + points),
    }
    rank, axis, expected = channels[spec.layout]
    for head in heads:
        kind = outputs[head].type.tensor_type
        if kind.elem_type not in (0, 1, 10):  # unknown, FLOAT, FLOAT16
            raise ModelError(f"{name}: output {head} is neither float32 nor float16")
        if not kind.HasField("shape"):
            continue
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        if len(dims) != rank or dims[axis] not in (-1, expected):
            shown = "x".join("?" if dim < 0 else str(dim) for dim in dims)
            raise ModelError(
                f"{name}: output {head} is {shown}, layout {spec.layout} of {spec.classes} class(es) and "
                f"{spec.keypoints} keypoints has {expected} in dimension {axis}; check the model spec"
            )
    return heads


def _imgsz(graph: onnx.GraphProto, spec: ModelSpec, shapes: Shapes | None, name: str) -> tuple[int, int]:
    """Height and width of the input. Heads on a grid say by themselves how large it is."""
    if shapes is not None and shapes.imgsz.fixed:
        height, width = shapes.imgsz.best
        return int(height), int(width)
    dims = graph.input[0].type.tensor_type.shape.dim if graph.input else []
    if shapes is None and len(dims) == 4 and dims[2].dim_value > 0 and dims[3].dim_value > 0:
        return int(dims[2].dim_value), int(dims[3].dim_value)
    if spec.layout in _GRID:
        return spec.imgsz
    raise ModelError(
        f"{name}: layout {spec.layout} does not say how large the input is, and the plugin must know; build it for one "
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
