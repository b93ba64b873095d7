# SPDX-License-Identifier: Apache-2.0
"""Damaged files are an error or run; nothing else happens."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import onnx_models
import trtpose
from engine_support import write_models
from trtpose import Engine, ModelError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


def damaged(content: bytes, index: int, rng: random.Random) -> bytes:
    """Every fourth is cut short, the others have 1, 8 or 64 bits turned over."""
    if index % 4 == 0:
        return content[: rng.randrange(len(content))]
    data = bytearray(content)
    for _ in range((1, 8, 64)[index % 4 - 1]):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def test_damaged_models_are_an_error_or_run(models: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = (models / "heads.onnx").read_bytes()
    path = tmp_path / "damaged.onnx"
    frame = np.zeros((30, 40, 3), np.uint8)
    refused = 0
    for index in range(1000):
        path.write_bytes(damaged(content, index, rng))
        try:
            Engine(path, threads=1).infer(frame)
        except trtpose.Error:
            refused += 1
    print(f"seed {seed}: {refused} of 1000 damaged models refused, the others still run")
    assert refused > 250  # at the very least the truncated ones


@pytest.mark.shared
def test_damaged_trained_models_are_an_error_or_run(shared: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = (shared / "models" / "yolov7-lite-t-face5.onnx").read_bytes()
    spec = Path(__file__).parents[1] / "data" / "yolov7-lite-t-face5.json"
    path = tmp_path / "damaged.onnx"
    frame = np.zeros((30, 40, 3), np.uint8)
    refused = 0
    for index in range(200):
        path.write_bytes(damaged(content, index, rng))
        try:
            Engine(path, spec=spec, imgsz=32, threads=1).infer(frame)
        except trtpose.Error:
            refused += 1
    assert refused > 50


def test_damaged_specs_are_an_error_or_valid(models: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = json.dumps(onnx_models.spec_fields("heads", name="n", sigmas=[0.1, 0.2, 0.3])).encode()
    path = tmp_path / "spec.json"
    refused = 0
    for index in range(1500):
        path.write_bytes(damaged(content, index, rng))
        native, python = True, True
        try:
            trtpose._core.find_spec(str(models / "bare.onnx"), str(path))
        except ModelError:
            native = False
        try:
            trtpose.ModelSpec.load(path)
        except ModelError:
            python = False
        refused += not native
        # What Python's side refuses, the native side must not run with. (It also takes Python's literals and checks the
        # model, so the reverse does not hold.)
        assert native <= python or b"'" in path.read_bytes() or not _is_json(path.read_bytes())
    print(f"seed {seed}: {refused} of 1500 damaged specs refused")
    assert refused > 500


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, UnicodeDecodeError):
        return False
    return True
