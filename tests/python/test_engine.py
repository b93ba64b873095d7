# SPDX-License-Identifier: Apache-2.0
"""The engine on the CPU: what it promises of answers, errors, memory and threads."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnx_models
import trtpose
from trtpose import BudgetError, DeviceError, Engine, InputError, ModelError, Poses

LAYOUTS = ("heads", "heads5d", "decoded", "channels_first", "final")


def pictures(count: int, seed: int = 0, size: tuple[int, int] | None = None) -> list[Any]:
    rng = np.random.default_rng(seed)
    sizes = [size or tuple(rng.integers(20, 200, 2)) for _ in range(count)]
    # Coarse noise: different in every cell of a network, yet smooth enough to survive scaling.
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (w, h)) for h, w in sizes]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for layout in LAYOUTS:
        metadata = {"trtpose": json.dumps(onnx_models.spec_fields(layout))}
        onnx_models.write_model(folder / f"{layout}.onnx", layout, metadata=metadata)
    metadata = {"trtpose": json.dumps(onnx_models.spec_fields("heads"))}
    onnx_models.write_model(folder / "fixed3.onnx", batch=3, metadata=metadata)
    onnx_models.write_model(folder / "dynamic.onnx", dynamic=True, metadata=metadata)
    onnx_models.write_model(folder / "bare.onnx")
    return folder


def same(a: Poses, b: Poses) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in zip(
            (a.boxes, a.scores, a.class_ids, a.keypoints), (b.boxes, b.scores, b.class_ids, b.keypoints), strict=True
        )
    )


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
# Specs


def test_spec_from_each_place(models: Path, tmp_path: Path) -> None:
    fields = onnx_models.spec_fields("heads", name="mine")
    assert Engine(models / "heads.onnx").spec_origin == "metadata of trtpose"
    assert Engine(models / "bare.onnx", spec=fields).spec.name == "mine"
    assert Engine(models / "bare.onnx", spec=trtpose.ModelSpec.from_dict(fields)).spec.name == "mine"
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(fields))
    assert Engine(models / "bare.onnx", spec=path).spec_origin == f"file {path}"
    beside = onnx_models.write_model(tmp_path / "net.onnx")
    beside.with_suffix(".json").write_text(json.dumps(fields))
    assert Engine(beside).spec_origin == f"file {beside.with_suffix('.json')}"


def test_spec_survives_the_native_side(models: Path) -> None:
    fields = onnx_models.spec_fields(
        "heads",
        kpt_names=["a", 'b"\\', "ü"],
        skeleton=[[0, 1], [1, 2]],
        sigmas=[0.025, 0.1, 0.35],
        flip_idx=[0, 2, 1],
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        color="bgr",
        pad=0,
        remark={"kept": [1.5, True, None]},
    )
    spec = trtpose.ModelSpec.from_dict(fields)
    got = Engine(models / "bare.onnx", spec=spec).spec
    assert got.to_dict()["remark"] == fields["remark"]
    for key, value in spec.to_dict().items():
        if key in ("mean", "std", "sigmas"):
            # The native side holds float32.
            np.testing.assert_allclose(got.to_dict()[key], value, rtol=1e-7)
        elif key not in ("name", "outputs"):
            assert got.to_dict()[key] == value, key


ULTRALYTICS = {"task": "pose", "imgsz": "[64, 96]", "names": "{0: 'person'}", "kpt_shape": "[3, 3]", "stride": "16"}


def test_ultralytics_metadata(tmp_path: Path) -> None:
    final = onnx_models.write_model(tmp_path / "f.onnx", "final", metadata={**ULTRALYTICS, "end2end": "True"})
    assert Engine(final).spec.layout == "final"
    with pytest.raises(ModelError, match="--spec"):  # the strides of this pyramid are nobody's
        Engine(onnx_models.write_model(tmp_path / "c.onnx", "channels_first", metadata=ULTRALYTICS))
    with pytest.raises(ModelError, match="task 'pose'"):
        Engine(onnx_models.write_model(tmp_path / "d.onnx", metadata={"task": "detect"}))
    with pytest.raises(ModelError, match="kpt_shape"):
        Engine(onnx_models.write_model(tmp_path / "k.onnx", metadata={**ULTRALYTICS, "kpt_shape": "[3, "}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"layout": "grid"}, "layout"),
        ({"layout": None}, "layout"),
        ({"strides": [8]}, "anchors"),
        ({"strides": []}, "strides"),
        ({"strides": [8, 0]}, "strides"),
        ({"anchors": [[[1, 2]], [[3, 4], [5, 6]]]}, "anchors"),
        ({"anchors": [[[1, 2], [3]], [[3, 4], [5, 6]]]}, "anchors"),
        ({"names": []}, "names"),
        ({"kpt_shape": [0, 3]}, "kpt_shape"),
        ({"kpt_shape": [3, 4]}, "kpt_shape"),
        ({"kpt_shape": [4, 3]}, "expects"),
        ({"imgsz": [60, 96]}, "stride"),
        ({"imgsz": [1e99, 96]}, "imgsz"),
        ({"outputs": ["head_8", "nowhere"]}, "nowhere"),
        ({"outputs": ["head_8"]}, "outputs"),
        ({"sigmas": [1]}, "sigmas"),
        ({"std": [0, 1, 1]}, "std"),
        ({"color": "yuv"}, "color"),
        ({"pad": 300}, "pad"),
        ({"trtpose": 2}, "version"),
    ],
)
def test_a_wrong_spec_names_the_field(models: Path, tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**onnx_models.spec_fields("heads"), **change}))
    with pytest.raises(ModelError, match=match):
        Engine(models / "bare.onnx", spec=path)


def test_an_ambiguous_model_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"anchors are not known.*--spec"):
        Engine(models / "bare.onnx")
    # 57 numbers a row is the width of decoded anchors and of final detections alike.
    twin = onnx_models.write_model(tmp_path / "twin.onnx", "final", keypoints=17)
    with pytest.raises(ModelError, match=r"layout decoded\) or final detections"):
        Engine(twin)


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_unusable_files(tmp_path: Path) -> None:
    cases: list[tuple[str, bytes | None, str]] = [
        ("missing.onnx", None, "No such file"),
        ("empty.onnx", b"", "empty"),
        ("text.onnx", b"hello, this is no network", "not a readable ONNX"),
        ("model.pt", b"PK\x03\x04rest", "trtpose export"),
        ("model.xml", b"<?xml version='1.0'?><net/>", "XML"),
        ("plan.engine", b"ftrt" + bytes(64), "TensorRT"),
    ]
    for name, content, match in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises((ModelError, DeviceError), match=match) as caught:
            Engine(path)
        assert name in str(caught.value)
    with pytest.raises(ModelError, match="regular file"):
        Engine(tmp_path)


@pytest.mark.parametrize(
    ("options", "kind", "match"),
    [
        ({"device": "cuda"}, DeviceError, "CPU"),
        ({"device": "cuda:3"}, DeviceError, "cuda:3"),
        ({"device": "tpu"}, DeviceError, "tpu"),
        ({"precision": "int4"}, InputError, "int4"),
        ({"imgsz": 100}, InputError, "multiple|alone"),
        ({"imgsz": (64, 64)}, InputError, "alone"),
        ({"imgsz": "large"}, InputError, "large"),
        ({"imgsz": 0}, InputError, "imgsz"),
        ({"batch": 0}, InputError, "batch"),
        ({"batch": 100000}, InputError, "batch"),
        ({"conf": 1.5}, InputError, "conf"),
        ({"conf": float("nan")}, InputError, "conf"),
        ({"iou": -0.1}, InputError, "iou"),
        ({"max_det": 0}, InputError, "max_det"),
        ({"nms": "soft"}, InputError, "soft"),
        ({"threads": -1}, InputError, "threads"),
        ({"streams": 0}, InputError, "streams"),
        ({"vram_budget": "two"}, InputError, "two"),
        ({"vram_budget": "1KiB"}, BudgetError, "budget of 0.1 MiB"),
        ({"vram_budget": 2**62}, InputError, "vram_budget"),
    ],
)
def test_wrong_options(models: Path, options: dict[str, Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        Engine(models / "heads.onnx", **options)


def test_wrong_frames_name_the_frame(models: Path) -> None:
    engine = Engine(models / "heads.onnx")
    good = np.zeros((10, 10, 3), np.uint8)
    cases: list[tuple[Any, str]] = [
        (np.zeros((10, 10), np.uint8), "10×10, expected height×width×3"),
        (np.zeros((10, 10, 4), np.uint8), "cvtColor"),
        (np.zeros((3, 10, 10), np.uint8), "channels last"),
        (np.zeros((0, 10, 3), np.uint8), "no pixels"),
        (np.zeros((10, 0, 3), np.uint8), "no pixels"),
        (np.zeros((10, 10, 3), np.float64), "float64, expected uint8"),
        (np.zeros((10, 10, 3), np.int8), "int8, expected uint8"),
        (np.lib.stride_tricks.as_strided(good, (2**21, 1, 3), (0, 3, 1)), "pixels are supported"),
        (None, "NoneType is no picture"),
        ("picture.jpg", "str is no picture"),
        (b"bytes", "bytes is no picture"),
        (5, "int is no picture"),
    ]
    for wrong, match in cases:
        with pytest.raises(InputError, match=match) as caught:
            engine.infer([good, wrong])
        assert "frame 1" in str(caught.value)
    with pytest.raises(InputError, match="yuv"):
        engine.infer(good, color="yuv")
    assert len(engine.infer(good)) == 1  # an error leaves nothing behind


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


# ---------------------------------------------------------------------------------------------------------------------
# Damaged files


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


# ---------------------------------------------------------------------------------------------------------------------
# Trained networks on photographs


@pytest.mark.shared
def test_people_in_photographs(shared: Path) -> None:
    engine = Engine(shared / "models" / "yolo26n-pose-256.onnx")
    assert (engine.spec.layout, engine.spec_origin) == ("channels_first", "metadata of Ultralytics")
    counts = {
        name: len(engine.infer(cv2.imread(str(shared / "images" / f"{name}.jpg")))[0]) for name in ("bus", "zidane")
    }
    assert counts["zidane"] == 2
    assert 3 <= counts["bus"] <= 4


@pytest.mark.shared
def test_quantised_network_runs_as_it_is(shared: Path) -> None:
    frame = cv2.imread(str(shared / "images" / "zidane.jpg"))
    float_poses = Engine(shared / "models" / "yolo26n-pose-256.onnx").infer(frame)[0]
    int8_poses = Engine(shared / "models" / "yolo26n-pose-256-qdq.onnx").infer(frame)[0]
    assert len(float_poses) == len(int8_poses) == 2


@pytest.mark.shared
def test_faces_in_a_group(shared: Path) -> None:
    spec = Path(__file__).parents[1] / "data" / "yolov7-lite-t-face5.json"
    engine = Engine(shared / "models" / "yolov7-lite-t-face5.onnx", spec=spec, imgsz=640)
    (faces,) = engine.infer(cv2.imread(str(shared / "images" / "group.jpg")))
    assert len(faces) > 20
    # Every face's eyes and mouth lie in its box, the eyes above the mouth.
    inside = (faces.keypoints[:, :, 0] >= faces.boxes[:, None, 0]) & (
        faces.keypoints[:, :, 0] <= faces.boxes[:, None, 2]
    )
    assert inside.mean() > 0.95
    assert (faces.keypoints[:, :2, 1].mean(1) < faces.keypoints[:, 3:, 1].mean(1)).all()


@pytest.mark.shared
def test_decoded_file_without_metadata_runs_as_it_is(shared: Path, tmp_path: Path) -> None:
    """What the reference exporter leaves behind: one tensor `output`, 57 numbers a row, no metadata."""
    export = pytest.importorskip("trtpose.export", reason="trtpose[export] is not installed")
    pytest.importorskip("torch")
    golden = np.load(shared / "golden" / "yolov7-w6-pose-eighth.npz")
    path = tmp_path / "network.onnx"
    size = golden["images"].shape[2:]
    export.export(shared / "golden" / "yolov7-w6-pose-eighth.pt", path, imgsz=size, layout="decoded")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    assert [output.name for output in model.graph.output] == ["output"]

    engine = Engine(path, conf=0.0, iou=1.0, max_det=30000)
    assert (engine.spec.layout, engine.spec_origin) == ("decoded", "names and shapes")
    (poses,) = engine.infer(golden["images"][:1])
    rows = golden["decoded"][0]
    scores = rows[:, 4] * rows[:, 5]
    order = np.argsort(-scores, kind="stable")
    assert len(poses) == len(rows)
    # Float32 convolutions in another order than the reference's: relative 1e-5 of a score.
    np.testing.assert_allclose(poses.scores, scores[order], rtol=1e-4)
    # Equal scores to that precision may swap places; the set of keypoints is compared row by row where they do not.
    gaps = np.abs(np.diff(scores[order])) > 1e-4 * scores[order][1:]
    alone = np.concatenate([[True], gaps]) & np.concatenate([gaps, [True]])
    assert alone.sum() > 100
    points = rows[order, 6:].reshape(len(rows), -1, 3)
    np.testing.assert_allclose(poses.keypoints[alone], points[alone], rtol=1e-4, atol=2e-2)
