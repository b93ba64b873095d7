# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT against ONNX Runtime on pictures, and what bench and info say of them.

The engines are those of the folder TRTPOSE_GPU_ENGINES (tools/gpu_test.sh tensorrt fills it), the pictures those of
TRTPOSE_GPU_PICTURES, by default the packaged ones.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference

import trtpose
from trtpose.bench import bench
from trtpose.check import TOLERANCES, check, table
from trtpose.cli import main

_FOLDER = os.environ.get("TRTPOSE_GPU_ENGINES")
_PICTURES = Path(os.environ.get("TRTPOSE_GPU_PICTURES") or Path(trtpose.__file__).parent / "data" / "demo")


def _entries() -> list[dict[str, Any]]:
    listed = Path(_FOLDER or ".") / "engines.json"
    if not _FOLDER or not listed.is_file():
        return []
    entries: list[dict[str, Any]] = json.loads(listed.read_text(encoding="utf-8"))["engines"]
    return [entry for entry in entries if "engine" in entry and "problem" not in entry]


ENTRIES = _entries()


@pytest.fixture(params=ENTRIES or [None], ids=lambda entry: entry["name"] if entry else "none")
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param is None:
        pytest.skip("no engines: tools/gpu_test.sh tensorrt builds them and names their folder")
    return request.param


@pytest.fixture
def measure() -> Any:
    """``measure(model, imgsz)``: the network by ONNX Runtime, the rest by trtpose on the CPU."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    try:
        reference.native()
    except ImportError as error:
        pytest.skip(f"the engines of tests/gpu are not built here; make gpu-test builds them ({error})")
    return lambda model, imgsz=None: reference.onnx_runtime_engine(Path(model), imgsz=imgsz)


@pytest.mark.gpu
def test_an_engine_finds_what_onnx_runtime_finds(entry: dict[str, Any], measure: Any) -> None:
    engine = trtpose.Engine(entry["engine"], device="cuda", precision="auto")
    against = measure(entry["onnx"], engine.imgsz)
    arithmetic = {"fp32": "f32"}.get(entry["precision"], entry["precision"])
    # INT8 of a network that was quantised just now, without a look at its AP, may lose a pose in twenty.
    loose = {"min_matched": 0.95, "max_extra": 0.05} if arithmetic == "int8" else {}
    result = check(against, engine, _PICTURES, conf=0.1, score=0.3, tolerance_px=TOLERANCES[arithmetic], **loose)
    print(table(result))
    assert result.passed, result.verdict


@pytest.mark.gpu
def test_an_engine_says_what_it_runs_on(entry: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    about = trtpose.model_info(entry["engine"])
    assert about["kind"] == "engine"
    assert about["runs_here"]["device"].startswith("cuda:")
    assert about["runs_here"]["backend"].startswith("tensorrt ")
    assert main(["info", entry["engine"]]) == 0
    assert "runs_here" in capsys.readouterr().out


@pytest.mark.gpu
def test_bench_on_the_gpu(entry: dict[str, Any]) -> None:
    result = bench(trtpose.Engine(entry["engine"], device="cuda", precision="auto"), runs=8, warmup=2, streams=2)
    assert result["device"].startswith("cuda:")
    assert result["network"]["device"]["median_ms"] > 0
    assert set(result["ratios"]) >= {"total_to_network", "throughput_to_network"}
    assert [one["streams"] for one in result["throughput"]] == [1, 2]


def test_the_reference_is_onnx_runtime(measure: Any) -> None:
    """The measure itself, which needs no GPU: what it finds is what the network's outputs, decoded, hold."""
    model = Path(trtpose.__file__).parent / "data" / "demo.onnx"
    engine = measure(model)
    picture = np.random.default_rng(3).integers(0, 256, (*engine.imgsz, 3), dtype=np.uint8)
    (found,) = engine.infer(picture, conf=0.001)
    assert found.shape == picture.shape[:2]
    assert found.keypoints.shape[1:] == (engine.spec.keypoints, 3)
    images = trtpose.letterbox(picture, engine.imgsz, spec=engine.spec)[None]
    outputs = reference.session(model).run(None, {"images": images})
    fields = engine.spec.fields
    best = max(float(out.reshape(1, -1, fields, *out.shape[2:])[0, :, 4].max()) for out in outputs)
    assert len(found) == 0 or found.scores[0] <= 1 / (1 + np.exp(-best)) + 1e-6
