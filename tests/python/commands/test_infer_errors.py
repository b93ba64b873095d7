# SPDX-License-Identifier: Apache-2.0
"""``trtpose infer``: what goes wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from command_support import Run, error_lines, files
from support import FakeEngine, encoded, make_poses, write_video
from trtpose.errors import InputError, ModelError
from trtpose.results import Poses


def test_bad_files_are_reported_and_the_run_goes_on(run: Run, photos: Path, tmp_path: Path):
    (photos / "aa.jpg").write_bytes(encoded(".jpg")[:-100])
    (photos / "bb.jpg").write_text("no picture")
    status, out, err = run("infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert [line.split(": ")[1] for line in error_lines(err)] == [str(photos / "aa.jpg"), str(photos / "bb.jpg")]
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["a.jpg", "b.png", "c.webp"]
    assert len(json.loads((tmp_path / "j.json").read_text())["images"]) == 3


def test_all_bad(run: Run, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"")
    status, out, err = run("infer", "m.onnx", tmp_path, "--out", tmp_path / "out")
    assert status == 1
    assert not out
    assert err == f"error: {tmp_path / 'a.jpg'}: the file is empty; replace it with a picture\n"
    assert files(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("missing.jpg", "no such file"), (".", "holds no picture"), ("*.jpg", "matches no picture")],
)
def test_no_usable_source(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("infer", "m.onnx", source, "--out", "out", "--json", "out.json" if source == "*.jpg" else "-")
    assert status == 1
    assert len(error_lines(err)) == 1
    assert message in err
    assert files(tmp_path) == []


def test_a_frame_the_engine_refuses_does_not_stop_its_neighbours(run: Run, photos: Path):
    def answer(frame: np.ndarray) -> Poses:
        if (frame == cv2.imread(str(photos / "b.png"))).all():
            raise InputError("frame 0 is refused")
        return make_poses(1, frame.shape[:2])

    status, out, err = run("infer", "m.onnx", photos, "--batch", "3", answer=answer)
    assert status == 1
    assert len(out.splitlines()) == 2
    assert error_lines(err) == [f"error: {photos / 'b.png'}: frame 0 is refused"]


def test_a_model_error_is_one_line_and_leaves_nothing(run: Run, photos: Path, tmp_path: Path):
    before = files(tmp_path)
    arguments = ("infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    status, out, err = run(*arguments, fail=ModelError("m.onnx: no such\nfile"))
    assert (status, out, err) == (1, "", "error: m.onnx: no such file\n")
    assert files(tmp_path) == before
    status, out, err = run(*arguments, "--debug", fail=ModelError("m.onnx: no such file"))
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: m.onnx: no such file"
    status, out, err = run(*arguments, fail=ZeroDivisionError("a bug"))
    assert status == 1
    assert err == "error: unexpected ZeroDivisionError: a bug; --debug prints where it came from\n"
    assert files(tmp_path) == before


def test_a_fault_in_the_middle_leaves_only_whole_files(run: Run, photos: Path, tmp_path: Path):
    write_video(photos / "bbb.mp4", frames=5)
    seen: list[int] = []

    def answer(frame: np.ndarray) -> Poses:
        seen.append(1)
        if len(seen) == 4:  # the second frame of the video
            raise RuntimeError("broke down")
        return make_poses(1, frame.shape[:2])

    status, _, err = run(
        "infer", "m.onnx", photos, "--out", tmp_path / "out", "--json", tmp_path / "j.json", answer=answer
    )
    assert status == 1
    assert "broke down" in err
    assert files(tmp_path / "out") == ["a.jpg", "b.png"]
    assert not (tmp_path / "j.json").exists()


def test_outputs_that_cannot_be_written(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    cases = [
        (["--out", tmp_path / "file"], "is a file; give the name of a folder"),
        (["--out", tmp_path / "file" / "deeper"], "cannot be made"),
        (["--out", tmp_path / "new" / "deeper", "--json", tmp_path / "folder"], "is a folder"),
        (["--out", "/proc/trtpose"], "/proc/trtpose: the folder cannot be made"),
        (["--json", tmp_path / "folder"], "is a folder; give the name of a file"),
        (["--json", tmp_path / "none" / "x.json"], f"the folder {tmp_path / 'none'} does not exist"),
        (["--json", tmp_path / "file" / "x.json"], "is a file, not a folder"),
        (["--json", "/proc/x.json"], "cannot write there"),
    ]
    before = files(tmp_path)
    for arguments, message in cases:
        status, _, err = run("infer", "m.onnx", photos, *arguments)
        assert status == 1, arguments
        assert len(error_lines(err)) == 1
        assert message in err
    assert files(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"
    # All of it was found out before the network was loaded.
    assert opened == []


def test_a_read_only_folder(run: Run, photos: Path, tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    for arguments in (["--out", locked], ["--out", locked / "new"], ["--json", locked / "x.json"]):
        status, _, err = run("infer", "m.onnx", photos, *arguments)
        assert status == 1
        assert "Permission denied" in err
        assert files(locked) == []


def test_inputs_are_never_overwritten(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, tmp_path / "link", photos / ".." / "photos"):
        status, _, err = run("infer", "m.onnx", photos, "--out", out)
        assert status == 1
        assert "is one of the inputs and would be overwritten" in err
    # Another name for the same file.
    (tmp_path / "out").mkdir()
    os.link(photos / "a.jpg", tmp_path / "out" / "a.jpg")
    assert run("infer", "m.onnx", photos, "--out", tmp_path / "out")[0] == 1
    status, _, err = run("infer", "m.onnx", photos, "--json", photos / "b.png")
    assert status == 1
    assert "would be overwritten" in err
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    assert opened == []


def test_json_does_not_overwrite_the_model(run: Run, photos: Path, tmp_path: Path):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    for verb in (
        ["infer", model, photos],
        ["bench", model],
        ["eval", model, "--images", photos, "--annotations", model],
    ):
        status, _, err = run(*verb, "--json", model)
        assert status == 1
        assert "would be overwritten" in err
    assert model.read_bytes() == b"a model"
