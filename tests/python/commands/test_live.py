# SPDX-License-Identifier: Apache-2.0
"""``trtpose infer --serve``: what it refuses, and a run over cameras that is looked at until it ends."""

from __future__ import annotations

import contextlib
import http.server
import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command_support import Run
from support import encoded, picture, write_picture

_DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
sys.path.insert(0, {tests!r})
from support import FakeEngine
from trtpose import cli
from trtpose.commands import options

options.open_engine = lambda args, **_: FakeEngine(args.model, batch=args.batch)
sys.exit(cli.main())
"""


class Camera(http.server.BaseHTTPRequestHandler):
    """Pictures in a row: /steady without end, /short three of them a connection."""

    stopped: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        with contextlib.suppress(OSError):
            for number in range(100_000):
                if (number == 3 and self.path == "/short") or self.stopped.wait(0.02):
                    return
                data = encoded(".jpg", picture(48, 64, seed=number % 5))
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cameras() -> Generator[str]:
    handler = type("Handler", (Camera,), {"stopped": threading.Event()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        handler.stopped.set()
        server.shutdown()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_cameras_are_looked_at_until_a_signal(cameras: str, tmp_path: Path, number: int, status: int):
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    code = _DRIVER.format(tests=str(Path(__file__).parents[1]))
    arguments = ["infer", "net.onnx", f"{cameras}/steady", f"{cameras}/short", "--reconnect", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--jsonl", str(tmp_path / "j"), "--serve", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("note: to be looked at: http://127.0.0.1:"), line + process.stderr.read()
        address = line.split()[5].replace("http", "ws") + "/v1/live"
        pictures, states = set(), []
        with client.connect(address) as viewer:
            # Until both were seen, and one of them has come to its end.
            while len(pictures) < 2 or not states or states[1]["state"] != "ended":
                message = viewer.recv(timeout=120)
                if isinstance(message, str):
                    states = json.loads(message)["sources"]
                    continue
                size = int.from_bytes(message[:4], "little")
                head = json.loads(message[4 : 4 + size])
                assert cv2.imdecode(np.frombuffer(message[4 + size :], np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)
                assert len(head["poses"]) == 1
                pictures.add(head["position"])
                viewer.send(json.dumps({"shown": head["position"]}))
            assert [state["name"] for state in states] == [f"{cameras}/steady", f"{cameras}/short"]
            assert (states[0]["state"], states[0]["people"]) == ("connected", 1)
            assert states[1]["why"].startswith("the stream broke off")
            process.send_signal(number)
            assert list(viewer)
            assert viewer.protocol.close_reason == "the run has ended"
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, err
        assert "Traceback" not in err
        assert f"{cameras}/steady: " in out
        assert len((tmp_path / "j").read_text().splitlines()) > 3
    finally:
        process.kill()


def test_a_run_ends_with_its_sources_looked_at_or_not(run: Run, photos: Path):
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    for _ in range(2):  # the port is free again
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        status, out, err = run("infer", "m.onnx", photos, "--serve", f"127.0.0.1:{port}")
        assert status == 0, err
        assert err == f"note: to be looked at: http://127.0.0.1:{port} while this runs\n"
        assert len(out.splitlines()) == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trtpose-live")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--serve", "0.0.0.0:0"], "--serve 0.0.0.0:0: others can reach this address; give a token with --token-file"),
        (["--serve", "127.0.0.1:99999"], "--serve 127.0.0.1:99999: there is no port 99999"),
        (["--serve", "192.0.2.7:0", "--token-file", "good"], "--serve 192.0.2.7:0: cannot listen there"),
        (["--serve", "0.0.0.0:0", "--token-file", "short"], "at least 8 letters"),
        (["--token-file", "good"], "--token-file: is the token of --serve"),
    ],
)
def test_what_is_refused(
    run: Run, photos: Path, tmp_path: Path, options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRTPOSE_TOKEN", raising=False)
    Path("good").write_text("correct-horse")
    Path("short").write_text("abc")
    status, _, err = run("infer", "m.onnx", photos, *options, fail=AssertionError("the engine is not opened for this"))
    assert status == 1
    assert words in err


@pytest.mark.parametrize("word", ["0", "localhost", "::1:80", "holiday photos/", "a.mp4"])
@pytest.mark.parametrize("behind", [[], ["more.jpg"]])
def test_a_source_behind_serve_is_told_from_an_address(run: Run, word: str, behind: list[str]):
    """The option takes the word behind it, and the sources seem to be missing."""
    for given in (["net.onnx", "--serve", word], ["--serve", word, "net.onnx"]):
        status, _, err = run("infer", *given, *behind, fail=AssertionError("the engine is not opened for this"))
        assert status == 2
        last = err.splitlines()[-1]
        assert f"argument --serve: {word!r}, the word behind it, is no HOST:PORT such as 127.0.0.1:8000" in last
        assert last.endswith(f"put --serve behind the sources: trtpose infer MODEL {shlex.quote(word)} --serve")


def test_without_the_extra_it_says_how(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    write_picture(tmp_path / "a.png")
    status, _, err = run("infer", "m.onnx", tmp_path / "a.png", "--serve")
    assert status == 1
    assert 'pip install "trtpose[serve]"' in err
