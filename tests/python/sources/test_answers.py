# SPDX-License-Identifier: Apache-2.0
"""What an RTSP server answers stands in the error, with what to do, and without the password."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Generator

import pytest

from source_support import read_all
from trtpose.errors import InputError
from trtpose.sources import Sources, reader


@contextlib.contextmanager
def rtsp(status: str, asked: list[str]) -> Generator[int]:
    """A server that answers OPTIONS with 200 and DESCRIBE with ``status``; silent where that is empty."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096).decode():
                verb, sequence = data.split()[0], data.partition("CSeq: ")[2].split()[0]
                asked.append(verb)
                answer = "200 OK\r\nPublic: DESCRIBE, SETUP, PLAY" if verb == "OPTIONS" else status
                if not status:
                    time.sleep(1.5)
                    return
                connection.sendall(f"RTSP/1.0 {answer}\r\nCSeq: {sequence}\r\n\r\n".encode())

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "_PAUSE", 0.001)


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [
        ("400 Bad Request", "the server answers 400 (Bad Request); check the address", 1),
        ("401 Unauthorized", "the server answers 401 (Unauthorized); check the user and the password", 1),
        ("403 Forbidden", "the server answers 403 (Forbidden); check the user and the password", 1),
        ("404 Not Found", "the server answers 404 (Not Found); check the address", 3),
        ("454 Session Not Found", "the server refuses the request (4xx); check the address", 1),
        ("503 Service Unavailable", "the server answers with an error of its own (5xx), try again later", 3),
    ],
)
def test_the_servers_answer(status: str, said: str, tries: int):
    asked: list[str] = []
    with rtsp(status, asked) as port:
        (frame,) = read_all(f"rtsp://me:hidden@127.0.0.1:{port}/a", reconnect=2)
    assert said in str(frame.error)
    assert "hidden" not in str(frame.error)
    assert asked.count("DESCRIBE") == tries


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_nobody_answers():
    (frame,) = read_all(f"rtsp://127.0.0.1:{closed_port()}/a", reconnect=1)
    assert "the stream cannot be opened (1 more tries); the connection is refused; check the port" in str(frame.error)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trtpose.sources.video._OPEN_TIMEOUT", 0.3)
    with rtsp("", []) as port:
        (frame,) = read_all(f"rtsp://127.0.0.1:{port}/a", reconnect=0)
    assert "the stream cannot be opened; no answer within" in str(frame.error)


def test_what_is_no_video_is_said_so():
    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.sendall(b"no video at all, " * 1000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        (frame,) = read_all(f"tcp://127.0.0.1:{listener.getsockname()[1]}", reconnect=0)
    assert "answers with nothing that can be read as a video" in str(frame.error)


def test_the_transport_is_one_of_two():
    with pytest.raises(InputError, match="transport 'http' is not known; use tcp or udp"):
        Sources("rtsp://127.0.0.1/a", transport="http")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_is_asked_for(monkeypatch: pytest.MonkeyPatch, transport: str):
    seen: list[dict[str, str]] = []

    def opened(_: str, *, options: dict[str, str], **__: object) -> None:
        seen.append(options)
        raise OSError(5, "none")

    monkeypatch.setattr("av.open", opened)
    read_all("rtsp://127.0.0.1/a", reconnect=0, transport=transport)
    assert seen == [{"rtsp_transport": transport}]
