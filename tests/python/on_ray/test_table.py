# SPDX-License-Identifier: Apache-2.0
"""Results as Arrow tables, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import PERSON, make_poses, spec_with
from trtpose import InputError, ModelSpec, Poses

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from trtpose.ray import poses, schema  # noqa: E402
from trtpose.ray.table import COLUMNS, table  # noqa: E402

FOUND = [
    make_poses(3, (240, 320), seed=1),
    InputError("b.jpg: the file is empty; replace it with a picture"),
    Poses.empty((10, 20), PERSON),
    make_poses(1, (480, 640), seed=2),
]
NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def same(one: Poses, other: Poses) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("boxes", "scores", "class_ids", "keypoints")
    )
    return arrays and one.shape == other.shape


def test_types_and_nulls():
    made = table(NAMES, FOUND, PERSON, "m.onnx")
    assert made.schema == schema(PERSON, "m.onnx")
    assert tuple(made.column_names) == COLUMNS
    assert made.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))
    assert made.schema.field("keypoints").type == pa.list_(pa.list_(pa.list_(pa.float32(), 3), PERSON.keypoints))
    rows = made.to_pylist()
    assert [row["source"] for row in rows] == NAMES
    # What could not be read is not told as a picture in which nobody is.
    assert [row["boxes"] if row["boxes"] is None else len(row["boxes"]) for row in rows] == [3, None, 0, 1]
    assert all(rows[1][name] is None for name in COLUMNS if name not in ("source", "error"))
    assert [row["error"] for row in rows] == [None, str(FOUND[1]), None, None]
    assert (rows[0]["width"], rows[0]["height"]) == (320, 240)
    spec = ModelSpec.from_dict(json.loads(made.schema.metadata[b"trtpose"]))
    assert spec == PERSON


@pytest.mark.parametrize("how", ["rows", "frame", "parquet"])
def test_poses_come_back_as_they_were(how: str, tmp_path: Path):
    made = table(NAMES, FOUND, PERSON)
    if how == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no Parquet")
        parquet.write_table(made, tmp_path / "p.parquet")
        made = parquet.read_table(tmp_path / "p.parquet")
        assert made.schema.types == schema(PERSON).types
    if how == "frame":
        pytest.importorskip("pandas", reason="pandas is not installed")
        rows = made.to_pandas().to_dict("records")
    else:
        rows = made.to_pylist()
    for row, one in zip(rows, FOUND, strict=True):
        if isinstance(one, Poses):
            assert same(poses(row, PERSON), one)
        else:
            with pytest.raises(InputError, match=r"has no people but an error: b\.jpg: the file is empty"):
                poses(row, PERSON)


@pytest.mark.parametrize("found", [[], [FOUND[1]], [FOUND[2]], [FOUND[1], FOUND[2]]])
def test_nobody_at_all(found: list[Any]):
    made = table(NAMES[: len(found)], found, PERSON)
    assert made.num_rows == len(found)
    made.validate(full=True)
    assert made.column("boxes").null_count == sum(isinstance(one, InputError) for one in found)


def test_numbers_are_not_copied_from_list_to_list():
    made = table(NAMES, FOUND, PERSON)
    flat = made.column("keypoints").chunk(0).flatten().flatten().flatten()
    assert flat.to_numpy(zero_copy_only=True).shape == (4 * PERSON.keypoints * 3,)


def test_names_that_are_no_text():
    made = table(["a\udcff.jpg"], [InputError("a\udcff.jpg: is no picture; replace it")], PERSON)
    assert made.column("source").to_pylist() == ["a?.jpg"]
    assert made.column("error").to_pylist() == ["a?.jpg: is no picture; replace it"]


def test_what_is_no_row():
    row = table(NAMES, FOUND, PERSON).to_pylist()[0]
    with pytest.raises(InputError, match=r"columns boxes are missing; give a row of trtpose\.ray\.infer"):
        poses({name: value for name, value in row.items() if name != "boxes"}, PERSON)
    with pytest.raises(InputError, match="spec of its run"):
        poses(row, spec_with(5))
    with pytest.raises(InputError, match="spec of its run"):
        poses({**row, "width": None}, PERSON)
