# SPDX-License-Identifier: Apache-2.0
"""tools/kill_test.py: a few kills, and that it sees what is half written."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import onnx_models
from support import encoded, write_video

pytest.importorskip("trtpose._core", reason="the native part is not built")

TOOL = Path(__file__).resolve().parents[3] / "tools" / "kill_test.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return importlib.import_module("kill_test")


def test_a_few_kills(tmp_path: Path) -> None:
    command = [sys.executable, TOOL, "-n", "2", "--verbs", "infer", "--json", tmp_path / "k.json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    figures = json.loads((tmp_path / "k.json").read_text())["infer"]
    assert figures["kills"] == 2, done.stdout + done.stderr
    assert figures["half"] == []
    assert done.returncode == (1 if figures["stale"] else 0)


@pytest.mark.parametrize("name", ["a.json", "a.jpg", "a.png", "a.onnx", "a.mp4", "a.md"])
def test_half_a_file_is_seen(tool: ModuleType, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "VIDEO_FRAMES", 12)
    path = tmp_path / name
    if path.suffix == ".onnx":
        onnx_models.write_model(path)
    elif path.suffix == ".mp4":
        write_video(path)
    else:
        path.write_bytes(
            {".json": b'{"images": [1]}\n', ".md": b"# A\n\nthe end\n"}.get(path.suffix) or encoded(path.suffix)
        )
    assert tool.problem(path) == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert name in tool.problem(path)
