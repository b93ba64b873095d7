# SPDX-License-Identifier: Apache-2.0
"""Frames of decoded video from Python: host arrays against OpenCV, arrays that pretend to be on a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onnx_models
import trtpose
from test_device_arrays import ADDRESS, CudaArray, DLPackArray
from trtpose import Engine, InputError, Nv12, _core


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path: Path = tmp_path_factory.mktemp("models") / "heads.onnx"
    onnx_models.write_model(path, "heads", metadata={"trtpose": json.dumps(onnx_models.spec_fields("heads"))})
    return Engine(path, conf=0.1, max_det=20)


def video(height: int = 60, width: int = 90, seed: int = 5) -> Any:
    """Both planes in one array, as decoders give them: smooth, so that there is something to see."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (8, 6), np.uint8), (width, height * 3 // 2))


def bgr(frame: Any) -> Any:
    return cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12)


def planes(frame: Any) -> tuple[Any, Any]:
    height = frame.shape[0] * 2 // 3
    return frame[:height], frame[height:]


def padded(plane: Any, by: int) -> Any:
    return np.pad(plane, ((0, 0), (0, by)))[:, : plane.shape[1]]


def test_letterbox_equals_opencv() -> None:
    frame = video()
    want = trtpose.letterbox(bgr(frame), (64, 64))
    luma, chroma = planes(frame)
    for given in (
        Nv12(frame, matrix="bt601"),
        Nv12(luma, chroma, matrix="bt601"),
        Nv12(luma, chroma.reshape(30, 45, 2), matrix="bt601"),
        Nv12(padded(luma, 6), padded(chroma, 38), matrix="bt601"),
        Nv12(padded(frame, 10), matrix="bt601"),
        Nv12(luma[::-1][::-1], np.asfortranarray(chroma), matrix="bt601"),
        Nv12(np.repeat(luma, 2, 1)[:, ::2], chroma, matrix="bt601"),
    ):
        assert np.array_equal(trtpose.letterbox(given, (64, 64)), want)
    upside_down = trtpose.letterbox(Nv12(luma[::-1], chroma[::-1], matrix="bt601"), (64, 64))
    assert np.array_equal(upside_down, trtpose.letterbox(np.ascontiguousarray(bgr(frame)[::-1]), (64, 64)))


def test_matrix_and_range_count() -> None:
    frame = video()
    seen = {
        trtpose.letterbox(Nv12(frame, matrix=matrix, full_range=full), (64, 64)).tobytes()
        for matrix in ("bt601", "bt709")
        for full in (False, True)
    }
    assert len(seen) == 4
    default = trtpose.letterbox(Nv12(frame), (64, 64))
    assert np.array_equal(default, trtpose.letterbox(Nv12(frame, matrix="bt709", full_range=False), (64, 64)))
    # White and black of limited range, whatever the matrix.
    for level, value in ((16, 0.0), (235, 1.0)):
        plain = np.full((96, 64), 128, np.uint8)
        plain[:64] = level
        for matrix in ("bt601", "bt709"):
            assert np.allclose(trtpose.letterbox(Nv12(plain, matrix=matrix), (64, 64)), value, atol=1 / 255)


def test_odd_sides_need_two_arrays() -> None:
    luma, chroma = planes(video(62, 92))
    odd = trtpose.letterbox(Nv12(luma[:61, :91], chroma), (64, 64))
    assert odd.shape == (3, 64, 64)
    with pytest.raises(InputError, match="both sides even; pass luma and chroma as two"):
        trtpose.letterbox(Nv12(video()[:, :89].copy()), (64, 64))
    with pytest.raises(InputError, match="both sides even"):
        trtpose.letterbox(Nv12(video()[:89]), (64, 64))


@pytest.mark.parametrize("output", ["poses", "device"])
def test_through_an_engine_beside_other_frames(engine: Engine, output: Any) -> None:
    frames = [video(seed=seed) for seed in (1, 2, 3)]
    want = engine.infer([bgr(frame) for frame in frames])
    given = [Nv12(frames[0], matrix="bt601"), bgr(frames[1]), Nv12(*planes(frames[2]), matrix="bt601")]
    if output == "device":
        got = engine.infer(given, output="device")
        assert got.shapes == [(60, 90)] * 3
        assert np.from_dlpack(got.counts).tolist() == [len(p.scores) for p in want]
        return
    for p, q in zip(engine.infer(given), want, strict=True):
        assert p.shape == (60, 90)
        assert np.array_equal(p.keypoints, q.keypoints)
        assert np.array_equal(p.scores, q.scores)
    assert sum(len(p.scores) for p in want) > 0
    (alone,) = engine.infer(given[0], color="rgb")
    assert np.array_equal(alone.keypoints, want[0].keypoints), "color is of frames that have one"


