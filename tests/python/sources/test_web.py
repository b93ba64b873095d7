# SPDX-License-Identifier: Apache-2.0
"""Addresses: what answers is a picture or a stream, and what gives nothing says why."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from source_support import read_all
from support import encoded, picture, write_video
from trtpose.sinks.pictures import Pictures
from trtpose.sources import Sources, decode_picture, reader

JPEG = encoded(".jpg")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: /STATUS, /type/CONTENT-TYPE, /private, /late (503 twice, then a picture)."""

    late = 0
    asked: list[str]
    video = b""

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/type"):
            self.answer(200, path.removeprefix("/type").strip("/") or None, JPEG)
        elif path == "/private":
            good = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:s3cret@").decode()
            self.answer(200 if good else 401, "image/jpeg", JPEG)
        elif path == "/late":
            kind.late += 1
            self.answer(200 if kind.late > 2 else 503, "image/jpeg", JPEG)
        elif path == "/video":
            self.answer(200, "video/x-msvideo", kind.video)
        elif path == "/page":
            self.answer(200, "text/html", b"<html>log in</html>")
        elif path.startswith("/text/"):
            self.answer(200, path.removeprefix("/text/"), b'{"error": "busy"}')
        elif path.startswith("/to/"):
            self.answer(302, path.removeprefix("/to/"), b"")
        elif path == "/frames":
            self.answer(200, "video/x-motion-jpeg", 3 * JPEG)
        elif path == "/snapshots":  # without its length, as a stream that never lasts
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.end_headers()
            self.wfile.write(JPEG)
        else:
            self.answer(int(path[1:4]), "text/html", b"")

    def answer(self, status: int, kind: str | None, data: bytes) -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
        if status == 302:
            self.send_header("Location", str(kind))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Its address without a slash, and the paths that were asked for."""
    monkeypatch.setattr(reader, "_PAUSE", 0.001)
    asked: list[str] = []
    video = write_video(tmp_path / "v.avi", frames=3).read_bytes()
    handler = type("H", (Handler,), {"asked": asked, "late": 0, "video": video})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", asked
        found.shutdown()


@pytest.mark.parametrize(
    "path",
    [
        "/type/image/jpeg",
        "/type/image/jpeg?channel=1",
        "/type/image/pjpeg",
        "/type/application/octet-stream",  # what it is then shows in how it begins
        "/type/text/plain",
        "/type/text/html",
        "/type/video/mp4",  # under a wrong name
        "/type",
        "/type/image/jpeg/with space/and/ä?name=ö é",  # as browsers show it
        "/to//type/image/jpeg",
    ],
)
def test_a_snapshot_is_one_picture(server: tuple[str, list[str]], path: str):
    base, asked = server
    (frame,) = read_all(base + path)
    assert (frame.error, frame.is_video, frame.live, frame.total) == (None, False, False, 1)
    np.testing.assert_array_equal(frame.image, decode_picture(JPEG))
    wanted = [path, path.removeprefix("/to/")] if path.startswith("/to/") else [path]
    assert [unquote(one) for one in asked] == wanted


def test_a_suffix_says_less_than_the_answer(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch):
    """A picture behind a name like a video's is one frame; it was opened again and again as a stream that broke off."""
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.answer(200, "image/jpeg", JPEG))
    for name in ("snapshot", "live.mp4", "video.cgi", "", "a.jpg"):
        (frame,) = read_all(f"{server[0]}/{name}")
        assert (frame.error, frame.is_video) == (None, False)


def test_a_video_behind_a_plain_address(server: tuple[str, list[str]]):
    frames = read_all(f"{server[0]}/video", reconnect=0)
    assert [(f.index, f.is_video, f.live, f.error) for f in frames] == [(i, True, False, None) for i in range(3)]


@pytest.mark.parametrize(
    ("path", "said", "tries"),
    [
        ("/404", "the server answers 404 (Not Found); check the address", 1),
        ("/410", "the server answers 410 (Gone); check the address", 1),
        ("/401", "the server answers 401 (Unauthorized); check the user and the password", 1),
        ("/403", "the server answers 403 (Forbidden); check the user and the password", 1),
        ("/503", "the server answers 503 (Service Unavailable); the address is known but not served now", 3),
        ("/500", "the server answers 500 (Internal Server Error); the address", 3),
        ("/429", "the server answers 429 (Too Many Requests); the address", 3),
        ("/page", "answers with a page (text/html), no picture and no video; check the address", 1),
        ("/text/application/json", "answers with a page (application/json), no picture and no video", 1),
        ("/text/application/xhtml+xml", "answers with a page (application/xhtml+xml), no picture and no video", 1),
        ("/text/text/plain", "answers with a page (text/plain), no picture and no video", 1),
        ("/204", "answers with nothing (204); check the address", 3),
        ("/200", "answers with nothing (200); check the address", 3),
        ("/to/file:///a.jpg", "the server answers 302 (Found - Redirection to url 'file:///a.jpg' is not", 1),
        ("/to/ftp://127.0.0.1/a.jpg", "the server answers 302 (leads to no http address); check the address", 1),
    ],
)
@pytest.mark.parametrize("suffix", ["", "?a.jpg"])
def test_refusals_are_told_apart(server: tuple[str, list[str]], path: str, said: str, tries: int, suffix: str):
    base, asked = server
    (frame,) = read_all(base + path + suffix, reconnect=2)
    assert str(frame.error).startswith(f"{base}{path}{suffix}: {said}")
    assert frame.image is None
    assert len(asked) == tries
    assert ("(2 more tries)" in str(frame.error)) == (tries == 3)


