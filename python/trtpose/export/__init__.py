# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint, or an ONNX of another exporter, to an ONNX that describes itself.

Needs ``pip install "trtpose[export]"``; nothing here is imported by the rest of the package.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _core, _files
from .._checks import callbacks, choice, file_path, flag, instance, text, whole
from .._kinds import ONNX
from .._optional import require
from .._run import one_run
from .._sizes import parse_imgsz
from ..errors import InputError, ModelError
from ..families import registry
from ..families.family import Exported, Family, PoseNetwork, lookup, quiet
from ..formats.metadata import metadata, stated_spec
from ..formats.source_file import SourceFile
from ..spec import METADATA_KEY, ModelSpec

__all__ = ["Exported", "export", "export_network", "metadata"]


_MOST_BATCH = 1024


def _input_size(imgsz: int | tuple[int, int] | None, default: tuple[int, int], stride: int) -> tuple[int, int]:
    size = default if imgsz is None else parse_imgsz(imgsz)
    if min(size) < 1 or size[0] % stride or size[1] % stride:
        near = tuple(max(round(side / stride), 1) * stride for side in size)
        raise InputError(
            f"imgsz {size[0]}x{size[1]}: the network needs multiples of its largest stride {stride}, "
            f"such as {near[0]}x{near[1]}"
        )
    if max(size) > 1 << 14:
        raise InputError(f"imgsz {size[0]}x{size[1]}: larger than {1 << 14} pixels; check the numbers")
    return size[0], size[1]


