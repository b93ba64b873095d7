# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX and a folder of pictures to an INT8 one whose loss is known."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, _files
from ..engine import parse_imgsz
from ..errors import InputError, ModelError
from ..formats import onnx_graph as graphs
from ..formats.onnx_graph import Graph, label
from ..sources import PICTURES
from ..spec import ModelSpec
from . import ranges
from .fp16 import to_fp16
from .insert import insert
from .judge import AgreementJudge, ApJudge, Judge, Measurement
from .pictures import LEAST, Pictures, open_pictures, spread
from .placement import candidates, place
from .report import SUFFIXES, Group, Report, Step

if TYPE_CHECKING:
    import onnx

__all__ = ["QuantizeResult", "calibrate", "quantize"]

METHOD = "percentile"
MEASURED = 200
"""Pictures a network is measured on at most."""

MAX_DROP: Mapping[str, float] = {"AP": 1.0, "agreement": 5.0}
"""Points that may be lost by default. Poses alike to 95 hundredths count at the strictest threshold of COCO's AP, so
five points of agreement cost far less than five of AP."""

_OPSET = 13  # the first one with a scale per channel
_GROUPS = 24
_CACHE_VERSION = 1
METADATA = "trtpose_int8"
"""Key of ``metadata_props`` under which a quantised file says how it was made."""

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class QuantizeResult:
    """A quantised network.

    Attributes:
        path: where it was written.
        model: the ONNX itself.
        report: what it cost and gained.
    """

    path: Path
    model: onnx.ModelProto
    report: Report


def _silent(_: str) -> None:
    pass


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    pass


@dataclass(frozen=True)
class Source:
    path: Path
    graph: Graph
    spec: ModelSpec
    size: tuple[int, int]
    digest: str


def open_source(path: str | Path, spec: ModelSpec | Mapping[str, Any] | str | Path | None, imgsz: Any) -> Source:
    """Read and check the float network."""
    where = Path(path)
    model = graphs.load(where)
    digest = hashlib.sha256(where.read_bytes()).hexdigest()
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise ModelError(f"{where}: is quantised already; give the float network it was made from")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset < _OPSET:
        raise ModelError(
            f"{where}: opset {opset} has no scale per channel; export the network with opset {_OPSET} or newer"
        )
    try:
        graph = Graph(model)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    if len(graph.inputs) != 1:
        raise ModelError(f"{where}: has {len(graph.inputs)} inputs, expected one, a batch of pictures")
    if not candidates(graph):
        raise ModelError(f"{where}: {_why_none(graph)}")
    known = _find_spec(where, spec)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for entry in model.graph.input:
        if entry.name == graph.inputs[0]:
            dims = entry.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise ModelError(f"{where}: the input has {len(dims)} dimensions, expected a batch of pictures with 4")
    fixed = (dims[2].dim_value, dims[3].dim_value)
    asked = parse_imgsz(imgsz)
    if min(fixed) > 0:
        if asked not in ((0, 0), fixed):
            raise InputError(f"{where}: the network is made for {fixed[0]}x{fixed[1]} pixels; leave imgsz out")
        size = fixed
    else:
        size = known.imgsz if asked == (0, 0) else asked
    if size[0] % known.max_stride or size[1] % known.max_stride:
        raise InputError(f"imgsz {size[0]}x{size[1]}: the network needs multiples of {known.max_stride}")
    return Source(where, graph, known, (size[0], size[1]), digest)


def _why_none(graph: Graph) -> str:
    kinds = {node.op_type for node in graph.nodes}
    if not kinds & {"Conv"}:
        return "has no convolution, so there is nothing to quantise"
    half = 10  # TensorProto.FLOAT16
    if any(tensor.data_type == half for tensor in graph.constants.values()):
        return "computes in FP16 already; give the float32 network it was made from"
    return "no convolution has constant float32 weights outside the raw heads, so there is nothing to quantise"


def _find_spec(path: Path, spec: ModelSpec | Mapping[str, Any] | str | Path | None) -> ModelSpec:
    if isinstance(spec, ModelSpec):
        return spec
    if isinstance(spec, Mapping):
        return ModelSpec.from_dict(spec)
    text, _ = _core.find_spec(str(path), str(spec) if spec else "")
    return ModelSpec.from_json(text, source=str(path))


