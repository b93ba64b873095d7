# SPDX-License-Identifier: Apache-2.0
"""Adopting RTMO's ONNX: the spec is put into it, and where the graph suppresses by itself, that is taken out. And
RF-DETR's, into which its decoding is put."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ... import _files, _run
from ...errors import ModelError
from ...formats import onnx_file
from ...formats.metadata import find_spec, metadata, stated_spec
from ...skeletons import known_skeleton
from ...spec import METADATA_KEY, ModelSpec
from ..family import Exported, quiet
from .rfdetr import decoded, is_rfdetr, output_shapes
from .suppression import take_out

if TYPE_CHECKING:
    import onnx

__all__ = ["adopt"]


def adopt(
    path: Path, output: Path, *, spec: ModelSpec | None = None, report: Callable[[str], None] | None = None
) -> Exported:
    """Write a copy of an ONNX that carries a model spec, with a fixed number of rows where its NMS is recognised.

    Args:
        path: the ONNX file.
        output: another file to write.
        spec: what is known of it; without it the spec is taken from the file or from names and shapes.
        report: called with a line of text as the work goes on.

    Raises:
        ModelError: the file cannot be read or is not recognised.
        InputError: ``output`` cannot be written or is the source.
    """
    say = report or quiet
    _run.reads_model(path)
    _files.check_writable(output)
    model = onnx_file.parse(onnx_file.read(path), extra="export", purpose="reading ONNX")
    stated = {entry.key: entry.value for entry in model.metadata_props}
    given = spec or stated_spec(stated, str(path))
    if given is None and is_rfdetr(output_shapes(model)):
        model, known = decoded(model, str(path), path.stem)
        _write(model, _described(known), stated, output)
        return Exported(output, known, f"put RF-DETR's decoding into the graph of {path.name} and added the spec", ())
    found = find_spec(path, given).spec
    if found.family != "rows":
        raise ModelError(f"{path}: is of the family {found.family}, not of rows; leave --arch out, or give its spec")
    known = _described(found)
    say("looking for the network's own suppression")
    cut = take_out(model, known, str(path))
    if cut is None:
        _write(model, known, stated, output)
        return Exported(output, known, f"left the graph of {path.name} as it is and added the spec", ())
    known = replace(known, extra={key: value for key, value in known.extra.items() if key != "rows"})
    _write(cut.model, known, stated, output)
    action = f"took the suppression out of {path.name}, which gives its best {cut.rows} rows now, and added the spec"
    return Exported(output, known, action, cut.report)


def _described(spec: ModelSpec) -> ModelSpec:
    """With names, lines and sigmas where the keypoints are known ones."""
    known = known_skeleton(spec.names, spec.keypoints, spec.kpt_names)
    if known is None or spec.skeleton:
        return spec
    return replace(
        spec, kpt_names=known.names, skeleton=known.edges, sigmas=spec.sigmas or known.sigmas, flip_idx=known.flip
    )


def _write(model: onnx.ModelProto, spec: ModelSpec, stated: dict[str, str], output: Path) -> None:
    """The model with the spec in its metadata; other metadata is kept."""
    dims = [dim.dim_value or None for dim in model.graph.input[0].type.tensor_type.shape.dim]
    new = metadata(spec, (dims[0], dims[2], dims[3]), stated.get("license", "unknown: that of the source"))
    described = type(model)()
    described.CopyFrom(model)
    del described.metadata_props[:]
    for key, value in {**new, **{k: v for k, v in stated.items() if k != METADATA_KEY}}.items():
        described.metadata_props.add(key=key, value=value)
    _files.write_bytes(output, described.SerializeToString(deterministic=True))
