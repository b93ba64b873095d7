# SPDX-License-Identifier: Apache-2.0
"""``trtpose bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_support import Run, real_run
from support import FakeEngine
from trtpose.cli import main
from trtpose.errors import DeviceError


def test_bench(run: Run, photos: Path, tmp_path: Path, opened: list[FakeEngine]):
    report = tmp_path / "bench.json"
    status, out, err = run(
        "bench", "m.onnx", "--runs", 4, "--warmup", 2, "--batch", 2, "--images", photos, "--json", report
    )
    assert (status, err) == (0, "")
    assert opened[0].calls == [2] * 6
    for word in ("letterbox", "network", "decode", "nms", "total", "file", "median ms", "p99 ms", "throughput", "peak"):
        assert word in out
    assert set(json.loads(report.read_text())["stages"]) == {"file", "letterbox", "network", "decode", "nms", "total"}
    status, out, _ = run("bench", "m.onnx", "--runs", 1, "--warmup", 1, "--json", "-")
    assert json.loads(out)["runs"] == 1


def test_bench_without_a_picture(run: Run, tmp_path: Path):
    status, _, err = run("bench", "m.onnx", "--images", tmp_path)
    assert status == 1
    assert "holds no picture" in err
    (tmp_path / "a.jpg").write_bytes(b"")
    status, _, err = run("bench", "m.onnx", "--images", tmp_path)
    assert status == 1
    assert "the file is empty" in err


def test_bench_and_info_of_a_model(shared: Path, capsys: pytest.CaptureFixture[str]):
    model = shared / "models" / "yolo26n-pose-256.onnx"
    status, out, err = real_run(capsys, "bench", model, "--runs", "2", "--warmup", "1", "--json", "-")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert set(result["stages"]) == {"file", "letterbox", "network", "decode", "nms", "total"}
    assert result["memory"]["planned"]["total"] > 0
    status, out, _ = real_run(capsys, "info", model, "--json")
    assert status == 0
    info = json.loads(out)
    assert info["spec"]["layout"] == "channels_first"
    # 2.9 million weights in the file; the multiply-adds of its convolutions at 256x256, by OpenVINO's shapes.
    assert 2.5e6 < info["parameters"] < 4.5e6
    assert 0.4e9 < info["macs"] < 1.0e9
    # Those of the branches for single cells once more.
    assert info["weight_bytes"] < info["memory"]["weights"] < 1.5 * info["weight_bytes"]
    status, out, _ = real_run(capsys, "info")
    assert status == 0
    assert "openvino" in out


def test_several_batch_sizes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def open_engine(args: Any) -> FakeEngine:
        if args.batch == 4:
            raise DeviceError("batch 4 is too large")
        return FakeEngine(batch=args.batch)

    monkeypatch.setattr("trtpose.commands.options.open_engine", open_engine)
    arguments = ["bench", "m.onnx", "--runs", "1", "--warmup", "1"]
    assert main([*arguments, "--batches", "1,4,2", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert err == "error: batch 4 is too large\n"
    batches = json.loads(out)["batches"]
    assert [entry["batch"] for entry in batches] == [1, 4, 2]
    assert batches[1] == {"batch": 4, "problem": "batch 4 is too large"}
    assert main([*arguments, "--batches", "1,2"]) == 0
    assert capsys.readouterr().out.count("throughput") == 2
    assert main([*arguments, "--batches", "1", "--batch", "2"]) == 1
    assert "exclude each other" in capsys.readouterr().err
