# SPDX-License-Identifier: Apache-2.0
"""A minute without a camera, by the real clock: once its server is gone, once the connection stands and nothing comes.

One minute is waited for, for all of them together.
"""

from __future__ import annotations

import contextlib
import http.server
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from stream_servers import free_port, has_gstreamer, read_until, rtsp_server
from support import encoded
from trtpose.sources import Frame, Sources
from trtpose.sources.channel import Channel

OUTAGE = 60.0

BACK = 8.0 + 5.0
"""Seconds after which frames are there again: the longest pause, and opening the connection on a busy machine."""


class Camera(http.server.ThreadingHTTPServer):
    """Pictures in a row over HTTP, 25 a second; while ``frozen`` it accepts connections and says nothing."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.frozen, self.stopped = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Connections end and the port is closed."""
        self.stopped.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    @property
    def camera(self) -> Camera:
        return cast("Camera", self.server)

    def do_GET(self) -> None:
        data = encoded(".jpg")
        head = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        with contextlib.suppress(OSError):
            self.wait()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            while not self.camera.stopped.wait(0.04):
                self.wait()
                self.wfile.write(head + data + b"\r\n")

    def wait(self) -> None:
        while self.camera.frozen.is_set() and not self.camera.stopped.is_set():
            time.sleep(0.02)

    def log_message(self, *_: Any) -> None:
        pass


