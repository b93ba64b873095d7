# SPDX-License-Identifier: Apache-2.0
"""Adopting an ONNX that another exporter wrote: back to raw heads where its decode tail is recognised, and described.

The tail is found by structure, not by names (``formats/grid_heads.py``). Anchors, classes and keypoints are then
worked out from what the graph computes, and the cut is kept only if decoding the heads gives the original's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ... import _files, _run
from ..._kinds import ONNX
from ...errors import ModelError
from ...formats import onnx_file
from ...formats.grid_heads import GridHeads, describe, find_heads, metadata_of, picture_of
from ...formats.metadata import find_spec, stated_spec
from ...formats.onnx_runner import Runner
from ...skeletons import known_skeleton
from ...spec import ModelSpec
from ..family import Exported, quiet
from . import verify as proof
from .catalogue import lookup
from .layouts import LAYOUTS, heads

__all__ = ["adopt"]

Array = NDArray[np.float32]

# The original's own float32 decode differs from ours by the order of operations only; pixels reach some thousands.
_TOLERANCE = 2e-6
_FLOOR = 2e-3


def adopt(
    path: Path,
    output: Path,
    *,
    spec: ModelSpec | None = None,
    arch: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Write a copy of an ONNX that carries a model spec, with raw heads as outputs where possible.

    Args:
        path: the ONNX file, float32, batch and size fixed or open.
        output: another file to write.
        spec: what is known of it; without it the spec is taken from the file, from ``arch`` or worked out.
        arch: a name of the catalogue whose anchors and classes the file has; needed where its outputs are not decoded.
        report: called with a line of text as the work goes on.

    Raises:
        ModelError: the file cannot be read or is not recognised and nothing says what it is.
        InputError: ``output`` cannot be written or is the source.
    """
    say = report or quiet
    _run.reads_model(path)
    _files.check_writable(output, ONNX)
    model = _read(path, spec)
    known = spec or stated_spec(metadata_of(model), str(path))
    source = str(path)
    if known is None and arch is None:
        known = _ultralytics_spec(path)
    if known is not None and known.layout in ("channels_first", "final"):
        find_spec(path, known)
        return _described_file(model, known, output, f"left the graph of {path.name} as it is and added the spec")
    say("looking for the decode tail")
    found_heads = find_heads(model)
    if found_heads:
        tail = _Tail(model, found_heads, source)
        found = tail.solve(known, arch)
        if found is not None:
            cut = tail.cut(model, found.strides, found.outputs)
            lines = _prove(cut, found, tail, source)
            action = f"cut {path.name} back to its raw heads ({tail.kind}) and added the spec"
            return _described_file(cut, found, output, action, lines)
    if known is None and arch is not None:
        known = _decoded_spec(model, arch, path)
    if known is None:
        find_spec(path)  # what nothing makes run is refused for what it is
        raise ModelError(
            f"{path}: its outputs are not recognised; say what it is with --spec FILE, or with --arch NAME if it is a "
            "network of the catalogue"
        )
    _check(model, known, path)
    find_spec(path, known)
    return _described_file(model, known, output, f"left the graph of {path.name} as it is and added the spec")


def _check(model: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    """See that a spec fits the outputs it names, as far as the file states their shapes."""
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.output}
    shape = heads(spec)
    for name in spec.outputs:
        if name not in shapes:
            raise ModelError(f"{path}: the spec names the output {name}, but it has {', '.join(shapes)}")
        dims = shapes[name]
        axis, width = shape.axis, shape.width
        if len(dims) > axis and dims[axis] and dims[axis] != width:
            raise ModelError(
                f"{path}: by the spec dimension {axis} of the output {name} is {width}, but it is {dims[axis]}; the "
                "spec belongs to another model"
            )


def _read(path: Path, spec: ModelSpec | None) -> onnx.ModelProto:
    model = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    constants = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if not model.graph.node or len(inputs) != 1:
        raise ModelError(f"{path}: not a pose network (it has {len(inputs)} inputs and {len(model.graph.node)} nodes)")
    kind = inputs[0].type.tensor_type
    if len(kind.shape.dim) != 4 or kind.elem_type != onnx.TensorProto.FLOAT:
        find_spec(path, spec)  # other inputs than those of half precision run nowhere
        raise ModelError(f"{path}: its input is of half precision; export it again in float32")
    return model


def _ultralytics_spec(path: Path) -> ModelSpec | None:
    """The spec of an Ultralytics pose export that gives rows of its own, or None."""
    try:
        found = find_spec(path)
    except ModelError:
        return None
    if found.origin != "metadata of Ultralytics" or LAYOUTS[found.spec.layout].grid:
        return None
    return ModelSpec.from_dict(
        {**found.fields, **_keypoints(found.spec.names, found.spec.keypoints, found.spec.kpt_names)}, source=str(path)
    )


def _keypoints(classes: Sequence[str], count: int, names: Sequence[str] = ()) -> dict[str, Any]:
    known = known_skeleton(classes, count, names)
    if known is None:
        return {}
    plain = {"kpt_names": known.names, "skeleton": known.edges, "sigmas": known.sigmas, "flip_idx": known.flip}
    return {key: [list(v) if isinstance(v, tuple) else v for v in value] for key, value in plain.items()}


