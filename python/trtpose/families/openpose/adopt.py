# SPDX-License-Identifier: Apache-2.0
"""Adopting Lightweight OpenPose as its own script, Open Model Zoo and others write it.

The maps are paired by their channels and cut back to the last stage's. Weights that are kept as whole numbers become
the numbers they stand for, and sums behind a convolution its bias, so that FP16 and INT8 find the convolutions they
know. What the graph does to its picture is looked at: normalised inside, or fed normalised.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ... import _files, _run
from ..._kinds import ONNX
from ...errors import ModelError
from ...formats import onnx_file
from ...formats.metadata import find_spec, metadata, stated_spec
from ...formats.onnx_runner import Runner, sample_pictures
from ...skeletons import known_skeleton
from ...spec import METADATA_KEY, ModelSpec
from ..family import Exported, quiet
from . import topology

__all__ = ["adopt"]

Array = NDArray[np.float32]

_GREY = 128  # of the border, which the network shall see as nothing
# Weights as numbers of their own instead of products that the runtime makes: the same multiplication.
_SAME = 1e-5


def adopt(
    path: Path,
    output: Path,
    *,
    spec: ModelSpec | None = None,
    arch: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Write a copy of an ONNX that carries a model spec and gives the last stage's maps alone.

    Args:
        path: the ONNX file, float32, batch and size fixed or open.
        output: another file to write.
        spec: what is known of it; without it the spec is taken from the file or worked out.
        arch: ``openpose`` says that maps nobody named are Lightweight OpenPose's.
        report: called with a line of text as the work goes on.

    Raises:
        ModelError: the file cannot be read or is not recognised and nothing says what it is.
        InputError: ``output`` cannot be written or is the source.
    """
    say = report or quiet
    _run.reads_model(path)
    _files.check_writable(output, ONNX)
    original = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    stated = {entry.key: entry.value for entry in original.metadata_props}
    known = spec or stated_spec(stated, str(path))
    described = _spec(path, original, known, arch)
    if known is None:
        _check_feeding(path, original, described)
    model = copy.deepcopy(original)
    done = ["cut " + path.name + " back to its last stage's maps" if _keep(model, described) else ""]
    folded = _fold_weights(model)
    done.append(f"made {folded} weights of whole numbers what they stand for" if folded else "")
    biases = _fold_biases(model)
    done.append(f"made {biases} sums biases of the convolutions before them" if biases else "")
    say("comparing the maps with the original's")
    worst = _difference(path, original, model, described)
    action = ", ".join(part for part in done if part) or f"left the graph of {path.name} as it is"
    _files.write_bytes(output, _with_spec(model, described, path, stated).data)
    find_spec(output)
    return Exported(output, described, action + ", and added the spec", (f"maps against the original: {worst:.1e}",))


def _spec(path: Path, model: onnx.ModelProto, known: ModelSpec | None, arch: str | None) -> ModelSpec:
    by_name = known is not None or arch is None
    found = find_spec(path, known if by_name else _by_channels(path, model))
    fields = dict(found.fields)
    skeleton = known_skeleton(found.spec.names, found.spec.keypoints, found.spec.kpt_names)
    if skeleton is not None:
        plain = {
            "kpt_names": list(skeleton.names),
            "skeleton": [list(edge) for edge in skeleton.edges],
            "sigmas": list(skeleton.sigmas),
            "flip_idx": list(skeleton.flip),
        }
        fields = {**fields, **{key: value for key, value in plain.items() if not fields.get(key)}}
    return ModelSpec.from_dict(fields, source=str(path))


