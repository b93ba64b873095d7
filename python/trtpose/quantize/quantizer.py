# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX and a folder of pictures to an INT8 one whose loss is known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _files
from .._run import one_run
from ..errors import InputError
from ..formats.onnx_graph import CONVOLUTIONS, label
from . import ranges
from .calibration import histograms
from .fp16 import to_fp16
from .judge import beside_float, judge_for
from .options import Options, OptionValues
from .pictures import Pictures, open_pictures
from .placement import candidates, place
from .report import SUFFIXES, Report
from .search import Search, Variants, gmacs_of
from .source import Progress, Say, Source, no_progress, open_source, silent, target_for

if TYPE_CHECKING:
    import onnx
    from typing_extensions import Unpack

__all__ = ["QuantizeResult", "quantize"]


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


@one_run
def quantize(
    model: str | Path,
    calib: str | Path,
    *,
    output: str | Path | None = None,
    report: Say | None = None,
    progress: Progress | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    **values: Unpack[OptionValues],
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
        max_drop: points that may be lost, hundredths; by default 1 of AP, 5 of agreement.
        measure: whether to measure at all.
        sensitivity: whether to measure each group of layers; by default where there are annotations, or too much is
            lost.
        limit: pictures to measure on at most.
        cache: whether to keep the ranges and take those of an earlier run, in the user's cache folder or the one given.
        report: called with lines of text as the work goes on.
        progress: called with the stage, what is done and the total.
        on_error: called for a calibration picture that cannot be read, which is then left out; without it the error is
            raised.
        on_warning: as in :func:`trtpose.evaluate.evaluate`.

    Raises:
        ModelError: the network cannot be read or quantised.
        InputError: an option does not fit, or there are too few pictures.
        TypeError: there is no such option.
        DeviceError: a package is missing.
    """
    options = Options.parse(values)
    say, tick = report or silent, progress or no_progress
    source = open_source(model, options.spec, options.imgsz)
    target = target_for(source, output, ".int8.onnx")
    if not place(source.graph, options.keep).convolutions:
        raise InputError(f"{source.path}: keep leaves no convolution to quantise; name fewer")
    pictures = open_pictures(calib, source.spec, source.size, count=options.count, on_error=on_error)
    return _quantise(source, pictures, Path(calib), target, options, say, tick, on_warning)


def _quantise(
    source: Source,
    pictures: Pictures,
    calib: Path,
    target: Path,
    options: Options,
    say: Say,
    tick: Progress,
    on_warning: Callable[[str], None] | None,
) -> QuantizeResult:
    found, cached = histograms(source, pictures, options.batch, options.cache, say, tick)
    reaches = {name: ranges.reach(histogram, options.method) for name, histogram in found.items()}
    gmacs = gmacs_of(source, candidates(source.graph), pictures)
    made_with = {"method": options.method, "pictures": len(pictures), "imgsz": list(source.size)}
    judge, measured_on = None, ""
    with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
        variants = Variants(source, reaches, list(options.keep), gmacs, Path(folder), made_with)
        if options.measure:
            judge, measured_on = judge_for(
                source, pictures, options.annotations, options.images, calib, options.limit, Path(folder), on_warning
            )
        annotated = options.annotations is not None
        search = Search(variants, judge, options.allowed_drop, options.sensitivity, annotated, say, tick)
        floating = search.run()
        final = variants.build(floating, written=True)
        beside: tuple[dict[str, float], tuple[str, ...]] = ({}, ())
        if judge is not None and search.steps:
            beside = beside_float(source, judge, variants.file(floating))
    if options.fp16:
        final = to_fp16(final).model
    with _files.atomic_path(target) as temporary:
        temporary.write_bytes(final.SerializeToString(deterministic=True))
    quantised = set(variants.quantised(floating))
    convolutions = [i for i, node in enumerate(source.graph.nodes) if node.op_type in CONVOLUTIONS]
    report = Report(
        model=str(source.path),
        method=options.method,
        pictures=len(pictures),
        size=source.size,
        kind=judge.kind if judge is not None and search.steps else "",
        measured_on=measured_on,
        max_drop=options.allowed_drop,
        reference=search.reference,
        steps=tuple(search.steps),
        groups=tuple(search.groups(floating)),
        kept=tuple(label(source.graph.nodes[i]) for i in convolutions if i not in quantised),
        convolutions=sum(node.op_type == "Conv" for node in source.graph.nodes),
        cached=cached,
        note=search.note,
        beside_float=beside[0],
        check_problems=beside[1],
    )
    for line in report.agreement_lines():
        say(line)
    return QuantizeResult(target, final, report)


def check_report_name(path: str | Path) -> None:
    """See before the work that a report can be written there."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a report ends in {', '.join(SUFFIXES)}; choose one of these")
    _files.check_writable(path)
