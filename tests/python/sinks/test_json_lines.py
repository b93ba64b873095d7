# SPDX-License-Identifier: Apache-2.0
"""The file of ``infer --jsonl``: a line a frame, there as soon as it is known."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command_support import Run, error_lines, files
from support import make_poses, picture, write_video
from trtpose.results import Poses
from trtpose.spec import ModelSpec


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_the_same_as_json_line_by_line(run: Run, photos: Path, tmp_path: Path):
    video = write_video(photos / "v.mp4", frames=3)
    assert run("infer", "m.onnx", photos, "--json", tmp_path / "j.json", "--jsonl", tmp_path / "j.jsonl")[0] == 0
    head, *entries = lines_of(tmp_path / "j.jsonl")
    whole = json.loads((tmp_path / "j.json").read_text())
    # By which --resume sees that a video has grown.
    assert [entry.pop("bytes", None) for entry in entries] == [None] * 3 + [video.stat().st_size, None, None]
    assert entries == whole.pop("images")
    spec = ModelSpec.from_dict(head.pop("spec"))
    assert head == whole
    assert spec.names == ("person",)
    assert [entry.get("time") for entry in entries] == [None, None, None, 0.0, 0.1, 0.2]
    assert not any("utc" in entry for entry in entries)
    for entry in entries:
        assert Poses.from_dict(entry, spec).to_dict() == {k: entry[k] for k in ("width", "height", "poses")}


def test_lines_are_there_while_the_run_goes_on_and_after_it_fails(run: Run, photos: Path, tmp_path: Path):
    path, seen = tmp_path / "j.jsonl", []

    def answer(frame: np.ndarray) -> Poses:
        seen.append(len(lines_of(path)))
        if len(seen) == 3:
            raise RuntimeError("broke down")
        return make_poses(1, frame.shape[:2])

    status, _, err = run("infer", "m.onnx", photos, "--jsonl", path, "--json", tmp_path / "j.json", answer=answer)
    assert status == 1
    assert "broke down" in err
    assert seen == [1, 2, 3]
    assert [Path(line.get("source", "")).name for line in lines_of(path)] == ["", "a.jpg", "b.png"]
    assert files(tmp_path) == ["a.jpg", "b.png", "c.webp", "j.jsonl", "photos"]


def test_live_frames_have_the_time_of_the_day(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Camera:
        def __init__(self, *_: Any) -> None:
            self.left = 3

        def isOpened(self) -> bool:
            return True

        def get(self, _: int) -> float:
            return -1.0

        def read(self) -> tuple[bool, Any]:
            self.left -= 1
            return self.left >= 0, picture()

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    before = dt.datetime.now(dt.timezone.utc)
    assert run("infer", "m.onnx", "0", "--stream", "every", "--reconnect", "0", "--jsonl", tmp_path / "j.jsonl")[0] == 1
    after = dt.datetime.now(dt.timezone.utc)
    _, *entries = lines_of(tmp_path / "j.jsonl")
    times = [dt.datetime.strptime(e["utc"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.timezone.utc) for e in entries]
    assert len(times) == 3
    assert [before, *times, after] == sorted([before, *times, after])
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_the_standard_output(run: Run, photos: Path):
    status, out, err = run("infer", "m.onnx", photos, "--jsonl", "-")
    assert status == 0
    assert [Path(json.loads(line).get("source", "")).name for line in out.splitlines()] == [
        "",
        "a.jpg",
        "b.png",
        "c.webp",
    ]
    assert len(err.splitlines()) == 3


def test_places_that_do_not_do(run: Run, photos: Path, tmp_path: Path):
    same = ("--json", tmp_path / "x", "--jsonl", tmp_path / "x")
    for more, said in (
        (("--jsonl", photos / "a.jpg"), "is one of the inputs and would be overwritten"),
        (("--jsonl", tmp_path / "none" / "j"), "does not exist"),
        (("--json", "-", "--jsonl", "-"), "both write to the standard output"),
        (same, "x: is named for two results"),
    ):
        status, out, err = run("infer", "m.onnx", photos, *more)
        assert (status, out, len(error_lines(err))) == (1, "", 1)
        assert said in err
    if Path("/dev/full").exists():
        status, _, err = run("infer", "m.onnx", photos, "--jsonl", "/dev/full")
        assert (status, error_lines(err)) == (
            1,
            ["error: /dev/full: cannot be written (No space left on device); free some space or choose another place"],
        )