@one_run
def export_network(
    network: PoseNetwork,
    output: str | Path,
    *,
    imgsz: int | tuple[int, int] | None = None,
    layout: str | None = None,
    batch: int | None = 1,
    dynamic: bool = False,
    verify: bool = True,
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Write a network as ONNX and compare the file with it.

    Args:
        network: from ``load`` or ``random`` of its family (:mod:`trtpose.families`).
        output: where to write; whole or not at all.
        imgsz: input height and width in pixels, or the side of a square; default the spec's.
        layout: one of its family's ``export_layouts``; by default the first: ``heads``, the raw ones and the fastest.
        batch: pictures per call; None for any number.
        dynamic: any number of pictures of any size that is a multiple of the largest stride.
        verify: whether to run the file and compare.
        report: called with a line of text as the work goes on.

    Raises:
        InputError: a size, batch or place that cannot be.
        ModelError: the file does not give what the network gives; nothing is left of it.
    """
    require("onnx", package="onnx", extra="export", purpose="writing ONNX")
    from ..formats.onnx_pieces import pieces
    from ..formats.onnx_writer import OPSET, Shape

    say = report or quiet
    family = registry.family_of(network.spec)
    layout = _layout(layout, family)
    if batch is not None:
        whole(batch, "batch", 1, _MOST_BATCH)
    size = _input_size(imgsz, network.spec.imgsz, network.spec.max_stride)
    network.spec = replace(network.spec, imgsz=size)
    _files.check_writable(output, ONNX)
    shape = Shape(None, None, None) if dynamic else Shape(batch, *size)
    model, written = family.write(network, shape, layout)
    for key, value in metadata(written, (shape.batch, shape.height, shape.width), network.license).items():
        model.metadata_props.add(key=key, value=value)
    with _files.atomic_path(output) as temporary:
        with temporary.open("wb") as file:
            file.writelines(pieces(model))
        del model
        gc.collect()
        lines: list[str] = []
        if verify:
            say("comparing with the network in ONNX Runtime")
            small = 4 * written.max_stride
            height, width = (small, small) if dynamic else size
            lines = family.verify(temporary, network, written, (shape.batch or 2, 3, height, width), str(output))
    form = "any batch and size" if dynamic else f"batch {shape.batch or 'any'}, {size[0]}x{size[1]} pixels"
    kind = f" with layout {layout}" if layout else ""
    action = f"exported {network.spec.name}{kind}, {form}, opset {OPSET}"
    return Exported(Path(output), written, action, tuple(lines))


def _layout(layout: str | None, family: Family) -> str:
    """The layout asked for or the family's first; empty where its networks have one form."""
    if not family.export_layouts:
        if layout is not None:
            raise InputError(f"layout {layout}: networks of the family {family.name} have one form; leave it out")
        return ""
    return family.export_layouts[0] if layout is None else choice(layout, "layout", family.export_layouts)


@one_run
def export(
    source: str | Path,
    output: str | Path | None = None,
    *,
    imgsz: int | tuple[int, int] | None = None,
    layout: str | None = None,
    batch: int | None = 1,
    dynamic: bool = False,
    arch: str | None = None,
    spec: ModelSpec | None = None,
    random: bool = False,
    seed: int = 0,
    verify: bool = True,
    report: Callable[[str], None] | None = None,
) -> Exported:
    """Export a checkpoint, adopt an ONNX of another exporter, or fetch published weights by name and export them.

    Args:
        source: a checkpoint file, an ``.onnx`` file, or a name of the catalogue.
        output: where to write; default the source's name with the ending ``.onnx``, beside a file and in the current
            folder for a name. An ONNX source is never overwritten: its default is ``NAME.trtpose.onnx``. Only a named
            output replaces a file that trtpose did not write.
        arch: name of the network, or of its family, for a checkpoint or ONNX that does not describe itself.
        spec: for an ONNX source, what is known of it.
        random: build the named network with random weights in place of published ones.
        seed: for ``random``.
        imgsz, layout, batch, dynamic, verify, report: as :func:`export_network`; an ONNX keeps its own size and batch.

    Raises:
        ModelError: the source cannot be used; the message says why.
        InputError: an option does not fit.
        DeviceError: a package is missing.
    """
    path = file_path(source, "source", "a checkpoint, an ONNX file or a name of the catalogue")
    _check_arguments(arch, spec, seed, report, layout, batch, random=random, dynamic=dynamic, verify=verify)
    name, catalogue = str(path), registry.catalogue()
    if path.suffix.lower() == ".onnx" and name not in catalogue:
        require("onnx", package="onnx", extra="export", purpose="reading ONNX")
        target = _output(output) or path.with_name(path.stem + ".trtpose.onnx")
        usual = layout in (None, registry.export_layouts()[0]) and batch in (1, None)
        if not usual or imgsz is not None or dynamic or random:
            raise InputError(f"{path}: an ONNX keeps its size and layout; these options are for checkpoints")
        return _adopting(path, spec, arch).adopt(path, target, spec=spec, arch=arch, report=report)
    require("torch", package="torch", extra="export", purpose="exporting a checkpoint")
    if random:
        network = registry.family_named(name).random(name, seed)
        target = _target(output, Path(f"{name}.onnx"))
    elif path.exists() or name not in catalogue:
        if not path.exists() and path.suffix == "":
            lookup(catalogue, name)  # its error lists the names
        if not path.is_file():
            raise _no_checkpoint(path)
        network = _loaded(path, arch)
        target = _target(output, path.with_suffix(".onnx"))
    else:
        network = _published(name, arch, report)
        target = _target(output, Path(f"{name}.onnx"))
    return export_network(
        network, target, imgsz=imgsz, layout=layout, batch=batch, dynamic=dynamic, verify=verify, report=report
    )


def _check_size(path: Path, spec: ModelSpec | None) -> None:
    """See that a spec which is given is about a network of the size that the file has."""
    if spec is None or not path.is_file():
        return
    shape = _core.read_model_file(str(path))["inputs"][0]["shape"]
    if len(shape) != 4:
        return  # whoever adopts it says what is wrong
    sides = shape[1:3] if shape[3] == 3 and shape[1] != 3 else shape[2:]
    if any(0 < side != stated for side, stated in zip(sides, spec.imgsz, strict=True)):
        height, width = ("any" if side < 1 else side for side in sides)
        raise ModelError(
            f"{path}: its input takes {height}x{width} pixels, and the model spec's imgsz is {list(spec.imgsz)}, "
            "[height, width]; the model spec does not fit this model"
        )


def _no_checkpoint(path: Path) -> ModelError:
    if not path.exists():
        return ModelError(f"{path}: no such checkpoint file; check the path")
    what = _files.kind_of(path.stat().st_mode)
    remedy = "give the .pt file itself" if path.is_dir() else "write its content into a .pt file and give that"
    return ModelError(f"{path}: is {what}, not a checkpoint file; {remedy}")


def _check_arguments(arch: Any, spec: Any, seed: Any, report: Any, layout: Any, batch: Any, **flags: Any) -> None:
    if batch is not None:
        whole(batch, "batch", 1, _MOST_BATCH)
    if layout is not None:
        text(layout, "layout", " or ".join(registry.export_layouts()))
    callbacks(report=report)
    if arch is not None:
        text(arch, "arch", "a name of the catalogue")
    instance(spec, "spec", (ModelSpec, type(None)), "a trtpose.ModelSpec")
    whole(seed, "seed")
    for name, value in flags.items():
        flag(value, name)


def _output(output: Any) -> Path | None:
    """The name that was given, which says nothing else than an ONNX model."""
    if output is None:
        return None
    target = file_path(output, "output")
    _files.check_kind(target, ONNX)
    return target


def _target(output: str | Path | None, default: Path) -> Path:
    """Where to write. A checkpoint often lies beside the ONNX that somebody else's exporter made of it."""
    if given := _output(output):
        return given
    if default.exists():
        try:
            own = METADATA_KEY in _core.read_model_file(str(default))["metadata"]
        except ModelError:
            own = False
        if not own:
            raise InputError(f"{default}: a file that trtpose did not write is there; say where to write with -o")
    return default


def _adopting(path: Path, spec: ModelSpec | None, arch: str | None) -> Family:
    """The family that an ONNX belongs to, by what is known or the file says of itself.

    Raises:
        ModelError: the spec that is given is about a network of another size.
    """
    _check_size(path, spec)
    if spec is None:
        try:
            spec = stated_spec(_core.read_model_file(str(path))["metadata"], str(path))
        except ModelError:
            spec = None  # whoever adopts it says what is wrong
    return _family(path, arch) if spec is None else registry.family_of(spec)


def _family(path: Path, arch: str | None) -> Family:
    """The family of a file that names none."""
    if arch is not None:
        return registry.family_named(arch)
    with SourceFile(path) as file:
        return registry.family_of_file(file)


def _loaded(path: Path, arch: str | None) -> PoseNetwork:
    """The network of a checkpoint."""
    family = _family(path, arch)
    return family.load(path, None if arch == family.name else arch)


def _published(name: str, arch: str | None, report: Callable[[str], None] | None) -> PoseNetwork:
    """A network of the catalogue with its published weights, fetched unless they are there."""
    from .download import fetch

    family = registry.family_named(name)
    entry = lookup(family.catalogue, name)
    weights = fetch(entry, report=report)
    try:
        return family.load_published(entry, weights, arch)
    except ModelError as error:
        raise ModelError(f"{error}; delete {weights} to fetch it again") from None