def _by_channels(path: Path, model: onnx.ModelProto) -> ModelSpec:
    """The spec of Lightweight OpenPose's maps under any names."""
    widths = {value.name: _dims(value)[1] for value in model.graph.output if len(_dims(value)) == 4}
    last = {width: name for name, width in widths.items()}  # of equal ones the last
    channels = (topology.MAPS + 1, 2 * len(topology.LIMBS))
    if any(width not in last for width in channels):
        shown = ", ".join(f"{value.name} {_dims(value)}" for value in model.graph.output)
        raise ModelError(
            f"{path}: Lightweight OpenPose has maps of {channels[0]} and {channels[1]} channels, this file has {shown}"
        )
    inside = _arithmetic(model) is not None
    sides = _dims(_picture(model))[2:]
    fields = {
        "family": "openpose",
        "name": path.stem,
        "imgsz": [side or min(topology.IMGSZ) for side in sides],
        "strides": [topology.STRIDE],
        "outputs": [last[width] for width in channels],
        "names": ["person"],
        "kpt_shape": [len(topology.fields()["keypoint_maps"]), 3],
        "color": "bgr",
        "mean": [0 if inside else _GREY] * 3,
        "std": [1 if inside else 256] * 3,
        "pad": _GREY,
        "sizing": "height",
        **topology.fields(),
    }
    spec = ModelSpec.from_dict(fields, source=str(path))
    _check_feeding(path, model, spec)
    return spec


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _picture(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {value.name for value in model.graph.initializer}
    return next(value for value in model.graph.input if value.name not in constants)


def _constants(model: onnx.ModelProto) -> dict[str, Any]:
    values = {value.name: value for value in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    values[node.output[0]] = attribute.t
    return values


def _arithmetic(model: onnx.ModelProto) -> tuple[float, float] | None:
    """Factor and offset of what the graph does to each number of its picture first; None where it does nothing."""
    values = _constants(model)
    factor, offset, name = 1.0, 0.0, _picture(model).name
    found = False
    while True:
        takers = [node for node in model.graph.node if name in node.input]
        if len(takers) != 1 or takers[0].op_type not in ("Mul", "Div", "Add", "Sub"):
            return (factor, offset) if found else None
        node = takers[0]
        other = [part for part in node.input if part != name]
        if len(other) != 1 or other[0] not in values or (node.input[0] != name and node.op_type in ("Div", "Sub")):
            return (factor, offset) if found else None
        numbers = np.asarray(onnx.numpy_helper.to_array(values[other[0]]), np.float64)
        if numbers.size == 0 or np.ptp(numbers) > 1e-6 * np.abs(numbers).max():
            return (float("nan"), float("nan"))  # a factor for each colour
        number = float(numbers.flat[0])
        if node.op_type in ("Mul", "Div"):
            scale = number if node.op_type == "Mul" else 1 / number
            factor, offset = factor * scale, offset * scale
        else:
            offset += number if node.op_type == "Add" else -number
        found, name = True, node.output[0]


def _check_feeding(path: Path, model: onnx.ModelProto, spec: ModelSpec) -> None:
    """See that the network gets what it was trained on: about -0.5 to 0.5, grey as nothing."""
    factor, offset = _arithmetic(model) or (1.0, 0.0)
    low, grey, high = (factor * (value - spec.mean[0]) / spec.std[0] + offset for value in (0, _GREY, 255))
    if not (abs(low + 0.5) < 0.02 and abs(grey) < 0.02 and abs(high - 0.5) < 0.02):
        raise ModelError(
            f"{path}: of pictures from 0 to 255 it would see {low:.3g} to {high:.3g}, where Lightweight OpenPose sees "
            "-0.5 to 0.5; give the model spec with --spec FILE, whose mean and std say how it is fed"
        )


def _keep(model: onnx.ModelProto, spec: ModelSpec) -> bool:
    """Leave the outputs that are read, in the spec's order. Whether there were others."""
    by_name = {value.name: value for value in model.graph.output}
    kept = [by_name[name] for name in spec.outputs] if spec.outputs else list(model.graph.output)
    more = len(kept) < len(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    needed = {value.name for value in kept}
    nodes = []
    for node in reversed(list(model.graph.node)):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [value for value in model.graph.initializer if value.name in needed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(constants)
    return more


def _fold_weights(model: onnx.ModelProto) -> int:
    """Make weights behind a DequantizeLinear plain ones, as no library needs to be asked what it makes of them; how
    many."""
    values = _constants(model)
    folded: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or any(name not in values for name in node.input if name):
            continue
        numbers, scale = (onnx.numpy_helper.to_array(values[name]) for name in node.input[:2])
        zero = onnx.numpy_helper.to_array(values[node.input[2]]) if len(node.input) > 2 and node.input[2] else 0
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if attributes.get("block_size") or scale.dtype != np.float32:
            continue
        axis = int(attributes.get("axis", 1))
        spread = [-1 if dim == axis % numbers.ndim else 1 for dim in range(numbers.ndim)] if scale.size > 1 else []
        whole = numbers.astype(np.int32) - np.reshape(np.asarray(zero, np.int32), spread if np.size(zero) > 1 else [])
        plain = whole.astype(np.float32) * np.reshape(scale, spread)
        folded[node.output[0]] = onnx.numpy_helper.from_array(plain.astype(np.float32), node.output[0])
    nodes = [node for node in model.graph.node if node.output[0] not in folded]
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    constants = [value for value in model.graph.initializer if value.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*constants, *folded.values()])
    return len(folded)


def _fold_biases(model: onnx.ModelProto) -> int:
    """Make what is added to each channel behind a convolution its bias; how many."""
    values = _constants(model)
    outputs = {value.name for value in model.graph.output}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, int] = {}
    for name in (name for node in model.graph.node for name in node.input):
        readers[name] = readers.get(name, 0) + 1
    gone: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Add" or len(constant := [name for name in node.input if name in values]) != 1:
            continue
        summed = next(name for name in node.input if name != constant[0])
        conv = makers.get(summed)
        if conv is None or conv.op_type != "Conv" or len(conv.input) != 2 or readers[summed] != 1 or summed in outputs:
            continue
        weights, numbers = values.get(conv.input[1]), onnx.numpy_helper.to_array(values[constant[0]])
        if weights is None or numbers.shape[-3:] != (weights.dims[0], 1, 1) or numbers.size != weights.dims[0]:
            continue
        bias = f"{conv.output[0]}/bias"
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers.reshape(-1).copy(), bias))
        conv.input.append(bias)
        conv.output[0] = node.output[0]
        gone.append(node)
    kept = [node for node in model.graph.node if not any(node is one for one in gone)]
    used = {name for node in kept for name in node.input}
    constants = [value for value in model.graph.initializer if value.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)
    return len(gone)


