# SPDX-License-Identifier: Apache-2.0
"""The benchmark: what it reports. No test looks at a duration."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

import trtpose.bench
from support import FakeEngine, encoded, picture
from trtpose import _core, _machine
from trtpose.bench import STAGES, Vram, bench, machine, synthetic_picture, table
from trtpose.errors import DeviceError, InputError


def test_the_report():
    engine = FakeEngine(batch=2)
    steps: list[tuple[int, int]] = []
    result = bench(
        engine,
        [encoded(".jpg"), encoded(".png", picture(32, 40))],
        runs=7,
        warmup=3,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert engine.calls == [2] * 10
    assert steps == [(i, 10) for i in range(1, 11)]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert tuple(result["stages"]) == ("file", *STAGES)
    for stage in result["stages"].values():
        assert set(stage) == {"median_ms", "p99_ms", "mean_ms"}
        assert 0 <= stage["median_ms"] <= stage["p99_ms"]
    # The stand-in reports the same every time.
    assert result["stages"]["network"] == {"median_ms": 1.0, "p99_ms": 1.0, "mean_ms": 1.0}
    assert result["throughput_fps"] == pytest.approx(2 * 1e3 / result["stages"]["total"]["mean_ms"], rel=1e-2)
    assert (result["runs"], result["warmup"], result["batch"]) == (7, 3, 2)
    assert result["frames"] == [[48, 64], [32, 40]]
    assert result["poses"] == 1
    assert result["imgsz"] == [64, 96]
    assert result["memory"]["planned"] == {"weights": 1, "total": 1}


def test_peak_memory_is_in_bytes():
    peak = bench(FakeEngine(), [encoded(".jpg")], runs=1, warmup=0)["memory"]["peak_rss_bytes"]
    if peak is None:
        pytest.skip("this system does not tell")
    # A Python process with NumPy and OpenCV: more than 20 MiB, less than 64 GiB.
    assert 20 << 20 < peak < 64 << 30


def test_the_table_has_every_stage():
    result = bench(FakeEngine(), [encoded(".jpg")], runs=2, warmup=1)
    text = table(result)
    for name in ("file", *STAGES):
        assert any(line.split()[:1] == [name] for line in text.splitlines())
    assert "median ms" in text
    assert "p99 ms" in text
    assert result["machine"]["cpu"] in text
    assert result["memory"]["peak_rss_since"] in ("timing", "start")
    assert "peak memory of the process" in text
    result["memory"].update(peak_rss_bytes=None, planned={})
    assert "peak" not in table(result)


def test_a_backend_without_some_stage():
    engine = FakeEngine()
    plain = engine.infer

    def infer(batch: list[np.ndarray], **options: object) -> object:
        found = plain(batch, **options)
        del engine.timings["letterbox"]
        return found

    engine.infer = infer  # type: ignore[method-assign,assignment]
    assert "letterbox" not in bench(engine, [encoded(".jpg")], runs=1, warmup=0)["stages"]


def test_the_synthetic_picture_is_always_the_same():
    assert synthetic_picture() == synthetic_picture()
    image = cv2.imdecode(np.frombuffer(synthetic_picture(120, 200), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (120, 200, 3)
    assert image.std() > 10


def test_the_machine():
    info = machine()
    assert info["cpu"]
    assert 1 <= info["usable_cores"] <= info["cores"]
    assert {"system", "python", "numpy", "opencv"} <= set(info)


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, "no picture to time with"),
        ([b"x"], {}, "picture 0: not a picture"),
        (None, {"runs": 0}, "runs 0 must lie between 1 and"),
        (None, {"warmup": -1}, "warmup -1"),
    ],
)
def test_what_is_refused(pictures: list[bytes] | None, options: dict[str, int], message: str):
    with pytest.raises(InputError, match=message):
        bench(FakeEngine(), pictures, **options)


# ---------------------------------------------------------------------------------------------------------------------
# On a GPU, with a stand-in for it


class GpuEngine(FakeEngine):
    """A stand-in that says it is on a GPU, and counts the most calls there were at one time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.device, self.backend, self.backend_version = "cuda:0", "tensorrt", "10.13.0"
        self.clones: list[GpuEngine] = []
        self.fail = False

    def clone(self) -> GpuEngine:
        self.clones.append(GpuEngine(batch=self.batch))
        return self.clones[-1]

    def infer(self, batch: Any, **thresholds: Any) -> Any:
        if self.fail:
            raise DeviceError("the GPU stopped")
        return super().infer(batch, **thresholds)


