# SPDX-License-Identifier: Apache-2.0
"""COCO keypoint evaluation (OKS average precision) of an engine."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from . import _run
from ._checks import an_engine, callbacks, file_path
from ._files import describe, read_bounded
from ._optional import require
from .errors import InputError
from .skeletons import skeleton_for
from .sources import MAX_PIXELS, Frame, batches
from .spec import ModelSpec
from .thresholds import checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .engine import Engine
    from .results import Poses
    from .thresholds import ThresholdChanges, Thresholds

__all__ = ["CONF", "METRICS", "evaluate"]

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""The ten figures of the COCO keypoint evaluation, in its order."""

CONF = 0.001
"""Default confidence threshold of an evaluation, the one published COCO figures are computed with.

Average precision is the area under a curve that ends where the threshold cuts it, so a threshold as in daily use (0.25)
gives lower and incomparable figures.
"""

_PER_PICTURE = 20
"""The COCO keypoint evaluation counts the best 20 of a category in a picture; more are not kept."""

_AREA_OF_BOX = 0.53
"""Share of its box that a person fills, in the evaluations of sets whose annotations have no area (CrowdPose)."""

MAX_ANNOTATIONS = 2 << 30
"""Bytes of an annotation file."""


@dataclass(frozen=True)
class _Truth:
    dataset: dict[str, Any]
    images: list[tuple[int, str]]
    categories: dict[int, int]
    warnings: list[str]


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
    folder = _folder(images)
    sigmas = _sigmas(engine)
    truth = _load(file_path(annotations, "annotations"), engine.spec)
    coco: Any = require("faster_coco_eval", package="faster-coco-eval", extra="eval", purpose="the evaluation")
    for text in truth.warnings:
        (on_warning or warnings.warn)(text)

    # Pictures by name, not by Sources' rules: a name with * or one that looks like a camera number is still a picture.
    paths = [_find(folder, name) for _, name in truth.images]
    with batches(paths, max(engine.batch, 1), on_error=on_error, progress=progress, max_pixels=max_pixels) as found:
        used, results = _infer(found, truth, lambda frames: engine.infer(frames, thresholds=own.changed(changes)))
    if not used:
        raise InputError(f"{folder}: none of the {len(paths)} annotated pictures could be used; check the folder")
    return _score(coco, truth, results, used, sigmas)


def _folder(images: Any) -> Path:
    folder = file_path(images, "images", "the folder of the pictures")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures; give the folder the annotations speak of")
    return folder


def _infer(
    found: Iterator[list[Frame]], truth: _Truth, infer: Callable[[list[Any]], list[Poses]]
) -> tuple[list[int], list[dict[str, Any]]]:
    """The ids of the pictures that could be read, and what was found in them in COCO's form."""
    used: list[int] = []
    results: list[dict[str, Any]] = []
    for batch in found:
        frames = [frame.image for frame in batch if frame.image is not None]
        for frame, poses in zip(batch, infer(frames), strict=True):
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


def _find(folder: Path, name: str) -> Path:
    """COCO's file names may carry the folder of the set, which the user's folder may or may not repeat."""
    path = folder / name
    if not path.exists():
        plain = folder / Path(name).name
        if plain.exists():
            return plain
    return path


