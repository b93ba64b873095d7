# SPDX-License-Identifier: Apache-2.0
"""How programs end: in the middle of a source, with threads inside the engine, by a signal during a long call."""

from __future__ import annotations

import http.server
import importlib.util
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine_support
from process_support import SECONDS, finish, run, start, write_pictures
from support import encoded, picture

pytest.importorskip("trtpose._core", reason="the native part is not built")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engine_support.write_models(tmp_path_factory.mktemp("models")) / "dynamic.onnx"


class _Camera(http.server.BaseHTTPRequestHandler):
    """A camera on the network: pictures without an end, 50 a second."""

    def do_GET(self) -> None:
        data = encoded(".jpg", picture(240, 320))
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        try:
            while not self.server.stopped.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(head + data + b"\r\n")
        except OSError:
            pass  # the program has ended

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def camera() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.daemon_threads = True
    server.stopped = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.stopped.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("policy", ["latest", "every"])
def test_leaving_a_live_source(camera: str, policy: str):
    """No ``with``, and the iterator still there when Python ends: the thread is inside of OpenCV most of the time."""
    code = """
    frames = iter(Sources(sys.argv[1], policy=sys.argv[2], reconnect=0))
    for frame in frames:
        assert frame.error is None, frame.error
        assert frame.live
        if frame.index >= 3:
            break
    time.sleep(float(sys.argv[3]))
    sys.exit(3)
    """
    programs = [start(code, camera, policy, 0.003 * number) for number in range(4)]
    assert [finish(program) for program in programs] == [(3, "", "")] * 4


def test_leaving_in_the_middle_of_files(tmp_path: Path):
    code = """
    kept = []
    for _ in range(3):
        for frame in Sources(sys.argv[1], depth=2):
            if frame.position == 1:
                break
        kept.append(iter(Sources(sys.argv[1], depth=2)))
        next(kept[-1])
    """
    folder = write_pictures(tmp_path / "photos", 12)
    for _ in range(3):
        assert run(code, folder) == ""


_THREADS = """
engine = trtpose.Engine(sys.argv[1])
engines = [engine, engine, engine.clone(), engine.clone()]
frames = pictures(12)
def work(engine):
    while True:
        engine.infer(frames)
def opening():
    while True:
        trtpose.Engine(sys.argv[1]).infer(frames[:1])
def reading():
    while True:
        for frame in Sources(sys.argv[2], depth=2):
            engine.infer(frame.image)
bodies = [(work, one) for one in engines] + [(opening,), (reading,)]
for body, *arguments in bodies:
    threading.Thread(target=body, args=arguments, daemon=True).start()
time.sleep(0.1 + 0.02 * int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("last", "status"),
    [("", 0), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", -signal.SIGINT), ("del engine, engines", 0)],
    ids=["falls off the end", "exit", "interrupt", "engines dropped"],
)
def test_threads_inside_the_engine_when_python_ends(model: Path, tmp_path: Path, last: str, status: int):
    folder = write_pictures(tmp_path / "photos", 6)
    for number in range(3):
        found, out, err = finish(start((_THREADS, last), model, folder, number))
        assert (found, out) == (status, ""), err
        assert "terminate" not in err
        assert err == "" or last.startswith("raise")


@pytest.mark.parametrize("how", ["infer(frames)", "infer(frames, output='device')", "infer(np.stack(boxed))"])
def test_an_interrupt_in_the_middle_of_a_long_call(model: Path, how: str):
    """It comes through between two runs of the network, and the engine goes on working."""
    code = f"""
    engine = trtpose.Engine(sys.argv[1], batch=2)
    frames = pictures(2)
    expected = values(engine.infer(frames))
    boxed = [trtpose.letterbox(frame, engine.imgsz) for frame in frames] * 5000
    few, frames = frames, frames * 500_000
    print("ready", flush=True)
    try:
        engine.{how}
    except KeyboardInterrupt:
        print("interrupted", engine.timings["total"])
        assert values(engine.infer(few)) == expected
        raise
    """
    process = start(code, model)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)  # frames are looked at before the first run
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    status, out, err = finish(process)
    assert status == -signal.SIGINT, err
    assert out.startswith("interrupted"), err
    assert time.monotonic() - began < 60


def test_a_handler_that_leaves(model: Path):
    """As the command line has for SIGTERM; other threads are not asked, and do not hinder it."""
    code = """
    def leave(*_):
        raise SystemExit(143)
    signal.signal(signal.SIGTERM, leave)
    engine = trtpose.Engine(sys.argv[1])
    frames = pictures(2) * 100_000
    threading.Thread(target=engine.clone().infer, args=(frames,), daemon=True).start()
    print("ready", flush=True)
    engine.infer(frames)
    """
    process = start(code, model)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (143, "", "")


@pytest.mark.skipif(
    all(importlib.util.find_spec(name) is None for name in ("_interpreters", "_xxsubinterpreters")),
    reason="this Python has no module of subinterpreters",
)
@pytest.mark.parametrize("first", ["", "import trtpose"], ids=["alone", "imported before"])
@pytest.mark.parametrize("isolated", [True, False])
def test_a_subinterpreter_is_told(first: str, isolated: bool):
    code = f"""
    import importlib, sys, threading
    {first}
    try:
        module = importlib.import_module("_interpreters")
        made = module.create("isolated" if sys.argv[1] == "True" else "legacy")
    except ImportError:
        module = importlib.import_module("_xxsubinterpreters")
        made = module.create(isolated=sys.argv[1] == "True")
    module.run_string(made, '''if True:
        import sys
        sys.path[:] = {sys.path!r}
        try:
            import trtpose
        except ImportError as error:
            print(error, flush=True)
    ''')
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(isolated)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("trtpose: a subinterpreter cannot import it; import it in the main interpreter")
