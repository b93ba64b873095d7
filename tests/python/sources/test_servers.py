# SPDX-License-Identifier: Apache-2.0
"""Real servers on this machine: RTSP by GStreamer, pictures in a row over HTTP, HLS of files."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import signal
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from source_support import read_all
from stream_servers import free_port, has_gstreamer, of, read_until, rtsp_server
from support import encoded
from trtpose.sources import Sources, reader


@pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's RTSP server is not installed; make servers does it")
def test_cameras_over_rtsp(monkeypatch: pytest.MonkeyPatch):
    """Among cameras that give pictures one never does, one refuses the password, one starts late, is killed and comes
    back, one stands still for a while: the others go on."""
    monkeypatch.setattr(reader, "_PAUSE", 0.05)
    monkeypatch.setattr("trtpose.sources.video._READ_TIMEOUT", 1.0)
    steady, late, never = free_port(), free_port(), free_port()
    addresses = [f"rtsp://me:right@127.0.0.1:{steady}/{number}" for number in range(2)]
    addresses += [f"rtsp://me:wrong@127.0.0.1:{steady}/0", f"rtsp://127.0.0.1:{late}/0", f"rtsp://127.0.0.1:{never}/0"]
    said: list[str] = []
    with rtsp_server(steady, 2, "me") as server, Sources(addresses, notify=said.append) as sources:
        frames = iter(sources)
        found = read_until(frames, lambda found: of(0, 5)(found) and of(1, 5)(found))
        with rtsp_server(late):
            found += read_until(frames, of(3, 5))
        found += read_until(frames, lambda _: any(f":{late}/0: broke off" in text for text in said))
        before = [frame.index for frame in found if frame.position == 3][-1]
        with rtsp_server(late):
            again = read_until(frames, of(3, 5))
            server.send_signal(signal.SIGSTOP)
            try:
                still = read_until(frames, lambda _: sum("nothing came for 1 seconds" in text for text in said) == 2)
            finally:
                server.send_signal(signal.SIGCONT)
            assert sum(frame.position == 3 for frame in still) > 5
            read_until(frames, lambda found: of(0, 3)(found) and of(1, 3)(found))
            counters = sources.counters
    assert all(frame.image is None or frame.image.shape == (120, 160, 3) for frame in found)
    errors = [str(frame.error) for frame in found if frame.error is not None]
    assert len(errors) == 1
    assert f"rtsp://me:***@127.0.0.1:{steady}/0: the server answers 401" in errors[0]
    # Numbers and times go on over the connections; what came while nobody asked was counted too.
    later = [frame for frame in again if frame.position == 3]
    assert later[0].index > before
    assert all(one.time < two.time for one, two in itertools.pairwise(later) if one.time and two.time)
    assert [one.reconnects for one in counters] == [1, 1, 0, 1, 0]
    assert [bool(one.trouble) for one in counters] == [False, False, True, False, True]
    refused = [text for text in said if f":{never}/0: " in text]
    assert refused == [text for text in refused if "the connection is refused" in text][:1]
    assert not any("right" in text or "wrong" in text for text in said)


@pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's RTSP server is not installed; make servers does it")
@pytest.mark.parametrize(
    "slices", ["threads=4 sliced-threads=true tune=zerolatency", "threads=1 option-string=slices=4"]
)
def test_key_pictures_in_several_slices_are_whole(slices: str):
    """The server sends the parameter sets before each of them, by which FFmpeg makes several pictures of one."""
    launch = (
        "( videotestsrc is-live=true pattern=smpte100 ! video/x-raw,width=320,height=240,framerate=25/1 ! "
        f"x264enc {slices} speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    port = free_port()
    with rtsp_server(port, launch=launch), Sources(f"rtsp://127.0.0.1:{port}/0", policy="every") as sources:
        found = read_until(iter(sources), of(0, 23))
        (counters,) = sources.counters
    images = [frame.image for frame in found if frame.image is not None]
    assert len(images) == 23
    # Bars that stand still: every row of every picture is as every other.
    rows = np.stack([image.astype(int).reshape(240, -1) for image in images])
    worst = float(np.abs(rows - np.median(rows, axis=(0, 1))).mean(axis=2).max())
    assert worst < 3
    # One picture each 40 ms, none twice.
    times = np.array([frame.time for frame in found])
    assert np.diff(times) == pytest.approx([0.04] * 22, abs=1e-3)
    assert [frame.index for frame in found] == list(range(23))
    assert 23 <= counters.read <= 23 + 5
    assert (counters.dropped, counters.reconnects, counters.trouble) == (0, 0, "")


class Mjpeg(http.server.BaseHTTPRequestHandler):
    """Pictures in a row: at /drops ten a connection, at /frozen ten and then none; elsewhere without end."""

    stopped: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        data = encoded(".jpg")
        with contextlib.suppress(OSError):
            for number in itertools.count():
                if number == 10 and self.path == "/drops":
                    return
                if number == 10 and self.path == "/frozen":
                    self.stopped.wait()
                if self.stopped.wait(0.02):
                    return
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_cameras_over_http(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "_PAUSE", 0.02)
    monkeypatch.setattr("trtpose.sources.video._READ_TIMEOUT", 0.6)
    handler = type("Handler", (Mjpeg,), {"stopped": threading.Event()})
    said: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        addresses = [f"{base}/steady", f"{base}/drops", f"{base}/frozen", f"http://127.0.0.1:{free_port()}/never"]
        with Sources(addresses, notify=said.append) as sources:
            read_until(iter(sources), lambda _: all(sources.counters[one].reconnects >= 2 for one in (1, 2)))
            counters = sources.counters
        handler.stopped.set()
        server.shutdown()
    assert counters[0].reconnects == 0
    assert counters[0].read > 20
    assert "the connection is refused" in counters[3].trouble
    assert any(text.startswith(f"{base}/frozen: broke off (nothing came for") for text in said), said
    assert sum("/never: " in text for text in said) == 1
    assert not any("/steady" in text for text in said)


def write_hls(folder: Path, frames: int) -> None:
    """A list and its parts, ten frames of 25 a second each."""
    options = {"hls_time": "0.4", "hls_list_size": "0"}
    with av.open(str(folder / "list.m3u8"), "w", format="hls", options=options) as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"bf": "0", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 5 * number, np.uint8), format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_hls_of_files(tmp_path: Path):
    write_hls(tmp_path, 40)
    assert len(list(tmp_path.glob("*.ts"))) == 4

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    serve = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        frames = read_all(f"http://127.0.0.1:{server.server_port}/list.m3u8", reconnect=0)
        server.shutdown()
    assert [frame.error for frame in frames] == [None] * 40
    assert not any(frame.live for frame in frames)
    greys = [float(frame.image.mean()) for frame in frames if frame.image is not None]
    assert np.diff(greys) == pytest.approx([5] * 39, abs=1.5)
    times = [frame.time for frame in frames]
    assert times == pytest.approx([number / 25 for number in range(40)], abs=0.02)