def _score(
    coco: Any, truth: _Truth, results: list[dict[str, Any]], used: list[int], sigmas: tuple[float, ...]
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


class _Annotations:
    """An annotation file being checked; its complaints name it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = self._read()

    def wrong(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what}; expected COCO keypoint annotations")

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        """The three lists of the file."""
        try:
            _run.reads(self.path)
            text = read_bounded(self.path, MAX_ANNOTATIONS)
        except OSError as error:
            raise InputError(
                f"{self.path}: the annotations cannot be read ({describe(error)}); check the name"
            ) from None
        try:
            data: Any = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"not valid JSON ({error})") from None
        if not isinstance(data, dict):
            raise self.wrong(f"holds a {type(data).__name__}")
        document = cast("dict[str, Any]", data)
        parts: dict[str, list[dict[str, Any]]] = {}
        for key in ("images", "annotations", "categories"):
            part = document.get(key)
            if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", part)):
                raise self.wrong(f"has no list `{key}` of objects")
            parts[key] = cast("list[dict[str, Any]]", part)
        return parts

    def images(self) -> dict[int, str]:
        """File names by id."""
        images: dict[int, str] = {}
        for number, entry in enumerate(self.parts["images"]):
            image_id, name = entry.get("id"), entry.get("file_name")
            if not _is_whole(image_id) or not isinstance(name, str) or not name or "\0" in name:
                raise self.wrong(f"images[{number}] lacks a whole `id` or a `file_name`")
            if image_id in images:
                raise self.wrong(f"images[{number}] repeats the id {image_id}")
            images[cast("int", image_id)] = name
        if not images:
            raise self.wrong("lists no picture")
        return images

    def person(self, number: int, images: Mapping[int, str], keypoints: int) -> dict[str, Any]:
        """Annotation ``number`` as the evaluation reads it; ``area`` is None where it has none."""
        entry = self.parts["annotations"][number]
        where = f"annotations[{number}]"
        points = entry["keypoints"]
        if not _are_numbers(points, None):
            raise self.wrong(f"{where} has `keypoints` that are not a list of numbers")
        if len(points) != 3 * keypoints:
            raise InputError(
                f"{self.path}: {where} has {len(points)} keypoint numbers where the model's {keypoints} keypoints need "
                f"{3 * keypoints}; evaluate a model with annotations of its own keypoints"
            )
        if not _is_whole(entry.get("image_id")) or entry["image_id"] not in images:
            raise self.wrong(f"{where} belongs to picture {entry.get('image_id')!r}, which is not listed")
        if not _are_numbers(entry.get("bbox"), 4) or min(entry["bbox"][2:]) < 0:
            raise self.wrong(f"{where} lacks a `bbox` of left, top, width and height")
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise self.wrong(f"{where} has iscrowd {crowd!r}, not 0 or 1")
        area = entry.get("area")
        labelled = entry.get("num_keypoints", sum(1 for value in points[2::3] if value > 0))
        if not _is_whole(labelled) or labelled < 0:
            raise self.wrong(f"{where} has num_keypoints {labelled!r}, not a whole number from 0 on")
        if area is not None and (not _are_numbers([area], 1) or area < 0):
            raise self.wrong(f"{where} has an `area` that is not a number from 0 on")
        return {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": [float(value) for value in entry["bbox"]],
            "area": None if area is None else float(area),
            "iscrowd": int(crowd),
            "keypoints": [float(value) for value in points],
            "num_keypoints": labelled,
        }

    def fill_areas(self, persons: list[dict[str, Any]], numbers: list[int]) -> list[str]:
        """Give the persons without an area 0.53 of their box; sentences on those and on persons of area 0.

        Args:
            persons: as :meth:`person` gives them.
            numbers: the place of each in the file.
        """
        found: list[str] = []
        lacking = [i for i, person in enumerate(persons) if person["area"] is None]
        for i in lacking:
            persons[i]["area"] = _AREA_OF_BOX * persons[i]["bbox"][2] * persons[i]["bbox"][3]
        if lacking:
            found.append(
                f"{self.path}: {len(lacking)} of {len(persons)} annotated persons, the first annotations"
                f"[{numbers[lacking[0]]}], without `area`; counted by {_AREA_OF_BOX:g} of the box, as for CrowdPose"
            )
        # The others are crowds and persons without keypoints, which nobody has to find.
        counted = [i for i, person in enumerate(persons) if person["num_keypoints"] > 0 and not person["iscrowd"]]
        empty = [i for i in counted if persons[i]["area"] == 0]
        if empty and len(empty) == len(counted):
            raise InputError(
                f"{self.path}: every annotated person has an area of 0, by which OKS divides the distances, so that "
                "nothing can match; write the area of each in square pixels, or leave `area` out to count by the boxes"
            )
        if empty:
            found.append(
                f"{self.path}: {len(empty)} of {len(persons)} annotated persons, the first annotations"
                f"[{numbers[empty[0]]}], with an area of 0; OKS divides by it, so that only keypoints without any "
                "error match, as in COCO's evaluation"
            )
        return found


def _load(path: Path, spec: ModelSpec) -> _Truth:
    """Read and check the annotations; what comes back is safe to hand to the evaluation, which checks little."""
    file = _Annotations(path)
    images = file.images()
    categories = _match_categories(file.parts["categories"], spec, file.wrong)
    wanted = set(categories.values())
    kept: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, entry in enumerate(file.parts["annotations"]):
        category = entry.get("category_id")
        if not _is_whole(category) or category not in wanted or "keypoints" not in entry:
            continue
        person = file.person(number, images, spec.keypoints)
        numbers.append(number)
        # Unique ids matter to the matching and are often repeated in files made by hand.
        kept.append({"id": len(kept) + 1, **person})
    if not kept:
        raise file.wrong(f"annotates nobody with keypoints in the categories of the model ({', '.join(spec.names)})")
    notes = file.fill_areas(kept, numbers)
    dataset = {
        "images": [{"id": image_id, "file_name": name} for image_id, name in images.items()],
        "categories": [entry for entry in file.parts["categories"] if entry["id"] in wanted],
        "annotations": kept,
    }
    return _Truth(dataset, list(images.items()), categories, notes)


def _match_categories(
    entries: list[dict[str, Any]], spec: ModelSpec, wrong: Callable[[str], InputError]
) -> dict[int, int]:
    """COCO category id of each class: by name, or the only one for the only class."""
    by_name: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if not _is_whole(entry.get("id")):
            raise wrong(f"categories[{number}] lacks a whole `id`")
        by_name.setdefault(str(entry.get("name")), entry["id"])
    missing = [name for name in spec.names if name not in by_name]
    if not missing:
        return {index: by_name[name] for index, name in enumerate(spec.names)}
    if len(entries) == spec.classes == 1:
        return {0: cast("int", entries[0]["id"])}
    raise wrong(f"has no category {missing[0]!r}, a class of the model; it has {', '.join(sorted(by_name)) or 'none'}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _are_numbers(values: Any, count: int | None) -> bool:
    if not isinstance(values, list) or (count is not None and len(cast("list[Any]", values)) != count):
        return False
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)
        for value in cast("list[Any]", values)
    )


def table(metrics: Mapping[str, float]) -> str:
    """The figures as lines of name and value."""
    return "\n".join(f"{name:<5} {value:7.4f}" for name, value in metrics.items())
