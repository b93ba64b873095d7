# SPDX-License-Identifier: Apache-2.0
"""``trtpose check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from check_support import changed, small_model  # noqa: F401 (a fixture)
from trtpose.cli import main


def test_the_command(small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, pictures = small
    common = ["--images", str(pictures), "--conf", "0.05", "--score", "0.3"]
    assert main(["check", str(model), str(model), *common, "--json", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert out.out.rstrip().endswith("the two agree")
    assert json.loads((tmp_path / "r.json").read_text())["keypoint_px"]["worst"] == 0
    other = changed(model, tmp_path / "b.onnx", lambda name, v: v + (0.5 if name == "b8" else 0))
    assert main(["check", str(model), str(other), *common, "--quiet"]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith(f"error: {other} against {model}: ")
    assert out.err.count("\n") == 1
    assert main(["check", str(model), str(other), *common[:2], "--conf", "0.9"]) == 1
    assert "--conf 0.9 is above --score 0.5" in capsys.readouterr().err
    assert main(["check", str(model), str(model), *common, "--json", str(model)]) == 1
    assert "is one of the inputs" in capsys.readouterr().err
    assert main(["check", str(model), str(tmp_path / "none.onnx"), *common]) == 1
    assert "none.onnx" in capsys.readouterr().err
