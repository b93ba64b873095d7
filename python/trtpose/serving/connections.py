# SPDX-License-Identifier: Apache-2.0
"""Bounds on connections: how many there are, and how long one may be silent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

__all__ = ["BACKLOG", "bounded", "most_connections"]

BACKLOG = 256
"""Connections that are accepted at once, before anything is known of them."""

_OTHERS = 64
"""Files that are open beside those of connections."""

_ENOUGH = 65_536

_FAREWELL = 0.5
"""Seconds that a connection which is refused stays open, so that its client reads why."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error":"the server has as many connections as it can; close some, or send this again in some seconds"}'
)


def most_connections() -> int:
    """How many connections leave room for other files, with the system's limit raised as far as one may raise it.

    Without a bound a server that can open nothing more would neither answer nor rest.
    """
    try:
        import resource
    except ImportError:
        return 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    soft = _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
    return max(soft - 2 * BACKLOG - _OTHERS, 16)


def bounded(most: int, patience: float) -> Any:
    """uvicorn's protocol of HTTP with bounds.

    Args:
        most: connections; one more is told to come back.
        patience: seconds without the whole head of a request, after which a connection is closed; twice that at most.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class Connection(base):
        """One connection, until it becomes a WebSocket."""

        _timer: asyncio.TimerHandle | None = None
        _refused = False

        def data_received(self, data: bytes) -> None:
            if not self._refused:
                super().data_received(data)

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > most + BACKLOG // 2:
                transport.abort()
                return
            if len(self.connections) > most:
                self._refused = True
                transport.write(_FULL)
                # Closed with a request unread, the answer would be lost on its way.
                self._timer = self.loop.call_later(_FAREWELL, transport.close)
                return
            self._look_in(patience, self.cycle)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _look_in(self, after: float, before: Any) -> None:
            self._timer = self.loop.call_later(after, self._close_if_silent, before)

        def _close_if_silent(self, before: Any) -> None:
            transport = self.transport
            if transport.is_closing() or transport.get_protocol() is not self:
                return
            now = self.cycle  # the request that is being answered, the last one that was, or None
            if now is before and (now is None or now.response_complete):
                transport.close()
            else:
                self._look_in(patience, now)

    return Connection
