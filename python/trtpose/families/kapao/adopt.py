# SPDX-License-Identifier: Apache-2.0
"""Adopting an ONNX of KAPAO that another exporter wrote: back to raw heads, and described.

Nothing in shapes tells KAPAO's heads from YOLO-Pose's. A graph is cut where decoding its heads by KAPAO's formulas
gives its own list of anchors, or where a spec says what its heads are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ... import _files, _run
from ...errors import ModelError
from ...formats import onnx_file
from ...formats.grid_heads import GridHeads, describe, find_heads, metadata_of
from ...formats.metadata import find_spec, stated_spec
from ...formats.onnx_runner import Runner
from ...skeletons import COCO, Skeleton
from ...spec import ModelSpec
from ..family import Exported, quiet
from .catalogue import CATALOGUE, CROWDPOSE
from .forms import keypoints_of
from .reference import decode

__all__ = ["adopt", "has_its_decoding"]

Array = NDArray[np.float32]

# The original's own float32 decode differs from ours by the order of operations only; pixels reach some thousands.
_TOLERANCE = 2e-6
_FLOOR = 2e-3
_SKELETONS = (COCO, CROWDPOSE)
_LISTS = ("decoded", "undecoded", "sigmoid")


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
        spec: what is known of it; its thresholds and names are kept.
        arch: ``kapao`` says that a graph whose keypoints are not decoded is KAPAO's; a name of the catalogue, which
            anchors and classes a graph has whose boxes are not.
        report: called with a line of text as the work goes on.

    Raises:
        ModelError: the file cannot be read or is not recognised and nothing says what it is.
        InputError: ``output`` cannot be written or is the source.
    """
    say = report or quiet
    _run.reads_model(path)
    _files.check_writable(output)
    model = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    known = spec or stated_spec(metadata_of(model), str(path))
    say("looking for the decode tail")
    found = find_heads(model)
    if found:
        tail = GridHeads(model, found, str(path))
        solved = _solve(tail, known, arch, str(path))
        if solved is not None:
            heads, what, worst = solved
            cut = tail.cut(model, heads.strides, heads.outputs)
            lines = _prove(cut, heads, tail, str(path))
            if worst is not None:
                lines = (f"decoded heads against the original output: {worst:.1e} px", *lines)
            action = f"cut {path.name} back to its raw heads ({what}) and added the spec"
            return _described_file(cut, heads, output, action, lines)
    seen = find_spec(path, known)  # whoever is not recognised is refused there for what it is
    if seen.spec.family != "kapao":
        raise ModelError(f"{path}: it is of the family {seen.spec.family}, not kapao; leave --arch out")
    full = ModelSpec.from_dict({**seen.fields, **_described(seen.spec)}, source=str(path))
    return _described_file(model, full, output, f"left the graph of {path.name} as it is and added the spec")


def has_its_decoding(path: Path) -> bool:
    """Whether KAPAO's formulas, applied to the heads of a graph, give the graph's own decoded list.

    Raises:
        ModelError: the file cannot be read.
    """
    model = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    found = find_heads(model)
    return bool(found) and _solve(GridHeads(model, found, str(path)), None, None, str(path)) is not None


