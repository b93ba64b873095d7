# SPDX-License-Identifier: Apache-2.0
"""The live view of a run as an ASGI application, and the thread that it is served from."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import DeviceError
from . import pages
from .answers import Json
from .connections import BACKLOG, bounded, most_connections
from .guard import Guard
from .live import Live, Shot, Viewer
from .requests import RequestError
from .routes import guarded, unknown

if TYPE_CHECKING:
    from ..results import Poses
    from ..sources import Frame

__all__ = ["LiveServer", "create_app"]

_STATES = 0.5
"""Seconds between two messages on the states of the sources."""

_FAREWELL = 2.0
"""Seconds for those who look to be told that the run has ended."""

_MESSAGE = 64 << 10
"""Bytes of a message of a viewer."""

_OVER = "the run has ended"


async def _sources(_: Request, live: Live) -> Response:
    """``GET /v1/sources``."""
    return Json({"sources": live.states()})


async def _picture(request: Request, live: Live) -> Response:
    """``GET /v1/sources/N/picture``: the newest frame of a source, annotated unless ``?drawn=0``."""
    text = request.path_params["position"]
    known = {str(shot.frame.position): shot for shot in live.newest()}
    if text not in known:
        raise RequestError(404, f"there is no frame of a source {text[:20]!r}; /v1/sources lists them")
    drawn = request.query_params.get("drawn", "1")
    if drawn not in ("0", "1"):
        raise RequestError(400, f"drawn is {drawn[:20]!r}; give 1 for the people drawn on it, or 0")
    data = await live.picture(known[text], large=True, drawn=drawn == "1")
    if data is None:
        raise RequestError(400, f"{known[text].frame.source}: is too large for a JPEG; ask for it with drawn=0")
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


async def watch(socket: WebSocket, live: Live) -> None:
    """``/v1/live``: every half second the states of the sources as JSON in a text message, and their newest frames as
    binary messages: the length of a JSON head in 4 bytes, the head (``position``, ``width``, ``height``, ``poses``), a
    JPEG. The viewer answers each picture with ``{"shown": POSITION}`` when it is on the screen, which the next of that
    source waits for, and says with ``{"only": [POSITION, ...], "large": true}`` what it wants."""
    await socket.accept(pages.subprotocol(socket))
    if len(live.viewers) >= live.settings.max_streams:
        await socket.close(1013, f"as many as may look ({len(live.viewers)}) do; close one of them, or try again later")
        return
    viewer = Viewer()
    reading = asyncio.create_task(_read(socket, viewer))
    live.viewers.add(viewer)
    try:
        await _show(socket, live, viewer, reading)
    except WebSocketDisconnect:
        pass
    finally:
        live.viewers.discard(viewer)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(socket: WebSocket, viewer: Viewer) -> None:
    """Take what a viewer says, until it goes."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            _take(message.get("text") or "", viewer)
    finally:
        viewer.changed.set()


def _take(text: str, viewer: Viewer) -> None:
    """What is not understood changes nothing."""
    with contextlib.suppress(ValueError, RecursionError):
        said: Any = json.loads(text)
        if not isinstance(said, dict):
            return
        values = cast("dict[str, Any]", said)
        if isinstance(values.get("shown"), int):
            viewer.shown(values["shown"])
        if "only" in values:
            only: Any = values["only"]
            whole = [one for one in cast("list[Any]", only) if isinstance(one, int)] if isinstance(only, list) else None
            viewer.only = None if whole is None else frozenset(whole)
            viewer.large = values.get("large") is True
            viewer.changed.set()


async def _show(socket: WebSocket, live: Live, viewer: Viewer, reading: asyncio.Task[None]) -> None:
    """Send states and pictures until either side ends."""
    told = -_STATES
    while not reading.done():
        viewer.changed.clear()
        over = live.ended
        if over or time.monotonic() - told >= _STATES:
            told = time.monotonic()
            await socket.send_text(json.dumps({"sources": live.states()}))
        if over:
            await socket.close(1000, _OVER)
            return
        shots, rest = viewer.due(live.newest(), time.monotonic())
        for shot in shots:
            data = await live.picture(shot, large=viewer.large)
            viewer.send(shot, time.monotonic())
            if data is None:
                viewer.shown(shot.frame.position)  # as nothing of it is on the way, it is not waited for
            else:
                await socket.send_bytes(_message(shot, data))
        left = min(told + _STATES - time.monotonic(), rest)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(viewer.changed.wait(), max(left, 0))


def _message(shot: Shot, data: bytes) -> bytes:
    head = json.dumps({"position": shot.frame.position, "frame": shot.frame.index, **shot.poses.to_dict()}).encode()
    return struct.pack("<I", len(head)) + head + data


async def _page(_: Request, _live: Live) -> Response:
    return await pages.file_of("live.html")


async def _file(request: Request, _live: Live) -> Response:
    return await pages.file_of(request.path_params["name"])


async def _model(_: Request, live: Live) -> Response:
    """``GET /v1/model``."""
    return Json(pages.about(live.engine, live.settings))


def create_app(live: Live, started: Callable[[], None] = lambda: None) -> Any:
    """The ASGI application; ``started`` is called when it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        live.begin()
        started()
        try:
            yield
        finally:
            live.close()

    own: tuple[tuple[str, Callable[[Request, Live], Any]], ...] = (
        ("/", _page),
        ("/page/{name}", _file),
        ("/v1/model", _model),
        ("/v1/sources", _sources),
        ("/v1/sources/{position}/picture", _picture),
    )
    routes: list[BaseRoute] = [Route(path, guarded(handler, live), methods=["GET"]) for path, handler in own]

    async def socket(socket: WebSocket) -> None:
        await watch(socket, live)

    routes.append(WebSocketRoute("/v1/live", socket))
    handle = unknown("there are /, /v1/live, /v1/model, /v1/sources and /v1/sources/N/picture")
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: handle, 405: handle})
    return Guard(app, live.settings, lambda _path, _status: None)


class LiveServer:
    """Shows a run while it goes on: a sink of ``infer``, served from a thread of its own.

    Args:
        live: what is shown.
        listener: a socket that listens; closed by whoever opened it.

    Raises:
        DeviceError: the server does not start, on entering.
    """

    def __init__(self, live: Live, listener: socket.socket) -> None:
        import uvicorn

        self._live = live
        self._listener = listener
        self._started = threading.Event()
        config = uvicorn.Config(
            create_app(live, self._started.set),
            log_level="error",
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=2,
            ws_max_size=_MESSAGE,
            http=bounded(most_connections(), live.settings.timeout),
            backlog=BACKLOG,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="trtpose-live", daemon=True
        )

    def add(self, frame: Frame, poses: Poses) -> None:
        """Show a frame from now on."""
        self._live.add(frame, poses)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        while not self._started.wait(0.05):
            if not self._thread.is_alive():
                raise DeviceError("--serve: the server does not start; leave --serve out, or see what it printed")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.end()
        # Whoever looks is told of the end: the server would break their connections off within a tenth of a second.
        limit = time.monotonic() + _FAREWELL
        while self._live.viewers and time.monotonic() < limit and self._thread.is_alive():
            time.sleep(0.005)
        self._server.should_exit = True
        self._thread.join(10)
