# SPDX-License-Identifier: Apache-2.0
"""Results as an Arrow table, a row per picture, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require
from ..errors import InputError
from ..results import Poses

if TYPE_CHECKING:
    from ..spec import ModelSpec

__all__ = ["COLUMNS", "arrow", "poses", "schema", "table"]

COLUMNS = ("source", "width", "height", "error", "boxes", "scores", "class_ids", "keypoints")
"""Of a row, in this order; :func:`schema` has their types."""


def arrow() -> Any:
    """The package pyarrow.

    Raises:
        DeviceError: it is not installed; the message says how.
    """
    return require("pyarrow", package="pyarrow", extra="ray", purpose="trtpose.ray")


def schema(spec: ModelSpec, model: str = "") -> Any:
    """``pyarrow.Schema`` of the results of a network with K keypoints, whose file is called ``model``.

    - ``source`` (string): the picture's path or name.
    - ``width``, ``height`` (int32): of the picture in pixels.
    - ``error`` (string): why there is no result; null where there is one.
    - ``boxes`` (list of float32[4]): left, top, right, bottom of each person in pixels.
    - ``scores`` (list of float32): of each person, 0 to 1, best first.
    - ``class_ids`` (list of int32): index into the spec's ``names``.
    - ``keypoints`` (list of K × 3 float32): x, y in pixels and confidence.

    Coordinates as of :class:`trtpose.Poses`. Where nobody was found the lists are empty; of a picture with an ``error``
    all but ``source`` is null. The metadata has the model spec under ``trtpose`` and the file under
    ``model``.
    """
    pa = arrow()
    real = pa.float32()
    types = {
        "source": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "error": pa.string(),
        "boxes": pa.list_(pa.list_(real, 4)),
        "scores": pa.list_(real),
        "class_ids": pa.list_(pa.int32()),
        "keypoints": pa.list_(pa.list_(pa.list_(real, 3), spec.keypoints)),
    }
    fields = [pa.field(name, types[name]) for name in COLUMNS]
    return pa.schema(fields, metadata={"trtpose": spec.to_json(), "model": model})


def table(names: Sequence[str], found: Sequence[Poses | InputError], spec: ModelSpec, model: str = "") -> Any:
    """``pyarrow.Table`` of :func:`schema`: the people of each picture, or what is wrong with it.

    Args:
        names: of the pictures.
        found: of each, in the same order.
        spec: of the network that found them.
        model: what ran.
    """
    pa, form = arrow(), schema(spec, model)
    good = [one for one in found if isinstance(one, Poses)]
    lists = _Lists(pa, found)
    columns = {
        # Names of files may hold bytes that are no text.
        "source": pa.array([name.encode("utf-8", "replace").decode() for name in names], pa.string()),
        "width": pa.array([one.shape[1] if isinstance(one, Poses) else None for one in found], pa.int32()),
        "height": pa.array([one.shape[0] if isinstance(one, Poses) else None for one in found], pa.int32()),
        "error": pa.array([None if isinstance(one, Poses) else _text(one) for one in found], pa.string()),
        "boxes": lists.of([one.boxes for one in good], (4,), np.float32),
        "scores": lists.of([one.scores for one in good], (), np.float32),
        "class_ids": lists.of([one.class_ids for one in good], (), np.int32),
        "keypoints": lists.of([one.keypoints for one in good], (spec.keypoints, 3), np.float32),
    }
    return pa.Table.from_arrays([columns[name].cast(form.field(name).type) for name in COLUMNS], schema=form)


def _text(error: InputError) -> str:
    return str(error).encode("utf-8", "replace").decode()


class _Lists:
    """Makes columns of lists, a list per picture, from one block of numbers without a copy of it."""

    def __init__(self, pa: Any, found: Sequence[Poses | InputError]) -> None:
        self._pa = pa
        counts = [len(one) if isinstance(one, Poses) else 0 for one in found]
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        # A null in the place of a list's beginning makes the list null.
        missing = np.array([not isinstance(one, Poses) for one in found] + [False], bool)
        self._offsets = pa.array(ends, pa.int32(), mask=missing)

    def of(self, arrays: list[np.ndarray[Any, Any]], shape: tuple[int, ...], dtype: type[np.generic]) -> Any:
        """A list per picture of arrays of ``shape``, each of which stands for a person."""
        whole = np.concatenate(arrays) if arrays else np.zeros((0, *shape), dtype)
        values = self._pa.array(np.ascontiguousarray(whole, dtype).reshape(-1))
        for side in reversed(shape):
            values = self._pa.FixedSizeListArray.from_arrays(values, side)
        return self._pa.ListArray.from_arrays(self._offsets, values)


def poses(row: Mapping[str, Any], spec: ModelSpec) -> Poses:
    """The people of a row, as ``Engine.infer`` gave them.

    Args:
        row: a row of the results, as ``Dataset.iter_rows``, ``Table.to_pylist`` or a DataFrame gives it.
        spec: of the network, such as ``Engine.spec``, or the JSON in the metadata of the results' files.

    Raises:
        InputError: the row has an error instead, which the message holds, or is none of these rows.
    """
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise InputError(f"row: the columns {', '.join(missing)} are missing; give a row of trtpose.ray.infer")
    # A DataFrame's cell without a value is NaN.
    error = row["error"]
    if isinstance(error, str):
        raise InputError(f"row: has no people but an error: {error}")
    try:
        shape = (int(row["height"]), int(row["width"]))
        # Cells of a DataFrame are arrays of arrays.
        cells = {name: _plain(row[name]) for name in COLUMNS[4:]}
        return Poses(
            np.asarray(cells["boxes"], np.float32).reshape(-1, 4),
            np.asarray(cells["scores"], np.float32),
            np.asarray(cells["class_ids"], np.int32),
            np.asarray(cells["keypoints"], np.float32).reshape(-1, spec.keypoints, 3),
            shape,
            spec,
        )
    except (TypeError, ValueError) as problem:
        raise InputError(f"row: not one of trtpose.ray.infer ({problem}); give it with the spec of its run") from None


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.ndarray) and cell.dtype == object:
        return [_plain(one) for one in cell]
    return cell
