# SPDX-License-Identifier: Apache-2.0
"""Annotations of keypoints in COCO's form, checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .. import _run
from .._files import describe, read_bounded
from ..errors import InputError
from ..skeletons import skeleton_for
from ..spec import ModelSpec

__all__ = ["MAX_ANNOTATIONS", "Annotations", "Truth", "is_whole", "load"]

_AREA_OF_BOX = 0.53
"""Share of its box that a person fills, in the evaluations of sets whose annotations have no area (CrowdPose)."""

MAX_ANNOTATIONS = 2 << 30
"""Bytes of an annotation file."""


@dataclass(frozen=True)
class Truth:
    """What a file annotates, as far as it concerns a model.

    Attributes:
        dataset: ``images``, ``categories`` and ``annotations`` of the file that count, in COCO's form.
        images: id and file name of each picture.
        categories: category id of each class of the model.
        warnings: sentences on what does not count as it might seem to.
        numbers: the place in the file of each of the ``annotations``.
        file: the file itself.
    """

    dataset: dict[str, Any]
    images: list[tuple[int, str]]
    categories: dict[int, int]
    warnings: list[str]
    numbers: list[int]
    file: Annotations


class Annotations:
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
            if not is_whole(image_id) or not isinstance(name, str) or not name or "\0" in name:
                raise self.wrong(f"images[{number}] lacks a whole `id` or a `file_name`")
            if image_id in images:
                raise self.wrong(f"images[{number}] repeats the id {image_id}")
            images[cast("int", image_id)] = name
        if not images:
            raise self.wrong("lists no picture")
        return images

    def _points(self, number: int, order: Order) -> tuple[list[float], bool]:
        """The keypoints of annotation ``number`` in the model's order, and whether any is not the model's or lacks."""
        points = self.parts["annotations"][number]["keypoints"]
        where = f"annotations[{number}]"
        if not _are_numbers(points, None):
            raise self.wrong(f"{where} has `keypoints` that are not a list of numbers")
        if len(points) != 3 * order.annotated:
            what = "the category's" if order.by_name else "the model's"
            raise InputError(
                f"{self.path}: {where} has {len(points)} keypoint numbers where {what} {order.annotated} keypoints "
                f"need {3 * order.annotated}; evaluate a model with annotations of its own keypoints"
            )
        if not order.by_name:
            return points, False
        nothing = [0.0, 0.0, 0.0]
        return [v for i in order.places for v in (nothing if i is None else points[3 * i : 3 * i + 3])], order.partly

    def person(self, number: int, images: Mapping[int, str], order: Order) -> dict[str, Any]:
        """Annotation ``number`` as the evaluation reads it; ``area`` is None where it has none."""
        entry = self.parts["annotations"][number]
        where = f"annotations[{number}]"
        points, changed = self._points(number, order)
        if not is_whole(entry.get("image_id")) or entry["image_id"] not in images:
            raise self.wrong(f"{where} belongs to picture {entry.get('image_id')!r}, which is not listed")
        if not _are_numbers(entry.get("bbox"), 4) or min(entry["bbox"][2:]) < 0:
            raise self.wrong(f"{where} lacks a `bbox` of left, top, width and height")
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise self.wrong(f"{where} has iscrowd {crowd!r}, not 0 or 1")
        area = entry.get("area")
        labelled = sum(1 for value in points[2::3] if value > 0)
        labelled = labelled if changed else entry.get("num_keypoints", labelled)
        if not is_whole(labelled) or labelled < 0:
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


@dataclass(frozen=True)
class Order:
    """Where the model's keypoints stand in a category's annotations.

    Attributes:
        annotated: keypoints of an annotation.
        places: for each keypoint of the model its place, None where it is not annotated.
        by_name: whether the names decided it; else both have the same order.
        note: a sentence where they do not fit together, or an empty string.
    """

    annotated: int
    places: tuple[int | None, ...]
    by_name: bool = False
    note: str = ""

    @property
    def partly(self) -> bool:
        """Whether either side has keypoints that the other has not."""
        return None in self.places or self.annotated != len(self.places)


def _order(category: dict[str, Any], spec: ModelSpec) -> Order:
    """By the names of the keypoints where both have them (PoseTrack's 17 are not COCO's 17), else as they stand."""
    count = spec.keypoints
    plain = Order(count, tuple(range(count)))
    given: Any = category.get("keypoints")
    if not isinstance(given, list) or not all(isinstance(name, str) for name in cast("list[Any]", given)):
        return plain
    theirs = [_plain(name) for name in cast("list[str]", given)]
    ours = [_plain(name) for name in skeleton_for(spec).names]
    if theirs == ours or len(set(theirs)) != len(theirs):
        return plain
    places = tuple(theirs.index(name) if name in theirs else None for name in ours)
    shared = sum(place is not None for place in places)
    name = category.get("name")
    if not shared:
        if len(theirs) != count:
            return plain
        note = f"category {name!r} names none of its keypoints as the model does; they are taken in their own order"
        return Order(count, plain.places, note=note)
    order = Order(len(theirs), places, by_name=True)
    if not order.partly:
        return order
    lacking = ", ".join(n for n, place in zip(ours, places, strict=True) if place is None) or "none"
    note = (
        f"category {name!r} has {len(theirs)} keypoints, {shared} of them the model's {count} by name; only they count "
        f"(not annotated: {lacking})"
    )
    return Order(len(theirs), places, by_name=True, note=note)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def load(path: Path, spec: ModelSpec) -> Truth:
    """Read and check the annotations; what comes back is safe to hand to the evaluation, which checks little."""
    file = Annotations(path)
    images = file.images()
    categories = _match_categories(file.parts["categories"], spec, file.wrong)
    wanted = set(categories.values())
    orders = {e["id"]: _order(e, spec) for e in file.parts["categories"] if e["id"] in wanted}
    kept: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, entry in enumerate(file.parts["annotations"]):
        category = entry.get("category_id")
        if not is_whole(category) or category not in wanted or "keypoints" not in entry:
            continue
        person = file.person(number, images, orders[category])
        numbers.append(number)
        # Unique ids matter to the matching and are often repeated in files made by hand.
        kept.append({"id": len(kept) + 1, **person})
    if not kept:
        raise file.wrong(f"annotates nobody with keypoints in the categories of the model ({', '.join(spec.names)})")
    notes = [f"{path}: {order.note}" for order in orders.values() if order.note] + file.fill_areas(kept, numbers)
    dataset = {
        "images": [{"id": image_id, "file_name": name} for image_id, name in images.items()],
        "categories": [entry for entry in file.parts["categories"] if entry["id"] in wanted],
        "annotations": kept,
    }
    return Truth(dataset, list(images.items()), categories, notes, numbers, file)


def _match_categories(
    entries: list[dict[str, Any]], spec: ModelSpec, wrong: Callable[[str], InputError]
) -> dict[int, int]:
    """COCO category id of each class: by name, or the only one for the only class. A class that is called as one of the
    keypoints is of single keypoints, which nobody annotates.
    """
    classes = {index: name for index, name in enumerate(spec.names) if name not in spec.kpt_names}
    by_name: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if not is_whole(entry.get("id")):
            raise wrong(f"categories[{number}] lacks a whole `id`")
        by_name.setdefault(str(entry.get("name")), entry["id"])
    missing = [name for name in classes.values() if name not in by_name]
    if not missing:
        return {index: by_name[name] for index, name in classes.items()}
    if len(entries) == len(classes) == 1:
        return {next(iter(classes)): cast("int", entries[0]["id"])}
    raise wrong(f"has no category {missing[0]!r}, a class of the model; it has {', '.join(sorted(by_name)) or 'none'}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _are_numbers(values: Any, count: int | None) -> bool:
    if not isinstance(values, list) or (count is not None and len(cast("list[Any]", values)) != count):
        return False
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)
        for value in cast("list[Any]", values)
    )