class Cameras:
    """A steady camera, and some that are away for a while: gone, or there and silent."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.steady, self.gone, self.silent = (Camera(free_port()) for _ in range(3))
        self.addresses = [f"http://127.0.0.1:{one.server_port}/" for one in (self.steady, self.gone, self.silent)]
        self.rtsp: list[Any] = []
        if has_gstreamer():
            self._ports = [free_port(), free_port()]
            self._inner = stack.enter_context(contextlib.ExitStack())
            self._inner.enter_context(rtsp_server(self._ports[0]))
            self._paused = stack.enter_context(rtsp_server(self._ports[1]))
            self.addresses += [f"rtsp://127.0.0.1:{port}/0" for port in self._ports]

    @property
    def away(self) -> range:
        """Positions of those that are away for a while; every other one is gone, the first among them."""
        return range(1, len(self.addresses))

    def leave(self) -> None:
        self.gone.stop()
        self.silent.frozen.set()
        if len(self.addresses) > 3:
            self._inner.close()
            self._paused.send_signal(signal.SIGSTOP)

    def come_back(self) -> None:
        self.gone = Camera(self.gone.server_port)
        self.silent.frozen.clear()
        if len(self.addresses) > 3:
            self._stack.enter_context(rtsp_server(self._ports[0]))
            self._paused.send_signal(signal.SIGCONT)

    def close(self) -> None:
        for one in (self.steady, self.gone, self.silent):
            one.stop()


@pytest.fixture
def cameras() -> Iterator[Cameras]:
    with contextlib.ExitStack() as stack:
        found = Cameras(stack)
        stack.callback(found.close)
        yield found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> dict[Channel, list[float]]:
    """How long each source was left alone before it was tried again, in order."""
    found: dict[Channel, list[float]] = {}
    wait = Channel.wait_closed

    def waited(self: Channel, seconds: float) -> bool:
        found.setdefault(self, []).append(seconds)
        return wait(self, seconds)

    monkeypatch.setattr(Channel, "wait_closed", waited)
    return found


def test_a_minute_without(cameras: Cameras, pauses: dict[Channel, list[float]]):
    said: list[str] = []
    with Sources(cameras.addresses, policy="every", notify=said.append) as sources:
        frames = iter(sources)
        every = range(len(cameras.addresses))
        found = read_until(frames, lambda found: all(sum(f.position == one for f in found) > 10 for one in every))
        assert said == []
        cameras.leave()
        left, began = len(found), time.monotonic()
        found += read_until(frames, lambda _: time.monotonic() - began > OUTAGE, 2 * OUTAGE)
        during = sources.counters
        cameras.come_back()
        back, when = len(found), time.monotonic()
        after: dict[int, float] = {}

        def seen(new: list[Frame]) -> bool:
            if new[-1].position in cameras.away:
                after.setdefault(new[-1].position, time.monotonic() - when)
            return all(sum(frame.position == one for frame in new) > 10 for one in cameras.away)

        found += read_until(frames, seen, 3 * BACK)
        counters = sources.counters
    assert [frame.error for frame in found if frame.error is not None] == []
    check_steady([frame for frame in found if frame.position == 0])
    assert set(after) == set(cameras.away)
    assert max(after.values()) < BACK, after
    for position in cameras.away:
        check_away([frame for frame in found if frame.position == position])
        text = [one.removeprefix(f"{cameras.addresses[position]}: ") for one in said]
        check_said([one for one, whole in zip(text, said, strict=True) if one != whole], gone=position % 2 == 1)
        assert during[position].trouble.startswith("cannot be opened (")
        # What had been sent when it left was read, and nothing in the minute.
        before = sum(frame.position == position for frame in found[:left])
        assert during[position].read - before < 100
        assert not [frame for frame in found[back - 100 : back] if frame.position == position]
    assert not any(one.startswith(cameras.addresses[0]) for one in said)
    check_counters(counters, during, found)
    check_pauses(list(pauses.values()), len(cameras.away))


def check_steady(frames: list[Frame]) -> None:
    """Its pictures come as if nothing were the matter with the others."""
    arrived = np.array([frame.arrived for frame in frames])
    assert len(frames) > 0.5 * 25 * OUTAGE
    assert np.diff(arrived).max() < 2.0
    assert [frame.index for frame in frames] == list(range(len(frames)))


def check_away(frames: list[Frame]) -> None:
    """Numbers, times and the clock go on over the gap, of which there is one."""
    assert [frame.index for frame in frames] == list(range(len(frames)))
    shown = np.array([frame.time for frame in frames])
    arrived = np.array([frame.arrived for frame in frames])
    gaps = np.diff(shown)
    assert gaps.min() > 0
    gap = int(gaps.argmax())
    assert OUTAGE - 2 < gaps[gap] < OUTAGE + BACK + 2
    assert np.delete(gaps, gap).max() < 3
    assert OUTAGE - 2 < arrived[gap + 1] - arrived[gap] < OUTAGE + BACK + 2
    # Both clocks tell the same, within what a picture may wait in a busy machine.
    assert np.abs((shown - shown[0]) - (arrived - arrived[0])).max() < 3


def check_said(texts: list[str], *, gone: bool) -> None:
    """Each reason once, and once that it is over."""
    assert len(texts) == len(set(texts))
    assert texts[0].startswith("broke off (")
    assert texts[0].startswith("broke off (nothing came for 10 seconds)") or gone
    assert all(one.startswith("cannot be opened (") for one in texts[1:-1])
    assert any("refused" in one if gone else "no answer" in one for one in texts[1:-1]), texts
    assert 2 <= len(texts[:-1]) <= 3
    seconds = float(texts[-1].removeprefix("is there, after ").removesuffix(" seconds without"))
    assert OUTAGE - 12 < seconds < OUTAGE + BACK


def check_counters(counters: list[Any], during: list[Any], found: list[Frame]) -> None:
    for position, (now, then) in enumerate(zip(counters, during, strict=True)):
        assert (then.reconnects, now.reconnects) == (0, int(position > 0))
        assert (now.trouble, now.dropped, now.ended) == ("", 0, False)
        given = sum(frame.position == position for frame in found)
        assert given <= now.read <= given + 6  # those that wait, and one in the thread's hands


def check_pauses(pauses: list[list[float]], away: int) -> None:
    """Half a second at first, then twice as long each time, up to eight seconds; none of the steady one."""
    assert len(pauses) == away
    for one in pauses:
        assert one == [min(0.5 * 2**number, 8.0) for number in range(len(one))]
        assert len(one) >= 4
