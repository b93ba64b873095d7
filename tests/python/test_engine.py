# SPDX-License-Identifier: Apache-2.0
"""The engine on the CPU: what it promises of answers, memory and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
import trtpose
from engine_support import LAYOUTS, pictures, same, write_models
from trtpose import BudgetError, Engine, InputError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def expected_decoded(output: np.ndarray[Any, Any], conf: float, iou: float) -> list[int]:
    """Rows that greedy suppression keeps, by the textbook in double precision."""
    score = output[:, 4] * output[:, 5]
    order = [int(i) for i in np.argsort(-score, kind="stable") if output[i, 4] > conf and score[i] > conf]
    kept: list[int] = []
    boxes = np.concatenate([output[:, :2] - output[:, 2:4] / 2, output[:, :2] + output[:, 2:4] / 2], 1).astype(
        np.float64
    )
    for i in order:
        for k in kept:
            inter = np.prod(
                np.clip(np.minimum(boxes[i, 2:], boxes[k, 2:]) - np.maximum(boxes[i, :2], boxes[k, :2]), 0, None)
            )
            union = np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[k, 2:] - boxes[k, :2]) - inter
            if inter / union > iou:
                break
        else:
            kept.append(i)
    return kept


def test_layout_decoded_equals_the_reference_evaluator(models: Path) -> None:
    engine = Engine(models / "decoded.onnx", conf=0.2, iou=0.5)
    (frame,) = pictures(1, size=engine.imgsz)
    (output,) = onnx_models.run_model(models / "decoded.onnx", trtpose.letterbox(frame, engine.imgsz)[None])
    rows = expected_decoded(output[0], 0.2, 0.5)
    (poses,) = engine.infer(frame)
    assert len(rows) > 3
    # Two float32 implementations of a convolution over 768 products: about 1e-4 of a number's size.
    np.testing.assert_allclose(poses.scores, (output[0, :, 4] * output[0, :, 5])[rows], rtol=1e-3)
    points = output[0, rows, 6:].reshape(len(rows), -1, 3)
    np.testing.assert_allclose(poses.keypoints, points, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_slot_of_a_batch_equals_the_frame_alone(models: Path, layout: str) -> None:
    frames = pictures(7, seed=1)
    alone = [Engine(models / f"{layout}.onnx", conf=0.2).infer(frame)[0] for frame in frames]
    together = Engine(models / f"{layout}.onnx", conf=0.2, batch=4).infer(frames)
    assert sum(len(p) for p in alone) > 0
    assert [len(p) for p in together] == [len(p) for p in alone]
    for a, b in zip(alone, together, strict=True):
        # OpenVINO may sum a convolution in another order for another batch: single-precision rounding.
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(a.keypoints, b.keypoints, rtol=1e-4, atol=1e-2)
        assert a.shape == b.shape


def test_a_fixed_batch_is_padded_and_split(models: Path) -> None:
    frames = pictures(7, seed=2)
    engine = Engine(models / "fixed3.onnx", conf=0.2)
    free = Engine(models / "heads.onnx", conf=0.2)
    assert engine.batch == 3
    for count in (1, 2, 3, 4, 7):
        results = engine.infer(frames[:count])
        assert len(results) == count
        for result, frame in zip(results, frames, strict=False):
            np.testing.assert_allclose(result.boxes, free.infer(frame)[0].boxes, rtol=1e-4, atol=1e-3)


def test_heads_and_heads5d_agree(models: Path) -> None:
    frames = pictures(3, seed=3)
    for a, b in zip(
        Engine(models / "heads.onnx", conf=0.2).infer(frames),
        Engine(models / "heads5d.onnx", conf=0.2).infer(frames),
        strict=True,
    ):
        assert len(a) > 0
        assert same(a, b)


def test_thresholds_belong_to_the_call(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.3)
    (frame,) = pictures(1, seed=4)
    few = engine.infer(frame)[0]
    many = engine.infer(frame, conf=0.05)[0]
    none = engine.infer(frame, conf=1.0)[0]
    one = engine.infer(frame, conf=0.05, max_det=1)[0]
    everything = engine.infer(frame, conf=0.05, iou=1.0)[0]
    assert 0 == len(none) < len(few) < len(many) < len(everything)
    assert len(one) == 1
    assert same(one, many[:1])
    assert same(engine.infer(frame)[0], few)


def test_oks_suppresses_by_keypoints(models: Path) -> None:
    fields = onnx_models.spec_fields("heads", sigmas=[0.05, 0.05, 0.05])
    engine = Engine(models / "bare.onnx", spec=fields, conf=0.05, nms="oks")
    (frame,) = pictures(1, seed=5)
    loose = engine.infer(frame, iou=1.0)[0]
    tight = engine.infer(frame, iou=0.0)[0]
    assert len(tight) < len(loose)
    with pytest.raises(InputError, match="sigmas"):
        Engine(models / "heads.onnx", nms="oks")


def test_colour_order(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.1)
    (frame,) = pictures(1, seed=6)
    bgr = engine.infer(frame)[0]
    rgb = engine.infer(np.ascontiguousarray(frame[..., ::-1]), color="rgb")[0]
    assert len(bgr) > 0
    assert same(bgr, rgb)
    assert not same(bgr, engine.infer(frame, color="rgb")[0])


def test_every_way_to_pass_frames(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.1)
    frames = pictures(2, seed=7, size=(60, 90))
    want = engine.infer(frames)
    padded = np.zeros((2, 64, 128, 3), np.uint8)
    padded[:, :60, :90] = frames
    ways: dict[str, Any] = {
        "one array": np.stack(frames),
        "tuple": tuple(frames),
        "padded rows": padded[:, :60, :90],
        "upside down twice": [np.ascontiguousarray(f[::-1])[::-1] for f in frames],
        "columns first in memory": [np.asfortranarray(f) for f in frames],
        "memoryview": [memoryview(f) for f in frames],
        "read-only": [np.frombuffer(f.tobytes(), np.uint8).reshape(f.shape) for f in frames],
    }
    for name, way in ways.items():
        got = engine.infer(way)
        assert len(got) == 2, name
        assert all(same(a, b) for a, b in zip(got, want, strict=True)), name
    assert engine.infer([]) == []
    assert len(engine.infer(frames[0])) == 1


def test_dlpack_in_and_out(models: Path) -> None:
    class Foreign:
        """What another library's tensor looks like: nothing but the protocol."""

        def __init__(self, array: Any) -> None:
            self._array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self._array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self._array.__dlpack_device__()

    engine = Engine(models / "heads.onnx", conf=0.1)
    frames = pictures(2, seed=8, size=(60, 90))
    want = engine.infer(frames)
    assert all(same(a, b) for a, b in zip(engine.infer([Foreign(f) for f in frames]), want, strict=True))
    assert all(same(a, b) for a, b in zip(engine.infer(Foreign(np.stack(frames))), want, strict=True))
    keypoints = want[0].keypoints
    again = np.from_dlpack(keypoints)
    assert np.shares_memory(again, keypoints)


