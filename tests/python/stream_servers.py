# SPDX-License-Identifier: Apache-2.0
"""Servers of streams for tests: GStreamer's for RTSP, and reading until there is enough."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from trtpose.sources import Frame

_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).parent / "rtsp_server.py"


@functools.cache
def has_gstreamer() -> bool:
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
    code += "assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'videotestsrc')))"
    with contextlib.suppress(OSError):
        return subprocess.run([_PYTHON, "-c", code], capture_output=True, check=False).returncode == 0
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def rtsp_server(port: int, count: int = 1, user: str = "", launch: str = "") -> Generator[subprocess.Popen[str]]:
    command = [_PYTHON, str(_SERVER), str(port), str(count), user, "right", *([launch] if launch else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


def read_until(frames: Iterator[Frame], enough: Callable[[list[Frame]], bool], seconds: float = 120.0) -> list[Frame]:
    """The frames up to where there are enough; something must give frames all the while."""
    latest = time.monotonic() + seconds
    found: list[Frame] = []
    for frame in frames:
        found.append(frame)
        if enough(found):
            return found
        assert time.monotonic() < latest, f"not within {seconds} seconds: {len(found)} frames"
    raise AssertionError("the sources have ended")


def of(position: int, count: int) -> Callable[[list[Frame]], bool]:
    return lambda found: sum(frame.position == position and frame.error is None for frame in found) >= count
