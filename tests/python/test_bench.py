# SPDX-License-Identifier: Apache-2.0
"""The benchmark: what it reports. No test looks at a duration."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from support import FakeEngine, encoded, picture
from trtpose.bench import STAGES, bench, machine, synthetic_picture, table
from trtpose.errors import InputError


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
        (None, {"runs": 0}, "runs is 0"),
        (None, {"warmup": -1}, "warmup -1"),
    ],
)
def test_what_is_refused(pictures: list[bytes] | None, options: dict[str, int], message: str):
    with pytest.raises(InputError, match=message):
        bench(FakeEngine(), pictures, **options)
