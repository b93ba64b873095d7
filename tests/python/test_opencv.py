# SPDX-License-Identifier: Apache-2.0
"""trtpose without OpenCV, and with one that does not load: Pillow reads and writes, and what needs OpenCV says so."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from source_support import can_encode
from support import encoded, make_poses, picture, write_picture, write_video
from trtpose import _opencv, _paint, draw
from trtpose.errors import InputError
from trtpose.sources import read_picture

BLOCKED = "import sys; sys.modules['cv2'] = None; from trtpose.cli import main; sys.exit(main(sys.argv[1:]))"
PLAIN = "import sys; from trtpose.cli import main; sys.exit(main(sys.argv[1:]))"


def trtpose(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
    )


def poses_in(path: Path) -> list[list[dict[str, Any]]]:
    return [image["poses"] for image in json.loads(path.read_text())["images"]]


def test_the_demo_without_opencv(tmp_path: Path):
    """It finds the same people at the same places, and writes pictures that look the same."""
    for name, code in (("with", PLAIN), ("without", BLOCKED)):
        done = trtpose(code, "demo", "--out", tmp_path / name, "--json", tmp_path / f"{name}.json")
        assert done.returncode == 0, done.stderr
    ours, theirs = poses_in(tmp_path / "without.json"), poses_in(tmp_path / "with.json")
    assert sum(map(len, theirs)) > 0
    assert list(map(len, ours)) == list(map(len, theirs))
    for mine, other in zip(ours, theirs, strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_allclose(one["box"], two["box"], atol=1.0)
    drawn = sorted((tmp_path / "without").iterdir())
    assert len(drawn) == len(ours)
    for path in drawn:
        mine, other = cv2.imread(str(path)), cv2.imread(str(tmp_path / "with" / path.name))
        assert mine is not None
        assert other is not None
        assert mine.shape == other.shape
        assert np.abs(mine.astype(int) - other).mean() < 3.0
        plain = cv2.imread(str(Path(_opencv.__file__).parent / "data" / "demo" / path.name))
        assert plain is not None
        assert np.abs(mine.astype(int) - plain).mean() > 3.0


def test_a_video_needs_no_opencv(tmp_path: Path):
    video = write_video(tmp_path / "v.mp4", frames=3)
    model = Path(_opencv.__file__).parent / "data" / "demo.onnx"
    out, report = tmp_path / "out", tmp_path / "out.json"
    done = trtpose(BLOCKED, "infer", model, video, "--out", out, "--json", report)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(poses_in(report)) == 3
    assert [path.name for path in out.iterdir()] == ["v.mp4"]


def test_a_camera_needs_opencv(tmp_path: Path):
    model = Path(_opencv.__file__).parent / "data" / "demo.onnx"
    done = trtpose(BLOCKED, "infer", model, "0", "--json", tmp_path / "out.json")
    assert done.returncode == 1
    assert "camera 0: reading a camera: needs OpenCV, which is not installed" in done.stderr
    assert "pip install opencv-python-headless" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sys.modules['av'] = None", "which is not installed"),
        ("sys.path.insert(0, 'broken')", "which does not load (libavcodec.so.62: cannot open shared object file)"),
    ],
)
def test_a_video_needs_pyav(tmp_path: Path, text: str, said: str):
    (tmp_path / "broken" / "av").mkdir(parents=True)
    (tmp_path / "broken" / "av" / "__init__.py").write_text(
        "raise ImportError('libavcodec.so.62: cannot open shared object file')\n"
    )
    code = f"import sys; {text.replace('broken', str(tmp_path / 'broken'))}; {PLAIN}"
    model = Path(_opencv.__file__).parent / "data" / "demo.onnx"
    still, video = write_picture(tmp_path / "p.png"), write_video(tmp_path / "v.mp4")
    assert trtpose(code, "infer", model, still, "--json", tmp_path / "out.json").returncode == 0
    done = trtpose(code, "infer", model, still, video, "--json", tmp_path / "out.json")
    assert done.returncode == 1
    assert (
        f"v.mp4: reading a video or stream needs the package av, {said}; install it with: pip install av" in done.stderr
    )
    assert len(poses_in(tmp_path / "out.json")) == 1


def test_an_opencv_that_does_not_load(tmp_path: Path):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    model = Path(_opencv.__file__).parent / "data" / "demo.onnx"
    still = write_picture(tmp_path / "p.png")
    done = trtpose(PLAIN, "infer", model, still, "--json", tmp_path / "out.json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    done = trtpose(PLAIN, "infer", model, "0", "--json", tmp_path / "out.json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "does not load (libGL.so.1: cannot open shared object file)" in done.stderr


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".gif"])
def test_pillow_reads_what_opencv_writes(suffix: str):
    if not can_encode(suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    data = encoded(suffix, picture(60, 90))
    wanted, got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), _paint.decode(data)
    assert wanted is not None
    assert got is not None
    assert (got.shape, got.dtype) == (wanted.shape, np.uint8)
    assert got.flags.c_contiguous
    assert np.abs(got.astype(int) - wanted).max() <= (3 if suffix in (".jpg", ".webp") else 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_alpha_and_deep_pixels(channels: int, kind: type):
    rng = np.random.default_rng(channels)
    image = rng.integers(0, np.iinfo(kind).max, (20, 30, channels), dtype=kind, endpoint=True)
    data = cv2.imencode(".png", image)[1].tobytes()
    wanted, got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), _paint.decode(data)
    assert wanted is not None
    assert got is not None
    assert np.abs(got.astype(int) - wanted).max() <= 1


def test_pillow_turns_as_exif_says():
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        out = io.BytesIO()
        Image.fromarray(picture(48, 64)).save(out, "JPEG", exif=exif)
        wanted = cv2.imdecode(np.frombuffer(out.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        got = _paint.decode(out.getvalue())
        assert wanted is not None
        assert got is not None
        assert got.shape == wanted.shape
        assert np.abs(got.astype(int) - wanted).max() <= 3


@pytest.mark.parametrize("data", [b"", b"GIF89a", encoded(".jpg", picture(60, 90))[:400], encoded(".png")[:-30]])
def test_pillow_refuses_what_is_not_whole(data: bytes):
    assert _paint.decode(data) is None


def test_warnings_are_as_before_when_two_decoded_at_once():
    """The one that began first ends first."""
    before = list(warnings.filters)
    first, second = _paint._no_warnings(), _paint._no_warnings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert warnings.filters[0][0] == "ignore"
    second.__exit__(None, None, None)
    assert warnings.filters == before


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".ppm"])
def test_opencv_reads_what_pillow_writes(suffix: str):
    image = np.full((40, 50, 3), (10, 120, 240), np.uint8)
    data = _paint.encode(suffix, image)
    assert data is not None
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    assert np.abs(read.astype(int) - image).max() <= 3


def test_pillow_says_what_a_format_cannot_hold():
    assert _paint.encode(".jpg", np.zeros((1, 70000, 3), np.uint8)) is None
    assert _paint.encode(".nothing", np.zeros((4, 4, 3), np.uint8)) is None


@pytest.mark.parametrize("thickness", [1, 2, 5])
def test_lines_disks_and_boxes_lie_where_opencv_draws_them(thickness: int):
    def figure(with_: Any) -> Any:
        canvas = np.zeros((80, 120, 3), np.uint8)
        with_.line(canvas, (161, 165), (1603, 887), (255, 255, 255), thickness, cv2.LINE_AA, 4)
        with_.circle(canvas, (1450, 300), 12 * 16, (0, 255, 0), -1, cv2.LINE_AA, 4)
        with_.rectangle(canvas, (-320, 640), (700, 1100), (0, 0, 255), thickness, cv2.LINE_AA, 4)
        with_.rectangle(canvas, (100, 60), (140, 75), (255, 0, 0), -1)
        return canvas.astype(int)

    ours, theirs = figure(_paint), figure(cv2)
    assert np.abs(ours - theirs).mean() < 2.5
    assert abs(ours.sum() - theirs.sum()) < 0.12 * theirs.sum()


def test_text_is_as_large_as_opencvs():
    for scale in (0.4, 1.0, 2.0):
        (width, height), _ = _paint.getTextSize("person 0.87", 0, scale, 1)
        (wide, high), _ = cv2.getTextSize("person 0.87", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        assert 0.6 * wide < width < 1.4 * wide
        assert 0.6 * high < height < 1.4 * high


def test_poses_drawn_outside_the_frame(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "paint", _paint)
    poses = make_poses(3)
    frame = np.zeros((*poses.shape, 3), np.uint8)
    assert draw.draw(frame, poses).any()
    poses.keypoints[:, :, 0] += 5000
    assert np.isfinite(draw.draw(frame, poses)).all()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "data" / "avif").glob("*.avif")), ids=lambda p: p.stem
)
def test_turned_avif_is_the_same_with_pillow(path: Path, monkeypatch: pytest.MonkeyPatch):
    if not can_encode(".avif") or ".avif" not in Image.registered_extensions():
        pytest.skip("this OpenCV or this Pillow has no AVIF")
    wanted = read_picture(path)
    monkeypatch.setattr(_opencv, "cv2", None)
    got = read_picture(path)
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= 3


def test_a_jpeg_without_its_end_with_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_opencv, "cv2", None)
    data = encoded(".jpg", picture(60, 90))
    whole, ended = tmp_path / "whole.jpg", tmp_path / "ended.jpg"
    whole.write_bytes(data)
    ended.write_bytes(data[:-2])
    np.testing.assert_array_equal(read_picture(ended), read_picture(whole))
    ended.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cut off"):
        read_picture(ended)
