# SPDX-License-Identifier: Apache-2.0
"""``infer --csv``, ``--parquet`` and ``--yolo``: the people of ``--json`` in other forms."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_support import Run, files
from support import PERSON, make_poses, picture, write_picture, write_video
from trtpose.results import Poses
from trtpose.skeletons import COCO
from trtpose.spec import ModelSpec


def people(frame: np.ndarray) -> Poses:
    return make_poses(2, frame.shape[:2]) if frame.mean() > 30 else Poses.empty(frame.shape[:2], PERSON)


@pytest.fixture
def sources(photos: Path) -> Path:
    write_video(photos / "v.mp4", frames=4)  # the first two are dark
    return photos


def flat(document: dict[str, Any]) -> list[list[Any]]:
    """The people of ``--json`` as rows of a table."""
    rows: list[list[Any]] = []
    for entry in document["images"]:
        for pose in entry["poses"]:
            points = [value for point in pose["keypoints"] for value in point]
            which = [entry["source"], entry.get("frame"), entry.get("time"), None, entry["width"], entry["height"]]
            rows.append([*which, pose.get("id"), pose["class_id"], "person", pose["score"], *pose["box"], *points])
    return rows


def test_csv(run: Run, sources: Path, tmp_path: Path):
    status, _, err = run("infer", "m.onnx", sources, "--json", tmp_path / "j", "--csv", tmp_path / "c", answer=people)
    assert (status, err) == (0, "")
    with (tmp_path / "c").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head[:14] == [
        *("source", "frame", "time", "utc", "width", "height", "id", "class_id", "class", "score"),
        *("left", "top", "right", "bottom"),
    ]
    assert head[14:] == [f"{name}_{what}" for name in COCO.names for what in ("x", "y", "confidence")]
    expected = flat(json.loads((tmp_path / "j").read_text()))
    assert len(rows) == len(expected) == 2 * (3 + 2)
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in expected]


def test_csv_on_the_standard_output_and_while_it_runs(run: Run, sources: Path, tmp_path: Path):
    path, seen = tmp_path / "c", []

    def answer(frame: np.ndarray) -> Poses:
        seen.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return make_poses(1, frame.shape[:2])

    assert run("infer", "m.onnx", sources, "--csv", path, answer=answer)[0] == 0
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    status, out, err = run("infer", "m.onnx", sources, "--csv", "-", answer=answer)
    assert status == 0
    assert out == path.read_text()
    assert "v.mp4" in err
    assert "both write to the standard output" in run("infer", "m.onnx", sources, "--csv", "-", "--json", "-")[2]


class Screen(io.TextIOWrapper):
    """A standard output that may be a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_csv_names_a_file_alike_on_the_standard_output(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
):
    names = ["a\x1b[31m.png", 'b, "c"é.png', "d\u202e.png", os.fsdecode(b"e\xff.png")]
    monkeypatch.chdir(tmp_path)
    for name in names:
        write_picture(tmp_path / "plain.png", picture())
        (tmp_path / "plain.png").rename(tmp_path / name)
    assert run("infer", "m.onnx", *names, "--csv", "people.csv")[0] == 0
    written = Path("people.csv").read_bytes()
    with Path("people.csv").open(newline="", errors="surrogateescape", encoding="utf-8") as file:
        assert [row["source"] for row in csv.DictReader(file)] == names
    screen = Screen(io.BytesIO(), encoding="ascii", write_through=True)
    screen.terminal = terminal
    monkeypatch.setattr(sys, "stdout", screen)
    assert run("infer", "m.onnx", *names, "--csv", "-")[0] == 0
    shown = screen.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    if terminal:
        assert shown.isascii()
        assert b"\\x1b[31m" in shown
        assert b"\x1b" not in shown
    else:
        assert shown == written


