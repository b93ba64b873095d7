# SPDX-License-Identifier: Apache-2.0
"""Whether two models find the same people: an engine and the ONNX it came from, or two ONNX files."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ModelError
from .results import VISIBLE, Poses
from .skeletons import skeleton_for
from .sources import MAX_PIXELS, Frame, Sources

if TYPE_CHECKING:
    from .engine import Engine
    from .spec import ModelSpec

__all__ = [
    "MATCH",
    "SCORE",
    "TOLERANCES",
    "Agreement",
    "Limits",
    "Picture",
    "Side",
    "Spread",
    "add_arguments",
    "check",
    "compare",
    "run",
    "table",
]

SCORE = 0.5
"""Poses of this score and more must be found by both models. Weaker ones come and go with the last bit."""

MATCH = 0.5
"""Two poses are of the same person from this similarity on, the loosest of the COCO evaluation's thresholds."""

TOLERANCES: Mapping[str, float] = {"f32": 0.1, "fp16": 0.5, "bf16": 2.0, "int8": 2.0}
"""Median keypoint error in pixels of the frame that is accepted, by the arithmetic of the second model.

FP32 engines add in another order, perhaps in TF32; FP16 keeps 11 bits of an activation, INT8 and BF16 keep 8.
"""

_MAX_DROP = 1.0
_CHUNK = 8

_F32 = NDArray[np.float32]


