# SPDX-License-Identifier: Apache-2.0
"""Videos, cameras and streams, and what is behind an address."""

from __future__ import annotations

import functools
import http.server
import os
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matroska import write_pausing
from source_support import read_all
from support import write_picture, write_video
from trtpose.sources import Frame, Sources, reader
from trtpose.sources.capture import OpenError, Shot


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_gives_every_frame_in_order(tmp_path: Path, suffix: str):
    frames = read_all(write_video(tmp_path / f"v{suffix}", frames=12))
    assert [f.index for f in frames] == list(range(12))
    assert all(f.is_video and not f.live and f.total == 12 for f in frames)
    assert all(f.fps == pytest.approx(10) for f in frames)
    # Coded with loss: the grey of frame i is 20 i within a few levels.
    assert [round(float(f.image.mean()) / 20) for f in frames if f.image is not None] == list(range(12))


def test_slow_readers_lose_no_frame_of_a_file(tmp_path: Path):
    with Sources(write_video(tmp_path / "v.avi", frames=8), depth=1, policy="latest") as frames:
        seen = []
        for frame in frames:
            time.sleep(0.01)
            seen.append(frame.index)
    assert seen == list(range(8))


def test_videos_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_text("not a video")
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "whole.mp4").unlink()
    (tmp_path / "zcut.mp4").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.mkv")
    write_video(tmp_path / "zz.avi", frames=2)
    frames = read_all(tmp_path)
    assert [Path(f.source).name for f in frames if f.error] == ["empty.mp4", "pipe.mkv", "text.avi", "zcut.mp4"]
    assert [Path(f.source).name for f in frames if not f.error] == ["zz.avi", "zz.avi"]


def test_a_video_that_ends_early_says_so(tmp_path: Path):
    path = write_video(tmp_path / "v.avi", frames=40)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) // 3])
    frames = read_all(path)
    assert frames[-1].error is not None
    assert "of 40 frames" in str(frames[-1].error)
    assert 0 < len([f for f in frames if f.image is not None]) < 30


@pytest.mark.parametrize(("frames", "pause_before", "pause_ms"), [(20, 10, 2000), (40, 1, 5000), (40, 39, 3000)])
def test_a_pause_is_no_missing_end(tmp_path: Path, frames: int, pause_before: int, pause_ms: int):
    """Where the rate varies a container's length times its rate is more than there are; it is no count."""
    path = write_pausing(tmp_path / "v.mkv", frames, pause_before, pause_ms)
    shown = read_all(path)
    assert shown[0].length is not None
    assert shown[0].fps is not None
    assert [f.total for f in shown] == [None] * frames
    assert [f.error for f in shown] == [None] * frames
    times = [(i * 1000 / 30 + (pause_ms if i >= pause_before else 0)) / 1e3 for i in range(frames)]
    assert [f.time for f in shown] == pytest.approx(times, abs=1e-3)


def test_a_pause_does_not_hide_a_missing_end(tmp_path: Path):
    path = write_pausing(tmp_path / "v.mkv", frames=60, pause_before=5, pause_ms=1000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "cut off or damaged" in str(read_all(path)[-1].error)


def test_a_video_of_too_many_pixels(tmp_path: Path):
    (frame,) = read_all(write_video(tmp_path / "v.avi"), max_pixels=48 * 64 - 1)
    assert "64x48 pixels are more than the 3071" in str(frame.error)


def test_a_camera_that_is_not_there():
    (frame,) = read_all("987")
    assert frame.source == "camera 987"
    assert frame.is_video
    assert frame.live
    assert "no such camera" in str(frame.error)


class FakeVideo:
    """A stream of numbered frames; each entry of ``script`` is one connection, given as its number of frames."""

    script: list[int]
    opened = 0
    delay = 0.0
    number = 0

    live, fps, total, length, width, height, sound = True, 25.0, None, None, 8, 8, False
    time_base = Fraction(1, 90_000)

    def __init__(self, *_: Any, **__: Any) -> None:
        cls = type(self)
        self._left = cls.script[cls.opened] if cls.opened < len(cls.script) else -1
        cls.opened += 1
        if self._left < 0:
            raise OpenError("no answer", passing=True)

    def shots(self) -> Iterator[Shot]:
        cls = type(self)
        for number in range(self._left):
            time.sleep(cls.delay)
            value = cls.number
            cls.number += 1
            yield Shot(np.full((8, 8, 3), value % 256, np.uint8), number / 25)

    def problem(self) -> str:
        return ""

    def close(self) -> None:
        pass


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch):
    def make(script: list[int], delay: float = 0.0) -> type[FakeVideo]:
        capture = type("Capture", (FakeVideo,), {"script": script, "delay": delay, "opened": 0, "number": 0})
        monkeypatch.setattr(reader, "Video", capture)
        monkeypatch.setattr(reader, "_PAUSE", 0.001)
        return capture

    return make


def values(frames: list[Frame]) -> list[int]:
    return [int(f.image[0, 0, 0]) for f in frames if f.image is not None]


def test_every_frame_of_a_stream_and_a_new_connection(stream: Any):
    capture = stream([5, -1, 4, 3])
    frames = read_all("rtsp://example.org/a", policy="every", reconnect=2)
    assert values(frames) == list(range(12))
    assert [f.index for f in frames[:-1]] == list(range(12))
    assert all(f.live and f.is_video and f.total is None for f in frames)
    assert "the stream broke off" in str(frames[-1].error)
    assert capture.opened == 4 + 2


def test_a_stream_that_never_opens(stream: Any):
    capture = stream([])
    (frame,) = read_all("rtsp://example.org/a", reconnect=2)
    assert "cannot be opened" in str(frame.error)
    assert capture.opened == 3
    capture = stream([])
    (frame,) = read_all("rtsp://example.org/a", reconnect=0)
    assert capture.opened == 1


def test_the_latest_frame_of_a_stream(stream: Any):
    stream([60], delay=0.002)
    with Sources("rtsp://example.org/a", policy="latest", reconnect=0) as frames:
        seen: list[int] = []
        for frame in frames:
            if frame.image is None:
                break
            seen.append(frame.index)
            time.sleep(0.02)
    assert seen == sorted(set(seen))
    assert len(seen) < 60
    # The last frame is never dropped for an older one.
    assert seen[-1] == 59


def test_leaving_an_endless_stream(stream: Any):
    stream([10**9, 10**9])
    for policy in ("every", "latest"):
        with Sources("rtsp://example.org/a", policy=policy) as frames:
            for count, _ in enumerate(frames):
                if count == 5:
                    break


def test_passwords_are_not_shown(stream: Any):
    stream([])
    (frame,) = read_all("rtsp://me:secret@example.org:554/live", reconnect=0)
    assert frame.source == "rtsp://me:***@example.org:554/live"
    assert "secret" not in str(frame.error)


def test_pictures_and_videos_behind_an_address(tmp_path: Path):
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    write_video(tmp_path / "v.avi", frames=3)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        names = ("a.jpg?size=1", "bad.jpg", "missing.jpg", "v.avi")
        # The video has a thread of its own.
        frames = sorted(read_all([f"{base}/{name}" for name in names], reconnect=0), key=lambda frame: frame.position)
        server.shutdown()
    assert [f.error is None for f in frames[:3]] == [True, False, False]
    assert "not a picture" in str(frames[1].error)
    assert "404" in str(frames[2].error)
    assert [(f.index, f.is_video, f.live) for f in frames[3:]] == [(0, True, False), (1, True, False), (2, True, False)]
    assert Sources(tmp_path.as_uri() + "/a.jpg").files == [tmp_path / "a.jpg"]
