# SPDX-License-Identifier: Apache-2.0
"""The people found in one frame."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np
from numpy.typing import NDArray

from ._checks import instance, real, shown, whole
from ._optional import require
from .errors import InputError
from .skeletons import VISIBLE
from .spec import ModelSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .draw import Frame, Style

__all__ = ["VISIBLE", "Poses"]

Index = SupportsIndex | slice | Sequence[int] | Sequence[bool] | NDArray[np.integer[Any]] | NDArray[np.bool_]


def _array(name: str, value: Any, dtype: type[np.generic], kinds: str) -> NDArray[Any]:
    array = np.asarray(value)
    # An empty list is float64 whatever it stands for.
    if array.dtype.kind not in kinds and array.size:
        raise InputError(f"Poses: {name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return np.ascontiguousarray(array, dtype=dtype)


def _check_spec(spec: Any) -> None:
    instance(spec, "Poses: spec", ModelSpec, "the ModelSpec of the network, such as Engine.spec")


@dataclass(frozen=True, eq=False)
class Poses:
    """The people found in one frame, best first. All coordinates are pixels of the original frame.

    A pixel's centre lies at whole numbers plus one half: x runs from 0 at the left edge of the frame to its width at
    the right edge, y from 0 at the top to its height. The engine clips boxes to the frame and leaves keypoints alone.

    Attributes:
        boxes: (n, 4) float32, left, top, right, bottom.
        scores: (n,) float32 in 0..1.
        class_ids: (n,) int32, index into ``spec.names``.
        keypoints: (n, K, 3) float32: x, y, confidence. x and y are what the network says, whatever the confidence.
        shape: height and width of the frame.
        spec: the model spec of the network.
        ids: (n,) int64, whom a :class:`~trtpose.Tracker` takes each for, the same number in each frame; -1 where it
            does not know yet. None without tracking.

    Construction converts lists and other float or integer types, and raises :class:`~trtpose.errors.InputError` where
    a shape or type is not as above or a value is not finite. ``len`` is the number of people, iterating gives one
    ``Poses`` of one person each, and indexing takes a number, a slice, a list of numbers or a boolean mask.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32]
    shape: tuple[int, int]
    spec: ModelSpec
    ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        _check_spec(self.spec)
        boxes = _array("boxes", self.boxes, np.float32, "fiu")
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4) if boxes.ndim < 2 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise InputError(f"Poses: boxes has shape {boxes.shape}, expected (n, 4)")
        count = len(boxes)
        scores = _array("scores", self.scores, np.float32, "fiu")
        class_ids = _array("class_ids", self.class_ids, np.int32, "iu")
        keypoints = _array("keypoints", self.keypoints, np.float32, "fiu")
        if keypoints.size == 0 and keypoints.ndim < 3:
            keypoints = keypoints.reshape(0, self.spec.keypoints, 3)
        expected = {"scores": (count,), "class_ids": (count,), "keypoints": (count, self.spec.keypoints, 3)}
        for name, array in (("scores", scores), ("class_ids", class_ids), ("keypoints", keypoints)):
            if array.shape != expected[name]:
                raise InputError(f"Poses: {name} has shape {array.shape}, expected {expected[name]}")
        for name, array in (("boxes", boxes), ("scores", scores), ("keypoints", keypoints)):
            if not np.isfinite(array).all():
                raise InputError(f"Poses: {name} holds a value that is not finite; the network's output is not usable")
        if class_ids.size and (class_ids.min() < 0 or class_ids.max() >= self.spec.classes):
            raise InputError(
                f"Poses: class_ids runs from {class_ids.min()} to {class_ids.max()}, "
                f"expected 0 to {self.spec.classes - 1}; give a model spec with the names of all classes"
            )
        try:
            height, width = (operator.index(side) for side in self.shape)
        except (TypeError, ValueError):
            raise InputError(f"Poses: shape is {shown(self.shape)}, expected (height, width) in pixels") from None
        if height <= 0 or width <= 0:
            raise InputError(f"Poses: shape is {(height, width)}, expected (height, width) in pixels")
        for name, value in (
            ("boxes", boxes),
            ("scores", scores),
            ("class_ids", class_ids),
            ("keypoints", keypoints),
            ("shape", (height, width)),
            ("ids", self._checked_ids(count)),
        ):
            object.__setattr__(self, name, value)

    def _checked_ids(self, count: int) -> NDArray[np.int64] | None:
        if self.ids is None:
            return None
        ids = _array("ids", self.ids, np.int64, "iu")
        if ids.shape != (count,):
            raise InputError(f"Poses: ids has shape {ids.shape}, expected {(count,)}")
        if ids.min(initial=0) < -1:
            raise InputError(f"Poses: ids is {shown(ids.tolist())}, expected numbers from 0 on, or -1 for none")
        return ids

    @classmethod
    def empty(cls, shape: tuple[int, int], spec: ModelSpec) -> Poses:
        """Nobody, in a frame of ``shape`` (height, width)."""
        _check_spec(spec)
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            class_ids=np.zeros(0, np.int32),
            keypoints=np.zeros((0, spec.keypoints, 3), np.float32),
            shape=shape,
            spec=spec,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Poses]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: Index) -> Poses:
        """The people of ``index``: a number, a slice, numbers, or a boolean mask of length n.

        Raises:
            IndexError: a number out of range, or a mask of another length.
        """
        rows: Any
        if isinstance(index, slice):
            rows = index
        elif hasattr(index, "__index__") and not isinstance(index, np.ndarray):
            row = operator.index(cast("SupportsIndex", index))
            if not -len(self) <= row < len(self):
                raise IndexError(f"person {row} of {len(self)}")
            rows = [row]
        else:
            rows = np.asarray(index)
            if rows.size == 0 and rows.dtype.kind == "f":
                rows = rows.astype(np.intp)
            if rows.ndim != 1 or rows.dtype.kind not in "biu":
                raise IndexError(
                    f"an index of dtype {rows.dtype} and shape {rows.shape}, expected whole numbers or a mask"
                )
            if rows.dtype.kind == "b" and len(rows) != len(self):
                raise IndexError(f"a mask of length {len(rows)} for {len(self)} people")
        return Poses(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            class_ids=self.class_ids[rows],
            keypoints=self.keypoints[rows],
            shape=self.shape,
            spec=self.spec,
            ids=None if self.ids is None else self.ids[rows],
        )

    def __repr__(self) -> str:
        height, width = self.shape
        known = "" if self.ids is None else f", ids {shown(self.ids.tolist())}"
        return f"Poses({len(self)} x {self.spec.keypoints} keypoints in {width}x{height}{known})"

    @property
    def names(self) -> list[str]:
        """Class name of each person, n of them."""
        return [self.spec.names[index] for index in self.class_ids.tolist()]

    @property
    def xy(self) -> NDArray[np.float32]:
        """(n, K, 2) float32, keypoint coordinates in pixels of the frame."""
        return self.keypoints[..., :2]

    @property
    def xyn(self) -> NDArray[np.float32]:
        """(n, K, 2) float32, keypoint coordinates in widths and heights of the frame."""
        height, width = self.shape
        return self.xy / np.array([width, height], np.float32)

    @property
    def xywh(self) -> NDArray[np.float32]:
        """(n, 4) float32, boxes as centre x, centre y, width and height in pixels of the frame."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        return np.concatenate([(low + high) / 2, high - low], axis=1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n, K) float32, keypoint confidences."""
        return self.keypoints[..., 2]

    def visible(self, threshold: float = VISIBLE) -> NDArray[np.bool_]:
        """(n, K) bool: whether a keypoint's confidence is at least ``threshold``."""
        return self.confidence >= real(threshold, "threshold")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: ``{"width", "height", "poses": [{"score", "class_id", "box", "keypoints"}]}``.

        With :attr:`ids` each pose begins with ``"id"``, null where it is -1. Pixels are rounded to 2 decimals, scores
        and confidences to 4; the arrays keep what the network gave.
        """
        height, width = self.shape
        boxes = np.round(self.boxes.astype(np.float64), 2).tolist()
        scores = np.round(self.scores.astype(np.float64), 4).tolist()
        points = self.keypoints.astype(np.float64)
        points[..., :2] = np.round(points[..., :2], 2)
        points[..., 2] = np.round(points[..., 2], 4)
        known: list[dict[str, Any]] = [{}] * len(self)
        if self.ids is not None:
            known = [{"id": None if number < 0 else number} for number in self.ids.tolist()]
        return {
            "width": width,
            "height": height,
            "poses": [
                {**who, "score": score, "class_id": class_id, "box": box, "keypoints": person}
                for who, score, class_id, box, person in zip(
                    known, scores, self.class_ids.tolist(), boxes, points.tolist(), strict=True
                )
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], spec: ModelSpec) -> Poses:
        """The poses that :meth:`to_dict` made, or an entry of ``trtpose infer --json`` or ``--jsonl`` holds.

        Args:
            values: ``width``, ``height`` and ``poses``; other keys are not looked at.
            spec: the model spec of the network that found them; ``--jsonl`` has it in the first line, as ``spec``.

        Raises:
            InputError: a key is missing, or a value is not as :class:`Poses` takes it.
        """
        try:
            people = list(values["poses"])
            columns = {name: [person[name] for person in people] for name in ("box", "score", "class_id", "keypoints")}
            shape = values["height"], values["width"]
            arrays = {name: np.asarray(column) for name, column in columns.items()}
            ids = [-1 if person["id"] is None else person["id"] for person in people if "id" in person]
        except KeyError as error:
            raise InputError(f"Poses: {error.args[0]} is missing; give what Poses.to_dict makes") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"Poses: not what Poses.to_dict makes ({error})") from None
        known = np.asarray(ids) if ids else None
        return cls(arrays["box"], arrays["score"], arrays["class_id"], arrays["keypoints"], shape, spec, known)

    def to_json(self, indent: int | None = None) -> str:
        """:meth:`to_dict` as a JSON text; ``indent`` spaces before what lies deeper, or all on one line."""
        spaces = None if indent is None else whole(indent, "indent", 0, 80)
        return json.dumps(self.to_dict(), indent=spaces, allow_nan=False)

    def to_coco(
        self, image_id: int, categories: Mapping[int, int] | Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO keypoint results, one dictionary per person, not rounded.

        Args:
            image_id: id of the picture in the annotation file.
            categories: COCO category id of each class id; without it class 0 is category 1 and so on.

        Returns:
            Dictionaries with ``image_id``, ``category_id``, ``bbox`` (left, top, width, height in pixels),
            ``keypoints`` (flat, 3 K numbers: x, y, confidence) and ``score``; with :attr:`ids` also ``track_id`` where
            it is known.

        Raises:
            InputError: ``categories`` lacks a class.
        """
        results: list[dict[str, Any]] = []
        for row, class_id in enumerate(self.class_ids.tolist()):
            try:
                category = class_id + 1 if categories is None else categories[class_id]
            except (KeyError, IndexError, TypeError):
                raise InputError(f"categories has no COCO category for class {class_id}; add it") from None
            left, top, right, bottom = self.boxes[row].tolist()
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [left, top, right - left, bottom - top],
                    "keypoints": self.keypoints[row].reshape(-1).tolist(),
                    "score": float(self.scores[row]),
                }
            )
            if self.ids is not None and self.ids[row] >= 0:
                results[-1]["track_id"] = int(self.ids[row])
        return results

    def to_supervision(self) -> tuple[Any, Any]:
        """``supervision.KeyPoints`` and ``supervision.Detections`` of the same people in the same order.

        The detections carry the network's own boxes, not ones drawn around the keypoints, and :attr:`ids` as
        ``tracker_id``.

        Raises:
            DeviceError: supervision is not installed; the message says how.
        """
        sv: Any = require("supervision", package="supervision", extra="supervision", purpose="Poses.to_supervision")
        names = np.asarray(self.names, dtype=str)
        class_ids = self.class_ids.astype(int)
        fields: dict[str, Any] = {"xy": self.xy.copy(), "class_id": class_ids, "data": {"class_name": names}}
        # supervision 0.29 renamed `confidence` and added the score of the person.
        if "keypoint_confidence" in getattr(sv.KeyPoints, "__dataclass_fields__", {}):
            fields["keypoint_confidence"] = self.confidence.copy()
            fields["detection_confidence"] = self.scores.copy()
        else:
            fields["confidence"] = self.confidence.copy()
        detections = sv.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=class_ids.copy(),
            tracker_id=None if self.ids is None else self.ids.copy(),
            data={"class_name": names.copy()},
        )
        # Older versions refuse (0, K, 2), their own nobody is (0, 0, 2).
        return sv.KeyPoints(**fields) if len(self) else sv.KeyPoints.empty(), detections

    def to_dataframe(self) -> Any:
        """``pandas.DataFrame``, a row per person: id, class, score, box, and x, y and confidence of each keypoint.

        Raises:
            DeviceError: pandas is not installed; the message says how.
        """
        from .formats.pose_files import dataframe

        return dataframe(self)

    def save(self, path: str | os.PathLike[str], frame: Frame | None = None) -> None:
        """Write these people to a file, whole or not at all, in the form that its name ends in: ``.json``
        (:meth:`to_dict`), ``.csv``, ``.txt`` (labels to train YOLO on), ``.html``, or a picture of ``frame`` with them
        drawn on it.

        Raises:
            InputError: the name ends otherwise, it cannot be written, or the frame is not the one they were found in.
        """
        from .formats.pose_files import save

        save(self, os.fspath(path) if isinstance(path, os.PathLike) else path, frame)

    def _repr_html_(self) -> str:
        """A table, which notebooks show."""
        from .formats.pose_files import page

        return page(self)

    def draw(self, frame: Frame, **style: Unpack[Style]) -> Frame:
        """A copy of ``frame`` with these people drawn on it.

        Args:
            frame: (height, width, 3) uint8, BGR; the frame the poses were found in.
            style: as of :func:`trtpose.draw.draw`: ``threshold, boxes, labels, line_width, radius, colors``.

        Raises:
            InputError: the frame is not such an array, or of another size.
        """
        from .draw import draw

        return draw(frame, self, **style)

    plot = draw

    def show(self, frame: Frame, **style: Unpack[Style]) -> None:
        """Show ``frame`` with these people in a window until a key is pressed; in a notebook, below the cell.

        Raises:
            InputError: as :meth:`draw`.
            DeviceError: there is no window to be had; the message says why.
        """
        from .formats.pose_files import in_notebook

        drawn = self.draw(frame, **style)
        if in_notebook(drawn):
            return
        from ._window import Window

        window = Window("trtpose", "Poses.show")
        window.show(drawn, wait=True)
        window.close()


def poses_of(arrays: tuple[Any, ...], spec: ModelSpec) -> Poses:
    """What the native side found in one frame: its arrays in the order of the fields, the frame's (height, width), and
    whether it saw that all numbers are as :class:`Poses` wants them, which are then not looked at again.

    Raises:
        InputError: they are not.
    """
    boxes, scores, class_ids, keypoints, shape, sound = arrays
    if not sound:
        return Poses(boxes=boxes, scores=scores, class_ids=class_ids, keypoints=keypoints, shape=shape, spec=spec)
    poses = object.__new__(Poses)
    poses.__dict__.update(
        boxes=boxes, scores=scores, class_ids=class_ids, keypoints=keypoints, shape=shape, spec=spec, ids=None
    )
    return poses