def test_parquet(run: Run, sources: Path, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "p.parquet"
    status, _, err = run("infer", "m.onnx", sources, "--csv", tmp_path / "c", "--parquet", path, answer=people)
    assert (status, err) == (0, "")
    table = parquet.read_table(path)
    with (tmp_path / "c").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert table.column_names == head
    assert table.num_rows == len(rows)
    types = {name: str(table.schema.field(name).type) for name in head}
    assert types["source"] == types["class"] == "string"
    assert types["utc"] == "timestamp[us, tz=UTC]"
    assert types["frame"] == types["id"] == "int64"
    assert {types[name] for name in head[9:]} == {"float"}
    # Not rounded: the very numbers of the network.
    exact = np.stack([table.column(name).to_numpy() for name in head[14:]], axis=1)
    first = make_poses(2, (table.column("height")[0].as_py(), table.column("width")[0].as_py()))
    assert np.array_equal(exact[:2], first.keypoints.reshape(2, -1))
    written = np.array([[float(cell) for cell in row[14:]] for row in rows])
    assert np.abs(exact - written).max() <= 0.005 + 1e-6
    spec = ModelSpec.from_json(table.schema.metadata[b"trtpose"])
    assert spec == PERSON


def test_parquet_with_nobody_and_of_a_run_that_fails(run: Run, sources: Path, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "p.parquet"

    def nobody(frame: np.ndarray) -> Poses:
        return Poses.empty(frame.shape[:2], PERSON)

    def fails(_: np.ndarray) -> Poses:
        raise RuntimeError("broke down")

    status, _, err = run("infer", "m.onnx", sources, "--parquet", path, answer=nobody)
    assert (status, err) == (0, "")
    assert parquet.read_table(path).num_rows == 0
    path.unlink()
    assert run("infer", "m.onnx", sources, "--parquet", path, answer=fails)[0] == 1
    assert files(tmp_path) == sorted(file.name for file in [*sources.iterdir(), sources])
    assert "--parquet" in run("infer", "m.onnx", sources, "--parquet", "-")[2]


def test_yolo_labels_lead_back_to_the_pixels(run: Run, sources: Path, tmp_path: Path):
    out = tmp_path / "labels"
    assert run("infer", "m.onnx", sources, "--yolo", out, answer=people)[0] == 0
    assert files(out) == ["a.txt", "b.txt", "c.txt", *(f"v_{n}.txt" for n in (1, 2, 3, 4))]
    assert (out / "v_1.txt").read_text() == ""
    rows = [[float(cell) for cell in line.split()] for line in (out / "a.txt").read_text().splitlines()]
    numbers = np.array(rows)
    assert numbers.shape == (2, 5 + 3 * PERSON.keypoints)
    poses = make_poses(2, (48, 64))
    sides = np.array([64, 48])
    centre, size = numbers[:, 1:3] * sides, numbers[:, 3:5] * sides
    assert np.allclose(np.concatenate([centre - size / 2, centre + size / 2], 1), poses.boxes, atol=1e-4)
    points = numbers[:, 5:].reshape(2, -1, 3)
    seen = points[..., 2] == 2
    inside = (poses.xy >= 0).all(-1) & (poses.xy <= sides).all(-1)
    assert np.array_equal(seen, poses.visible() & inside)
    assert 0 < seen.sum() < seen.size
    assert np.allclose((points[..., :2] * sides)[seen], poses.xy[seen], atol=1e-4)
    assert not points[~seen].any()


def test_yolo_names_do_not_meet(run: Run, photos: Path, tmp_path: Path):
    """A frame of ``v.mp4`` and a picture called ``v_2`` have files of their own."""
    write_video(photos / "v.mp4", frames=3)
    (photos / "a.jpg").rename(photos / "v_2.jpg")
    assert run("infer", "m.onnx", photos, "--yolo", tmp_path / "y")[0] == 0
    assert files(tmp_path / "y") == ["b.txt", "c.txt", "v_2.txt", *(f"v_frame_{n}.txt" for n in (1, 2, 3))]


def test_yolo_names_of_videos_do_not_meet_either(run: Run, tmp_path: Path):
    """``clip`` must not be called as ``clip_frame`` is, which it would be because of ``clip_7``."""
    folder = tmp_path / "s"
    folder.mkdir()
    write_video(folder / "clip.mp4", frames=3)
    write_video(folder / "clip_frame.mp4", frames=2)
    write_picture(folder / "clip_7.jpg", picture(40, 40, seed=1))
    assert run("infer", "m.onnx", folder, "--yolo", tmp_path / "y")[0] == 0
    assert len(files(tmp_path / "y")) == 3 + 2 + 1


def test_ids_are_in_the_tables(run: Run, sources: Path, tmp_path: Path):
    pytest.importorskip("scipy", reason="SciPy is not installed")

    def sure(frame: np.ndarray) -> Poses:
        return dataclasses.replace(make_poses(1, frame.shape[:2]), scores=np.array([0.9], np.float32))

    run("infer", "m.onnx", sources / "v.mp4", "--csv", tmp_path / "c", "--track", answer=sure)
    with (tmp_path / "c").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["0"] * 4