# --- What is found out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What two models must keep to in order to agree.

    Attributes:
        tolerance_px: median keypoint error at most, in pixels of the frame.
        matched: share of the reference's poses that must be found again, 0 to 1.
        extra: poses that only the candidate finds, at most, as a share of the reference's poses.
        max_drop: AP points (hundredths) that may be lost, where there are annotations.
    """

    tolerance_px: float
    matched: float = 1.0
    extra: float = 0.0
    max_drop: float = _MAX_DROP

    def __post_init__(self) -> None:
        for name, value, top in (
            ("tolerance_px", self.tolerance_px, math.inf),
            ("matched", self.matched, 1.0),
            ("extra", self.extra, math.inf),
            ("max_drop", self.max_drop, math.inf),
        ):
            if not 0.0 <= value <= top:
                raise InputError(f"{name} is {value}, expected a number from 0 {'on' if top == math.inf else 'to 1'}")


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and largest of a quantity; all 0 where ``count`` is 0."""

    count: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of any number of values."""
        if not values:
            return cls(0, 0.0, 0.0, 0.0)
        array = np.asarray(values)
        return cls(
            len(values), *(round(float(v), 5) for v in (np.median(array), np.quantile(array, 0.95), array.max()))
        )


@dataclass(frozen=True)
class Side:
    """One of the two models, as it ran.

    Attributes:
        model: path.
        backend, device, precision: as the engine reports them.
        arithmetic: ``f32``, ``fp16``, ``bf16`` or ``int8``: the narrowest the network computes in, or is written for.
        imgsz: height and width of the network's input.
        metrics: COCO keypoint figures, where there are annotations.
    """

    model: str
    backend: str
    device: str
    precision: str
    arithmetic: str
    imgsz: tuple[int, int]
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Picture:
    """What the comparison of one picture gave.

    Attributes:
        source: path of the picture.
        poses: poses of the reference that count (their score is at least ``Agreement.score``).
        matched: those of them that the candidate found.
        missing: box (left, top, right, bottom) and score of the others.
        extra: box and score of the candidate's poses that count and that the reference has not.
        keypoint_px: errors of the keypoints both are confident of.
    """

    source: str
    poses: int
    matched: int
    missing: tuple[tuple[tuple[float, ...], float], ...]
    extra: tuple[tuple[tuple[float, ...], float], ...]
    keypoint_px: Spread


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on a set of pictures.

    Attributes:
        reference, candidate: the two models.
        score: the score from which on a pose counts.
        poses, matched, extra: poses of the reference that count, those found again, and poses of the candidate that
            count and that the reference has not.
        keypoint_px: distance of matched poses' keypoints in pixels of the frame; only keypoints of which both are
            confident.
        box_iou: overlap of matched poses' boxes; here ``worst`` is the least and ``p95`` what 95 % are above.
        score_difference: of matched poses, absolute.
        ap_drop: AP points (hundredths) that the candidate loses; None without annotations.
        limits: what was asked for.
        problems: why the two do not agree; empty if they do.
        pictures: one by one.
    """

    reference: Side
    candidate: Side
    score: float
    poses: int
    matched: int
    extra: int
    keypoint_px: Spread
    box_iou: Spread
    score_difference: Spread
    ap_drop: float | None
    limits: Limits
    problems: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def passed(self) -> bool:
        """Whether the two agree within the limits."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """One sentence."""
        names = f"{self.candidate.model} against {self.reference.model}"
        if self.passed:
            return f"{names}: the two agree"
        return f"{names}: {'; '.join(self.problems)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""

        def plain(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [plain(entry) for entry in cast("list[Any]", value)]
            if isinstance(value, Mapping):
                return {str(key): plain(entry) for key, entry in cast("Mapping[Any, Any]", value).items()}
            if hasattr(value, "__dataclass_fields__"):
                return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
            return value

        return {"passed": self.passed, "verdict": self.verdict, **plain(self)}


# --- Comparing poses --------------------------------------------------------------------------------------------------


def _sides(boxes: _F32) -> NDArray[np.float64]:
    """(n, 4) boxes at least a pixel wide and high: what is left of one that was clipped to the edge of the frame."""
    out = boxes.astype(np.float64)
    out[:, 2:] = np.maximum(out[:, 2:], out[:, :2] + 1)
    return out


def _box_iou(a: _F32, b: _F32) -> NDArray[np.float64]:
    """(n, 4) and (m, 4) boxes: (n, m) overlaps."""
    first, second = _sides(a)[:, None], _sides(b)[None]
    shared = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    inter = shared.clip(0).prod(-1)
    return inter / ((first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - inter)


def similarity(reference: Poses, candidate: Poses) -> NDArray[np.float64]:
    """How alike each pose of one set is to each of the other, (n, m) in 0 to 1; 0 between different classes.

    OKS as COCO defines it (cocodataset.org, "Keypoint Evaluation"), over the keypoints the reference is confident of,
    with the area of the reference's box. Where it is confident of none, or the spec has no sigmas, the overlap of the
    boxes.
    """
    alike = _box_iou(reference.boxes, candidate.boxes)
    sigmas = np.asarray(skeleton_for(reference.spec).sigmas, np.float64)
    if len(sigmas) and len(reference) and len(candidate):
        a, b = reference.xy.astype(np.float64)[:, None], candidate.xy.astype(np.float64)[None]
        boxes = _sides(reference.boxes)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        spread = 2 * area[:, None, None] * (2 * sigmas) ** 2
        each = np.exp(-((a - b) ** 2).sum(-1) / spread)
        seen = reference.visible()[:, None]
        count = seen.sum(-1)
        oks = (each * seen).sum(-1) / np.maximum(count, 1)
        alike = np.where(count > 0, oks, alike)
    return np.where(reference.class_ids[:, None] == candidate.class_ids[None], alike, 0.0)


def match(reference: Poses, candidate: Poses, threshold: float = MATCH) -> list[tuple[int, int]]:
    """Pairs of poses of the same person, one to one, the most alike pair first and ties by index.

    The COCO evaluation lets each pose in turn take its best partner, which with people close to each other depends on
    the order of scores that are almost equal; of two sets that are almost the same this finds every pair.
    """
    alike = similarity(reference, candidate)
    pairs: list[tuple[int, int]] = []
    rows: set[int] = set()
    columns: set[int] = set()
    for flat in np.argsort(-alike, axis=None, kind="stable").tolist():
        row, column = divmod(int(flat), alike.shape[1])
        if alike[row, column] < threshold:
            break
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column))
    return sorted(pairs)


@dataclass
class _Sums:
    """What comparing frame after frame adds up to."""

    keypoint_px: list[float]
    box_iou: list[float]
    score_difference: list[float]
    pictures: list[Picture]


def _compare(source: str, reference: Poses, candidate: Poses, score: float, sums: _Sums) -> None:
    pairs = match(reference, candidate)
    found = {row for row, _ in pairs}
    known = {column for _, column in pairs}
    ious = _box_iou(reference.boxes, candidate.boxes)
    errors: list[float] = []
    matched = 0
    for row, column in pairs:
        if reference.scores[row] < score:
            continue
        matched += 1
        both = (reference.confidence[row] >= VISIBLE) & (candidate.confidence[column] >= VISIBLE)
        apart = reference.xy[row].astype(np.float64) - candidate.xy[column].astype(np.float64)
        errors += np.hypot(apart[both, 0], apart[both, 1]).tolist()
        sums.box_iou.append(float(ious[row, column]))
        sums.score_difference.append(abs(float(reference.scores[row]) - float(candidate.scores[column])))
    sums.keypoint_px += errors

    def listed(poses: Poses, left_out: set[int]) -> tuple[tuple[tuple[float, ...], float], ...]:
        return tuple(
            (tuple(round(v, 2) for v in poses.boxes[i].tolist()), round(float(poses.scores[i]), 4))
            for i in range(len(poses))
            if i not in left_out and poses.scores[i] >= score
        )

    sums.pictures.append(
        Picture(
            source=source,
            poses=int((reference.scores >= score).sum()),
            matched=matched,
            missing=listed(reference, found),
            extra=listed(candidate, known),
            keypoint_px=Spread.of(errors),
        )
    )


def compare(
    frames: list[tuple[str, Poses, Poses]],
    reference: Side,
    candidate: Side,
    *,
    limits: Limits,
    score: float = SCORE,
) -> Agreement:
    """Judge poses that are there already.

    Args:
        frames: for each picture its name and what the reference and the candidate found in it, with scores well below
            ``score``, so that a pose at the threshold has its partner.
        reference, candidate: the two models; their metrics are compared if both have some.
        limits: what is asked for.
        score: the score from which on a pose counts.
    """
    sums = _Sums([], [], [], [])
    for source, first, second in frames:
        _compare(source, first, second, score, sums)
    poses = sum(picture.poses for picture in sums.pictures)
    matched = sum(picture.matched for picture in sums.pictures)
    extra = sum(len(picture.extra) for picture in sums.pictures)
    keypoint_px = Spread.of(sums.keypoint_px)
    drop: float | None = None
    if reference.metrics is not None and candidate.metrics is not None:
        drop = round(100 * (reference.metrics["AP"] - candidate.metrics["AP"]), 4)
    return Agreement(
        reference=reference,
        candidate=candidate,
        score=score,
        poses=poses,
        matched=matched,
        extra=extra,
        keypoint_px=keypoint_px,
        box_iou=_lowest(sums.box_iou),
        score_difference=Spread.of(sums.score_difference),
        ap_drop=drop,
        limits=limits,
        problems=tuple(_problems(limits, score, len(frames), poses, matched, extra, keypoint_px, drop)),
        pictures=tuple(sums.pictures),
    )


def _lowest(values: list[float]) -> Spread:
    """As :class:`Spread` for a quantity whose low end is the bad one."""
    turned = Spread.of([-value for value in values])
    return Spread(turned.count, -turned.median + 0.0, -turned.p95 + 0.0, -turned.worst + 0.0)


def _problems(
    limits: Limits, score: float, pictures: int, poses: int, matched: int, extra: int, px: Spread, drop: float | None
) -> list[str]:
    problems: list[str] = []
    if not poses:
        problems.append(
            f"the reference finds nobody with a score of {score:g} in {pictures} picture(s), so that there is nothing "
            "to compare; take pictures with people in them or a lower score"
        )
        return problems
    if matched < limits.matched * poses:
        problems.append(f"{poses - matched} of {poses} poses are not found again")
    if extra > limits.extra * poses:
        problems.append(f"{extra} pose(s) are found that the reference has not")
    if px.median > limits.tolerance_px:
        problems.append(f"the median keypoint is {px.median:.3g} px off, more than {limits.tolerance_px:g}")
    if matched and not px.count:
        problems.append("no keypoint has a confidence of 0.5 in both, so that none could be compared")
    if drop is not None and drop > limits.max_drop:
        problems.append(f"{drop:.2f} points of AP are lost, more than {limits.max_drop:g}")
    return problems


# --- Running models ---------------------------------------------------------------------------------------------------


def check(
    reference: Engine | str | os.PathLike[str],
    candidate: Engine | str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | None = None,
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    device: str = "auto",
    imgsz: int | tuple[int, int] | None = None,
    conf: float = 0.25,
    score: float = SCORE,
    tolerance_px: float | None = None,
    min_matched: float = 1.0,
    max_extra: float = 0.0,
    max_drop: float = _MAX_DROP,
    on_error: Callable[[InputError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Agreement:
    """Run two models over the same pictures and say how far the second finds what the first finds.

    Poses are paired by :func:`match`.

    Args:
        reference: the model to trust, an engine or a file.
        candidate: the model to judge.
        images: folder of pictures, or one picture.
        annotations: COCO keypoint annotations (JSON) of pictures in that folder; then the two models' AP is compared.
        spec: model spec for files that carry none.
        device: where the candidate runs; the reference runs where the engine's ``auto`` puts it.
        imgsz: input size in pixels, for models that leave it open; by default the candidate's.
        conf: confidence both run with; less than ``score``, so that a pose at that threshold finds its partner.
        score: poses count from this score on.
        tolerance_px: median keypoint error at most, in pixels of the frame; by default :data:`TOLERANCES` has it.
        min_matched, max_extra, max_drop: as in :class:`Limits`.
        on_error: called for a picture that cannot be read, which is then left out; without it the error is raised.
        progress: called with the number of pictures done and their total.
        max_pixels: larger pictures are refused.

    Raises:
        InputError: no pictures, a threshold that is none, or the annotations do not fit.
        ModelError, DeviceError, BudgetError: a model cannot be run, or the two do not find the same kind of thing.
    """
    from .engine import Engine

    if not 0.0 <= conf <= score <= 1.0:
        raise InputError(f"conf is {conf} and score {score}; expected 0 ≤ conf ≤ score ≤ 1")
    limits = Limits(0.0 if tolerance_px is None else tolerance_px, min_matched, max_extra, max_drop)
    paths = _pictures(images)
    if annotations is not None and not Path(images).is_dir():
        raise InputError(f"{images}: is one picture; with annotations give the folder they speak of")
    if not isinstance(candidate, Engine):
        candidate = Engine(candidate, spec=spec, device=device, imgsz=imgsz)
    if not isinstance(reference, Engine):
        reference = _open_reference(reference, spec, imgsz, candidate.imgsz)
    _check_alike(reference, candidate)

    frames: list[tuple[str, Poses, Poses]] = []
    batch: list[Frame] = []
    size = min(max(reference.batch, candidate.batch), _CHUNK)

    def both() -> None:
        pictures = [frame.image for frame in batch if frame.image is not None]
        first, second = reference.infer(pictures, conf=conf), candidate.infer(pictures, conf=conf)
        frames.extend((frame.source, a, b) for frame, a, b in zip(batch, first, second, strict=True))
        batch.clear()

    with Sources.of_files(paths, max_pixels=max_pixels) as sources:
        for done, frame in enumerate(sources, 1):
            if frame.error is not None:
                if on_error is None:
                    raise frame.error
                on_error(frame.error)
            else:
                batch.append(frame)
            if batch and (len(batch) == size or done == len(paths)):
                both()
            if progress is not None:
                progress(done, len(paths))
    if batch:
        both()
    if not frames:
        raise InputError(f"{images}: none of the {len(paths)} pictures could be used; check the folder")

    metrics: list[Mapping[str, float] | None] = [None, None]
    if annotations is not None:
        from .evaluate import evaluate

        for number, engine in enumerate((reference, candidate)):
            metrics[number] = evaluate(
                engine,
                Path(images),
                Path(annotations),
                on_error=None if on_error is None else _ignore,
                max_pixels=max_pixels,
            )
    sides = [_side(engine, found) for engine, found in zip((reference, candidate), metrics, strict=True)]
    if tolerance_px is None:
        limits = Limits(TOLERANCES[sides[1].arithmetic], min_matched, max_extra, max_drop)
    return compare(frames, sides[0], sides[1], limits=limits, score=score)


def _ignore(error: InputError) -> None:
    """What on_error is in the second reading of pictures whose errors were reported in the first."""
    del error


def _pictures(images: str | os.PathLike[str]) -> list[Path]:
    path = Path(images)
    if not path.exists():
        raise InputError(f"{path}: no such folder of pictures; check the name")
    found = Sources([path])
    paths = [file for number, file in enumerate(found.files) if not found.is_video(number)]
    found.close()
    if not paths:
        raise InputError(f"{path}: holds no picture; give a picture or a folder of pictures")
    return paths


def _open_reference(
    model: str | os.PathLike[str],
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None,
    imgsz: int | tuple[int, int] | None,
    candidates: tuple[int, int],
) -> Engine:
    """At the candidate's size where the model leaves it open."""
    from .engine import Engine

    if imgsz is not None:
        return Engine(model, spec=spec, imgsz=imgsz)
    engine = Engine(model, spec=spec)
    if engine.imgsz == candidates:
        return engine
    try:
        return Engine(model, spec=spec, imgsz=candidates)
    except (ModelError, InputError):
        return engine


