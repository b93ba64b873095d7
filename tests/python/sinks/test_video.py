# SPDX-License-Identifier: Apache-2.0
"""Annotated videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from command_support import Run, files
from support import write_video


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