class _Tail(GridHeads):
    """What the decode tail of a graph computes on a sample, read as YOLO-Pose's."""

    kind = "unrecognised"

    def solve(self, known: ModelSpec | None, arch: str | None) -> ModelSpec | None:
        """The spec of the raw heads, proven by decoding them; None where it cannot be worked out."""
        strides = self.strides()
        if strides is None:
            return None
        height, width = self.shape[2:]
        fields = self.turned[0][1].shape[-1]
        imgsz = (0 if self.open[2] else height, 0 if self.open[3] else width)
        base = {
            "name": known.name if known else Path(self.source).stem,
            "layout": "heads",
            "strides": strides,
            "outputs": [f"head_{stride}" for stride in strides],
        }
        rows = sum(t.shape[1] * t.shape[2] * t.shape[3] for _, t in self.turned)
        decoded = [o for o in self.outputs if o.ndim == 3 and o.shape == (self.shape[0], rows, fields)]
        if decoded:
            self.kind = "decoded output"
            solved = self.box_anchors(decoded[0])
            candidates = self._field_splits(fields, known, arch)
        elif all(o.ndim == 5 for o in self.outputs):
            self.kind = "five-dimensional output"
            solved = self._given_anchors(known, arch)
            candidates = self._field_splits(fields, known, arch)[:1]
        else:
            return None
        for classes, keypoints in candidates:
            side = max(strides) * (15 if max(strides) >= 64 else 20)
            names = list(known.names) if known else lookup(arch).names if arch else None
            if names is None or len(names) != classes:
                names = self._names(classes, keypoints)
            spec = ModelSpec.from_dict(
                {
                    **base,
                    "imgsz": [
                        imgsz[0] or (known.imgsz[0] if known else side),
                        imgsz[1] or (known.imgsz[1] if known else side),
                    ],
                    "anchors": solved,
                    "names": list(names),
                    "kpt_shape": [keypoints, 3],
                    **_keypoints(names, keypoints),
                },
                source=self.source,
            )
            if not decoded or self.difference([value for _, value in self.heads], spec, decoded[0]) <= 1:
                return spec
        return None

    @staticmethod
    def difference(heads: list[Array], spec: ModelSpec, expected: Array) -> float:
        """Largest difference of our decode from the original, in units of what is allowed."""
        ours = proof.decode(heads, spec)
        if ours.shape != expected.shape:
            return float("inf")
        allowed = np.maximum(_FLOOR, _TOLERANCE * np.abs(expected))
        return float((np.abs(ours - expected) / allowed).max(initial=0))

    def _given_anchors(self, known: ModelSpec | None, arch: str | None) -> Any:
        if known is not None and known.anchors:
            return known.anchors
        if arch:
            return lookup(arch).description.anchors
        raise ModelError(
            f"{self.source}: its outputs are not decoded, so its anchors are not in the file; give them with --spec "
            "FILE, or "
            "name the network with --arch NAME"
        )

    def _field_splits(self, fields: int, known: ModelSpec | None, arch: str | None) -> list[tuple[int, int]]:
        """Possible (classes, keypoints) for a number of fields per anchor; what is known comes first."""
        if known is not None:
            return [(known.classes, known.keypoints)] if known.fields == fields else []
        if arch:
            d = lookup(arch).description
            return [(d.classes, d.keypoints)] if 5 + d.classes + 3 * d.keypoints == fields else []
        return [(c, (fields - 5 - c) // 3) for c in range(1, fields - 7) if (fields - 5 - c) % 3 == 0]

    @staticmethod
    def _names(classes: int, keypoints: int) -> list[str]:
        from .catalogue import CATALOGUE

        for entry in CATALOGUE.values():
            if entry.description.classes == classes and entry.description.keypoints == keypoints:
                return list(entry.names)
        return [str(i) for i in range(classes)]


def _prove(cut: onnx.ModelProto, spec: ModelSpec, tail: _Tail, source: str) -> tuple[str, ...]:
    heads = Runner(onnx_file.checked(cut, source))(tail.sample(0))
    lines: list[str] = []
    for name, ours, (_, theirs) in zip(spec.outputs, heads, tail.heads, strict=True):
        if not np.array_equal(ours, theirs):
            raise ModelError(f"{source}: cutting changed {name}; nothing was written")
    for output in tail.outputs:
        if output.ndim == 3:
            lines.append(f"decoded heads against the original output: {_worst(heads, spec, output):.1e} px")
    return (*lines, "raw heads: identical")


def _worst(heads: list[Array], spec: ModelSpec, expected: Array) -> float:
    return float(np.abs(proof.decode(heads, spec) - expected).max(initial=0))


def _decoded_spec(model: onnx.ModelProto, arch: str, path: Path) -> ModelSpec | None:
    """The spec of a graph with one decoded output of the fields that the named network has, else None."""
    entry = lookup(arch)
    d = entry.description
    dims = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    if len(model.graph.output) != 1 or len(dims) != 3 or dims[2] != 5 + d.classes + 3 * d.keypoints:
        return None
    from .network import build, make_spec

    _, strides = build(d, arch)
    spec = make_spec(path.stem, d, strides, entry.names, entry.imgsz)
    size = [dim.dim_value for dim in picture_of(model).type.tensor_type.shape.dim][2:]
    imgsz = (size[0] or spec.imgsz[0], size[1] or spec.imgsz[1])
    return replace(spec, layout="decoded", outputs=(model.graph.output[0].name,), anchors=(), imgsz=imgsz)


def _described_file(
    model: onnx.ModelProto, spec: ModelSpec, output: Path, action: str, report: tuple[str, ...] = ()
) -> Exported:
    describe(model, spec, output)
    return Exported(output, spec, action, report)
