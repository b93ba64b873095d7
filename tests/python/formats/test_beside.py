# SPDX-License-Identifier: Apache-2.0
"""The files that a model says its weights are in."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import onnx_models
from trtpose.formats import beside


@pytest.mark.parametrize("chunk", [1 << 24, 64, 7])
@pytest.mark.parametrize("name", ["w", "weights.bin", "n" * 127, "n" * 128, "n" * 200])
def test_locations_are_found(name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the package onnx looks there for a file in the way
    path = onnx_models.write_model(tmp_path / "m.onnx", keypoints=3)
    assert beside.files_beside(path) == []
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location=name, size_threshold=0)
    monkeypatch.setattr(beside, "_CHUNK", chunk)
    assert beside.files_beside(path) == [tmp_path / name]
    (tmp_path / name).unlink()
    assert beside.files_beside(path) == []


def test_what_cannot_be_read_has_none(tmp_path: Path):
    assert beside.files_beside(tmp_path / "m.onnx") == []
    (tmp_path / "m.onnx").write_bytes(beside._ENTRY + b"\xff" + beside._ENTRY + b"\x00" + beside._ENTRY + b"\x02\x00a")
    assert beside.files_beside(tmp_path / "m.onnx") == []