def test_letterboxed_input_skips_the_letterbox(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.1)
    (frame,) = pictures(1, seed=9, size=engine.imgsz)
    assert same(engine.infer(trtpose.letterbox(frame, engine.imgsz))[0], engine.infer(frame)[0])
    with pytest.raises(InputError, match="NaN"):
        engine.infer(np.full((3, 64, 96), np.nan, np.float32))


def test_results_stay_when_the_engine_goes_on(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.1)
    first, second = pictures(2, seed=10)
    held = engine.infer(first)[0]
    copy = held.keypoints.copy()
    engine.infer(second)
    del engine
    np.testing.assert_array_equal(held.keypoints, copy)


def test_rect_pads_to_the_stride_only(models: Path) -> None:
    engine = Engine(models / "dynamic.onnx", imgsz=96, rect=True, conf=0.1)
    square = Engine(models / "dynamic.onnx", imgsz=96, conf=0.1)
    frames = [*pictures(2, seed=11, size=(50, 100)), *pictures(2, seed=12, size=(100, 50))]
    alone = [engine.infer(frame)[0] for frame in frames]
    together = Engine(models / "dynamic.onnx", imgsz=96, rect=True, conf=0.1, batch=4).infer(frames)
    for a, b in zip(alone, together, strict=True):
        assert len(a) == len(b) > 0
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-4, atol=1e-3)
    # A 1:2 frame fills the rectangle and leaves grey bars in the square, where this network sees people too.
    assert len(alone[0]) < len(square.infer(frames[0])[0])
    with pytest.raises(InputError, match="dynamic"):
        Engine(models / "heads.onnx", rect=True)


def test_the_letterbox_is_undone_exactly(models: Path) -> None:
    """A frame that fills the input from edge to edge must come back with boxes scaled by exactly its own factor."""
    engine = Engine(models / "heads.onnx", conf=0.1)
    height, width = engine.imgsz
    (small,) = pictures(1, seed=13, size=(height, width))
    large = np.repeat(np.repeat(small, 3, axis=0), 3, axis=1)
    one, three = engine.infer(trtpose.letterbox(large, engine.imgsz))[0], engine.infer(large)[0]
    assert len(one) == len(three) > 0
    np.testing.assert_allclose(three.keypoints[..., :2], one.keypoints[..., :2] * 3, rtol=1e-5, atol=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Memory and threads


def test_memory_is_planned_before_the_first_frame(models: Path) -> None:
    one = Engine(models / "heads.onnx").memory
    four = Engine(models / "heads.onnx", batch=4).memory
    assert one["total"] == sum(value for key, value in one.items() if key != "total")
    assert one["io"] >= 64 * 96 * 3 * 4
    assert four["io"] > 3 * one["io"]
    with pytest.raises(BudgetError, match="more than the budget"):
        Engine(models / "heads.onnx", batch=4, vram_budget=one["total"])
    assert Engine(models / "heads.onnx", vram_budget=one["total"]).memory == one


def test_clones_and_threads_agree(models: Path) -> None:
    engine = Engine(models / "heads.onnx", conf=0.1, streams=2)
    frames = pictures(12, seed=14)
    want = [engine.infer(frame)[0] for frame in frames]
    clones = [engine.clone() for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        shared = list(pool.map(lambda frame: engine.infer(frame)[0], frames))
        own = list(pool.map(lambda pair: clones[pair[0] % 3].infer(pair[1])[0], enumerate(frames)))
    for got in (shared, own):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-4, atol=1e-3)


def test_timings_are_of_the_last_call(models: Path) -> None:
    engine = Engine(models / "heads.onnx")
    engine.infer(pictures(3))
    timings = engine.timings
    assert set(timings) == {"letterbox", "network", "decode", "nms", "total"}
    assert all(value >= 0 for value in timings.values())
    assert timings["total"] >= timings["network"] > 0
