# SPDX-License-Identifier: Apache-2.0
"""What quantising cost and gained: as JSON, as a table and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _files
from .._opencv import encode, paint
from .._terminal import escaped
from ..errors import InputError

__all__ = ["Group", "Report", "Step"]

SUFFIXES = (".json", ".md", ".png")


@dataclass(frozen=True)
class Group:
    """A group of layers.

    Attributes:
        name: what their names begin with.
        convolutions: names of the convolutions.
        gmacs: their multiply-adds for one picture, in billions.
        loss: points lost with this group alone in INT8; None where it was not measured.
        floating: whether it was left in floating point in the end.
    """

    name: str
    convolutions: tuple[str, ...]
    gmacs: float
    loss: float | None = None
    floating: bool = False


@dataclass(frozen=True)
class Step:
    """A network that was tried.

    Attributes:
        floating: groups in floating point, in the order they were left so.
        share: share of the multiply-adds in INT8, 0 to 1.
        points, loss: see :class:`trtpose.quantize.judge.Measurement`; loss against the float network.
        milliseconds: of the network for one picture on the CPU.
        details: figures of the measurement.
    """

    floating: tuple[str, ...]
    share: float
    points: float
    loss: float
    milliseconds: float
    details: dict[str, float] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Estimated speed of its arithmetic against FP16, taking INT8 as twice as fast, as tensor cores are."""
        return 1 / (self.share / 2 + 1 - self.share)


