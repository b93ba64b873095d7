# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX and a folder of pictures to an INT8 one whose loss is known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _files
from ..errors import InputError
from ..formats.onnx_graph import CONVOLUTIONS, Graph, label
from ..spec import ModelSpec
from . import ranges
from .calibration import histograms
from .fp16 import to_fp16
from .judge import MEASURED, judge_for
from .pictures import open_pictures
from .placement import candidates, place
from .report import SUFFIXES, Report
from .search import Search, Variants, gmacs_of
from .source import Progress, Say, no_progress, open_source, silent, target_for

if TYPE_CHECKING:
    import onnx

__all__ = ["QuantizeResult", "quantize"]

METHOD = "percentile"
MAX_DROP: Mapping[str, float] = {"AP": 1.0, "agreement": 5.0}
"""Points that may be lost by default. Poses alike to 95 hundredths count at the strictest threshold of COCO's AP, so
five points of agreement cost far less than five of AP."""


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
    say, tick = report or silent, progress or no_progress
    if max_drop is None:
        max_drop = MAX_DROP["agreement" if annotations is None else "AP"]
    _check_options(method, max_drop, batch, limit)
    source = open_source(model, spec, imgsz)
    target = target_for(source, output, ".int8.onnx")
    if not place(source.graph, keep).convolutions:
        raise InputError(f"{source.path}: keep leaves no convolution to quantise; name fewer")
    pictures = open_pictures(calib, source.spec, source.size, count=count, on_error=on_error)
    found, cached = histograms(source, pictures, batch, cache, say, tick)
    reaches = {name: ranges.reach(histogram, method) for name, histogram in found.items()}
    gmacs = gmacs_of(source, candidates(source.graph), pictures)
    made_with = {"method": method, "pictures": len(pictures), "imgsz": list(source.size)}
    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        variants = Variants(source, reaches, list(keep), gmacs, Path(folder), made_with)
        judge, measured_on = (
            judge_for(source, pictures, annotations, images, Path(calib), limit, Path(folder))
            if measure
            else (None, "")
        )
        search = Search(variants, judge, max_drop, sensitivity, annotations is not None, say, tick)
        floating = search.run()
        final = variants.build(floating, written=True)
    if fp16:
        final = to_fp16(final).model
    with _files.atomic_path(target) as temporary:
        temporary.write_bytes(final.SerializeToString(deterministic=True))
    kept = _kept(source.graph, set(variants.quantised(floating)))
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


def _check_options(method: str, max_drop: float, batch: int, limit: int) -> None:
    if method not in ranges.METHODS:
        raise InputError(f"method {method!r} is not known; use one of {', '.join(ranges.METHODS)}")
    if not 0 <= max_drop <= 100:
        raise InputError(f"max_drop is {max_drop}, expected points from 0 to 100")
    if batch < 1 or limit < 1:
        raise InputError(f"batch is {batch} and limit {limit}, expected at least 1")


def _kept(graph: Graph, quantised: set[int]) -> list[str]:
    return [label(n) for i, n in enumerate(graph.nodes) if n.op_type in CONVOLUTIONS and i not in quantised]


def check_report_name(path: str | Path) -> None:
    """See before the work that a report can be written there."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a report ends in {', '.join(SUFFIXES)}; choose one of these")
    _files.check_writable(path)
