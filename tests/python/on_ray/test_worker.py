# SPDX-License-Identifier: Apache-2.0
"""What an actor does with a table of pictures, in this process."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ray_support import some_pictures, tiny_model
from support import FakeEngine, encoded, picture
from trtpose import InputError
from trtpose.cli import main

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from trtpose.ray import pictures, poses  # noqa: E402
from trtpose.ray.plan import make_plan, resources  # noqa: E402
from trtpose.ray.worker import Finder, found_in  # noqa: E402


def finder(
    model: str, *, column: str | None = None, color: str = "rgb", on_error: str = "keep", **options: Any
) -> Finder:
    need = resources(model, options, None, None)
    how = {
        "column": column,
        "color": color,
        "on_error": on_error,
        "readers": 2,
        "max_pixels": options.pop("max_pixels", 1 << 28),
    }
    return Finder(make_plan(model, {"conf": 0.05, "batch": 4, **options}, need, **how))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return some_pictures(tmp_path_factory.mktemp("pictures"), 11)


@pytest.fixture(scope="module")
def lines(model: str, paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``infer --jsonl`` says of each picture that can be read."""
    file = tmp_path_factory.mktemp("lines") / "j"
    assert main(["infer", model, *paths, "--jsonl", str(file), "--conf", "0.05", "--batch", "4", "-q"]) == 1
    entries = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    return {entry.pop("source"): entry for entry in entries}


def check(rows: list[dict[str, Any]], actor: Finder, lines: dict[str, Any], paths: list[str]) -> None:
    assert [row["source"] for row in rows] == paths
    assert sum(len(entry["poses"]) for entry in lines.values()) > 10
    for row in rows:
        if row["source"] in lines:
            assert poses(row, actor._engine.spec).to_dict() == lines[row["source"]]
        else:
            assert row["source"] == paths[5]
            assert row["error"].startswith(f"{paths[5]}: ")


def test_paths_give_the_rows_of_infer(model: str, paths: list[str], lines: dict[str, Any]):
    actor = finder(model)
    check(actor(pa.table({"path": paths})).to_pylist(), actor, lines, paths)


def test_bytes_give_the_rows_of_infer_and_other_columns_stay(model: str, paths: list[str], lines: dict[str, Any]):
    actor = finder(model)
    files = [Path(path).read_bytes() for path in paths]
    for kind in (pa.binary(), pa.large_binary()):
        given = pa.table({"bytes": pa.array(files, kind), "path": paths, "id": list(range(11)), "tag": [["x"]] * 11})
        made = actor(given).to_pylist()
        assert [row["id"] for row in made] == list(range(11))
        assert made[3]["tag"] == ["x"]
        check(made, actor, lines, paths)
    named = finder(model, column="file")(pa.table({"file": pa.array([files[0], None], pa.binary())})).to_pylist()
    assert [row["source"] for row in named] == ["picture 0", "picture 1"]
    assert named[1]["error"] == "picture 1: the cell is empty; leave the row out"


def test_an_address_is_read_through_arrow(model: str, paths: list[str], lines: dict[str, Any], tmp_path: Path):
    actor = finder(model)
    addresses = [Path(path).as_uri() for path in paths[:4]] + [(tmp_path / "none.png").as_uri(), "unknown://x/y.png"]
    rows = actor(pa.table({"path": addresses})).to_pylist()
    for row, path in zip(rows[:4], paths, strict=False):
        assert poses(row, actor._engine.spec).to_dict() == lines[path]
    assert rows[4]["error"] == f"{addresses[4]}: no such file; check the address"
    assert rows[5]["error"].startswith("unknown://x/y.png: cannot be read (")


def test_decoded_pictures(model: str):
    shape = (48, 64, 3)
    frames = np.stack([picture(48, 64, seed=seed) for seed in range(5)])
    kind = pa.fixed_shape_tensor(pa.uint8(), shape)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(frames.reshape(-1)), frames[0].size)
    cells = pa.ExtensionArray.from_storage(kind, storage)
    actor = finder(model, color="bgr")
    rows = actor(pa.table({"image": cells})).to_pylist()
    expected = actor._engine.infer(list(frames))
    assert [poses(row, actor._engine.spec).to_dict() for row in rows] == [one.to_dict() for one in expected]
    swapped = pa.ExtensionArray.from_storage(
        kind, pa.FixedSizeListArray.from_arrays(pa.array(frames[..., ::-1].reshape(-1)), frames[0].size)
    )
    assert finder(model)(pa.table({"image": swapped})).to_pylist() == rows


