# SPDX-License-Identifier: Apache-2.0
"""``trtpose info``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from command_support import Run
from support import PERSON


def test_info(run: Run, monkeypatch: pytest.MonkeyPatch):
    trtpose = pytest.importorskip("trtpose")
    system = {"trtpose": "1", "backends": [{"name": "openvino", "version": "2", "problem": None}], "ok": True}
    monkeypatch.setattr(trtpose, "system_info", lambda: system, raising=False)
    asked: list[Any] = []

    def model_info(path: str, spec: Any = None, **options: Any) -> dict[str, Any]:
        asked.append((path, spec))
        assert options == {"imgsz": None, "batch": None}
        return {"path": path, "inputs": [{"name": "images", "shape": [1, 3, 64, 96]}], "spec": PERSON.to_dict()}

    monkeypatch.setattr(trtpose, "model_info", model_info, raising=False)
    status, out, _ = run("info")
    assert status == 0
    assert "trtpose: 1" in out
    assert "ok: yes" in out
    assert json.loads(run("info", "--json")[1]) == system
    status, out, _ = run("info", "m.onnx", "--spec", "s.json")
    assert status == 0
    assert "shape: 1, 3, 64, 96" in out
    assert json.loads(run("info", "m.onnx", "--json")[1])["spec"]["layout"] == "heads"
    assert asked == [("m.onnx", "s.json"), ("m.onnx", None)]
    assert run("info", "--spec", "s.json")[0] == 1
