# SPDX-License-Identifier: Apache-2.0
"""Folders of results, on a stand-in for Ray that gives blocks back in another order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ray_support import FakeRay, some_pictures, tiny_model
from trtpose import InputError

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no Parquet")

from trtpose.ray import Summary, data, infer_files  # noqa: E402
from trtpose.ray.table import COLUMNS  # noqa: E402


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(data, "ray_data", lambda: fake)
    return fake


@pytest.fixture
def model(tmp_path: Path) -> str:
    return tiny_model(tmp_path)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return some_pictures(tmp_path / "pictures", 23)


GIVEN: dict[str, Any] = {"shard": 10, "rows": 4, "conf": 0.05, "batch": 2}


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(out.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]


def test_every_picture_is_a_row_in_order(ray: FakeRay, model: str, paths: list[str], tmp_path: Path):
    out, told = tmp_path / "deep" / "out", []
    done = infer_files(paths, model, out, notify=lambda *of: told.append(of), concurrency=(1, 2), **GIVEN)
    found = rows(out)
    assert [row["source"] for row in found] == paths
    people = sum(len(row["scores"] or []) for row in found)
    assert people > 20
    assert done == Summary(pictures=23, failed=1, people=people, shards=3, before=0)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [one.num_rows for one in ray.datasets[0].tables] == [4, 4, 2, 4, 4, 2, 3]
    assert ray.datasets[0].given["compute"] == {"min_size": 1, "max_size": 2}
    kept = parquet.read_schema(out / "part-000000-of-000003.parquet")
    spec = json.loads((out / "trtpose.json").read_text())["spec"]
    assert json.loads(kept.metadata[b"trtpose"]) == spec
    assert kept.names == list(COLUMNS)


def test_goes_on_where_it_was(ray: FakeRay, model: str, paths: list[str], tmp_path: Path):
    out = tmp_path / "out"
    infer_files(paths, model, out, **GIVEN)
    before = rows(out)
    (out / "part-000001-of-000003.parquet").unlink()
    done = infer_files(paths, model, out, threads=2, concurrency=3, **GIVEN)
    assert (done.before, done.shards) == (2, 3)
    assert [len(one.tables) for one in ray.datasets] == [7, 3]
    assert rows(out) == before
    assert infer_files(paths, model, out, **GIVEN).before == 3
    assert len(ray.datasets) == 2


def test_a_run_that_is_stopped_leaves_whole_shards(ray: FakeRay, model: str, paths: list[str], tmp_path: Path):
    out = tmp_path / "out"

    class StopError(Exception):
        pass

    def stop(*_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        infer_files(paths, model, out, notify=stop, **GIVEN)
    assert len(rows(out)) in (3, 10)
    assert len(ray.datasets) == 1
    assert {one.suffix for one in out.iterdir()} == {".parquet", ".json"}
    assert infer_files(paths, model, out, **GIVEN).before == 1
    assert [row["source"] for row in rows(out)] == paths


def test_shards_with_failures_are_done_again_where_that_is_asked(
    ray: FakeRay, model: str, paths: list[str], tmp_path: Path
):
    out = tmp_path / "out"
    assert infer_files(paths, model, out, **GIVEN).failed == 1
    Path(paths[11]).write_bytes(Path(paths[0]).read_bytes())
    assert infer_files(paths, model, out, **GIVEN).failed == 1
    done = infer_files(paths, model, out, again="failed", **GIVEN)
    assert (done.failed, done.before) == (0, 2)
    assert [len(one.tables) for one in ray.datasets] == [7, 3]
    found = rows(out)
    assert found[11]["keypoints"] == found[0]["keypoints"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"conf": 0.3}, "thresholds"),
        ({"shard": 5}, "shard"),
        ({"batch": 4}, "options"),
        ({"max_pixels": 9}, "max_pixels"),
    ],
)
def test_another_run_is_refused(
    ray: FakeRay, model: str, paths: list[str], tmp_path: Path, change: dict[str, Any], key: str
):
    out = tmp_path / "out"
    infer_files(paths[:2], model, out, **GIVEN)
    with pytest.raises(InputError, match=f"holds the results of a run with other {key}; give the same pictures"):
        infer_files(paths[:2], model, out, **{**GIVEN, **change})
    with pytest.raises(InputError, match="with other paths"):
        infer_files(paths[1:3], model, out, **GIVEN)
    with Path(model).open("ab") as file:
        file.write(b"\x3a\x00")  # an empty graph, merged into the one that is there
    with pytest.raises(InputError, match="with other model"):
        infer_files(paths[:2], model, out, **GIVEN)
    assert len(ray.datasets) == 1


def test_folders_and_paths_that_are_refused(ray: FakeRay, model: str, paths: list[str], tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "theirs.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds theirs\.parquet of something else; give a new folder"):
        infer_files(paths, model, out, **GIVEN)
    (out / "theirs.parquet").unlink()
    (out / "trtpose.json").write_text("[1]")
    with pytest.raises(InputError, match="is not the description of a run"):
        infer_files(paths, model, out, **GIVEN)
    with pytest.raises(InputError, match="cannot be used"):
        infer_files(paths, model, model, **GIVEN)
    for wrong, why in (("a.jpg", "give a list of paths"), (3, "give a list of paths"), ([3], r"paths\[0\] is 3")):
        with pytest.raises(InputError, match=why):
            infer_files(wrong, model, tmp_path / "new", **GIVEN)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="give a folder of this machine and copy it there"):
        infer_files(paths, model, "s3://bucket/out", **GIVEN)
    assert not ray.datasets


def test_a_shard_that_is_not_whole_is_told(ray: FakeRay, model: str, paths: list[str], tmp_path: Path):
    out = tmp_path / "out"
    infer_files(paths, model, out, **GIVEN)
    file = out / "part-000002-of-000003.parquet"
    parquet.write_table(parquet.read_table(file).slice(1), file)
    with pytest.raises(InputError, match="has 2 rows, not 3; remove it to do it again"):
        infer_files(paths, model, out, **GIVEN)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot be read .*; remove it to do it again"):
        infer_files(paths, model, out, **GIVEN)
    assert ray.datasets


def test_no_pictures(ray: FakeRay, model: str, tmp_path: Path):
    assert infer_files([], model, tmp_path / "out", **GIVEN) == Summary(0, 0, 0, 0, 0)
    assert not ray.datasets


@pytest.mark.parametrize(("change", "why"), [("twice", "some of its rows twice"), ("lost", "not all of its rows")])
def test_rows_that_come_twice_or_not_are_told(
    ray: FakeRay,
    model: str,
    paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    why: str,
):
    make = ray.from_arrow

    def wrong(tables: list[Any]) -> Any:
        return make([tables[0], tables[0], tables[2]] if change == "twice" else tables[1:])

    monkeypatch.setattr(ray, "from_arrow", wrong)
    with pytest.raises(InputError, match=f"shard 0: Ray gave {why}; run it again"):
        infer_files(paths[:10], model, tmp_path / "out", **GIVEN)
    assert not list((tmp_path / "out").glob("*.parquet"))
