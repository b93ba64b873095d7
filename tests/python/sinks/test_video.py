# SPDX-License-Identifier: Apache-2.0
"""Annotated videos."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from av_videos import stripes, times_of, write_times
from command_support import Run, files
from source_support import read_all
from support import write_picture, write_video
from trtpose.sinks.video import Video
from trtpose.sources import Frame


def test_a_video_becomes_a_video(run: Run, tmp_path: Path):
    source = write_video(tmp_path / "clip.avi", frames=7, fps=12.0)
    report = tmp_path / "poses.json"
    status, out, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", report, "--batch", "3")
    assert (status, err) == (0, "")
    assert out == f"{source}: 7 poses in 7 frames\n"
    assert files(tmp_path / "out") == ["clip.mp4"]
    check = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert check.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert check.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    assert (check.get(cv2.CAP_PROP_FRAME_WIDTH), check.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (64, 48)
    check.release()
    images = json.loads(report.read_text())["images"]
    assert [(entry["source"], entry["frame"]) for entry in images] == [(str(source), i) for i in range(7)]


def test_a_writer_that_loses_frames_is_noticed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, written = Video._mux, []

    def full(video: Video, packet: Any) -> None:
        written.append(packet)
        if len(written) <= 2:
            real(video, packet)

    source = write_video(tmp_path / "clip.avi", frames=6)
    monkeypatch.setattr(Video, "_mux", full)
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert status == 1
    assert "only 2 of 6 frames could be written" in err
    assert files(tmp_path) == ["clip.avi"]


def test_a_disk_that_is_full(tmp_path: Path):
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from trtpose.errors import InputError
from trtpose.sinks.video import Video
from trtpose.sources import Frame
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
like = Frame(None, "v", fps=10.0, is_video=True)
rng = np.random.default_rng(0)
try:
    video = Video(Path(sys.argv[1]), 640, 480, like)
    for _ in range(30):
        video.add(rng.integers(0, 256, (480, 640, 3), np.uint8), like)
    video.close()
except InputError as error:
    video.drop()
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v.mp4")], capture_output=True, text=True, timeout=600
    )
    assert "v.mp4: cannot be written (File too large); free some space" in done.stdout, done.stderr
    assert files(tmp_path) == []


def frames_at(seconds: Sequence[float], **fields: Any) -> list[Frame]:
    image = np.zeros((48, 64, 3), np.uint8)
    values = {"is_video": True, "fps": 10.0, **fields}
    return [Frame(image, "v", index, time=moment, **values) for index, moment in enumerate(seconds)]


def written(path: Path, frames: Sequence[Frame]) -> list[str]:
    video = Video(path, 64, 48, frames[0])
    for frame in frames:
        assert frame.image is not None
        video.add(frame.image, frame)
    return video.close()


@pytest.mark.parametrize("rate", [0.5, 1.0, 29.97, 480.0, 1000.0])
def test_the_rate_is_kept(tmp_path: Path, rate: float):
    assert written(tmp_path / "v.mp4", frames_at([i / rate for i in range(6)], fps=rate)) == []
    with av.open(str(tmp_path / "v.mp4")) as opened:
        assert float(opened.streams.video[0].average_rate) == pytest.approx(rate, rel=1e-2)
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    # OpenCV 4.8 takes the unit of time for a rate that it finds too high.
    if not (cv2.__version__.startswith("4.") and capture.get(cv2.CAP_PROP_FPS) == 90000):
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-2)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    capture.release()
    assert times_of(tmp_path / "v.mp4")[1] == pytest.approx(6 / rate, rel=1e-2)


@pytest.mark.parametrize("base", [Fraction(1, 1000), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 10**9)])
def test_times_are_kept(tmp_path: Path, base: Fraction):
    ticks = [0, 1, 5, 6, 100, 163, 10_000]
    seconds = [float(t * max(base, Fraction(1, 10**6))) for t in ticks]
    assert written(tmp_path / "v.mp4", frames_at(seconds, time_base=base, duration=0.25)) == []
    times, end = times_of(tmp_path / "v.mp4")
    assert times == pytest.approx(seconds, abs=1e-9)
    assert end == pytest.approx(seconds[-1] + 0.25, abs=float(base) / 2 + 1e-6)


def test_times_that_do_not_grow_are_told(tmp_path: Path):
    (note,) = written(tmp_path / "v.mp4", frames_at([0, 0.1, 0.1, 0.05, 0.4]))
    assert "v.mp4: 2 frames are shown later than in the input" in note
    times, _ = times_of(tmp_path / "v.mp4")
    assert times == pytest.approx([0, 0.1, 0.1, 0.1, 0.4], abs=1e-3)


def test_frames_of_another_size_are_scaled_and_told(tmp_path: Path):
    frames = frames_at([0, 0.1, 0.2])
    video = Video(tmp_path / "v.mp4", 64, 48, frames[0])
    for frame, size in zip(frames, ((48, 64), (97, 161), (24, 32)), strict=True):
        video.add(np.full((*size, 3), 200, np.uint8), frame)
    (note,) = video.close()
    assert "2 frames of another size were scaled to 64x48" in note
    for frame in read_all(tmp_path / "v.mp4"):
        assert frame.image is not None
        assert frame.image.shape == (48, 64, 3)
        assert float(frame.image.mean()) == pytest.approx(200, abs=3)


@pytest.mark.parametrize(
    ("width", "height", "made"), [(161, 97, (98, 162)), (161, 96, (96, 162)), (160, 97, (98, 160)), (1, 1, (2, 2))]
)
def test_odd_sides_keep_every_pixel(tmp_path: Path, width: int, height: int, made: tuple[int, int]):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, -1:] = image[-1:] = 255
    (frame,) = frames_at([0])
    video = Video(tmp_path / "v.mp4", width, height, frame)
    video.add(image, frame)
    (note,) = video.close()
    assert f"v.mp4: is {made[1]}x{made[0]} pixels for the {width}x{height} of the input" in note
    (read,) = read_all(tmp_path / "v.mp4")
    assert read.image is not None
    assert read.image.shape[:2] == made
    assert read.image[height - 1 :].min() > 200
    assert read.image[:, width - 1 :].min() > 200
    whole = Video(tmp_path / "w.mp4", 160, 96, frame)
    whole.add(np.zeros((96, 160, 3), np.uint8), frame)
    assert whole.close() == []


def test_a_long_recording_remembers_no_frame(tmp_path: Path):
    frames = frames_at(range(200))
    video = Video(tmp_path / "v.mp4", 64, 48, frames[0])
    for frame in frames:
        video.add(np.zeros((48, 64, 3), np.uint8), frame)
    assert len(vars(video)["_lasting"]) < 100, "only what the encoder holds"
    assert video.close() == []


@pytest.mark.parametrize("opencv", [True, False])
def test_colours_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opencv: bool):
    if not opencv:
        monkeypatch.setattr("trtpose.sinks.video.cv2", None)
    image = stripes()
    (frame,) = frames_at([0])
    video = Video(tmp_path / "v.mp4", 64, 48, frame)
    video.add(image, frame)
    assert np.array_equal(image[0, ::16], [(0, 0, 255), (0, 255, 0), (255, 0, 0), (90, 200, 40)])
    video.close()
    (read,) = read_all(tmp_path / "v.mp4")
    assert read.image is not None
    assert np.abs(read.image[24, 8::16].astype(int) - image[24, 8::16]).max() <= 12


VARIABLE = [0, 33, 67, 100, 2100, 2200]


@pytest.mark.parametrize(
    ("suffix", "times", "base", "end"),
    [
        (".mkv", VARIABLE, Fraction(1, 1000), 2.3),
        (".mp4", list(range(24)), Fraction(1, 480), 0.05),
        (".mp4", [0, 1, 2], Fraction(2), 6.0),
        (".mp4", [0], Fraction(2), 2.0),
        (".ts", VARIABLE, Fraction(1, 1000), 2.3),
    ],
    ids=["variable", "480 a second", "one in two seconds", "a single one", "transport stream"],
)
def test_a_video_lasts_as_long_as_its_input(
    run: Run, tmp_path: Path, suffix: str, times: list[int], base: Fraction, end: float
):
    source = write_times(tmp_path / f"in{suffix}", times, base, options={"bf": "2"})
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert (status, err) == (0, "")
    shown, last = times_of(tmp_path / "out" / "in.mp4")
    seconds = [float(t * base) for t in times]
    assert shown == pytest.approx(seconds, abs=1e-3)
    assert last == pytest.approx(end, abs=float(base) if len(times) == 24 else 0.1)
    images = json.loads((tmp_path / "j.json").read_text())["images"]
    assert [(entry["frame"], entry["time"]) for entry in images] == [
        (index, pytest.approx(moment, abs=1e-3)) for index, moment in enumerate(seconds)
    ]


def test_a_picture_has_no_time(run: Run, tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    assert run("infer", "m.onnx", tmp_path / "a.jpg", "--json", tmp_path / "j.json")[0] == 0
    (entry,) = json.loads((tmp_path / "j.json").read_text())["images"]
    assert "time" not in entry
