# SPDX-License-Identifier: Apache-2.0
"""How much a network has lost: OKS average precision where there are annotations, else agreement of its poses."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import _run, check
from .._files import describe, read_bounded
from ..engine import Engine
from ..errors import InputError
from ..evaluate import evaluate, find_picture
from ..formats.annotations import MAX_ANNOTATIONS, load
from ..sources import is_picture, read_picture
from ..spec import ModelSpec
from .pictures import LEAST, Pictures, spread
from .source import Source

if TYPE_CHECKING:
    from ..results import Poses

__all__ = ["AgreementJudge", "ApJudge", "Judge", "Measurement", "beside_float", "judge_for"]

MEASURED = 200
"""Pictures a network is measured on at most."""

_CONF = 0.25
"""Confidence from which on the judged network may find a pose again."""


_TIMED = 5
"""Pictures that the network is timed on where evaluating does not tell."""


Warn = Callable[[str], None]


@dataclass(frozen=True)
class Measurement:
    """What a network is worth.

    Attributes:
        points: 0 to 100: AP in hundredths, or the mean similarity (OKS, 0 for a pose that is missing) of its poses to
            the float network's.
        milliseconds: median time of the network for one picture on this machine.
        details: figures for the report.
    """

    points: float
    milliseconds: float
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Options:
    spec: ModelSpec
    size: tuple[int, int]

    def open(self, model: Path) -> Engine:
        return Engine(model, device="cpu", spec=self.spec, imgsz=self.size)


class Judge(ABC):
    """Measures networks; ``kind`` says by what."""

    kind = ""
    paths: list[Path]

    @property
    def pictures(self) -> int:
        """How many it runs over."""
        return len(self.paths)

    @abstractmethod
    def measure(self, model: Path) -> Measurement:
        """Run a network over the pictures."""


class ApJudge(Judge):
    """Average precision on annotated pictures.

    Args:
        spec, size: of the network.
        images: folder of the pictures.
        annotations: COCO keypoint annotations of them.
        limit: pictures at most, evenly spread over the file.
        folder: for a temporary file.
        on_warning: as in :func:`trtpose.evaluate.evaluate`, but called once for each sentence.
    """

    kind = "AP"

    def __init__(
        self,
        spec: ModelSpec,
        size: tuple[int, int],
        images: Path,
        annotations: Path,
        limit: int,
        folder: Path,
        on_warning: Warn | None = None,
    ) -> None:
        self._on_warning, self._said = on_warning, set[str]()
        self._options = _Options(spec, size)
        self._images = images
        self._annotations = _subset(annotations, limit, folder)
        self.paths = [find_picture(images, name) for _, name in load(self._annotations, spec).images]

    def measure(self, model: Path) -> Measurement:
        engine = self._options.open(model)
        metrics = evaluate(
            engine,
            self._images,
            self._annotations,
            on_warning=None if self._on_warning is None else self._warn,
        )
        return Measurement(100 * metrics["AP"], self._milliseconds(engine), metrics)

    def _milliseconds(self, engine: Engine) -> float:
        """Of the network for one picture: evaluating has several under way, whose times say nothing of one."""
        times: list[float] = []
        for path in [path for path in self.paths if path.is_file()][:_TIMED]:
            engine.infer(read_picture(path))
            times.append(engine.timings["network"])
        return float(np.median(times)) if times else float("nan")

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            if self._on_warning is not None:
                self._on_warning(text)


def _subset(annotations: Path, limit: int, folder: Path) -> Path:
    """The annotations of ``limit`` pictures; the file itself if it has no more, or is wrong: loading says how."""
    try:
        _run.reads(annotations)
        data: Any = json.loads(read_bounded(annotations, MAX_ANNOTATIONS))
    except OSError as error:
        raise InputError(f"{annotations}: cannot be read ({describe(error)}); check the name") from None
    except (ValueError, RecursionError):
        raise InputError(f"{annotations}: not JSON; give COCO keypoint annotations") from None
    if not isinstance(data, dict):
        raise InputError(f"{annotations}: not COCO keypoint annotations, which are a JSON object")
    coco = cast("dict[str, Any]", data)
    images: Any = coco.get("images")
    if not isinstance(images, list) or len(cast("list[Any]", images)) <= limit:
        return annotations
    every = cast("list[dict[str, Any]]", images)
    chosen = [every[i] for i in spread(len(every), limit)]
    try:
        known = {entry.get("id") for entry in chosen}
        rest = [entry for entry in coco.get("annotations", []) if entry.get("image_id") in known]
    except (AttributeError, TypeError):
        return annotations
    target = folder / "annotations.json"
    target.write_text(json.dumps({**coco, "images": chosen, "annotations": rest}))
    return target


class AgreementJudge(Judge):
    """Whether a network finds the float network's poses again.

    Args:
        spec, size: of the network.
        reference: the float network.
        pictures: files.
    """

    kind = "agreement"

    def __init__(self, spec: ModelSpec, size: tuple[int, int], reference: Path, pictures: list[Path]) -> None:
        self._options = _Options(spec, size)
        self.paths = pictures
        self._poses: list[Poses] = []
        self._reference = reference
        self._side = check.Side("float", "openvino", "cpu", "f32", "f32", size)

    def measure(self, model: Path) -> Measurement:
        frames, milliseconds = self._both(model)
        return Measurement(_likeness(frames), milliseconds, _details(self._compared(frames)))

    def compare(self, model: Path) -> check.Agreement:
        """What ``trtpose check`` says of a network in INT8 beside the float one, on these pictures."""
        return self._compared(self._both(model)[0])

    def _compared(self, frames: list[tuple[str, Poses, Poses]]) -> check.Agreement:
        return check.compare(frames, self._side, self._side, limits=check.Limits(check.TOLERANCES["int8"]))

    def _both(self, model: Path) -> tuple[list[tuple[str, Poses, Poses]], float]:
        poses, milliseconds = self._run(model)
        if not self._poses:
            self._poses = poses if model == self._reference else self._run(self._reference)[0]
        return [(str(path), a, b) for path, a, b in zip(self.paths, self._poses, poses, strict=True)], milliseconds

    def _run(self, model: Path) -> tuple[list[Poses], float]:
        engine = self._options.open(model)
        poses: list[Poses] = []
        times: list[float] = []
        for path in self.paths:
            poses.extend(engine.infer(read_picture(path), conf=_CONF))
            times.append(engine.timings["network"])
        return poses, float(np.median(times))


def _details(agreement: check.Agreement) -> dict[str, float]:
    """Figures of a comparison for a report."""
    return {
        "poses": float(agreement.poses),
        "found": float(agreement.matched),
        "extra": float(agreement.extra),
        **{f"keypoint_px_{name}": float(v) for name, v in asdict(agreement.keypoint_px).items() if name != "count"},
    }


def beside_float(source: Source, judge: Judge, model: Path) -> tuple[dict[str, float], tuple[str, ...]]:
    """How far a network's poses are from the float network's, whatever it was judged by.

    Returns:
        Figures, and what ``trtpose check`` has against it on the same pictures.
    """
    if not isinstance(judge, AgreementJudge):
        there = [path for path in judge.paths if path.is_file()]
        judge = AgreementJudge(source.spec, source.size, source.path, there)
    agreement = judge.compare(model)
    return _details(agreement), agreement.problems


def _likeness(frames: list[tuple[str, Poses, Poses]]) -> float:
    """Mean similarity, in hundredths, of the reference's poses of score 0.5 and more to their partners."""
    found: list[float] = []
    for _, reference, candidate in frames:
        alike = check.similarity(reference, candidate)
        partner = dict(check.match(reference, candidate))
        found += [
            float(alike[row, partner[row]]) if row in partner else 0.0
            for row in range(len(reference))
            if reference.scores[row] >= check.SCORE
        ]
    return 100 * float(np.mean(found)) if found else float("nan")


def judge_for(
    source: Source,
    pictures: Pictures,
    annotations: str | Path | None,
    images: str | Path | None,
    calib: Path,
    limit: int,
    folder: Path,
    on_warning: Warn | None = None,
) -> tuple[Judge, str]:
    where = Path(images) if images else calib
    if annotations is not None:
        ap = ApJudge(source.spec, source.size, where, Path(annotations), limit, folder, on_warning)
        return ap, f"{ap.pictures} annotated pictures"
    if not where.is_dir():
        raise InputError(f"{where}: no such folder of pictures to measure on; give a folder with --images")
    used = {path.resolve() for path in pictures.paths}
    others = sorted(
        path
        for path in where.iterdir()
        if not path.name.startswith(".") and is_picture(path) and path.resolve() not in used
    )
    if len(others) >= LEAST or (images and others):
        chosen, what = [others[i] for i in spread(len(others), limit)], "pictures not calibrated on"
    else:
        chosen = [pictures.paths[i] for i in spread(len(pictures), limit)]
        what = "calibration pictures, for want of others"
    _run.reads(*chosen)
    return AgreementJudge(source.spec, source.size, source.path, chosen), f"{len(chosen)} {what}"
