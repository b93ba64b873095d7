# SPDX-License-Identifier: Apache-2.0
"""``trtpose demo``."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_support import Run, files
from support import FakeEngine, write_picture
from trtpose.commands import demo


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
