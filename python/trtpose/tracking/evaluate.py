# SPDX-License-Identifier: Apache-2.0
"""How well an engine and a tracker tell people apart on annotated videos."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._checks import an_engine, callbacks, file_path
from .._optional import require
from ..agreement import similarity
from ..errors import InputError
from ..evaluate import find_picture, picture_folder
from ..formats.annotations import Truth, is_whole, load
from ..results import Poses
from ..sources import MAX_PIXELS, Frame, batches
from ..thresholds import checked
from .methods import Method
from .tracker import Tracker

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine import Engine
    from ..spec import ModelSpec
    from ..thresholds import ThresholdChanges, Thresholds

__all__ = ["FIGURES", "evaluate_tracking"]

FIGURES = ("HOTA", "MOTA", "IDF1", "DetA", "AssA", "MOTP", "IDSW", "Frag")
"""HOTA (Luiten et al. 2021) with its parts for finding and for telling apart; MOTA, MOTP, switches of ids and breaks of
tracks (CLEAR MOT, Bernardin and Stiefelhagen 2008); IDF1 (Ristani et al. 2016)."""

_MATCH = 0.5
"""OKS from which on somebody found is somebody annotated, for all figures but HOTA, which takes a range."""

_Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Picture:
    """One annotated picture: which video, when, where, and who is in it.

    Attributes:
        order: number of the frame in its video.
        labelled: whether people were annotated in it at all (PoseTrack leaves frames out).
        persons: those annotated.
        tracks: who each is, None for those who need not be found.
    """

    image_id: int
    name: str
    video: Any
    order: int
    labelled: bool
    persons: tuple[dict[str, Any], ...]
    tracks: tuple[int | None, ...]


def evaluate_tracking(
    engine: Engine,
    images: str | Path,
    annotations: str | Path,
    *,
    method: Method = "oks",
    smooth: bool = False,
    rate: float = 30.0,
    thresholds: Thresholds | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    **changes: Unpack[ThresholdChanges],
) -> dict[str, float]:
    """Run an engine and a tracker over annotated videos, whose frames are pictures, and compute :data:`FIGURES`.

    Somebody found and somebody annotated are alike by OKS. People who need not be found (``iscrowd``, or none of their
    keypoints annotated) count neither for nor against. The figures are those of the package ``trackers``.

    Args:
        engine: the model; its batch size is used.
        images: folder of the pictures.
        annotations: JSON in COCO's form whose pictures have ``vid_id`` and ``frame_id`` (PoseTrack) or ``video_id`` and
            ``frame_id``, ``frame_index`` or ``frame``, and whose persons have ``track_id``. Keypoints go by name.
        method, smooth: as of :class:`trtpose.Tracker`.
        rate: frames a second of the videos.
        thresholds: of this run, in place of the engine's own.
        changes: fields of :class:`Thresholds` as keyword arguments, for this run alone.
        on_error: called for a picture that is missing or cannot be read, which is then left out; without it the error
            is raised.
        on_warning: called with a sentence about annotations that do not count as they might seem to.
        progress: called with the number of pictures done and their total.
        max_pixels: larger pictures are refused.

    Returns:
        HOTA, MOTA, IDF1, DetA, AssA, MOTP as fractions (MOTA may be below 0), IDSW and Frag as counts.

    Raises:
        InputError: the annotations have no videos or ids, or do not fit the model; or as in
            :func:`trtpose.evaluate.evaluate`.
        DeviceError: the package trackers is not installed.
    """
    an_engine(engine)
    callbacks(on_error=on_error, on_warning=on_warning, progress=progress)
    own = (engine.thresholds if thresholds is None else checked(thresholds)).changed(changes)
    folder = picture_folder(images)
    truth = load(file_path(annotations, "annotations"), engine.spec)
    library: Any = require("trackers.eval", package="trackers", extra="trackers", purpose="the evaluation of tracks")
    for text in truth.warnings:
        (on_warning or warnings.warn)(text)
    pictures = _pictures(truth)
    paths = [find_picture(folder, picture.name) for picture in pictures]
    table = _Table(engine.spec, {c: k for k, c in truth.categories.items()})
    with batches(paths, max(engine.batch, 1), on_error=on_error, progress=progress, max_pixels=max_pixels) as read:
        found = _found(read, lambda frames: engine.infer(frames, thresholds=own))
        _follow(table, pictures, found, lambda: Tracker(method, smooth=smooth, rate=rate), rate)
    if not table.frames:
        raise InputError(f"{folder}: none of the {len(paths)} annotated pictures could be used; check the folder")
    return table.figures(library)


def _follow(
    table: _Table,
    pictures: list[_Picture],
    found: Iterator[tuple[Frame, Poses]],
    begin: Callable[[], Tracker],
    rate: float,
) -> None:
    """Track through the pictures, which come video after video."""
    tracker, video = begin(), None
    for frame, poses in found:
        picture = pictures[frame.position]
        if picture.video != video:
            tracker, video = begin(), picture.video
        table.add(picture, tracker.update(poses, picture.order / rate))


def _found(found: Iterator[list[Frame]], infer: Callable[[list[Any]], list[Poses]]) -> Iterator[tuple[Frame, Poses]]:
    for batch in found:
        yield from zip(batch, infer([frame.image for frame in batch if frame.image is not None]), strict=True)


def _pictures(truth: Truth) -> list[_Picture]:
    """The annotated pictures, video after video, each in its order."""
    file = truth.file
    persons: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for number, person in zip(truth.numbers, truth.dataset["annotations"], strict=True):
        persons.setdefault(person["image_id"], []).append((number, person))
    pictures: list[_Picture] = []
    for number, entry in enumerate(file.parts["images"]):
        video = _first(entry, ("vid_id", "video_id"))
        order = _first(entry, ("frame_id", "frame_index", "frame"))
        if not isinstance(video, (int, str)) or not is_whole(order):
            raise file.wrong(
                f"images[{number}] lacks a video (`vid_id` or `video_id`) or a whole frame number (`frame_id`, "
                "`frame_index` or `frame`), which tracks need"
            )
        there = persons.get(entry["id"], [])
        tracks = tuple(_track(file.parts["annotations"][place], person, place, file.wrong) for place, person in there)
        known = [track for track in tracks if track is not None]
        if len(set(known)) != len(known):
            raise file.wrong(f"images[{number}] has two persons of one `track_id`")
        labelled = entry.get("is_labeled", True) is not False
        people = tuple(person for _, person in there)
        pictures.append(_Picture(entry["id"], entry["file_name"], video, order, labelled, people, tracks))
    pictures.sort(key=lambda picture: (str(picture.video), picture.order))
    for before, after in itertools.pairwise(pictures):
        if (before.video, before.order) == (after.video, after.order):
            raise file.wrong(f"{before.name} and {after.name} are both frame {after.order} of video {after.video!r}")
    return pictures


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _counts(person: Mapping[str, Any]) -> bool:
    """Whether somebody annotated must be found."""
    return person["num_keypoints"] > 0 and not person["iscrowd"]


def _track(
    entry: Mapping[str, Any], person: Mapping[str, Any], place: int, wrong: Callable[[str], InputError]
) -> int | None:
    """Who it is; None for those who need not be found."""
    if not _counts(person):
        return None
    if not is_whole(entry.get("track_id")):
        raise wrong(f"annotations[{place}] lacks a whole `track_id`, which says who it is")
    return int(entry["track_id"])


class _Table:
    """Who is there and who is found, frame by frame, in the form that the figures are computed from."""

    def __init__(self, spec: ModelSpec, classes: Mapping[int, int]) -> None:
        self.frames = 0
        self._spec = spec
        self._classes = classes
        # Ids of different videos are different people.
        self._numbers: dict[tuple[Any, int], int] = {}
        self._found_numbers: dict[tuple[Any, int], int] = {}
        self._there: list[_Ids] = []
        self._found: list[_Ids] = []
        self._alike: list[NDArray[np.float64]] = []

    def add(self, picture: _Picture, poses: Poses) -> None:
        """What a tracker made of a picture."""
        self.frames += 1
        if not picture.labelled or poses.ids is None:
            return
        known = poses[poses.ids >= 0]
        truth, counted = self._truth(picture, poses.shape)
        alike = self._similarity(truth, known)
        if len(known) and not counted.all():
            # Of those who need not be found, whoever is found costs nothing, unless somebody who counts is as near.
            best = alike[counted].max(axis=0, initial=0.0)
            spared = (alike[~counted].max(axis=0, initial=0.0) >= _MATCH) & (best < _MATCH)
            known, alike = known[~spared], alike[:, ~spared]
        number = self._numbers.setdefault
        tracks = [track for track in picture.tracks if track is not None]
        self._there.append(np.array([number((picture.video, t), len(self._numbers)) for t in tracks], np.int64))
        found = self._found_numbers
        ids = [] if known.ids is None else known.ids.tolist()
        self._found.append(np.array([found.setdefault((picture.video, n), len(found)) for n in ids], np.int64))
        self._alike.append(alike[counted])

    def _truth(self, picture: _Picture, shape: tuple[int, int]) -> tuple[Poses, NDArray[np.bool_]]:
        """The annotated people as poses, and which of them must be found."""
        count = len(picture.persons)
        boxes, points = np.zeros((count, 4), np.float32), np.zeros((count, self._spec.keypoints, 3), np.float32)
        classes, counted = np.zeros(count, np.int32), np.zeros(count, np.bool_)
        for row, person in enumerate(picture.persons):
            left, top, width, height = person["bbox"]
            # OKS divides by the area of the person, of which this box is to have as much.
            side = np.sqrt(max(person["area"], 1e-6) / max(width * height, 1e-6))
            middle, half = (left + width / 2, top + height / 2), (width * side / 2, height * side / 2)
            boxes[row] = middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]
            points[row] = np.reshape(person["keypoints"], (-1, 3))
            classes[row] = self._classes[person["category_id"]]
            counted[row] = _counts(person)
        points[..., 2] = points[..., 2] > 0
        people = Poses(boxes, np.ones(count, np.float32), classes, points, shape, self._spec)
        return people, counted

    def _similarity(self, truth: Poses, found: Poses) -> NDArray[np.float64]:
        return similarity(truth, replace(found, ids=None)).reshape(len(truth), len(found))

    def figures(self, library: Any) -> dict[str, float]:
        """:data:`FIGURES` over all videos."""
        lists = self._there, self._found, self._alike
        values = {
            **library.compute_hota_metrics(*lists),
            **library.compute_clear_metrics(*lists, threshold=_MATCH),
            **library.compute_identity_metrics(*lists, threshold=_MATCH),
        }
        return {name: round(float(values[name]), 6) for name in FIGURES}


def table(figures: Mapping[str, float]) -> str:
    """The figures as lines of name and value."""
    return "\n".join(f"{n:<5} {v:7.0f}" if n in ("IDSW", "Frag") else f"{n:<5} {v:7.4f}" for n, v in figures.items())
