# SPDX-License-Identifier: Apache-2.0
"""The page for people, and the frames it sends one after the other."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import Error
from ..sinks.json_stream import head_of
from ..skeletons import skeleton_for
from .batcher import BusyError, StoppedError
from .requests import RequestError, Upload, thresholds_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..engine import Engine
    from ..spec import ModelSpec
    from .app import Service
    from .settings import Settings

__all__ = ["about", "drawing", "file_of", "frames", "page", "subprotocol"]

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob: data:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PROTOCOL = "trtpose"
_LOG = logging.getLogger("uvicorn.error")


def drawing(spec: ModelSpec) -> dict[str, Any]:
    """What the page draws skeletons from: names, lines with their side, and the side of each keypoint."""
    skeleton = skeleton_for(spec)
    edges = [[a, b, skeleton.edge_side((a, b))] for a, b in skeleton.edges]
    return {"names": list(skeleton.names), "edges": edges, "sides": list(skeleton.sides)}


def about(engine: Engine, settings: Settings) -> dict[str, Any]:
    """The first line of ``trtpose infer --jsonl``, and what skeletons are drawn from."""
    head = {**head_of(engine), "model": settings.title, "spec": engine.spec.to_dict()}
    return {**json.loads(json.dumps(head)), "drawing": drawing(engine.spec)}


async def page(request: Request, _service: Service) -> Response:
    """``GET /`` and ``GET /page/FILE``."""
    return await file_of(request.path_params.get("name", "index.html"))


async def file_of(name: str) -> Response:
    """A file of the page."""
    file = _FOLDER / name
    if file not in _FOLDER.iterdir() or file.suffix not in _TYPES:
        raise RequestError(404, f"/page/{name}: there is no such file of the page; / is the page")
    headers = {
        "Content-Type": _TYPES[file.suffix],
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(await asyncio.to_thread(file.read_bytes), headers=headers)


class _Latest:
    """The newest frame that a client has sent, with the thresholds it named; older ones nobody has taken are gone."""

    def __init__(self) -> None:
        self._frame: tuple[bytes, dict[str, Any]] | None = None
        self._values: dict[str, Any] = {}
        self._came = asyncio.Event()
        self._ended = False

    def put(self, frame: bytes) -> None:
        self._frame = frame, self._values
        self._came.set()

    def name(self, values: dict[str, Any]) -> None:
        self._values = values

    def end(self) -> None:
        self._ended = True
        self._came.set()

    async def take(self) -> tuple[bytes, dict[str, Any]] | None:
        """The frame and the thresholds; None when no more will come."""
        await self._came.wait()
        self._came.clear()
        frame, self._frame = self._frame, None
        return None if self._ended else frame


def subprotocol(socket: WebSocket) -> str | None:
    """What the page speaks, where it is the page: its token comes beside it."""
    known = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
    return _PROTOCOL if _PROTOCOL in known else None


async def frames(socket: WebSocket, service: Service) -> None:
    """``/v1/stream``: pictures as binary messages, thresholds as JSON in text messages before them. Each picture taken
    is answered by a message as a line of ``trtpose infer --jsonl`` with ``times`` in milliseconds; while one is looked
    at newer ones replace each other."""
    await socket.accept(subprotocol(socket))
    if service.streams >= service.settings.max_streams:
        await socket.close(
            1013, f"as many streams as there may be ({service.streams}) are open; close one, or try again later"
        )
        return
    service.streams += 1
    try:
        await _answer(socket, service)
    finally:
        service.streams -= 1


async def _answer(socket: WebSocket, service: Service) -> None:
    """Answer the frames of a stream until it ends."""
    latest = _Latest()
    reading = asyncio.create_task(_read(socket, latest))
    try:
        while (taken := await latest.take()) is not None:
            await socket.send_text(json.dumps(await _look(service, *taken)))
    except WebSocketDisconnect:
        pass
    except StoppedError:
        await socket.close(1012, "the server is going down")
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(socket: WebSocket, latest: _Latest) -> None:
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                latest.put(message["bytes"])
            else:
                latest.name(_values(message.get("text") or ""))
    finally:
        latest.end()


def _values(text: str) -> dict[str, Any]:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {"conf": text[:40]}


async def _look(service: Service, frame: bytes, values: dict[str, Any]) -> dict[str, Any]:
    """The answer to one frame; what is wrong with it is an answer too."""
    try:
        thresholds = thresholds_of(service.engine.thresholds, values)
        service.batcher.check()
        look = service.look(Upload("frame", frame), thresholds)
        answer, decoded, _ = await asyncio.wait_for(look, service.settings.timeout)
    except BusyError:
        return {"error": f"{service.settings.queue} pictures wait already"}
    except asyncio.TimeoutError:
        return {"error": f"no answer within {service.settings.timeout:g} s"}
    except (RequestError, Error) as error:
        return {"error": str(error)}
    except StoppedError:
        raise
    except Exception as error:
        _LOG.exception("a frame of /v1/stream failed")
        return {"error": f"unexpected {type(error).__name__}: {error}; the server's log has more"}
    times = {"decode": decoded, "wait": answer.queued, "infer": answer.computed}
    return {
        "source": "frame",
        **answer.poses.to_dict(),
        "times": {stage: round(seconds * 1e3, 3) for stage, seconds in times.items()},
    }