GPU = _machine.Gpu(0, "Card", "8.9", 8 << 30, 7 << 30, "GPU-0")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the native timing of the network alone was asked for."""
    asked: list[dict[str, Any]] = []

    def time_network(**options: Any) -> dict[str, Any]:
        asked.append(options)
        one = [0.5] * options["runs"]
        return {"single": one, "device": one, "graph": one, "back_to_back": 0.4, "graph_back_to_back": 0.25}

    monkeypatch.setattr(_core, "time_network", time_network, raising=False)
    monkeypatch.setattr(trtpose.bench, "gpus", lambda: _machine.Gpus("580.65", "13.0", (GPU,)))
    return asked


def test_the_network_alone_and_the_ratios(network: list[dict[str, Any]]):
    result = bench(GpuEngine(batch=2), [encoded(".jpg")], runs=8, warmup=1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert network == [
        {
            "path": "stand-in.onnx",
            "device": "cuda:0",
            "precision": "auto",
            "threads": 0,
            "batch": 2,
            "imgsz": (64, 96),
            "runs": 8,
            "warmup": 2,
        }
    ]
    assert result["network"]["single"]["median_ms"] == 0.5
    assert result["network"]["graph_back_to_back_ms"] == 0.25
    total = result["stages"]["total"]["median_ms"]
    assert result["ratios"]["total_to_network"] == pytest.approx(total / 0.5, abs=1e-3)
    # The fastest the network can be given 2 frames is every 0.25 ms: 8000 frames/s.
    (one,) = result["throughput"]
    assert result["ratios"]["throughput_to_network"] == pytest.approx(one["fps"] / 8000, rel=1e-2)
    assert result["machine"]["gpu"]["name"] == "Card"
    assert result["machine"]["versions"]["tensorrt"] == "10.13.0"
    assert result["memory"]["vram"] == {"problem": "was not watched"}
    text = table(result)
    for words in ("network alone", "by the GPU's clock", "graphs back to back", "whole to network", "not measured"):
        assert words in text


def test_stages_are_those_of_an_engine_that_clocks_them(network: list[dict[str, Any]]):
    staged = GpuEngine(batch=2)
    clocked = staged.infer

    def infer(batch: Any, **thresholds: Any) -> Any:
        found = clocked(batch, **thresholds)
        staged.timings = {"letterbox": 0.3, "network": 0.7, "decode": 0.4, "nms": 0.6, "total": 99.0}
        return found

    staged.infer = infer  # type: ignore[method-assign]

    def opened() -> GpuEngine:
        assert len(network) == 1, "opened when all else is measured"
        return staged

    stages = bench(GpuEngine(batch=2), [encoded(".jpg")], runs=3, warmup=1, staged=opened)["stages"]
    assert {name: stages[name]["median_ms"] for name in STAGES[:-1]} == {
        "letterbox": 0.3,
        "network": 0.7,
        "decode": 0.4,
        "nms": 0.6,
    }
    assert stages["total"]["median_ms"] < 99
    assert staged.calls == [2] * 4


def test_throughput_with_clones(network: list[dict[str, Any]]):
    assert network == []
    engine = GpuEngine(batch=2)
    result = bench(engine, [encoded(".jpg")], runs=8, warmup=0, streams=3)
    assert [entry["streams"] for entry in result["throughput"]] == [1, 3]
    # Once to warm up, and 2 calls of 4 batches each in every stream.
    assert [clone.calls for clone in engine.clones] == [[8] * 3] * 2
    assert result["throughput"][1]["calls"] == 6
    assert result["throughput"][1]["frames_per_call"] == 8


def test_a_clone_that_fails_is_reported(network: list[dict[str, Any]]):
    assert network == []
    engine = GpuEngine()
    plain = engine.clone

    def clone() -> GpuEngine:
        made = plain()
        calls = made.infer

        def infer(batch: Any, **thresholds: Any) -> Any:
            if made.calls:
                raise DeviceError("the GPU stopped")
            return calls(batch, **thresholds)

        made.infer = infer  # type: ignore[method-assign]
        return made

    engine.clone = clone  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="the GPU stopped"):
        bench(engine, [encoded(".jpg")], runs=4, warmup=0, streams=2)


def test_clones_on_the_cpu_are_asked_for():
    """Without --streams the CPU's report is as it always was."""
    engine = GpuEngine()
    engine.device = "cpu"
    assert "throughput" not in bench(engine, [encoded(".jpg")], runs=2, warmup=0)
    result = bench(engine, [encoded(".jpg")], runs=2, warmup=0, streams=2)
    assert [entry["streams"] for entry in result["throughput"]] == [1, 2]
    assert "network" not in result
    assert "vram" not in result["memory"]


class Meter:
    """What NVML would say, and when it was asked."""

    def __init__(self) -> None:
        self.values = [100, 100, 700, 300]
        self.asked = threading.Event()

    @contextlib.contextmanager
    def __call__(self, label: str) -> Iterator[Callable[[], int | None]]:
        assert label == "GPU-0"

        def used() -> int | None:
            if len(self.values) == 1:
                self.asked.set()
                return self.values[0]
            return self.values.pop(0)

        yield used


def test_the_peak_of_the_gpus_memory(monkeypatch: pytest.MonkeyPatch):
    meter = Meter()
    monkeypatch.setattr(trtpose.bench, "gpus", lambda: _machine.Gpus("580.65", "13.0", (GPU,)))
    monkeypatch.setattr(trtpose.bench, "memory_used", meter)
    with Vram("cuda:0") as vram:
        assert meter.asked.wait(60)
        found = vram.so_far()
    assert (found["before_bytes"], found["peak_bytes"], found["risen_bytes"]) == (100, 700, 600)
    assert "NVML" in found["source"]
    assert not any(thread.name == "trtpose-vram" for thread in threading.enumerate())
    with Vram("cuda:1") as other:
        assert other.so_far() == {"problem": "there is no cuda:1"}
    monkeypatch.setattr(meter, "values", [None])
    with Vram() as silent:
        assert "NVML" in silent.so_far()["problem"]
    monkeypatch.setattr(trtpose.bench, "gpus", lambda: _machine.Gpus(problem="no driver"))
    with Vram() as nothing:
        assert nothing.so_far() == {"problem": "no driver"}


def test_the_network_alone_on_the_cpu(tmp_path: Any):
    """The native timing itself, where it can run without a GPU."""
    import onnx_models

    model = onnx_models.write_model(tmp_path / "m.onnx")
    times = _core.time_network(
        path=str(model), device="cpu", precision="f32", threads=1, batch=2, imgsz=(64, 96), runs=3, warmup=1
    )
    assert len(times["single"]) == 3
    assert times["device"] == times["graph"] == []
    assert times["back_to_back"] > 0
    with pytest.raises(InputError, match="runs is 0"):
        _core.time_network(
            path=str(model), device="cpu", precision="f32", threads=1, batch=1, imgsz=(64, 96), runs=0, warmup=1
        )
