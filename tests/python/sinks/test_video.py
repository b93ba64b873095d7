# SPDX-License-Identifier: Apache-2.0
"""Annotated videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command_support import Run, files
from support import write_video
from trtpose.sinks.video import Video


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
    real = cv2.VideoWriter

    class Full:
        fourcc = staticmethod(real.fourcc)

        def __init__(self, *arguments: Any) -> None:
            self._writer = real(*arguments)
            self._written = 0

        def isOpened(self) -> bool:
            return True

        def write(self, frame: Any) -> None:
            self._written += 1
            if self._written <= 2:
                self._writer.write(frame)

        def release(self) -> None:
            self._writer.release()

    source = write_video(tmp_path / "clip.avi", frames=6)
    monkeypatch.setattr(cv2, "VideoWriter", Full)
    status, _, err = run("infer", "m.onnx", source, "--out", tmp_path / "out", "--json", tmp_path / "j.json")
    assert status == 1
    assert "only 2 of 6 frames could be written" in err
    assert files(tmp_path) == ["clip.avi"]


@pytest.mark.parametrize("rate", [0.5, 1.0, 29.97, 480.0, 1000.0])
def test_the_rate_is_kept(tmp_path: Path, rate: float):
    video = Video(tmp_path / "v.mp4", 64, 48, rate)
    for _ in range(6):
        video.add(np.zeros((48, 64, 3), np.uint8))
    video.close()
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-3)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    capture.release()


@pytest.mark.parametrize(("width", "height", "kept"), [(161, 97, "160x96"), (161, 96, "160x96"), (160, 97, "160x96")])
def test_odd_sides_are_told(tmp_path: Path, width: int, height: int, kept: str):
    video = Video(tmp_path / "v.mp4", width, height, 10.0)
    video.add(np.zeros((height, width, 3), np.uint8))
    assert f"v.mp4: is {kept} pixels of the {width}x{height} of the input" in video.close()
    whole = Video(tmp_path / "w.mp4", 160, 96, 10.0)
    whole.add(np.zeros((96, 160, 3), np.uint8))
    assert whole.close() == ""