@dataclass(frozen=True)
class Report:
    """What was done to a network.

    Attributes:
        model: the float network's file.
        method: how ranges were chosen.
        pictures: number of calibration pictures.
        size: height and width of the input.
        kind: ``AP`` or ``agreement``, what points are; empty where nothing was measured.
        measured_on: number of pictures measured on, and whether those were calibrated on.
        max_drop: points that may be lost.
        reference: the float network.
        steps: what was tried, the last one is what was written.
        groups: of layers, in the order of the network.
        kept: names of the convolutions in floating point.
        convolutions: how many there are.
        cached: whether the ranges came from an earlier run.
        note: what could not be done, in a sentence.
        beside_float: how far the written network's poses are from the float network's, whatever ``kind`` is: ``poses``
            of score 0.5 and more, those ``found`` again, ``extra`` ones, ``keypoint_px_median``, ``keypoint_px_p95``
            and ``keypoint_px_worst`` in pixels of the frame; empty where nothing was measured.
        check_problems: what ``trtpose check`` has against it on the same pictures, by its own limits.
    """

    model: str
    method: str
    pictures: int
    size: tuple[int, int]
    kind: str
    measured_on: str
    max_drop: float
    reference: Step | None
    steps: tuple[Step, ...]
    groups: tuple[Group, ...]
    kept: tuple[str, ...]
    convolutions: int
    cached: bool = False
    note: str = ""
    beside_float: Mapping[str, float] = field(default_factory=dict[str, float])
    check_problems: tuple[str, ...] = ()

    @property
    def final(self) -> Step | None:
        """The network that was written."""
        return self.steps[-1] if self.steps else None

    @property
    def within(self) -> bool | None:
        """Whether it loses no more than it may; None where nothing was measured."""
        return None if self.final is None else self.final.loss <= self.max_drop

    def agreement_lines(self) -> list[str]:
        """What became of the poses, in sentences, and where ``trtpose check`` judges otherwise, why."""
        found = self.beside_float
        if not found:
            return []
        lines = [
            f"beside the float network: {found['found']:.0f} of {found['poses']:.0f} poses of score 0.5 and more are "
            f"found again, and {found['extra']:.0f} others; keypoints are {found['keypoint_px_median']:.2f} px off in "
            f"the median and {found['keypoint_px_p95']:.2f} px in the 95th percentile"
        ]
        if self.check_problems and self.within:
            measure = "AP" if self.kind == "AP" else "agreement in points"
            lines.append(
                f"trtpose check would not pass it on these pictures ({'; '.join(self.check_problems)}): it counts "
                f"pixels and poses one by one, while {measure}, by which it was accepted, weighs an error by the "
                "person's size; for what check asks leave more layers floating, by a smaller --max-drop or by --keep"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        values = asdict(self)
        for entry, step in zip(values["steps"], self.steps, strict=True):
            entry["speed"] = step.speed
        return {**values, "within": self.within}

    def markdown(self) -> str:
        """The report as a page."""
        unit = "AP points" if self.kind == "AP" else "points of agreement"
        lines = [
            f"# {Path(self.model).name} in INT8",
            "",
            f"Ranges by {self.method} from {self.pictures} pictures at {self.size[0]}x{self.size[1]}. "
            f"{self.convolutions - len(self.kept)} of {self.convolutions} convolutions in INT8.",
            "",
        ]
        if self.note:
            lines += [self.note, ""]
        if self.reference is not None and self.final is not None:
            lines += [
                f"Measured by {self.kind} on {self.measured_on}; at most {self.max_drop:g} {unit} may be lost.",
                "",
                f"| network | {self.kind} | lost | multiply-adds in INT8 | estimated speed to FP16 | CPU, ms |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
                f"| float | {self.reference.points:.2f} | | 0% | 1.00 | {self.reference.milliseconds:.2f} |",
            ]
            for step in self.steps:
                name = "all in INT8" if not step.floating else f"without {step.floating[-1]}"
                lines.append(
                    f"| {name} | {step.points:.2f} | {step.loss:.2f} | {100 * step.share:.0f}% | {step.speed:.2f} | "
                    f"{step.milliseconds:.2f} |"
                )
            lines.append("")
            for line in self.agreement_lines():
                lines += [line[0].upper() + line[1:] + ".", ""]
        if any(group.loss is not None for group in self.groups):
            lines += ["| group alone in INT8 | GMACs | lost | in the end |", "| --- | ---: | ---: | --- |"]
            for group in self.groups:
                loss = "" if group.loss is None else f"{group.loss:.2f}"
                lines.append(f"| {group.name} | {group.gmacs:.3f} | {loss} | {'float' if group.floating else 'INT8'} |")
            lines.append("")
        lines += ["Convolutions in floating point:", ""]
        lines += [f"- {name}" for name in self.kept] or ["- none"]
        return "\n".join(escaped(line) for line in lines) + "\n"

    def write(self, path: str | Path) -> None:
        """Write it as what the ending says: ``.json``, ``.md`` or ``.png``."""
        suffix = Path(path).suffix.lower()
        if suffix == ".json":
            _files.write_text(path, json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False) + "\n")
        elif suffix == ".md":
            _files.write_text(path, self.markdown())
        elif suffix == ".png":
            data = encode(".png", self.picture())
            assert data is not None
            _files.write_bytes(path, data)
        else:
            raise InputError(f"{path}: a report ends in {', '.join(SUFFIXES)}; choose one of these")

    def picture(self) -> NDArray[np.uint8]:
        """Accuracy against estimated speed, and the loss of each group; (height, width, 3) uint8, BGR."""
        rows = [group for group in self.groups if group.loss is not None]
        height = max(480, 110 + 22 * len(rows))
        canvas = np.full((height, 1180, 3), 255, np.uint8)
        _text(canvas, f"{Path(self.model).name} in INT8: {self.kind or 'not measured'} and speed", (24, 34), 0.6)
        self._draw_curve(canvas, (90, 70, 470, 330))
        self._draw_groups(canvas, rows, 640)
        return canvas

    def _draw_curve(self, canvas: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
        left, top, width, height = box
        paint.rectangle(canvas, (left, top), (left + width, top + height), _GREY, 1)
        _text(canvas, "estimated speed to FP16", (left + 130, top + height + 50))
        _text(canvas, f"{self.kind} in points", (left - 70, top - 10))
        if self.reference is None or not self.steps:
            return
        points = [(1.0, self.reference.points, "float")]
        points += [(s.speed, s.points, "INT8" if not s.floating else f"{len(s.floating)} float") for s in self.steps]
        values = [y for _, y, _ in points if np.isfinite(y)] or [0.0]
        floor = self.reference.points - self.max_drop
        low, high = min([*values, floor]), max(values)
        margin = max(high - low, 0.5) * 0.12
        low, high = low - margin, high + margin

        def place(x: float, y: float) -> tuple[int, int]:
            return (
                left + 16 + round((x - 1.0) / 1.0 * (width - 40)),
                top + height - round((y - low) / (high - low) * height),
            )

        for tick in (1.0, 1.25, 1.5, 1.75, 2.0):
            at = place(tick, low)[0]
            paint.line(canvas, (at, top + height), (at, top + height + 5), _GREY, 1)
            _text(canvas, f"{tick:g}", (at - 10, top + height + 24), 0.4)
        for tick in np.linspace(low + margin, high - margin, 5):
            at = place(1.0, float(tick))[1]
            paint.line(canvas, (left - 5, at), (left, at), _GREY, 1)
            _text(canvas, f"{tick:.1f}", (left - 52, at + 5), 0.4)
        line = place(1.0, floor)[1]
        paint.line(canvas, (left, line), (left + width, line), _RED, 1)
        _text(canvas, f"{self.max_drop:g} lost", (left + 8, line - 6), 0.4, _RED)
        for x, y, name in points:
            if np.isfinite(y):
                paint.circle(canvas, place(x, y), 5, _BLUE, -1, paint.LINE_AA)
                at = place(x, y)[0] + 8
                _text(canvas, name, (min(at, left + width - 48), place(x, y)[1] - 8), 0.42)

    @staticmethod
    def _draw_groups(canvas: NDArray[np.uint8], rows: list[Group], left: int) -> None:
        _text(canvas, "points lost with one group in INT8 (red: left float)", (left, 60))
        worst = max([abs(group.loss or 0.0) for group in rows] + [1e-9])
        for number, group in enumerate(rows):
            y = 86 + 22 * number
            _text(canvas, group.name[-32:], (left, y), 0.4)
            length = round(max(group.loss or 0.0, 0.0) / worst * 200)
            colour = _RED if group.floating else _BLUE
            paint.rectangle(canvas, (left + 260, y - 10), (left + 260 + length, y + 2), colour, -1)
            _text(canvas, f"{group.loss:.2f}", (left + 268 + length, y), 0.4)


_GREY, _BLUE, _RED = (120, 120, 120), (180, 110, 40), (60, 60, 200)


def _text(
    canvas: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size: float = 0.45,
    colour: tuple[int, int, int] = (40, 40, 40),
) -> None:
    plain = escaped(text).encode("ascii", "replace").decode()
    paint.putText(canvas, plain, at, paint.FONT_HERSHEY_SIMPLEX, size, colour, 1, paint.LINE_AA)


def _finite(value: Any) -> Any:
    """NaN, of a measurement that found nobody, as null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
