# SPDX-License-Identifier: Apache-2.0
"""HTTP to one server: connections that stay open, what is tried again, and what went wrong in one sentence."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from .._checks import shown, whole
from .._process import Birth
from ..errors import InputError, ServerError

__all__ = ["Connections", "Reply", "seconds"]

_MOST = 1 << 30
"""Bytes of an answer."""

_PIECE = 1 << 20

_LONGEST_WAIT = 5.0
"""Seconds between two tries, whatever the server says."""

_LATER = (429, 503)
"""Statuses by which a server says that it did nothing and may be asked again."""


def seconds(value: Any, name: str) -> float:
    """A time in seconds, above 0.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86400:
        raise InputError(f"{name} is {shown(value)}; give seconds above 0, at most 86400")
    return float(value)


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers in lower case, and its body."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        """The body as JSON; ValueError where it is none."""
        return json.loads(self.data)


class _Question(NamedTuple):
    method: str
    path: str
    body: Sequence[bytes | memoryview]
    headers: Mapping[str, str]
    limit: float
    """By when its answer must be whole, of ``time.monotonic``."""

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return sum(len(part) for part in self.body)


class _LostError(Exception):
    """A connection ended before anything of the answer came."""


class Connections:
    """One server. Any number of threads may ask it at the same time, each over a connection of its own.

    Args:
        url: ``http://host:port``, ``https://...``, with a path in front of the server's own where a proxy wants one.
        token: sent as ``Authorization: Bearer``; empty sends none.
        timeout: seconds from a question to its answer, all tries together.
        retries: how often what the server did not take is sent again.

    Raises:
        InputError: one of them has no valid value.

    Attributes:
        url: the address, without what is not shown.
        opened: goes up with every connection that is made: the server behind a new one may be another.
    """

    def __init__(self, url: str, *, token: str, timeout: float, retries: int) -> None:
        self.url, self._host, self._port, self._prefix, secure = _parsed(url)
        plain = isinstance(cast("Any", token), str) and token.isascii() and token.isprintable()
        if not plain or " " in token:
            raise InputError("token holds a space or a character that no header can; give the text of the token alone")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = seconds(timeout, "timeout")
        self._retries = whole(retries, "retries", 0, 100)
        self._context = ssl.create_default_context() if secure else None
        # Threads take from it and put back without a lock, which a fork might leave locked.
        self._idle: deque[http.client.HTTPConnection] = deque()
        self.opened = 0
        self._birth = Birth()

    def ask(
        self, method: str, path: str, body: Sequence[bytes | memoryview] = (), headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The answer, whatever its status.

        What the server did not take (429, 503, a connection that broke before an answer) is sent again: finding people
        twice does no harm.

        Raises:
            ServerError: there is no answer.
        """
        limit = time.monotonic() + self._timeout
        question = _Question(method, path, body, headers or {}, limit)
        for left in range(self._retries, -1, -1):
            try:
                reply = self._once(question)
            except _LostError as error:
                if not left:
                    raise ServerError(
                        f"{self.url}: the connection broke while {question.size} bytes were sent ({error}); check that "
                        "the server runs and takes requests of this size"
                    ) from None
                wait = 0.1
            else:
                if reply.status not in _LATER or not left:
                    return reply
                wait = _wait_of(reply)
            if time.monotonic() + wait >= limit:
                raise self._late()
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def __del__(self) -> None:
        # Of one whose address was refused there is nothing yet.
        if hasattr(self, "_idle"):
            self.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _late(self) -> ServerError:
        return ServerError(
            f"{self.url}: no answer within {self._timeout:g} s; send fewer frames at once, or give a larger timeout"
        )

    def _once(self, question: _Question) -> Reply:
        """One try; a connection that was kept and has ended since is replaced by a new one."""
        kept = self._kept()
        if kept is not None:
            with contextlib.suppress(_LostError):
                return self._over(kept, question)
        return self._over(self._opened(question.limit), question)

    def _kept(self) -> http.client.HTTPConnection | None:
        if not self._birth.here:
            # A forked process shares the sockets of its parent, which goes on with them; closing them here ends none.
            self.close()
            self._birth = Birth()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _opened(self, limit: float) -> http.client.HTTPConnection:
        rest = limit - time.monotonic()
        if rest <= 0:
            raise self._late()
        if self._context is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=rest, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=rest)
        try:
            connection.connect()
        except TimeoutError:
            raise self._late() from None
        except ConnectionRefusedError:
            raise ServerError(
                f"{self.url}: nothing listens there; start the server (trtpose serve MODEL), or check the address"
            ) from None
        except ssl.SSLError as error:
            raise ServerError(
                f"{self.url}: no TLS connection ({error}); check the address, and whether the certificate is one that "
                "this machine trusts (SSL_CERT_FILE names others)"
            ) from None
        except OSError as error:
            raise ServerError(f"{self.url}: cannot be reached ({error}); check the address") from None
        self.opened += 1
        return connection

    def _over(self, connection: http.client.HTTPConnection, question: _Question) -> Reply:
        """The answer over a connection, which is kept for the next question where the server keeps it too."""
        try:
            reply, keep = self._exchange(connection, question)
        except TimeoutError:
            connection.close()
            raise self._late() from None
        except BaseException:
            connection.close()
            raise
        if keep:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _exchange(self, connection: http.client.HTTPConnection, question: _Question) -> tuple[Reply, bool]:
        method, path, body, headers, limit = question
        self._bound(connection, limit)
        given = {**self._headers, **headers}
        if method == "POST":
            given["Content-Length"] = str(question.size)
        broken: OSError | None = None
        try:
            connection.request(method, self._prefix + path, body=iter(body) if body else None, headers=given)
        except TimeoutError:
            raise
        except OSError as error:
            # A server that refuses a request may answer and hang up before it has read all of it.
            broken = error
        try:
            response = connection.getresponse()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) or broken is not None:
                raise _LostError(_words(broken or error)) from None
            raise self._nonsense(error) from None
        return self._read(connection, response, limit), broken is None and not response.will_close

    def _read(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, limit: float) -> Reply:
        # Also where all of it has come: else the connection takes no other question.
        with contextlib.closing(response):
            data = self._body(connection, response, limit)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, data)

    def _body(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, limit: float) -> bytes:
        data = bytearray()
        why = ""
        try:
            while piece := response.read1(_PIECE):
                data += piece
                if len(data) > _MOST:
                    raise ServerError(f"{self.url}: the answer is larger than {_MOST} bytes; ask for fewer people")
                self._bound(connection, limit)
            if response.length:
                why = f"{response.length} bytes are missing"
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            why = _words(error)
        # Who refuses a request before all of it has come may hang up before the sentence has; the status stands.
        if why and response.status < 400:
            raise ServerError(f"{self.url}: the answer broke off ({why}); try again")
        return bytes(data)

    def _bound(self, connection: http.client.HTTPConnection, limit: float) -> None:
        """Let nothing that the connection waits for take longer than what is left."""
        rest = limit - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(rest)

    def _nonsense(self, error: Exception) -> ServerError:
        return ServerError(f"{self.url}: answers no HTTP ({_words(error)}); check the address")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _wait_of(reply: Reply) -> float:
    """Seconds that a server asks to wait; a fifth of one where it does not say."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdigit() and len(text) < 9 else 0.2


def _parsed(url: Any) -> tuple[str, str, int, str, bool]:
    """The address without what is not shown, host, port, path in front of all others, and whether it is TLS."""
    if not isinstance(url, str) or not (url.isascii() and url.isprintable() and " " not in url):
        raise InputError(f"url is {shown(url)}; give an address such as http://127.0.0.1:8000")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # as a connection does it
    except ValueError as error:
        raise InputError(f"url {shown(url)} cannot be read ({error}); give one such as http://127.0.0.1:8000") from None
    if parts.username is not None or parts.password is not None:
        raise InputError("url holds a user's name; leave it out, and give token= where the server wants one")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise InputError(f"url {shown(url)} is no server's address; give one such as http://127.0.0.1:8000")
    secure = parts.scheme == "https"
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}", host, port or (443 if secure else 80), path, secure
