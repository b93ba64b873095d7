# SPDX-License-Identifier: Apache-2.0
"""Who may use a server, and how much they may send: the part around all routes."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from .answers import Json
from .settings import Settings

__all__ = ["FullError", "Guard", "TooLargeError", "too_large"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/v2/health/live", "/v2/health/ready", "/", "/page/")
"""Paths that need no token: whether the server lives, and the page, which asks for it."""


class TooLargeError(Exception):
    """More has come than a request may hold."""


class FullError(Exception):
    """So many bytes of requests are held already that no more can be taken in."""


class Guard:
    """Refuses what may not come in before anything of it is read, and counts what does."""

    def __init__(self, app: App, settings: Settings, on_answer: Callable[[str, int], None]) -> None:
        self._app = app
        self._settings = settings
        self._on_answer = on_answer
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._refuse(scope, receive, send, *refusal)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        taken = [0]
        try:
            await self._app(scope, self._counting(receive, taken), self._watching(scope, send))
        finally:
            self._held -= taken[0]

    def _watching(self, scope: Scope, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_answer(scope["path"], message["status"])
            await send(message)

        return watched

    def _counting(self, receive: Receive, taken: list[int]) -> Receive:
        async def counted() -> Message:
            message = await receive()
            size = len(message.get("body", b""))
            taken[0] += size
            self._held += size
            if taken[0] > self._settings.max_body:
                raise TooLargeError
            if self._held > self._settings.max_held:
                raise FullError(
                    f"requests of {self._settings.max_held} bytes are under way; send this again in a second"
                )
            return message

        return counted

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence where the request may not come in."""
        settings, headers = self._settings, Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin not in settings.origins and not _same(origin, headers.get("host", "")):
            return 403, f"pages of {origin} may not use this server; trtpose serve allows it by --allow-origin {origin}"
        if settings.token:
            path = scope["path"]
            if path not in _OPEN and not path.startswith("/page/") and not self._has_token(scope, headers):
                return 401, "this server asks for a token; send it as Authorization: Bearer TOKEN"
        elif settings.hosts and _name(headers.get("host", "")) not in settings.hosts:
            return 421, f"this server is not called {headers.get('host', '')!r}; use {settings.hosts[0]}"
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:19]) > settings.max_body:
            return 413, _too_large(settings)
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not given and scope["type"] == "websocket":
            # Pages cannot set headers of WebSockets; the token comes as a subprotocol.
            for part in headers.get("sec-websocket-protocol", "").split(","):
                given = given or part.strip().removeprefix("trtpose-token.") * part.strip().startswith("trtpose-token.")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._settings.token.encode())

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4000 + status, "reason": why[:120]})
            return
        self._on_answer(scope["path"], status)
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Connection": "close"}
        await Json({"error": why}, status, headers)(scope, receive, send)


def too_large(settings: Settings) -> Json:
    """The answer to a request that holds too much."""
    return Json({"error": _too_large(settings)}, 413, {"Connection": "close"})


def _too_large(settings: Settings) -> str:
    return (
        f"the request is larger than {settings.max_body} bytes; send fewer or smaller pictures, or start the server "
        "with a larger --max-body"
    )


def _same(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _name(host: str) -> str:
    """A host's name without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
