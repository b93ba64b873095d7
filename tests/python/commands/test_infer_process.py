# SPDX-License-Identifier: Apache-2.0
"""``trtpose infer`` as a process: signals, pipes and terminals."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from av_videos import times_of
from command_support import files
from support import encoded, write_picture, write_video

_DRIVER = """
import signal
# A suite that was started in the background ignores Ctrl-C, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import sys, time
sys.path.insert(0, {tests!r})
from support import FakeEngine, make_poses
from trtpose import cli
from trtpose.commands import options

def slow(frame):
    time.sleep({delay})
    return make_poses(1, frame.shape[:2])

options.open_engine = lambda args, **_: FakeEngine(args.model, answer=slow)
sys.exit(cli.main())
"""

_ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def start(*arguments: Any, delay: float = 0.0, **options: Any) -> subprocess.Popen[str]:
    code = _DRIVER.format(tests=str(Path(__file__).parents[1]), delay=delay)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(("number", "status"), _ENDINGS)
def test_an_interrupted_run_leaves_no_partial_file(tmp_path: Path, number: int, status: int):
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        write_picture(photos / f"{index}.png")
    write_video(photos / "video.avi", frames=200)
    out = tmp_path / "out"
    process = start("infer", "m.onnx", photos, "--out", out, "--json", tmp_path / "j.json", delay=0.03)
    deadline = time.monotonic() + 120
    # Until the video is being written.
    while (
        not any(name.endswith(".part.mp4") for name in files(out))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert files(out) == ["0.png", "1.png", "2.png"]
    assert files(tmp_path) == sorted(["photos", "out", *files(photos), *files(out)])


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """A camera of 10 pictures a second that pauses for a second after the fifth."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        data = encoded(".jpg")
        with contextlib.suppress(OSError):
            for index in range(10_000):
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")
                time.sleep(1.0 if index == 5 else 0.1)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(("number", "status"), _ENDINGS)
def test_a_recording_ends_with_a_signal_and_is_whole(tmp_path: Path, number: int, status: int):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out, report = tmp_path / "out", tmp_path / "j.json"
        address = f"http://127.0.0.1:{server.server_port}/live"
        process = start("infer", "m.onnx", address, "--out", out, "--json", report, "--stream", "every")
        deadline = time.monotonic() + 120
        while (
            not any(name.endswith(".part.mp4") for name in files(out))
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        time.sleep(2.4)
        process.send_signal(number)
        text, err = process.communicate(timeout=300)
        server.shutdown()
    assert (process.returncode, err) == (status, "")
    (name,) = files(out)
    times, _ = times_of(out / name)
    entries = json.loads(report.read_text())["images"]
    assert f" poses in {len(entries)} frames; " in text
    assert text.endswith(" seconds after reading\n")
    assert len(times) == len(entries) > 10
    assert times == pytest.approx([entry["time"] for entry in entries], abs=1e-3)
    assert times[0] == 0
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    # As they came: the pause is in it, less what a loaded machine was late before.
    assert gaps[-1] > 0.6
    assert times[-1] > 1.5


def test_a_terminal_that_is_closed(tmp_path: Path):
    """Not a signal sent by a program: the system's own, to the leader of a session whose output is gone."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        write_picture(photos / f"{index}.png")
    write_video(photos / "video.avi", frames=200)
    out, lines = tmp_path / "out", tmp_path / "j.jsonl"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{_DRIVER}"
    code = code.format(tests=str(Path(__file__).parents[1]), delay=0.03)
    command = [
        "infer",
        "m.onnx",
        str(photos),
        "--out",
        str(out),
        "--json",
        str(tmp_path / "j.json"),
        "--jsonl",
        str(lines),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    deadline = time.monotonic() + 120
    while (
        not any(name.endswith(".part.mp4") for name in files(out))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        os.read(master, 4096)
    os.close(master)
    assert process.wait(timeout=300) == 129
    assert files(out) == ["0.png", "1.png", "2.png"]
    assert not (tmp_path / "j.json").exists()
    assert all(json.loads(line) for line in lines.read_text().splitlines())


_AT_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, {before})

class Interrupting:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv[0] = "trtpose"
from importlib.metadata import distribution
(command,) = distribution("trtpose").entry_points.select(group="console_scripts", name="trtpose")
sys.exit(command.load()())
"""


@pytest.mark.parametrize("name", ["trtpose", "numpy", "trtpose._core", "trtpose.cli", "trtpose.commands.infer"])
def test_an_interrupt_while_the_command_is_imported(name: str):
    """By the name that the installation has for the command; what begins before that is Python's own."""
    code = _AT_IMPORT.format(name=name, before="signal.default_int_handler")
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_an_interrupt_that_the_caller_ignores():
    code = _AT_IMPORT.format(name="numpy", before="signal.SIG_IGN")
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("trtpose ")


def test_a_reader_that_goes_away(tmp_path: Path):
    for index in range(40):
        write_picture(tmp_path / f"{index:02}.png")
    process = start("infer", "m.onnx", tmp_path, "--json", tmp_path / "j.json", delay=0.01)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().endswith("00.png: 1 pose\n")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(300) == 141
    assert err == ""
    assert not (tmp_path / "j.json").exists()


def test_no_progress_bar_in_a_pipe(tmp_path: Path):
    write_picture(tmp_path / "a.png")
    process = start("infer", "m.onnx", tmp_path)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (0, f"{tmp_path / 'a.png'}: 1 pose\n", "")


def test_a_progress_bar_on_a_terminal(tmp_path: Path):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    for index in range(5):
        write_picture(tmp_path / f"{index}.png")
    master, slave = pty.openpty()
    # A new terminal is 0 columns wide, in which no bar fits.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = _DRIVER.format(tests=str(Path(__file__).parents[1]), delay=0.15)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "infer", "m.onnx", str(tmp_path)], stdout=subprocess.PIPE, stderr=slave, text=True
    )
    os.close(slave)
    out, _ = process.communicate(timeout=300)
    seen = b""
    try:
        while part := os.read(master, 4096):
            seen += part
    except OSError:  # Linux reports the end of a terminal so
        pass
    os.close(master)
    assert process.returncode == 0
    assert len(out.splitlines()) == 5
    assert b"/5 " in seen
    assert b"frame" in seen