def _solve(
    tail: GridHeads, known: ModelSpec | None, arch: str | None, source: str
) -> tuple[ModelSpec, str, float | None] | None:
    """The spec of the raw heads, what their list was, and the largest difference in pixels; None: not to be told."""
    strides = tail.strides()
    if strides is None:
        return None
    width = tail.turned[0][1].shape[-1]
    keypoints = keypoints_of(width)
    if keypoints is None or (known is not None and known.keypoints != keypoints):
        return None
    rows = sum(turned.shape[1] * turned.shape[2] * turned.shape[3] for _, turned in tail.turned)
    lists = [o for o in tail.outputs if o.ndim == 3 and o.shape == (tail.shape[0], rows, width)]
    named = CATALOGUE.get(arch) if arch is not None else None
    if named is not None and len(named.skeleton) != keypoints:
        raise ModelError(f"{source}: {arch} has {len(named.skeleton)} keypoints, but this has {keypoints}")
    if known is None and named is not None and len(named.description.anchors) != len(strides):
        raise ModelError(
            f"{source}: {arch} has {len(named.description.anchors)} strides, but this has {len(strides)}, "
            f"{', '.join(str(stride) for stride in strides)}; it is another network: give its spec with --spec FILE"
        )
    given = known.anchors if known is not None else named.description.anchors if named is not None else ()
    names = known.names if known is not None else named.names if named is not None else _names(keypoints)
    for form in _LISTS if lists else ():
        anchors = given or (tail.box_anchors(lists[0]) if form != "sigmoid" else ())
        if not anchors or (form == "undecoded" and known is None and arch is None):
            continue  # a list of a detector without keypoints looks the same
        spec = _spec(tail, strides, keypoints, anchors, known, names, source)
        ours = decode([value for _, value in tail.heads], spec, form)
        apart = np.abs(ours - lists[0])
        if (apart <= np.maximum(_FLOOR, _TOLERANCE * np.abs(ours))).all():
            return spec, f"{form} output", float(apart.max(initial=0))
    if not lists and given and all(output.ndim >= 4 for output in tail.outputs):
        return _spec(tail, strides, keypoints, given, known, names, source), "raw outputs", None
    return None


def _spec(
    tail: GridHeads,
    strides: list[int],
    keypoints: int,
    anchors: Any,
    known: ModelSpec | None,
    names: tuple[str, ...],
    source: str,
) -> ModelSpec:
    """The spec of raw heads."""
    side = max(strides) * (15 if max(strides) >= 64 else 20)
    size = known.imgsz if known is not None else (side, side)
    kept = known.to_dict() if known is not None else {}
    values = {
        **kept,
        "family": "kapao",
        "form": "heads",
        "name": known.name if known is not None and known.name else Path(source).stem,
        "imgsz": [size[i] if tail.open[2 + i] else tail.shape[2 + i] for i in range(2)],
        "strides": strides,
        "anchors": [[list(side) for side in level] for level in anchors],
        "outputs": [f"head_{stride}" for stride in strides],
        "names": list(names),
        "kpt_shape": [keypoints, 2],
    }
    plain = ModelSpec.from_dict(values, source=source)
    return ModelSpec.from_dict({**values, **_described(plain)}, source=source)


def _names(keypoints: int) -> tuple[str, ...]:
    numbered = tuple(f"keypoint {index}" for index in range(keypoints))
    return ("person", *(COCO.names if len(COCO) == keypoints else numbered))


def _described(spec: ModelSpec) -> dict[str, Any]:
    """What is known of the keypoints beyond the spec, where they or their classes are called as a known set's are."""
    names = spec.kpt_names or spec.names[1:]
    known = next((skeleton for skeleton in _SKELETONS if skeleton.names == names), Skeleton(names))
    values = {"skeleton": known.edges, "sigmas": known.sigmas, "flip_idx": known.flip}
    found = {key: [list(v) if isinstance(v, tuple) else v for v in value] for key, value in values.items() if value}
    return {"kpt_names": list(names), **found}


def _prove(cut: onnx.ModelProto, spec: ModelSpec, tail: GridHeads, source: str) -> tuple[str, ...]:
    heads = Runner(onnx_file.checked(cut, source))(tail.sample(0))
    for name, ours, (_, theirs) in zip(spec.outputs, heads, tail.heads, strict=True):
        if not np.array_equal(ours, theirs):
            raise ModelError(f"{source}: cutting changed {name}; nothing was written")
    return ("raw heads: identical",)


def _described_file(
    model: onnx.ModelProto, spec: ModelSpec, output: Path, action: str, report: tuple[str, ...] = ()
) -> Exported:
    describe(model, spec, output)
    return Exported(output, spec, action, report)
