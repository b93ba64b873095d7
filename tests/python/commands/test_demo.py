# SPDX-License-Identifier: Apache-2.0
"""``trtpose demo``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_support import Run, files
from support import PERSON, FakeEngine, write_picture
from trtpose.commands import demo
from trtpose.results import Poses


def test_demo(run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[FakeEngine]):
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(demo, "__file__", str(package / "commands" / "demo.py"))
    monkeypatch.chdir(tmp_path)
    status, _, err = run("demo")
    assert status == 1
    assert "has no demo model" in err
    (package / "data" / "demo").mkdir(parents=True)
    (package / "data" / "demo.onnx").write_bytes(b"x")
    status, _, err = run("demo")
    assert status == 1
    assert "has no demo pictures" in err
    write_picture(package / "data" / "demo" / "people.jpg")
    status, out, _ = run("demo")
    assert status == 0
    assert files(tmp_path / "trtpose-demo") == ["people.jpg"]
    assert out.splitlines()[-1] == f"the pictures are in {tmp_path / 'trtpose-demo'}"
    assert opened[-1].model == str(package / "data" / "demo.onnx")
    status, _, _ = run("demo", photos, "--out", tmp_path / "mine")
    assert status == 0
    assert files(tmp_path / "mine") == ["a.jpg", "b.png", "c.webp"]


def test_demo_on_pictures_without_people_says_what_it_knows(run: Run, photos: Path, tmp_path: Path):
    def nobody(frame: np.ndarray) -> Poses:
        return Poses.empty(frame.shape[:2], PERSON)

    out = ("--out", tmp_path / "out")
    status, said, _ = run("demo", photos, *out, answer=nobody)
    assert status == 0
    (line,) = [line for line in said.splitlines() if line.startswith("nobody was found")]
    assert "trained on drawings alone" in line
    assert "trtpose export yolov7-w6-pose" in line
    assert "nobody was found" not in run("demo", photos, *out)[1]
    # Of its own pictures it needs no excuse.
    assert "nobody was found" not in run("demo", *out, answer=nobody)[1]
    assert run("demo", photos, *out, "--quiet", answer=nobody)[1] == ""
