# SPDX-License-Identifier: Apache-2.0
"""COCO keypoint evaluation (OKS average precision) of an engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._checks import an_engine, callbacks, file_path
from ._in_flight import beginner, overlapped
from ._optional import require
from .errors import InputError
from .formats.annotations import Truth, load
from .skeletons import skeleton_for
from .sources import MAX_PIXELS, Frame, batches
from .thresholds import checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .engine import Engine
    from .results import Poses
    from .thresholds import ThresholdChanges, Thresholds

__all__ = ["CONF", "METRICS", "evaluate", "find_picture", "picture_folder", "table"]

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""The ten figures of the COCO keypoint evaluation, in its order."""

CONF = 0.001
"""Default confidence threshold of an evaluation, the one published COCO figures are computed with.

Average precision is the area under a curve that ends where the threshold cuts it, so a threshold as in daily use (0.25)
gives lower and incomparable figures.
"""

_PER_PICTURE = 20
"""The COCO keypoint evaluation counts the best 20 of a category in a picture; more are not kept."""


def evaluate(
    engine: Engine,
    images: str | Path,
    annotations: str | Path,
    *,
    thresholds: Thresholds | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    **changes: Unpack[ThresholdChanges],
) -> dict[str, float]:
    """Run an engine over annotated pictures and compute the ten COCO keypoint figures.

    Only the pictures that the annotation file lists are read; others in the folder play no part. The similarity is OKS
    with the sigmas of the model spec, or COCO's where the spec has none and the keypoints are COCO's.

    OKS sets distances against the area of the annotated person. One without ``area`` is counted by 0.53 of its box; one
    of area 0 matches only keypoints without any error, as in COCO's own evaluation.

    Args:
        engine: the model; its batch size is used.
        images: folder of the pictures.
        annotations: COCO keypoint annotations, JSON.
        thresholds: of this run, in place of the engine's own with ``conf`` at :data:`CONF`.
        changes: fields of :class:`Thresholds` as keyword arguments, for this run alone.
        on_error: called for a picture that is missing or cannot be read, which is then left out of the evaluation;
            without it the error is raised.
        on_warning: called with a sentence about annotations that do not count as they might seem to; without it
            Python's ``warnings`` has them, as :class:`UserWarning`.
        progress: called with the number of pictures done and their total.
        max_pixels: larger pictures are refused.

    Returns:
        AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl, each 0..1, or -1 (as COCO has it) where no annotated person
        is of the size in question.

    Raises:
        InputError: the annotations are not COCO keypoint annotations or do not fit the model, nobody in them has an
            area, the folder does not exist, no picture could be used, or a threshold is out of its range.
        TypeError: there is no such threshold.
        DeviceError: faster-coco-eval is not installed.
    """
    an_engine(engine)
    callbacks(on_error=on_error, on_warning=on_warning, progress=progress)
    own = engine.thresholds.changed({"conf": CONF}) if thresholds is None else checked(thresholds)
    folder = picture_folder(images)
    sigmas = _sigmas(engine)
    truth = load(file_path(annotations, "annotations"), engine.spec)
    coco: Any = require("faster_coco_eval", package="faster-coco-eval", extra="eval", purpose="the evaluation")
    for text in truth.warnings:
        (on_warning or warnings.warn)(text)

    # Pictures by name, not by Sources' rules: a name with * or one that looks like a camera number is still a picture.
    paths = [find_picture(folder, name) for _, name in truth.images]
    with batches(paths, max(engine.batch, 1), on_error=on_error, progress=progress, max_pixels=max_pixels) as found:
        used, results = _infer(found, truth, *beginner(engine, own.changed(changes)))
    if not used:
        raise InputError(f"{folder}: none of the {len(paths)} annotated pictures could be used; check the folder")
    return _score(coco, truth, results, used, sigmas)


def picture_folder(images: Any) -> Path:
    """The folder that annotations speak of; InputError where there is none."""
    folder = file_path(images, "images", "the folder of the pictures")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures; give the folder the annotations speak of")
    return folder


def _infer(
    found: Iterator[list[Frame]], truth: Truth, begin: Callable[[list[Any]], Callable[[], list[Poses]]], most: int
) -> tuple[list[int], list[dict[str, Any]]]:
    """The ids of the pictures that could be read, and what was found in them in COCO's form."""
    used: list[int] = []
    results: list[dict[str, Any]] = []

    def begin_batch(batch: list[Frame]) -> Callable[[], list[Poses]]:
        return begin([frame.image for frame in batch])

    groups = ((list(batch), False) for batch in found)
    for batch, poses_of_batch in overlapped(groups, begin_batch, most):
        for frame, poses in zip(batch, poses_of_batch, strict=True):
            image_id = truth.images[frame.position][0]
            used.append(image_id)
            for class_id in truth.categories:
                best = poses[poses.class_ids == class_id][:_PER_PICTURE]
                results.extend(best.to_coco(image_id, truth.categories))
    return used, results


def _sigmas(engine: Engine) -> tuple[float, ...]:
    sigmas = skeleton_for(engine.spec).sigmas
    if not sigmas:
        raise InputError(
            f"{engine.model}: the model spec has no sigmas for its {engine.spec.keypoints} keypoints, which OKS needs; "
            "give a spec with `sigmas`, one number per keypoint"
        )
    return sigmas


def find_picture(folder: Path, name: str) -> Path:
    """COCO's file names may carry the folder of the set, which the user's folder may or may not repeat."""
    path = folder / name
    if not path.exists():
        plain = folder / Path(name).name
        if plain.exists():
            return plain
    return path


def _score(
    coco: Any, truth: Truth, results: list[dict[str, Any]], used: list[int], sigmas: tuple[float, ...]
) -> dict[str, float]:
    def silent(*_: object) -> None:
        pass

    ground = coco.COCO(truth.dataset, print_function=silent)
    found = ground.loadRes(results)
    judge = coco.COCOeval_faster(
        ground, found, iouType="keypoints", print_function=silent, kpt_oks_sigmas=list(sigmas), use_area=True
    )
    judge.params.imgIds = sorted(used)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return {name: round(float(value), 6) for name, value in zip(METRICS, judge.stats, strict=False)}


def table(metrics: Mapping[str, float]) -> str:
    """The figures as lines of name and value."""
    return "\n".join(f"{name:<5} {value:7.4f}" for name, value in metrics.items())
