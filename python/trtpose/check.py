# SPDX-License-Identifier: Apache-2.0
"""Whether two models find the same people: an engine and the ONNX it came from, or two ONNX files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._checks import callbacks, file_path, real
from .agreement import (
    MATCH,
    MAX_DROP,
    SCORE,
    TOLERANCES,
    Agreement,
    Limits,
    Picture,
    Side,
    Spread,
    compare,
    match,
    similarity,
    table,
)
from .errors import InputError, ModelError
from .results import Poses
from .sources import MAX_PIXELS, Sources, batches

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
    "check",
    "compare",
    "match",
    "similarity",
    "table",
]


_CHUNK = 8


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
    max_drop: float = MAX_DROP,
    on_error: Callable[[InputError], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
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
        on_error, on_warning, progress: as in :func:`trtpose.evaluate.evaluate`.
        max_pixels: larger pictures are refused.

    Raises:
        InputError: no pictures, a threshold that is none, or the annotations do not fit.
        ModelError, DeviceError, BudgetError: a model cannot be run, or the two do not find the same kind of thing.
    """
    conf, score = _scores(conf, score)
    limits = Limits(0.0 if tolerance_px is None else tolerance_px, min_matched, max_extra, max_drop)
    callbacks(on_error=on_error, on_warning=on_warning, progress=progress)
    images, annotations = _places(images, annotations)
    paths = _pictures(images)
    engines = _open(reference, candidate, spec, device, imgsz)
    frames = _infer_both(engines, paths, conf, on_error=on_error, progress=progress, max_pixels=max_pixels)
    if not frames:
        raise InputError(f"{images}: none of the {len(paths)} pictures could be used; check the folder")
    # What there is to say of pictures was said in their first reading, and annotations are the same for both.
    quiet = None if on_error is None else _ignore
    first = _side(engines[0], _metrics(engines[0], images, annotations, quiet, on_warning, max_pixels))
    second = _side(engines[1], _metrics(engines[1], images, annotations, quiet, _ignore, max_pixels))
    if tolerance_px is None:
        limits = Limits(TOLERANCES[second.arithmetic], min_matched, max_extra, max_drop)
    return compare(frames, first, second, limits=limits, score=score)


def _scores(conf: Any, score: Any) -> tuple[float, float]:
    conf, score = real(conf, "conf"), real(score, "score")
    if not 0.0 <= conf <= score <= 1.0:
        raise InputError(f"conf is {conf} and score {score}; expected 0 ≤ conf ≤ score ≤ 1")
    return conf, score


def _places(images: Any, annotations: Any) -> tuple[Path, Path | None]:
    """Where the pictures and their annotations are."""
    images = file_path(images, "images", "a folder of pictures, or one picture")
    if annotations is None:
        return images, None
    annotations = file_path(annotations, "annotations")
    if images.exists() and not images.is_dir():
        raise InputError(f"{images}: is one picture; with annotations give the folder they speak of")
    return images, annotations


def _open(
    reference: Engine | str | os.PathLike[str],
    candidate: Engine | str | os.PathLike[str],
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None,
    device: str,
    imgsz: int | tuple[int, int] | None,
) -> tuple[Engine, Engine]:
    from .engine import Engine

    if not isinstance(candidate, Engine):
        candidate = Engine(candidate, spec=spec, device=device, imgsz=imgsz)
    if not isinstance(reference, Engine):
        reference = _open_reference(reference, spec, imgsz, candidate.imgsz)
    _check_alike(reference, candidate)
    return reference, candidate


def _infer_both(
    engines: tuple[Engine, Engine],
    paths: Sequence[Path],
    conf: float,
    *,
    on_error: Callable[[InputError], None] | None,
    progress: Callable[[int, int], None] | None,
    max_pixels: int,
) -> list[tuple[str, Poses, Poses]]:
    """The name of each picture and what the two find in it."""
    result: list[tuple[str, Poses, Poses]] = []
    size = min(max(engine.batch for engine in engines), _CHUNK)
    with batches(paths, size, on_error=on_error, progress=progress, max_pixels=max_pixels) as found:
        for batch in found:
            pictures = [frame.image for frame in batch if frame.image is not None]
            first, second = (engine.infer(pictures, conf=conf) for engine in engines)
            result.extend((frame.source, a, b) for frame, a, b in zip(batch, first, second, strict=True))
    return result


def _metrics(
    engine: Engine,
    images: str | os.PathLike[str],
    annotations: str | os.PathLike[str] | None,
    on_error: Callable[[InputError], None] | None,
    on_warning: Callable[[str], None] | None,
    max_pixels: int,
) -> Mapping[str, float] | None:
    if annotations is None:
        return None
    from .evaluate import evaluate

    return evaluate(
        engine, Path(images), Path(annotations), on_error=on_error, on_warning=on_warning, max_pixels=max_pixels
    )


def _ignore(what: object) -> None:
    """For what was said before."""
    del what


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
