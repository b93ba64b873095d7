# SPDX-License-Identifier: Apache-2.0
"""What a video says of its frames: when, how long, which way up; in every kind of container and pixel."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from av_videos import grey, stripes, tone_packets, turn_mp4, write_times
from source_support import read_all
from trtpose.sources import Frame

MILLI = Fraction(1, 1000)


def greys(frames: list[Frame]) -> list[float]:
    return [float(f.image.mean()) for f in frames if f.image is not None]


def check(frames: list[Frame], seconds: list[float], within: float = 1e-6, levels: float = 5) -> None:
    assert [f.error for f in frames] == [None] * len(seconds)
    assert [f.time for f in frames] == pytest.approx(seconds, abs=within)
    assert greys(frames) == pytest.approx([grey(i) for i in range(len(seconds))], abs=levels)
    assert all(f.image is not None and f.image.flags.c_contiguous and f.image.flags.writeable for f in frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts", ".flv"])
@pytest.mark.parametrize(
    "times",
    [
        [0, 33, 67, 100, 2100, 2200, 2300],  # a pause
        [0, 2, 4, 6, 8, 10],  # 500 a second
        [0, 2000, 4000],  # one in two seconds
        [0],
    ],
    ids=["pause", "fast", "slow", "single"],
)
def test_every_frame_has_its_time(tmp_path: Path, suffix: str, times: list[int]):
    # B-frames: the order in the file is not the order of showing.
    path = write_times(tmp_path / f"v{suffix}", times, MILLI, options={"bf": "2", "b_strategy": "0"})
    check(read_all(path), [t / 1000 for t in times], 1e-3 if suffix in (".ts", ".flv", ".mkv") else 1e-6)


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".avi", "mjpeg", "yuvj420p"),
        (".avi", "mpeg4", "yuv420p"),
        (".webm", "libvpx-vp9", "yuv420p"),
        (".mkv", "ffv1", "gray"),
        (".mkv", "ffv1", "yuv420p10le"),
        (".mp4", "libx264", "yuv422p10le"),
        (".mkv", "ffv1", "bgra"),
        (".gif", "gif", "rgb8"),
        (".mkv", "libx264", "yuv444p"),
    ],
)
def test_kinds_of_codec_and_pixel(tmp_path: Path, suffix: str, codec: str, pix_fmt: str):
    path = write_times(tmp_path / f"v{suffix}", list(range(6)), Fraction(1, 10), codec=codec, pix_fmt=pix_fmt)
    if suffix == ".gif":  # taken for a picture by its name
        path = path.rename(tmp_path / "v.mp4")
    frames = read_all(path)
    check(frames, [i / 10 for i in range(6)], 1e-3, 8)
    assert all(f.fps == pytest.approx(10) for f in frames)


def test_reordered_pictures_of_an_avi_begin_at_its_start(tmp_path: Path):
    """AVI has no times of showing; what a decoder holds back for the order is no delay of the video."""
    path = write_times(tmp_path / "v.avi", list(range(8)), Fraction(1, 10), codec="mpeg4", options={"bf": "2"})
    check(read_all(path), [i / 10 for i in range(8)], levels=8)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".flv"])
def test_a_start_that_is_not_zero(tmp_path: Path, suffix: str):
    path = write_times(tmp_path / f"v{suffix}", [5000, 5100, 5200], MILLI)
    check(read_all(path), [0, 0.1, 0.2], 1e-3)


def test_pictures_that_begin_after_the_sound(tmp_path: Path):
    for begin in (0, 5):
        path = write_times(
            tmp_path / "v.mkv",
            [1000 * begin + ticks for ticks in (500, 600, 700)],
            MILLI,
            sound="flac",
            sound_from=begin,
            sound_to=begin + 1.0,
        )
        check(read_all(path), [0.5, 0.6, 0.7], 1e-3)


def test_sound_that_lasts_longer_is_no_missing_end(tmp_path: Path):
    path = write_times(tmp_path / "v.mkv", [0, 100, 200], MILLI, sound="flac", sound_to=4.0)
    check(read_all(path), [0, 0.1, 0.2], 1e-3)


@pytest.mark.parametrize(("suffix", "total"), [(".mp4", 6), (".avi", 6), (".mkv", None), (".ts", None)])
def test_counts_are_exact_or_absent(tmp_path: Path, suffix: str, total: int | None):
    path = write_times(tmp_path / f"v{suffix}", [0, 1, 2, 3, 4, 5], Fraction(1, 10), codec="mpeg4")
    frames = read_all(path)
    assert [f.total for f in frames] == [total] * 6
    assert [f.length for f in frames] == pytest.approx([0.6] * 6, abs=0.11)


CORNERS = {"top left": (0, 0), "top right": (0, -1), "bottom right": (-1, -1), "bottom left": (-1, 0)}


def corner_of_light(image: Any) -> str:
    return max(CORNERS, key=lambda name: float(image[CORNERS[name]].mean()))


@pytest.mark.parametrize(
    ("matrix", "shape", "corner"),
    [
        ((1, 0, 0, 1), (48, 64), "top left"),
        ((0, 1, -1, 0), (64, 48), "top right"),  # a quarter with the clock, as phones write
        ((-1, 0, 0, -1), (48, 64), "bottom right"),
        ((0, -1, 1, 0), (64, 48), "bottom left"),
        ((-1, 0, 0, 1), (48, 64), "top right"),  # mirrored
        ((1, 0, 0, -1), (48, 64), "bottom left"),
        ((0, 1, 1, 0), (64, 48), "top left"),
        ((0, -1, -1, 0), (64, 48), "bottom right"),
        ((0, 2, -2, 0), (64, 48), "top right"),  # twice as large besides
    ],
)
@pytest.mark.parametrize("opencv", [True, False])
def test_turned_as_the_container_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrix: Any, shape: tuple[int, int], corner: str, opencv: bool
):
    if not opencv:
        monkeypatch.setattr("trtpose.sources.video.cv2", None)
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255
    path = turn_mp4(write_times(tmp_path / "v.mp4", [0, 1], Fraction(1, 10), images=[image, image]), *matrix)
    frames = read_all(path)
    assert [f.error for f in frames] == [None, None]
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (*shape, 3)
        assert corner_of_light(frame.image) == corner


def test_turns_that_are_no_quarter_are_refused(tmp_path: Path):
    path = turn_mp4(write_times(tmp_path / "v.mp4", [0, 1], Fraction(1, 10)), 0.7071, 0.7071, -0.7071, 0.7071)
    (frame,) = read_all(path)
    assert "turned by -45 degrees, and only quarter turns are followed" in str(frame.error)


def test_colours_are_those_that_were_written(tmp_path: Path):
    image = stripes()
    for suffix, codec, pix_fmt in (
        (".mkv", "ffv1", "bgr0"),
        (".mp4", "libx264", "yuv444p"),
        (".avi", "mjpeg", "yuvj444p"),
    ):
        path = write_times(
            tmp_path / f"v{suffix}", [0, 1], Fraction(1, 10), codec=codec, pix_fmt=pix_fmt, images=[image] * 2
        )
        for frame in read_all(path):
            assert frame.image is not None
            middle = frame.image[24, 8::16].astype(int)
            assert np.abs(middle - image[24, 8::16]).max() <= (0 if codec == "ffv1" else 12), codec


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".flv"])
def test_a_file_that_is_cut_off_keeps_what_can_be_read(tmp_path: Path, suffix: str):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]
    codec, pix_fmt = ("flv1", "yuv420p") if suffix == ".flv" else ("mjpeg", "yuvj420p")
    container = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = (
        write_times(
            tmp_path / f"v{suffix}",
            list(range(0, 4000, 100)),
            MILLI,
            codec=codec,
            pix_fmt=pix_fmt,
            images=images,
            container=container,
        )
        if suffix != ".avi"
        else write_times(
            tmp_path / "v.avi", list(range(40)), Fraction(1, 10), codec=codec, pix_fmt=pix_fmt, images=images
        )
    )
    whole = read_all(path)
    assert [f.error for f in whole] == [None] * 40
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    *frames, end = read_all(path)
    assert 10 <= len(frames) <= 30
    assert [f.error for f in frames] == [None] * len(frames)
    assert "cut off or damaged" in str(end.error)
    if suffix == ".mp4":
        assert f"ends after {len(frames)} of 40 frames" in str(end.error)


def test_damage_in_the_middle_is_told(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]
    path = write_times(
        tmp_path / "v.avi", list(range(40)), Fraction(1, 10), codec="mjpeg", pix_fmt="yuvj420p", images=images
    )
    data = bytearray(path.read_bytes())
    begin = data.index(b"00dc", len(data) // 2)
    data[begin + 8 : begin + 700] = bytes(692)  # the head of one picture
    path.write_bytes(data)
    *frames, end = read_all(path)
    assert len(frames) == 39
    assert "1 of its frames are cut off or damaged; what could be decoded was read" in str(end.error)


def test_a_name_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_times(tmp_path / "v.mkv", [0, 1], Fraction(1, 10)).rename(tmp_path / "http:v.mkv")
    monkeypatch.chdir(tmp_path)
    assert [f.error for f in read_all("http:v.mkv")] == [None, None]


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
def test_a_title_that_is_no_text(tmp_path: Path, suffix: str):
    path = write_times(
        tmp_path / f"v{suffix}", [0, 1], Fraction(1, 10), codec="mpeg4", title="nothing but a title", sound="libmp3lame"
    )
    data = path.read_bytes()
    assert b"nothing but a title" in data
    path.write_bytes(data.replace(b"nothing but a title", b"nothing but a t\xfftle"))
    check(read_all(path), [0, 0.1], 1e-3, 8)


def test_sound_alone_is_no_video(tmp_path: Path):
    with av.open(str(tmp_path / "v.mkv"), "w") as out:
        tone = out.add_stream("flac", rate=48_000, layout="mono")
        for packet in tone_packets(tone, 0.0, 0.5):
            out.mux(packet)
    (frame,) = read_all(tmp_path / "v.mkv")
    assert "holds no video" in str(frame.error)
