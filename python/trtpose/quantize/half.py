# SPDX-License-Identifier: Apache-2.0
"""An FP16 ONNX, after a look whether FP16 can hold what the network computes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _files
from .._run import one_run
from ..errors import InputError, ModelError
from ..spec import ModelSpec
from . import ranges
from .fp16 import LARGEST, SMALLEST_NORMAL, converted, simulate, to_fp16
from .judge import MEASURED, Judge, Measurement, judge_for
from .pictures import Pictures, open_pictures
from .source import Progress, Source, open_source, target_for

if TYPE_CHECKING:
    import onnx

__all__ = ["HEADROOM", "HalfReport", "HalfResult", "convert"]

HEADROOM = 4.0
"""How many times larger than on the calibration pictures a number may become without overflow."""


@dataclass(frozen=True)
class HalfReport:
    """What FP16 does to a network.

    Attributes:
        model: the float network's file.
        pictures: number of calibration pictures.
        size: height and width of the input.
        largest: the largest magnitude of what is computed in FP16, and the tensor it is in.
        at_risk: for each tensor that FP16 might not hold, its largest magnitude; what makes and reads it is in FP32.
        kept: names of the nodes in FP32.
        share: how many nodes compute in each precision.
        kind: ``AP`` or ``agreement``.
        measured_on: on which pictures.
        reference, half: measurements of the float network and of the one rounded as FP16 rounds; None where nothing
            was measured.
    """

    model: str
    pictures: int
    size: tuple[int, int]
    largest: tuple[str, float]
    at_risk: dict[str, float]
    kept: tuple[str, ...]
    share: dict[str, int]
    kind: str = ""
    measured_on: str = ""
    reference: Measurement | None = None
    half: Measurement | None = None

    @property
    def loss(self) -> float | None:
        """Points lost; None where nothing was measured."""
        if self.reference is None or self.half is None:
            return None
        return self.reference.points - self.half.points

    def lines(self) -> list[str]:
        """The report in lines."""
        name, largest = self.largest
        out = [
            f"largest number in FP16: {largest:.4g} of {LARGEST:.0f}, in {name}",
            f"{self.share['fp16']} nodes in FP16, {len(self.kept)} in FP32",
        ]
        out += [f"kept in FP32 for its range: {name} ({value:.4g})" for name, value in self.at_risk.items()]
        if self.reference is not None and self.half is not None and self.loss is not None:
            out.append(
                f"{self.kind} {self.reference.points:.2f}, in FP16 {self.half.points:.2f}, {self.loss:.2f} lost, "
                f"on {self.measured_on}"
            )
        return out


@dataclass(frozen=True)
class HalfResult:
    """An FP16 network.

    Attributes:
        path: where it was written.
        model: the ONNX itself.
        report: what FP16 does to it.
    """

    path: Path
    model: onnx.ModelProto
    report: HalfReport


@one_run
def convert(
    model: str | Path,
    calib: str | Path,
    *,
    output: str | Path | None = None,
    count: int | None = None,
    imgsz: Any = None,
    batch: int = 1,
    spec: ModelSpec | Mapping[str, Any] | str | Path | None = None,
    keep: Collection[str] = (),
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    measure: bool = True,
    limit: int = MEASURED,
    progress: Progress | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> HalfResult:
    """Write an FP16 ONNX; inputs, outputs and raw heads stay float32.

    The largest magnitude of everything the network computes is looked at on the calibration pictures. A tensor that
    comes within a factor of :data:`HEADROOM` of FP16's largest number, or whose largest number has lost digits already,
    stays in FP32 with what makes and reads it. The loss is measured on a float32 network that rounds as FP16 does.

    Args:
        output: by default ``NAME.fp16.onnx`` beside the model. The others are those of
            :func:`trtpose.quantize.quantize`.

    Raises:
        ModelError: the network cannot be read, or its numbers are not finite in float32 already.
        InputError: an option does not fit, or there are too few pictures.
        DeviceError: a package is missing.
    """
    source = open_source(model, spec, imgsz)
    target = target_for(source, output, ".fp16.onnx")
    pictures = open_pictures(calib, source.spec, source.size, count=count, on_error=on_error)
    tensors = converted(source.graph.model, keep=keep)
    largest = _largest(source, tensors, pictures, batch, progress)
    at_risk = {name: value for name, value in largest.items() if _is_at_risk(value)}
    kept = [*keep, *(node for name in at_risk for node in tensors[name])]
    result = to_fp16(source.graph.model, keep=kept)
    safe = {name: value for name, value in largest.items() if name not in at_risk}
    top = max(safe, key=lambda name: safe[name], default="")
    report = HalfReport(
        model=str(source.path),
        pictures=len(pictures),
        size=source.size,
        largest=(top, safe.get(top, 0.0)),
        at_risk=at_risk,
        kept=tuple(result.kept),
        share=result.share,
    )
    if measure:
        with tempfile.TemporaryDirectory(prefix="trtpose-") as folder:
            judge, on = judge_for(source, pictures, annotations, images, Path(calib), limit, Path(folder), on_warning)
            report = replace(report, **_measured(judge, on, source, kept, Path(folder) / "rounded.onnx"))
    with _files.atomic_path(target) as temporary:
        temporary.write_bytes(result.model.SerializeToString(deterministic=True))
    return HalfResult(target, result.model, report)


def _is_at_risk(largest: float) -> bool:
    return largest * HEADROOM > LARGEST or 0 < largest < SMALLEST_NORMAL


def _largest(
    source: Source, tensors: Collection[str], pictures: Pictures, batch: int, progress: Progress | None
) -> dict[str, float]:
    """The largest magnitude of each tensor on the calibration pictures."""
    largest = ranges.maxima(
        source.graph,
        [name for name in tensors if name in source.graph.producer],
        pictures,
        str(source.path),
        batch=batch,
        progress=None if progress is None else lambda done, total: progress("ranges", done, total),
    )
    for name, value in largest.items():
        if not math.isfinite(value):
            raise ModelError(
                f"{source.path}: {name} is not finite on the calibration pictures; the network is damaged, or made for "
                "another kind of input"
            )
    return largest


def _measured(judge: Judge, on: str, source: Source, kept: Collection[str], rounded: Path) -> dict[str, Any]:
    """Fields of the report: what the network is worth, and what the one is that rounds as FP16 does."""
    rounded.write_bytes(simulate(source.graph.model, keep=kept).SerializeToString())
    first = judge.measure(source.path)
    if not math.isfinite(first.points):
        return {}
    return {"kind": judge.kind, "measured_on": on, "reference": first, "half": judge.measure(rounded)}