def _check_alike(reference: Engine, candidate: Engine) -> None:
    a, b = reference.spec, candidate.spec
    for what, first, second in (
        ("classes", list(a.names), list(b.names)),
        ("keypoints", a.keypoints, b.keypoints),
    ):
        if first != second:
            raise ModelError(
                f"{candidate.model}: has the {what} {second}, {reference.model} has {first}; "
                "compare models that find the same thing"
            )
    if reference.imgsz != candidate.imgsz:
        sizes = [f"{height}×{width}" for height, width in (candidate.imgsz, reference.imgsz)]
        raise ModelError(
            f"{candidate.model}: takes {sizes[0]} pixels (height × width), {reference.model} {sizes[1]}; compare "
            "models of the same input size"
        )


def _side(engine: Engine, metrics: Mapping[str, float] | None) -> Side:
    return Side(
        model=str(engine.model),
        backend=engine.backend,
        device=engine.device,
        precision=engine.precision,
        arithmetic=_arithmetic(engine),
        imgsz=engine.imgsz,
        metrics=metrics,
    )


def _arithmetic(engine: Engine) -> str:
    """The narrowest arithmetic of a network: what its backend reports or, where it widens what the file was written
    for, as OpenVINO does with Q/DQ and FP16 on a CPU, the file's."""
    reported = {"f32": "f32", "fp32": "f32", "tf32": "f32", "fp16": "fp16", "f16": "fp16", "bf16": "bf16"}.get(
        engine.precision.lower(), "int8" if "int8" in engine.precision.lower() else "f32"
    )
    path = Path(engine.model)
    if reported != "f32" or path.suffix.lower() != ".onnx" or not path.is_file():
        return reported
    data = path.read_bytes()
    # The name of a node's operator as it stands in the file: field 4 of NodeProto, its length, its letters.
    if b'"\x10DequantizeLinear' in data:
        return "int8"
    from . import _core

    described = _core.read_model_file(str(path))
    parameters, weights = int(described.get("parameters", 0)), int(described.get("weight_bytes", 0))
    return "fp16" if 0 < weights < 3 * parameters else "f32"