@pytest.mark.parametrize(
    ("luma", "chroma", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), None, "luma: the array is 4×6×3, expected height×width"),
        (np.zeros((6, 6), np.float32), None, "luma: the array is float32, expected uint8"),
        (np.zeros((0, 6), np.uint8), None, "no pixels"),
        (np.zeros((4, 6), np.uint8), np.zeros((2, 8), np.uint8), "chroma: the array is 2×8, expected 2×6 or 2×3×2"),
        (np.zeros((4, 6), np.uint8), np.zeros((3, 6), np.uint8), "for luma of 4×6"),
        (np.zeros((4, 6), np.uint8), np.zeros((2, 6), np.int8), "chroma: the array is int8"),
        ("picture.jpg", None, "a str is no picture"),
        (np.zeros((4, 6), np.uint8), CudaArray((2, 6)), "not on the same side"),
        (CudaArray((4, 6)), CudaArray((2, 6)), "runs on the CPU; copy it"),
    ],
)
def test_planes_that_are_refused(engine: Engine, luma: Any, chroma: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        engine.infer([video(10, 12)[:10, :, None].repeat(3, 2), Nv12(luma, chroma)])
    assert "frame 1" in str(caught.value)


def test_unknown_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="bt2020"):
        Nv12(video(), matrix="bt2020")
    assert repr(Nv12(video(), matrix="bt601", full_range=True)) == "Nv12(90×90, bt601, full range)"


# ---------------------------------------------------------------------------------------------------------------------
# On a GPU: how the arrays would be read; no memory is.


def parse(luma: Any, chroma: Any = None, **options: Any) -> list[tuple[Any, ...]]:
    return _core.parse_device_array(_core.Nv12(luma, chroma, bt709=True, full_range=False), **options)


def test_planes_on_a_gpu() -> None:
    assert parse(CudaArray((96, 64))) == [(ADDRESS, 64, 64, 64, ADDRESS + 64 * 64, 64, "cuda:0", 0)]
    chroma = CudaArray((32, 64), data=(ADDRESS + 99999, False), stream=2)
    assert parse(CudaArray((64, 64), strides=(80, 1), stream=2), chroma, device=1) == [
        (ADDRESS, 64, 64, 80, ADDRESS + 99999, 64, "cuda:1", 2)
    ]
    chroma = CudaArray((32, 32, 2), data=(ADDRESS + 99999, False), stream=7, strides=(128, 2, 1))
    assert parse(CudaArray((63, 63)), chroma) == [(ADDRESS, 63, 63, 63, ADDRESS + 99999, 128, "cuda:0", 7)]
    first, second = DLPackArray((64, 64)), DLPackArray((32, 64), offset=64 * 64)
    assert parse(first, second, stream=0x77) == [(ADDRESS, 64, 64, 64, ADDRESS + 64 * 64, 64, "cuda:0", 0)]
    assert first.calls[-1]["stream"] == second.calls[-1]["stream"] == 0x77
    assert first.deleted == second.deleted == 1


@pytest.mark.parametrize(
    ("luma", "chroma", "message"),
    [
        (CudaArray((64, 64), strides=(1, 64)), None, "luma: its bytes are not packed"),
        (CudaArray((64, 64), strides=(63, 1)), None, "luma: its bytes are not packed"),
        (CudaArray((64, 64)), CudaArray((32, 64), strides=(64, 2)), "chroma: its bytes are not packed"),
        (CudaArray((64, 64), "<f4"), None, "luma: the array is float32"),
        (CudaArray((64, 64), stream=5), CudaArray((32, 64), stream=6), "different streams"),
        (DLPackArray((64, 64)), DLPackArray((32, 64), device=(2, 1)), "different GPUs"),
        (CudaArray((64, 64)), np.zeros((32, 64), np.uint8), "not on the same side"),
        (CudaArray((0, 64)), None, "no pixels"),
    ],
)
def test_planes_on_a_gpu_that_are_refused(luma: Any, chroma: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(luma, chroma)