def test_a_picture_that_cannot_be_read_ends_the_run_where_that_is_asked(model: str, paths: list[str]):
    with pytest.raises(InputError, match=r"0005\.png"):
        finder(model, on_error="raise")(pa.table({"path": paths}))


def test_pixels_are_bounded(model: str):
    rows = finder(model, max_pixels=100)(pa.table({"bytes": pa.array([encoded(".png")], pa.binary())})).to_pylist()
    assert "more than the 100 that are decoded" in rows[0]["error"]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"text": ["a"]}, "the rows have only text; say with column= which has the pictures"),
        ({"bytes": [b"a"], "image": [b"b"]}, "both bytes and image"),
        ({"path": [1]}, "column path: is of type int64; give files as binary, paths as string"),
        ({"path": ["a"], "scores": [1]}, "column scores: the results have one of this name; rename it"),
    ],
)
def test_tables_without_pictures(model: str, columns: dict[str, Any], why: str):
    with pytest.raises(InputError, match=why):
        finder(model)(pa.table(columns))
    with pytest.raises(InputError, match="column other: the rows have only"):
        finder(model, column="other")(pa.table(columns))


def test_no_more_is_decoded_than_is_soon_taken():
    engine, lock = FakeEngine(batch=4), threading.Lock()
    held = most = 0

    def load() -> np.ndarray:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return picture()

    def infer(frames: list[Any]) -> list[Any]:
        nonlocal held
        with lock:
            held -= len(frames)
        return engine.infer(frames)

    with ThreadPoolExecutor(2) as pool:
        found = found_in(infer, engine, [load] * 50, pool, 2)  # pyright: ignore[reportArgumentType]
    assert len(found) == 50
    assert most <= 4 + 4 + 2
    # Twelve whole batches, and what is left over in one of the sizes that are compiled.
    assert engine.calls == [4] * 12 + [2]


def test_a_frame_that_is_refused_leaves_its_neighbours():
    engine = FakeEngine(batch=4)
    frames = [picture(), picture()[..., :1], picture(), cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY)]
    with ThreadPoolExecutor(1) as pool:
        loads = [lambda frame=frame: frame for frame in frames]
        found = found_in(engine.infer, engine, loads, pool, 1)  # pyright: ignore[reportArgumentType]
    assert [isinstance(one, InputError) for one in found] == [False, True, False, True]


def test_a_store_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    class File(io.BytesIO):
        def size(self) -> int:
            return len(self.getbuffer())

    asked: list[str] = []

    def opened(late: int, error: Exception) -> None:
        asked.clear()

        def opener(address: str) -> File:
            asked.append(address)
            if len(asked) <= late:
                raise error
            return File(b"the bytes")

        monkeypatch.setattr(pictures, "_opened", opener)

    monkeypatch.setattr(pictures, "_PAUSE", 0)
    opened(2, OSError("When reading: HTTP status 503"))
    assert pictures._fetched("s3://bucket/a.jpg") == b"the bytes"
    assert len(asked) == 3
    opened(3, OSError("When reading:\n HTTP status 503"))
    with pytest.raises(
        InputError, match=r"^s3://bucket/a\.jpg: cannot be read \(When reading: HTTP status 503\); check"
    ):
        pictures._fetched("s3://bucket/a.jpg")
    # What will not change is not waited for.
    for error, why in (
        (FileNotFoundError(2, "none"), "no such file"),
        (pa.ArrowInvalid("no such store"), "no such store"),
    ):
        opened(3, error)
        with pytest.raises(InputError, match=why):
            pictures._fetched("s3://bucket/a.jpg")
        assert len(asked) == 1
    monkeypatch.setattr(pictures, "_MOST", 3)
    opened(0, OSError())
    with pytest.raises(InputError, match="9 bytes are too many for a picture; at most 3"):
        pictures._fetched("s3://bucket/a.jpg")
