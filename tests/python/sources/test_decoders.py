# SPDX-License-Identifier: Apache-2.0
"""Frames that a decoder gives as NV12 go to the engine as they are; and decoders that are not there.

No device decodes here. What PyAV downloads from one is a frame in NV12, as raw videos in NV12 give it.
"""

from __future__ import annotations

import copy
import pickle
import sys
import types
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import trtpose
from av_videos import turn_mp4, write_times
from command_support import Run
from source_support import read_all
from support import make_poses, write_video
from trtpose import DeviceError, Engine, Nv12
from trtpose.draw import draw
from trtpose.sources import Frame, Sources
from trtpose.sources.decoders import Undrawn
from trtpose.sources.pictures import read_picture
from trtpose.sources.video import Video

LEVELS = 20
"""Letterboxed from NV12 or from BGR a channel differs by this much at most, where colours are as soft as here: FFmpeg
smooths between the colours of neighbours, which are at half size."""


def scene(seed: int, height: int = 120, width: int = 160) -> Any:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(30, 220, (8, 6, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def scenes(count: int) -> list[Any]:
    return [scene(number) for number in range(count)]


def raw(path: Path, images: list[Any]) -> Path:
    """An uncompressed video in NV12."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "nv12"
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="nv12")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def nv12_of(frame: Frame) -> Nv12:
    assert isinstance(frame.given, Nv12)
    return frame.given


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_frames_are_handed_on_as_they_are(tmp_path: Path, suffix: str):
    frames = read_all(raw(tmp_path / f"v{suffix}", scenes(4)))
    assert [frame.error for frame in frames] == [None] * 4
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-3)
    for number, frame in enumerate(frames):
        nv12 = nv12_of(frame)
        assert (nv12.luma.shape, nv12.chroma.shape) == ((120, 160), (60, 160))
        assert frame.nbytes < 160 * 120 * 2
        assert "image" not in vars(frame), "nobody has asked for it"
        (given, drawn) = (trtpose.letterbox(one, (96, 96)) for one in (nv12, frame.image))
        assert np.abs(given - drawn).max() * 255 < LEVELS
        assert np.abs(given - drawn).mean() * 255 < 3
        assert frame.image is frame.image
        assert frame.image is not None
        assert not frame.image.flags.writeable
        assert np.abs(frame.image.astype(int) - scene(number)).mean() < 8


@pytest.mark.parametrize(
    ("colorspace", "color_range", "matrix", "full"),
    [
        (2, 0, "bt601", False),
        (1, 1, "bt709", False),
        (5, 1, "bt601", False),
        (6, 2, "bt601", True),
        (1, 2, "bt709", True),
    ],
)
def test_matrix_and_range_are_those_of_the_frame(colorspace: int, color_range: int, matrix: str, full: bool):
    from trtpose.sources.decoders import undrawn

    frame = av.VideoFrame.from_ndarray(scene(0), format="bgr24").reformat(format="nv12")
    frame.colorspace, frame.color_range = colorspace, color_range
    found = undrawn(frame, lambda frame: frame.to_ndarray(format="bgr24"))
    assert found is not None
    assert (found.nv12.matrix, found.nv12.full_range) == (matrix, full)
    given, drawn = (trtpose.letterbox(one, (96, 96)) for one in (found.nv12, found.image()))
    assert np.abs(given - drawn).max() * 255 < LEVELS
    # Any other reading is farther off.
    for other in ("bt601", "bt709"):
        for wide in (False, True):
            if (other, wide) != (matrix, full):
                wrong = trtpose.letterbox(
                    Nv12(found.nv12.luma, found.nv12.chroma, matrix=other, full_range=wide), (96, 96)
                )
                assert np.abs(wrong - drawn).mean() > np.abs(given - drawn).mean()


def test_what_the_engine_has_no_colours_for_is_converted():
    from trtpose.sources.decoders import undrawn

    for format, colorspace in (("nv12", 9), ("nv12", 7), ("yuv420p", 1), ("p010le", 9)):
        frame = av.VideoFrame(64, 48, format)
        frame.colorspace = colorspace
        assert undrawn(frame, lambda frame: frame.to_ndarray(format="bgr24")) is None


def test_odd_sides():
    from trtpose.sources.decoders import undrawn

    frame = av.VideoFrame(63, 47, "nv12")
    found = undrawn(frame, lambda frame: frame.to_ndarray(format="bgr24"))
    assert found is not None
    assert found.shape == (47, 63)
    assert (found.nv12.luma.shape, found.nv12.chroma.shape) == ((47, 63), (24, 64))
    assert trtpose.letterbox(found.nv12, (64, 64)).shape == (3, 64, 64)


def test_people_are_those_of_the_same_pictures_in_bgr(tmp_path: Path):
    """By the packaged network on the packaged pictures: as many, scores within 0.02, 95 of 100 keypoints that are seen
    within 0.5 % of the picture's longer side and all within 5 %."""
    data = Path(trtpose.__file__).parent / "data"
    images = [cv2.resize(read_picture(str(path)), (320, 240)) for path in sorted((data / "demo").glob("*.jpg"))]
    path = raw(tmp_path / "v.mkv", images)
    engine = Engine(data / "demo.onnx")
    pairs = list(engine.stream(str(path)))
    assert all("image" not in vars(frame) for frame, _ in pairs)
    bgr = engine.infer([frame.image for frame, _ in pairs])
    assert len(pairs) == len(images)
    assert sum(len(poses) for _, poses in pairs) > 2
    away: list[float] = []
    for (_, one), other in zip(pairs, bgr, strict=True):
        assert one.shape == other.shape == (240, 320)
        assert len(one) == len(other)
        assert np.allclose(one.scores, other.scores, atol=0.02)
        seen = np.minimum(one.keypoints[..., 2], other.keypoints[..., 2]) > 0.5
        away += np.linalg.norm(one.keypoints[..., :2] - other.keypoints[..., :2], axis=-1)[seen].tolist()
    assert len(away) > 50
    assert np.quantile(away, 0.95) < 0.005 * 320
    assert max(away) < 0.05 * 320


def test_infer_converts_only_what_is_drawn(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, seen, converted = raw(tmp_path / "v.mkv", scenes(3)), list[Any](), list[Any]()
    make = Video._converted

    def counted(self: Video, frame: Any) -> Any:
        converted.append(frame)
        return make(self, frame)

    monkeypatch.setattr(Video, "_converted", counted)

    def answer(frame: Any) -> Any:
        seen.append(frame)
        return make_poses(1, (120, 160))

    assert run("infer", "m.onnx", path, "--jsonl", tmp_path / "p", "--decode", "cpu", answer=answer)[0] == 0
    assert [type(frame) for frame in seen] == [Nv12] * 3
    assert converted == []
    assert run("infer", "m.onnx", path, "--out", tmp_path / "o", answer=answer)[0] == 0
    assert len(converted) == 3
    (before, after) = (read_all(one) for one in (path, tmp_path / "o" / "v.mp4"))
    assert len(after) == 3
    assert np.abs(before[0].image.astype(int) - after[0].image.astype(int)).mean() < 12  # type: ignore[union-attr]
    assert draw(before[0].image, make_poses(1, (120, 160))) is not before[0].image  # type: ignore[arg-type]


def test_turned_frames_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The engine turns nothing."""
    monkeypatch.setattr("trtpose.sources.decoders._MATRICES", {})
    path = turn_mp4(write_times(tmp_path / "v.mp4", [0, 1], Fraction(1, 10)), 0, 1, -1, 0)
    assert all(isinstance(frame.given, np.ndarray) for frame in read_all(path))


def no_device(decode: str) -> str:
    with pytest.raises(DeviceError) as caught:
        Sources("rtsp://127.0.0.1:9/x", decode=decode)
    return str(caught.value)


def test_a_device_that_is_not_there_is_said_at_once(run: Run, tmp_path: Path):
    from av.codec.hwaccel import hwdevices_available

    if "cuda" not in hwdevices_available():
        pytest.skip("this FFmpeg was built without CUDA")
    try:
        text = no_device("cuda")
    except pytest.fail.Exception:
        pytest.skip("there is a device of CUDA")
    assert text.startswith("decode cuda: FFmpeg cannot open such a device here (")
    assert text.endswith("); check the GPU and its driver, or take cpu")
    path = raw(tmp_path / "v.mkv", scenes(2))
    failed = AssertionError("the engine is not opened for this")
    status, out, err = run("infer", "m.onnx", path, "--decode", "cuda", fail=failed)
    assert (status, out) == (1, "")
    assert err == f"error: {text}\n"
    # Pictures need no decoder.
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    assert run("infer", "m.onnx", tmp_path / "a.png", "--decode", "cuda")[0] == 0


def test_decoders_that_the_package_has_not(monkeypatch: pytest.MonkeyPatch):
    from av.codec.hwaccel import hwdevices_available

    for decode in ("videotoolbox", "d3d11va", "vaapi"):
        if decode not in hwdevices_available():
            assert f"decode {decode}: PyAV's FFmpeg was built without it (it has " in no_device(decode)
    monkeypatch.setitem(sys.modules, "av.codec.hwaccel", None)
    assert no_device("cuda").endswith("decodes on the CPU alone; pip install -U av, or take cpu")
    with pytest.raises(trtpose.InputError, match="decode 'gpu' is not known"):
        Sources(0, decode="gpu")


def test_a_device_is_asked_to_decode_and_may_leave_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What PyAV is given, by a stand-in for the device, as none is here."""
    asked: list[Any] = []

    class Device:
        def __init__(self, kind: str, **options: Any) -> None:
            self.kind, self.options = kind, options

        def create(self, codec: Any) -> None:
            assert codec.name == "h264"

    names = types.SimpleNamespace(HWAccel=Device, hwdevices_available=lambda: ["cuda"])
    monkeypatch.setitem(sys.modules, "av.codec.hwaccel", names)
    real = av.open

    def opened(*given: Any, hwaccel: Any = None, **options: Any) -> Any:
        asked.append(hwaccel)
        return real(*given, **options)

    path = raw(tmp_path / "v.mkv", scenes(2))
    monkeypatch.setattr(av, "open", opened)
    frames = read_all(path, decode="cuda")
    assert [frame.error for frame in frames] == [None, None]
    assert all(isinstance(frame.given, Nv12) for frame in frames)
    assert [(one.kind, one.options) for one in asked] == [("cuda", {"allow_software_fallback": True})]


def lazily_made() -> Frame:
    frame = av.VideoFrame.from_ndarray(scene(0), format="bgr24").reformat(format="yuv420p")
    undrawn = Undrawn(frame, None, lambda frame: frame.to_ndarray(format="bgr24"))
    return Frame(None, "camera", index=3, live=True, undrawn=undrawn)


def test_a_frame_that_nobody_looked_at_can_be_copied_and_sent():
    for way in (copy.copy, copy.deepcopy, lambda frame: pickle.loads(pickle.dumps(frame))):
        frame = lazily_made()
        assert "image" not in vars(frame)
        other = way(frame)
        np.testing.assert_array_equal(other.image, frame.image)
        assert (other.source, other.index, other.undrawn) == ("camera", 3, None)
    assert frame.nbytes == frame.undrawn.nbytes + frame.image.nbytes


def test_pixels_that_are_put_in_place_of_a_frames_are_what_the_engine_takes():
    masked = np.zeros((48, 64, 3), np.uint8)
    frame = replace(lazily_made(), image=masked)
    assert frame.given is frame.image is masked
    assert replace(lazily_made(), index=4).given.shape == scene(0).shape


def test_pixels_that_are_made_later_are_the_same(tmp_path: Path):
    path = write_video(tmp_path / "v.avi", frames=4)
    at_once, later = Video(str(path)), Video(str(path))
    later.drops = True
    for one, other in zip(at_once.shots(), list(later.shots()), strict=True):
        assert isinstance(one.image, np.ndarray)
        assert isinstance(other.image, Undrawn)
        np.testing.assert_array_equal(other.image.image(), one.image)
        assert other.image.shape == one.image.shape[:2]
