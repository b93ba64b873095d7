# SPDX-License-Identifier: Apache-2.0
"""How many connections there may be, and how long one may be silent."""

from __future__ import annotations

import json
import socket
import time

import pytest

from .conftest import Start

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from trtpose.serving.connections import BACKLOG, bounded, most_connections  # noqa: E402

KEPT = 2 * BACKLOG + 64


def connect(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.settimeout(120)
    return connection


def test_one_connection_more_is_told_to_come_back(start: Start) -> None:
    url = start(http=bounded(2, 30.0))
    with connect(url) as one, connect(url):
        time.sleep(0.4)
        answer = httpx.get(f"{url}/v2/health/live")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "as many connections as it can" in answer.json()["error"]
        one.close()
        time.sleep(0.4)
        assert httpx.get(f"{url}/v2/health/live").status_code == 200


def test_who_sends_no_request_is_not_waited_for(start: Start) -> None:
    url = start(http=bounded(20, 0.3))
    began = time.monotonic()
    with connect(url) as silent, connect(url) as slow, connect(url) as done:
        slow.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: local")
        done.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert done.recv(1000).startswith(b"HTTP/1.1 200")
        done.sendall(b"GE")  # which ends the ordinary wait for another request
        for connection in (silent, slow, done):
            assert connection.recv(1000) == b""
    assert time.monotonic() - began < 30


def test_slow_pictures_and_streams_are_waited_for(start: Start, jpeg: bytes) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    url = start(http=bounded(20, 0.2))
    with connect(url) as slow, client.connect(f"{url.replace('http', 'ws')}/v1/stream") as stream:
        head = f"POST /v1/poses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        slow.sendall(head.encode() + jpeg[:100])
        time.sleep(0.8)
        slow.sendall(jpeg[100:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        stream.send(jpeg)
        assert json.loads(stream.recv(timeout=120))["source"] == "frame"


@pytest.mark.parametrize(
    ("soft", "hard", "most"),
    [
        (256, 256, 16),
        (1024, 4096, 4096 - KEPT),
        (1024, -1, 65536 - KEPT),
        (-1, -1, 65536 - KEPT),
    ],
)
def test_room_is_left_for_other_files(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int) -> None:
    resource = pytest.importorskip("resource", reason="no limits of this kind here")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert most_connections() == most
    assert raised == ([(most + KEPT, hard)] if soft == 1024 else [])