# --- Calibration ------------------------------------------------------------------------------------------------------


def calibrate(
    model: str | Path,
    calib: str | Path,
    *,
    count: int | None = None,
    imgsz: Any = None,
    batch: int = 1,
    spec: ModelSpec | Mapping[str, Any] | str | Path | None = None,
    cache: bool | str | Path = True,
    report: Say | None = None,
    progress: Progress | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> dict[str, ranges.Histogram]:
    """Histograms of the tensors that :func:`quantize` gives a scale, by name; arguments and errors as there."""
    source = open_source(model, spec, imgsz)
    pictures = open_pictures(calib, source.spec, source.size, count=count, on_error=on_error)
    found, _ = _histograms(source, pictures, batch, cache, report or _silent, progress or _no_progress)
    return found


def _cache_file(source: Source, pictures: Pictures, cache: bool | str | Path) -> Path | None:
    if cache is False:
        return None
    folder = _files.cache_folder() / "calibration" if cache is True else Path(cache)
    key = {
        "version": _CACHE_VERSION,
        "model": source.digest,
        "pictures": pictures.digests,
        "size": source.size,
        "letterbox": [source.spec.color, source.spec.mean, source.spec.std, source.spec.pad],
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"{name}.npz"


def _histograms(
    source: Source, pictures: Pictures, batch: int, cache: bool | str | Path, say: Say, progress: Progress
) -> tuple[dict[str, ranges.Histogram], bool]:
    """Histograms, and whether they came from the cache."""
    wanted = list(place(source.graph).scales)
    file = _cache_file(source, pictures, cache)
    if file is not None and file.is_file():
        try:
            # np.load leaves a file it opened itself open where it is damaged.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                found = ranges.unpack(stored)
            if found.keys() == set(wanted):
                say(f"ranges from an earlier run: {file}")
                return found, True
        except Exception:  # damaged, whatever zipfile, zlib or NumPy call it: made again and overwritten
            say(f"{file} is damaged and is made again")
    began = time.monotonic()
    found = ranges.collect(
        source.graph,
        wanted,
        pictures,
        str(source.path),
        batch=batch,
        progress=lambda done, total: progress("calibrating", done, total),
    )
    say(f"calibrated on {len(pictures)} pictures in {time.monotonic() - began:.0f} s")
    if file is not None:
        _store(file, found, say)
    return found, False


def _store(file: Path, found: Mapping[str, ranges.Histogram], say: Say) -> None:
    try:
        _files.make_folder(file.parent)
        with _files.atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **ranges.pack(found))  # pyright: ignore[reportArgumentType]
    except (InputError, OSError) as error:
        # Work that is done must not be lost because it cannot be kept.
        say(f"the ranges could not be kept for the next run ({error})")


# --- Groups of layers -------------------------------------------------------------------------------------------------


def _groups(graph: Graph, chosen: list[int], gmacs: Mapping[int, float]) -> dict[str, list[int]]:
    """The convolutions by what their names begin with, as deep as leaves at most 24 groups."""
    names = {index: _tokens(label(graph.nodes[index])) for index in chosen}
    best: dict[str, list[int]] = {}
    for depth in range(1, 9):
        found: dict[str, list[int]] = {}
        for index in chosen:
            found.setdefault("".join(names[index][:depth]), []).append(index)
        if len(found) > _GROUPS:
            break
        best = found
    if len(best) > 1:
        return best
    # Names that say nothing: neighbours of about the same amount of work.
    total = sum(gmacs[index] for index in chosen) or 1.0
    result: dict[str, list[int]] = {}
    done = 0.0
    parts = min(len(chosen), _GROUPS // 2)
    for index in chosen:
        result.setdefault(f"part {min(int(done / total * parts), parts - 1) + 1}", []).append(index)
        done += gmacs[index]
    return result


def _tokens(name: str) -> list[str]:
    """A name in parts, each with the separator before it."""
    parts: list[str] = []
    for character in name:
        if character in "./" or not parts:
            parts.append(character)
        else:
            parts[-1] += character
    return [part for part in parts if part.strip("./")] or [name]


def _gmacs(source: Source, chosen: list[int], pictures: Pictures) -> dict[int, float]:
    """Multiply-adds of each convolution for one picture, in billions."""
    graph = source.graph
    _, data = next(iter(ranges.batches(graph, pictures, 1)))
    sizes = ranges.sizes(graph, [graph.nodes[i].output[0] for i in chosen], data, str(source.path))
    return {
        index: sizes[graph.nodes[index].output[0]]
        / len(data)
        * math.prod(graph.constants[graph.nodes[index].input[1]].dims[1:])
        / 1e9
        for index in chosen
    }


# --- Quantising -------------------------------------------------------------------------------------------------------


def quantize(
    model: str | Path,
    calib: str | Path,
    *,
    output: str | Path | None = None,
    method: str = METHOD,
    count: int | None = None,
    imgsz: Any = None,
    batch: int = 1,
    spec: ModelSpec | Mapping[str, Any] | str | Path | None = None,
    keep: Collection[str] = (),
    fp16: bool = False,
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    max_drop: float | None = None,
    measure: bool = True,
    sensitivity: bool | None = None,
    limit: int = MEASURED,
    cache: bool | str | Path = True,
    report: Say | None = None,
    progress: Progress | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> QuantizeResult:
    """Write an INT8 ONNX with explicit Q/DQ pairs, and find out what it loses.

    Where pairs stand is told in :mod:`trtpose.quantize.placement`. The raw heads stay in floating point. If more is
    lost than ``max_drop``, the loss of each group of layers is measured by quantising it alone, and the worst are left
    in floating point one after the other until the loss is within it.

    Args:
        model: the float32 ONNX.
        calib: folder of pictures like those the network will see.
        output: where to write; by default ``NAME.int8.onnx`` beside the model.
        method: ``entropy``, ``percentile`` or ``max``, see :func:`trtpose.quantize.ranges.reach`.
        count: calibration pictures; by default all of the folder, at most 128.
        imgsz: input height and width in pixels, for models that leave it open; by default the spec's.
        batch: pictures per run of the calibration.
        spec: model spec for a file that carries none.
        keep: names of nodes to leave in floating point, ``*`` and ``?`` allowed.
        fp16: give what is not in INT8 and all scales FP16, as strongly typed TensorRT wants it. What is measured is the
            network before that.
        annotations: COCO keypoint annotations; then the loss is that of AP, else of agreement with the float network.
        images: folder of the pictures to measure on; by default ``calib``, and without annotations the pictures of it
            that were not calibrated on, if there are enough.
        max_drop: points that may be lost, hundredths; by default :data:`MAX_DROP` of what is measured.
        measure: whether to measure at all.
        sensitivity: whether to measure each group of layers; by default where there are annotations, or too much is
            lost.
        limit: pictures to measure on at most.
        cache: whether to keep the ranges and take those of an earlier run, in the user's cache folder or the one given.
        report: called with lines of text as the work goes on.
        progress: called with the stage, what is done and the total.
        on_error: called for a calibration picture that cannot be read, which is then left out; without it the error is
            raised.

    Raises:
        ModelError: the network cannot be read or quantised.
        InputError: an option does not fit, or there are too few pictures.
        DeviceError: a package is missing.
    """
    say, tick = report or _silent, progress or _no_progress
    if method not in ranges.METHODS:
        raise InputError(f"method {method!r} is not known; use one of {', '.join(ranges.METHODS)}")
    if max_drop is None:
        max_drop = MAX_DROP["agreement" if annotations is None else "AP"]
    if not 0 <= max_drop <= 100:
        raise InputError(f"max_drop is {max_drop}, expected points from 0 to 100")
    if batch < 1 or limit < 1:
        raise InputError(f"batch is {batch} and limit {limit}, expected at least 1")
    source = open_source(model, spec, imgsz)
    target = Path(output) if output else source.path.with_name(f"{source.path.stem}.int8.onnx")
    if target.exists() and target.resolve() == source.path.resolve():
        raise InputError(f"{target}: is the float network and would be overwritten; choose another name")
    _files.check_writable(target)
    chosen = place(source.graph, keep).convolutions
    if not chosen:
        raise InputError(f"{source.path}: keep leaves no convolution to quantise; name fewer")
    pictures = open_pictures(calib, source.spec, source.size, count=count, on_error=on_error)
    histograms, cached = _histograms(source, pictures, batch, cache, say, tick)
    reaches = {name: ranges.reach(histogram, method) for name, histogram in histograms.items()}
    gmacs = _gmacs(source, candidates(source.graph), pictures)
    made_with = {"method": method, "pictures": len(pictures), "imgsz": list(source.size)}
    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        work = _Work(source, reaches, list(keep), gmacs, Path(folder), made_with)
        judge, measured_on = (
            judge_for(source, pictures, annotations, images, Path(calib), limit, Path(folder))
            if measure
            else (None, "")
        )
        search = _Search(work, judge, max_drop, sensitivity, annotations is not None, say, tick)
        floating = search.run()
        final = work.build(floating, written=True)
    if fp16:
        final = to_fp16(final).model
    with _files.atomic_path(target) as temporary:
        temporary.write_bytes(final.SerializeToString(deterministic=True))
    kept = _kept(source.graph, set(work.quantised(floating)))
    result = Report(
        model=str(source.path),
        method=method,
        pictures=len(pictures),
        size=source.size,
        kind=judge.kind if judge is not None and search.steps else "",
        measured_on=measured_on,
        max_drop=max_drop,
        reference=search.reference,
        steps=tuple(search.steps),
        groups=tuple(search.groups(floating)),
        kept=tuple(kept),
        convolutions=sum(node.op_type == "Conv" for node in source.graph.nodes),
        cached=cached,
        note=search.note,
    )
    return QuantizeResult(target, final, result)


def _kept(graph: Graph, quantised: set[int]) -> list[str]:
    return [label(n) for i, n in enumerate(graph.nodes) if n.op_type in graphs.CONVOLUTIONS and i not in quantised]


def judge_for(
    source: Source,
    pictures: Pictures,
    annotations: str | Path | None,
    images: str | Path | None,
    calib: Path,
    limit: int,
    folder: Path,
) -> tuple[Judge, str]:
    where = Path(images) if images else calib
    if annotations is not None:
        ap = ApJudge(source.spec, source.size, where, Path(annotations), limit, folder)
        return ap, f"{ap.pictures} annotated pictures"
    if not where.is_dir():
        raise InputError(f"{where}: no such folder of pictures to measure on; give a folder with --images")
    used = {path.resolve() for path in pictures.paths}
    others = sorted(
        path
        for path in where.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.resolve() not in used
    )
    if len(others) >= LEAST or (images and others):
        chosen, what = [others[i] for i in spread(len(others), limit)], "pictures not calibrated on"
    else:
        chosen = [pictures.paths[i] for i in spread(len(pictures), limit)]
        what = "calibration pictures, for want of others"
    return AgreementJudge(source.spec, source.size, source.path, chosen), f"{len(chosen)} {what}"


@dataclass
class _Work:
    """Makes quantised networks of one float network."""

    source: Source
    reaches: dict[str, float]
    keep: list[str]
    gmacs: dict[int, float]
    folder: Path
    made_with: dict[str, Any]
    number: int = 0

    def quantised(self, floating: Collection[int]) -> list[int]:
        return place(self.source.graph, self.keep, floating=floating).convolutions

    def build(self, floating: Collection[int], *, written: bool = False) -> onnx.ModelProto:
        """The network with the convolutions ``floating`` in floating point."""
        model = insert(self.source.graph, place(self.source.graph, self.keep, floating=floating), self.reaches)
        if written:
            graph = self.source.graph
            names = [label(graph.nodes[i]) for i in sorted(floating)]
            for entry in list(model.metadata_props):
                if entry.key == METADATA:
                    model.metadata_props.remove(entry)
            model.metadata_props.add(key=METADATA, value=json.dumps({**self.made_with, "floating": names}))
        return model

    def file(self, floating: Collection[int]) -> Path:
        """The same in a temporary file."""
        self.number += 1
        path = self.folder / f"{self.number}.onnx"
        path.write_bytes(self.build(floating).SerializeToString())
        return path

    def share(self, floating: Collection[int]) -> float:
        """Share of the multiply-adds of all convolutions that can be quantised that are in INT8."""
        total = sum(self.gmacs.values())
        return sum(self.gmacs[i] for i in self.quantised(floating)) / total if total else 0.0


class _Search:
    """Finds what to leave in floating point."""

    def __init__(
        self,
        work: _Work,
        judge: Judge | None,
        max_drop: float,
        sensitivity: bool | None,
        annotated: bool,
        say: Say,
        tick: Progress,
    ) -> None:
        self._work = work
        self._judge = judge
        self._max_drop = max_drop
        self._sensitivity = sensitivity
        self._annotated = annotated
        self._say = say
        self._tick = tick
        chosen = work.quantised(())
        self._members = _groups(work.source.graph, chosen, work.gmacs)
        self._losses: dict[str, float] = {}
        self.reference: Step | None = None
        self.steps: list[Step] = []
        self.note = ""

    def run(self) -> list[int]:
        """The convolutions to leave in floating point."""
        if self._judge is None:
            return []
        first = self._judge.measure(self._work.source.path)
        if not math.isfinite(first.points) or first.points <= 0:
            self.note = "The float network finds nobody on the pictures, so that no loss could be measured."
            self._say(self.note)
            return []
        self.reference = Step((), 0.0, first.points, 0.0, first.milliseconds, first.details)
        loss = self._try([])
        wanted = self._sensitivity
        if wanted is None:
            wanted = loss > self._max_drop or self._annotated
        if wanted and len(self._members) > 1:
            self._measure_groups()
        floating: list[str] = []
        # The worst first; of equals the later one, which is nearer to the keypoints.
        places = {name: place for place, name in enumerate(self._members)}
        order = sorted(places, key=lambda name: (-self._losses.get(name, 0.0), -places[name]))
        for name in order[:-1]:
            if loss <= self._max_drop:
                break
            floating.append(name)
            loss = self._try(floating)
        if loss > self._max_drop:
            # More groups in floating point need not lose less: the best of what was tried.
            best = min(self.steps, key=lambda step: step.loss)
            if best is not self.steps[-1]:
                floating = list(best.floating)
                self.steps.append(best)
            self.note = (
                f"No choice of layers loses {self._max_drop:g} or less; what was written loses {best.loss:.2f} points. "
                "Calibrate on more pictures, or by another method."
            )
            self._say(self.note)
        return self._indices(floating)

    def _indices(self, groups: Collection[str]) -> list[int]:
        return [index for name in groups for index in self._members[name]]

    def _measured(self, floating: Collection[int]) -> Measurement:
        assert self._judge is not None
        path = self._work.file(floating)
        try:
            return self._judge.measure(path)
        finally:
            path.unlink()

    def _try(self, groups: list[str]) -> float:
        assert self.reference is not None
        floating = self._indices(groups)
        found = self._measured(floating)
        loss = self.reference.points - (found.points if math.isfinite(found.points) else 0.0)
        share = self._work.share(floating)
        self.steps.append(Step(tuple(groups), share, found.points, loss, found.milliseconds, found.details))
        what = "all in INT8" if not groups else f"{', '.join(groups)} in floating point"
        self._say(f"{what}: {found.points:.2f} points, {loss:.2f} lost, {found.milliseconds:.1f} ms")
        return loss

    def _measure_groups(self) -> None:
        assert self.reference is not None
        chosen = set(self._work.quantised(()))
        for number, (name, members) in enumerate(self._members.items()):
            self._tick("sensitivity", number, len(self._members))
            points = self._measured(chosen - set(members)).points
            self._losses[name] = self.reference.points - (points if math.isfinite(points) else 0.0)
        self._tick("sensitivity", len(self._members), len(self._members))

    def groups(self, floating: Collection[int]) -> list[Group]:
        """The groups for the report."""
        graph, left = self._work.source.graph, set(floating)
        made = [
            Group(
                name,
                tuple(label(graph.nodes[i]) for i in members),
                sum(self._work.gmacs[i] for i in members),
                self._losses.get(name),
            )
            for name, members in self._members.items()
        ]
        return [replace(group, floating=bool(left & set(self._members[group.name]))) for group in made]


def check_report_name(path: str | Path) -> None:
    """See before the work that a report can be written there."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a report ends in {', '.join(SUFFIXES)}; choose one of these")
    _files.check_writable(path)