# --- The command ------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ._arguments import fraction, size

    parser.description = "Say whether a model finds the people that another finds, and how far off its keypoints are."
    parser.add_argument("reference", metavar="MODEL.onnx", help="the model to trust")
    parser.add_argument("candidate", metavar="MODEL", help="the engine or ONNX to judge")
    parser.add_argument("--images", metavar="DIR", required=True, help="picture or folder of pictures")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoint annotations, JSON: compare AP as well")
    parser.add_argument("--spec", metavar="FILE", help="model spec, JSON, for models that carry none")
    parser.add_argument("--device", default="auto", help="where the candidate runs: auto, cpu, cuda or cuda:N")
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="input size in pixels (default: the candidate's)")
    parser.add_argument(
        "--conf", type=fraction, default=0.25, metavar="X", help="least score of a pose (default: 0.25)"
    )
    parser.add_argument(
        "--score", type=fraction, default=SCORE, metavar="X", help=f"poses count from this score on (default: {SCORE})"
    )
    defaults = ", ".join(f"{name} {px:g}" for name, px in TOLERANCES.items())
    parser.add_argument(
        "--tolerance-px",
        type=_number,
        metavar="PX",
        help=f"median keypoint error at most, in pixels of the frame (default: {defaults})",
    )
    parser.add_argument(
        "--min-matched",
        type=fraction,
        default=1.0,
        metavar="X",
        help="share of the poses that must be found again (default: 1)",
    )
    parser.add_argument(
        "--max-extra",
        type=_number,
        default=0.0,
        metavar="X",
        help="poses the reference has not, as a share of its own (default: 0)",
    )
    parser.add_argument(
        "--max-drop",
        type=_number,
        default=_MAX_DROP,
        metavar="X",
        help=f"AP points that may be lost, with --annotations (default: {_MAX_DROP:g})",
    )
    parser.add_argument("--json", metavar="FILE", help="write the comparison to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status: 1 where the two do not agree. Errors are raised as :class:`trtpose.Error`."""
    from .cli import _check_json as check_json
    from .cli import _complain as complain
    from .cli import _Progress as Progress
    from .cli import _write_json as write_json

    if args.conf > args.score:
        raise InputError(f"--conf {args.conf:g} is above --score {args.score:g}, the score of the poses that count")
    inputs = [Path(args.reference), Path(args.candidate)]
    check_json(args.json, inputs + ([Path(args.annotations)] if args.annotations else []))
    failures = 0
    with Progress(None, "picture", quiet=args.quiet) as progress:

        def report(error: InputError) -> None:
            nonlocal failures
            failures += 1
            complain(str(error), progress)

        result = check(
            args.reference,
            args.candidate,
            args.images,
            annotations=args.annotations,
            spec=args.spec,
            device=args.device,
            imgsz=args.imgsz,
            conf=args.conf,
            score=args.score,
            tolerance_px=args.tolerance_px,
            min_matched=args.min_matched,
            max_extra=args.max_extra,
            max_drop=args.max_drop,
            on_error=report,
            progress=progress.at,
        )
    if args.json is not None:
        write_json(args.json, result.to_dict())
    if not args.quiet and args.json != "-":
        print(table(result))
    if not result.passed:
        complain(result.verdict)
    return 1 if failures or not result.passed else 0


def table(result: Agreement) -> str:
    """A comparison as text for people."""
    lines: list[str] = []
    for label, side in (("reference", result.reference), ("candidate", result.candidate)):
        height, width = side.imgsz
        written = "" if side.arithmetic == side.precision else f" (written for {side.arithmetic})"
        where = f"{side.backend} on {side.device}, {side.precision}{written}"
        lines.append(f"{label} {side.model}: {where}, {height}x{width} (height x width)")
    lines += [
        f"{len(result.pictures)} pictures, poses with a score of at least {result.score:g}",
        "",
        f"poses found again {result.matched:>6} of {result.poses}",
        f"poses of its own  {result.extra:>6}",
        "",
        f"{'':<18} {'median':>9} {'95 %':>9} {'worst':>9} {'limit':>9}",
    ]
    limit = f"{result.limits.tolerance_px:>9.3f}"
    for name, spread, note in (
        ("keypoint error, px", result.keypoint_px, limit),
        ("box overlap (IoU)", result.box_iou, ""),
        ("score difference", result.score_difference, ""),
    ):
        lines.append(f"{name:<18} {spread.median:>9.4f} {spread.p95:>9.4f} {spread.worst:>9.4f} {note}".rstrip())
    if result.reference.metrics is not None and result.candidate.metrics is not None:
        first, second = result.reference.metrics["AP"], result.candidate.metrics["AP"]
        lost = f"{result.ap_drop:.2f} points lost of {result.limits.max_drop:g}"
        lines += ["", f"AP {first:.4f} and {second:.4f}: {lost}"]
    for picture in result.pictures:
        lines += [f"{picture.source}: not found again: score {score:.2f}, box {box}" for box, score in picture.missing]
        lines += [f"{picture.source}: of its own: score {score:.2f}, box {box}" for box, score in picture.extra]
    lines += ["", "the two agree" if result.passed else "the two do NOT agree"]
    return "\n".join(lines)
