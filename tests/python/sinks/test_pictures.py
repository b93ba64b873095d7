# SPDX-License-Identifier: Apache-2.0
"""Annotated pictures in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from command_support import Run, error_lines, files
from support import encoded, picture, write_picture, write_video


def test_same_names_do_not_overwrite_each_other(run: Run, tmp_path: Path):
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
    for path in ("one/x.jpg", "two/x.jpg", "three/X.JPG", "one/x_1.jpg"):
        (tmp_path / path).write_bytes(encoded(".jpg", picture(seed=len(path))))
    write_video(tmp_path / "one" / "v.avi", frames=2)
    write_video(tmp_path / "two" / "v.mp4", frames=2)
    out = tmp_path / "out"
    assert run("infer", "m.onnx", *(tmp_path / n for n in ("one", "two", "three")), "--out", out)[0] == 0
    assert len(files(out)) == 6
    assert {name.lower() for name in files(out)} == {"v.mp4", "v_1.mp4", "x.jpg", "x_1.jpg", "x_2.jpg", "x_3.jpg"}
    sources = [tmp_path / name for name in ("one/x.jpg", "two/x.jpg", "one/x_1.jpg", "one/x.jpg")]
    assert run("infer", "m.onnx", *sources, "--out", tmp_path / "again")[0] == 0
    assert files(tmp_path / "again") == ["x.jpg", "x_1.jpg", "x_1_1.jpg", "x_2.jpg"]


def test_formats_that_are_not_written_become_png(run: Run, tmp_path: Path):
    source = tmp_path / "a.pgm"
    source.write_bytes(encoded(".pgm", picture()[:, :, 0]))
    assert run("infer", "m.onnx", source, "--out", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["a.png"]


def test_results_of_an_earlier_run_are_replaced(run: Run, photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "a.jpg").write_bytes(b"old")
    (out / "other.txt").write_text("kept")
    assert run("infer", "m.onnx", photos, "--out", out)[0] == 0
    assert cv2.imread(str(out / "a.jpg")) is not None
    assert files(out) == ["a.jpg", "b.png", "c.webp", "other.txt", "sub"]
    (out / "b.png").unlink()
    (out / "b.png").mkdir()
    status, _, err = run("infer", "m.onnx", photos, "--out", out)
    assert status == 1
    assert "is a folder where a result would be written" in err


def test_a_picture_its_format_cannot_hold(run: Run, tmp_path: Path):
    write_picture(tmp_path / "a.png")
    # WebP holds at most 16383 pixels a side; the file is a PNG by content.
    (tmp_path / "b.webp").write_bytes(encoded(".png", np.zeros((2, 16500, 3), np.uint8)))
    write_picture(tmp_path / "c.png")
    report = tmp_path / "poses.json"
    status, _, err = run("infer", "m.onnx", tmp_path, "--out", tmp_path / "out", "--quiet", "--json", report)
    assert status == 1
    assert error_lines(err) == [
        f"error: {tmp_path / 'out' / 'b.webp'}: a picture of 16500x2 pixels cannot be written in this format"
    ]
    # The run goes on: what comes later is written, and the poses are all there.
    assert files(tmp_path / "out") == ["a.png", "c.png"]
    assert len(json.loads(report.read_text())["images"]) == 3
