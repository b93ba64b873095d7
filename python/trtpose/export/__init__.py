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
from .._optional import require
from .._run import one_run
from .._sizes import parse_imgsz
from ..errors import InputError, ModelError
from ..families import registry
from ..families.family import Exported, Family, PoseNetwork, lookup, quiet
from ..formats.metadata import metadata, stated_spec
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
    layout: str = "heads",
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
        layout: one of its family's ``export_layouts``; ``heads`` are the raw ones and the fastest.
        batch: pictures per call; None for any number.
        dynamic: any number of pictures of any size that is a multiple of the largest stride.
        verify: whether to run the file and compare.
        report: called with a line of text as the work goes on.

    Raises:
        InputError: a size, batch or place that cannot be.
        ModelError: the file does not give what the network gives; nothing is left of it.
    """
    require("onnx", package="onnx", extra="export", purpose="writing ONNX")
    from ..formats.onnx_writer import OPSET, Shape

    say = report or quiet
    family = registry.family_of(network.spec)
    choice(layout, "layout", family.export_layouts)
    if batch is not None:
        whole(batch, "batch", 1, _MOST_BATCH)
    size = _input_size(imgsz, network.spec.imgsz, network.spec.max_stride)
    network.spec = replace(network.spec, imgsz=size)
    _files.check_writable(output)
    shape = Shape(None, None, None) if dynamic else Shape(batch, *size)
    model, written = family.write(network, shape, layout)
    for key, value in metadata(written, (shape.batch, shape.height, shape.width), network.license).items():
        model.metadata_props.add(key=key, value=value)
    with _files.atomic_path(output) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        del model
        gc.collect()
        lines: list[str] = []
        if verify:
            say("comparing with the network in ONNX Runtime")
            small = 4 * written.max_stride
            height, width = (small, small) if dynamic else size
            lines = family.verify(temporary, network, written, (shape.batch or 2, 3, height, width), str(output))
    form = "any batch and size" if dynamic else f"batch {shape.batch or 'any'}, {size[0]}x{size[1]} pixels"
    action = f"exported {network.spec.name} with layout {layout}, {form}, opset {OPSET}"
    return Exported(Path(output), written, action, tuple(lines))


@one_run
def export(
    source: str | Path,
    output: str | Path | None = None,
    *,
    imgsz: int | tuple[int, int] | None = None,
    layout: str = "heads",
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
        arch: name of the network for a checkpoint or ONNX that does not describe itself.
        spec: for an ONNX source, what is known of it.
        random: build the named network with random weights in place of published ones.
        seed: for ``random``.
        imgsz, layout, batch, dynamic, verify, report: as :func:`export_network`; an ONNX source keeps its own size and
            batch.

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
        if layout != registry.export_layouts()[0] or dynamic or imgsz is not None or batch not in (1, None) or random:
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
        network = registry.family_named(arch).load(path, arch)
        target = _target(output, path.with_suffix(".onnx"))
    else:
        network = _published(name, arch, report)
        target = _target(output, Path(f"{name}.onnx"))
    return export_network(
        network, target, imgsz=imgsz, layout=layout, batch=batch, dynamic=dynamic, verify=verify, report=report
    )


def _no_checkpoint(path: Path) -> ModelError:
    what = "it is not a regular file; give a .pt file" if path.exists() else "check the path"
    return ModelError(f"{path}: no such checkpoint file; {what}")


def _check_arguments(arch: Any, spec: Any, seed: Any, report: Any, layout: Any, batch: Any, **flags: Any) -> None:
    if batch is not None:
        whole(batch, "batch", 1, _MOST_BATCH)
    text(layout, "layout", " or ".join(registry.export_layouts()))
    callbacks(report=report)
    if arch is not None:
        text(arch, "arch", "a name of the catalogue")
    instance(spec, "spec", (ModelSpec, type(None)), "a trtpose.ModelSpec")
    whole(seed, "seed")
    for name, value in flags.items():
        flag(value, name)


def _output(output: Any) -> Path | None:
    return None if output is None else file_path(output, "output")


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
    """The family that an ONNX belongs to, by what is known or the file says of itself."""
    if spec is None:
        try:
            spec = stated_spec(_core.read_model_file(str(path))["metadata"], str(path))
        except ModelError:
            spec = None  # whoever adopts it says what is wrong
    return registry.family_named(arch) if spec is None else registry.family_of(spec)


def _published(name: str, arch: str | None, report: Callable[[str], None] | None) -> PoseNetwork:
    """A network of the catalogue with its published weights, fetched unless they are there."""
    from .download import fetch

    family = registry.family_named(name)
    entry = lookup(family.catalogue, name)
    weights = fetch(entry, report=report)
    try:
        network = family.load(weights, arch)
    except ModelError as error:
        raise ModelError(f"{error}; delete {weights} to fetch it again") from None
    network.spec = replace(network.spec, name=name, imgsz=(entry.imgsz, entry.imgsz))
    network.license = entry.license
    return network