def _difference(path: Path, original: onnx.ModelProto, model: onnx.ModelProto, spec: ModelSpec) -> float:
    """How far the maps are from the original's at most.

    Raises:
        ModelError: further than rounding.
    """
    dims = _dims(_picture(model))
    shape = (dims[0] or 1, 3, dims[2] or 8 * topology.STRIDE, dims[3] or 9 * topology.STRIDE)
    worst = 0.0
    before, after = (Runner(onnx_file.checked(graph, str(path))) for graph in (original, model))
    for kind, picture in sample_pictures(shape, 0).items():
        fed = ((255 * picture - spec.mean[0]) / spec.std[0]).astype(np.float32)
        expected = dict(zip(before.outputs, before(fed), strict=True))
        for name, values in zip(after.outputs, after(fed), strict=True):
            difference = float(np.abs(values - expected[name]).max())
            worst = max(worst, difference)
            if not difference <= _SAME:
                raise ModelError(f"{path}: without its other outputs {name} differs by {difference:.1e} ({kind})")
    return worst


def _with_spec(model: onnx.ModelProto, spec: ModelSpec, path: Path, stated: dict[str, str]) -> onnx_file.OnnxBytes:
    """The model with the spec in its metadata; other metadata is kept."""
    dims = [side or None for side in _dims(_picture(model))]
    new = metadata(spec, (dims[0], dims[2], dims[3]), stated.get("license", "unknown: that of the source"))
    del model.metadata_props[:]
    for key, value in {**new, **{k: v for k, v in stated.items() if k != METADATA_KEY}}.items():
        model.metadata_props.add(key=key, value=value)
    return onnx_file.checked(model, str(path))