def test_a_redirection_in_a_circle_is_one_line(server: tuple[str, list[str]]):
    base, _ = server
    (frame,) = read_all(f"{base}/to/%2Fto%2F")
    assert "the server answers 302" in str(frame.error)
    assert "\n" not in str(frame.error)


def test_frames_one_after_the_other_are_a_stream(server: tuple[str, list[str]]):
    """How many of so few FFmpeg gives depends on what it has to see of a stream before."""
    frames = read_all(f"{server[0]}/frames", reconnect=0)
    assert frames
    assert all(frame.is_video for frame in frames)


def test_a_stream_of_one_frame_each_time_ends(server: tuple[str, list[str]]):
    """It was opened again for ever, since each time there was a frame."""
    base, asked = server
    frames = read_all(f"{base}/snapshots", reconnect=2)
    assert len(asked) <= 8
    assert frames[-1].error is not None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://", "no host given"),
        ("http://[::1/a.jpg", "Invalid IPv6 URL"),
        ("http://127.0.0.1:abc/a.jpg", "nonnumeric port: 'abc'"),
    ],
)
def test_addresses_that_are_none(address: str, said: str):
    (frame,) = read_all(address, reconnect=3)
    assert said in str(frame.error)
    assert "more tries" not in str(frame.error)


def test_a_server_of_another_kind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "_PAUSE", 0.001)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def greet() -> None:
            talking, _ = listening.accept()
            with talking:
                talking.recv(100)
                talking.sendall(b"220 ready\r\n")

        threading.Thread(target=greet, daemon=True).start()
        (frame,) = read_all(f"http://127.0.0.1:{listening.getsockname()[1]}/a.jpg", reconnect=0)
    assert "cannot be fetched (220 ready); check the address" in str(frame.error)


def test_nobody_is_listening(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "_PAUSE", 0.001)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for name in ("snapshot", "a.jpg", "v.mp4"):
            (frame,) = read_all(f"http://127.0.0.1:{port}/{name}", reconnect=1)
            assert "the connection is refused; check the port, and whether the server runs" in str(frame.error)


def test_what_passes_is_tried_again(server: tuple[str, list[str]]):
    base, asked = server
    (frame,) = read_all(f"{base}/late", reconnect=3)
    assert frame.error is None
    assert len(asked) == 3


def test_user_and_password_are_given_and_not_shown(server: tuple[str, list[str]]):
    host = server[0].removeprefix("http://")
    (frame,) = read_all(f"http://me:s3cret%40@{host}/private")
    assert frame.error is None
    assert frame.source == f"http://me:***@{host}/private"
    (frame,) = read_all(f"http://me:wrong@{host}/private")
    assert "401" in str(frame.error)
    assert "wrong" not in str(frame.error)


def test_the_run_goes_on(server: tuple[str, list[str]]):
    base, _ = server
    frames = read_all([f"{base}/404", f"{base}/type/image/jpeg", picture()])
    assert {frame.position: frame.error is None for frame in frames} == {0: False, 1: True, 2: True}


def test_a_result_is_named_by_what_came(server: tuple[str, list[str]], tmp_path: Path):
    base, _ = server
    out = tmp_path / "out"
    out.mkdir()
    with Sources([f"{base}/video", f"{base}/type/image/jpeg", f"{base}/type/image/jpeg"], reconnect=0) as sources:
        assert [sources.is_video(position) for position in range(3)] == [None, None, None]
        assert not sources.pictures_only
        sink = Pictures(out, sources)
        for frame in sources:
            assert frame.image is not None
            if frame.is_video:
                sink.add_to_video(frame, frame.image)
            else:
                sink.write(frame, sink.encoded(frame, frame.image))
        sink.end_video(0)
    assert sorted(path.name for path in out.iterdir()) == ["jpeg.png", "jpeg_1.png", "video.mp4"]
