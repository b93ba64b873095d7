# SPDX-License-Identifier: Apache-2.0
"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from .._machine import usable_cores
from ..errors import InputError
from ..sinks.json_stream import head_of
from ..sources import decode_picture
from . import pages
from .answers import Json, together, written
from .batcher import Answer, Batcher, batch_sizes
from .guard import Guard
from .metrics import Metrics
from .requests import RequestError, Upload, thresholds_of, uploads_of
from .routes import guarded, unknown
from .settings import Settings

if TYPE_CHECKING:
    from ..engine import Engine
    from ..thresholds import Thresholds

__all__ = ["Service", "create_app"]


_LARGEST = 2
"""Pictures of the largest size that are held decoded at the same time, beside those that are just being decoded."""


@dataclass(frozen=True)
class _Found:
    """A picture's answer and the seconds that decoding it took; or what is wrong with it."""

    name: str
    answer: Answer | None = None
    decoded: float = 0.0
    frame: Any = None
    error: str = ""


class Room:
    """Bounds the pixels that are decoded and not looked at yet: a small file may hold a large picture.

    Args:
        limit: pixels; a picture that is larger is let in alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = asyncio.Event()

    async def enter(self, pixels: int) -> int:
        """Wait until so many pixels fit in; gives them back."""
        while self._held and self._held + pixels > self._limit:
            self._changed.clear()
            await self._changed.wait()
        self._held += pixels
        return pixels

    def leave(self, pixels: int) -> None:
        """Make room again."""
        self._held -= pixels
        self._changed.set()


class Service:
    """What the routes share: the engine behind its batcher, the bounds and the figures.

    Args:
        engines: the engine, and clones of it that may run at the same time.
        settings: bounds and access.
    """

    def __init__(self, engines: Sequence[Engine], settings: Settings) -> None:
        self.engine = engines[0]
        self.settings = settings
        self.metrics = Metrics(lambda: len(self.batcher))
        self.batcher = Batcher(
            [self._runner(engine) for engine in engines],
            settings.batches or batch_sizes(self.engine.batch),
            deadline=settings.deadline,
            queue=settings.queue,
            on_batch=self.metrics.batches.observe,
        )
        self.ready = False
        self.streams = 0
        self.decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="trtpose-decode")
        self._slots = asyncio.Semaphore(usable_cores())
        self._room = Room(_LARGEST * settings.max_pixels)

    @staticmethod
    def _runner(engine: Engine) -> Callable[[list[Any], Thresholds], Any]:
        return lambda frames, thresholds: engine.infer(frames, thresholds=thresholds)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        """Run the batcher while the server runs."""
        self.batcher.start()
        self.ready = True
        try:
            yield
        finally:
            self.ready = False
            await self.batcher.stop()
            self.decoders.shutdown(wait=True)

    async def decode(self, upload: Upload) -> Any:
        """A picture's pixels, (height, width, 3) uint8, BGR; InputError where it is none."""

        def work() -> Any:
            return decode_picture(upload.data, name=upload.name, max_pixels=self.settings.max_pixels)

        return await asyncio.get_running_loop().run_in_executor(self.decoders, work)

    async def find(self, frame: Any, thresholds: Thresholds) -> Answer:
        """The people in a frame, through the batcher, counted."""
        answer = await self.batcher.submit(frame, thresholds)
        self.metrics.pictures.inc()
        self.metrics.people.inc(len(answer.poses))
        self.metrics.stages.labels("wait").observe(answer.queued)
        self.metrics.stages.labels("infer").observe(answer.computed)
        return answer

    async def look(self, upload: Upload, thresholds: Thresholds) -> tuple[Answer, float, Any]:
        """The people in a picture as it came, the seconds that decoding it took, and its pixels.

        Raises:
            InputError: it cannot be read, or the engine refuses it.
            BusyError, StoppedError: as :meth:`Batcher.submit`.
        """
        pixels = 0
        try:
            with self.batcher.coming():
                async with self._slots:
                    begin = time.perf_counter()
                    frame = await self.decode(upload)
                    decoded = time.perf_counter() - begin
                    # With the slot in hand, so that no more than these wait here beside what is held.
                    pixels = await self._room.enter(frame.shape[0] * frame.shape[1])
            self.metrics.stages.labels("decode").observe(decoded)
            return await self.find(frame, thresholds), decoded, frame
        finally:
            self._room.leave(pixels)

    async def picture(self, upload: Upload, thresholds: Thresholds, *, keep: bool = False) -> _Found:
        """As :meth:`look`; a picture that cannot be read says so. ``keep`` keeps the pixels."""
        try:
            answer, decoded, frame = await self.look(upload, thresholds)
        except InputError as error:
            return _Found(upload.name, error=str(error))
        return _Found(upload.name, answer, decoded, frame if keep else None)


async def _poses(request: Request, service: Service) -> Response:
    """``POST /v1/poses``."""
    thresholds = thresholds_of(service.engine.thresholds, request.query_params)
    service.batcher.check()
    uploads, several = await uploads_of(request, service.settings)
    service.batcher.check(len(uploads))
    keep = not several and _wants_picture(request)
    found = await together([service.picture(upload, thresholds, keep=keep) for upload in uploads])
    times = {"Server-Timing": _timing(found)}
    if not several:
        return await _single(request, service, found[0], times)

    def body() -> dict[str, Any]:
        head = head_of(service.engine, thresholds=thresholds)
        return {**head, "model": service.settings.title, "images": [_entry(one) for one in found]}

    good = any(not one.error for one in found)
    return await written(_numbers(found, service), service.decoders, body, 200 if good else 400, times)


def _numbers(found: Sequence[_Found], service: Service) -> int:
    people = sum(len(one.answer.poses) for one in found if one.answer is not None)
    return people * 3 * service.engine.spec.keypoints


def _wants_picture(request: Request) -> bool:
    return "image/jpeg" in request.headers.get("accept", "")


async def _single(request: Request, service: Service, one: _Found, times: dict[str, str]) -> Response:
    if one.error or one.answer is None:
        raise RequestError(400, one.error)
    if _wants_picture(request):
        poses, frame = one.answer.poses, one.frame

        def drawn() -> bytes | None:
            from .._opencv import encode

            return encode(".jpg", poses.draw(frame))

        data = await asyncio.to_thread(drawn)
        if data is None:
            raise RequestError(400, f"{one.name}: cannot be written as JPEG; ask for application/json")
        return Response(data, media_type="image/jpeg", headers=times)
    return await written(_numbers([one], service), service.decoders, lambda: _entry(one), headers=times)


def _entry(one: _Found) -> dict[str, Any]:
    """A picture as a line of ``trtpose infer --jsonl``."""
    if one.answer is None:
        return {"source": one.name, "error": one.error}
    return {"source": one.name, **one.answer.poses.to_dict()}


def _timing(found: Sequence[_Found]) -> str:
    """The longest of each stage in milliseconds, as the header Server-Timing has it."""
    answers = [one.answer for one in found if one.answer is not None]
    stages = {
        "decode": max((one.decoded for one in found), default=0.0),
        "wait": max((answer.queued for answer in answers), default=0.0),
        "infer": max((answer.computed for answer in answers), default=0.0),
    }
    return ", ".join(f"{name};dur={seconds * 1e3:.2f}" for name, seconds in stages.items())


async def _metrics(_: Request, service: Service) -> Response:
    text, kind = service.metrics.text()
    return Response(text, headers={"Content-Type": kind})


async def _model(_: Request, service: Service) -> Response:
    """``GET /v1/model``."""
    return Json(pages.about(service.engine, service.settings))


def create_app(engines: Sequence[Engine], settings: Settings) -> Any:
    """The ASGI application of a server.

    Args:
        engines: the engine, and clones of it that may run at the same time.
        settings: bounds and access.
    """
    from . import kserve, openapi

    service = Service(engines, settings)
    own: tuple[tuple[str, Callable[[Request, Service], Any], tuple[str, ...]], ...] = (
        ("/v1/poses", _poses, ("POST",)),
        ("/v1/model", _model, ("GET",)),
        ("/metrics", _metrics, ("GET",)),
        ("/", pages.page, ("GET",)),
        ("/page/{name}", pages.page, ("GET",)),
        ("/openapi.json", openapi.description, ("GET",)),
        *kserve.routes(settings.title),
    )
    routes: list[BaseRoute] = [
        Route(path, guarded(handler, service), methods=list(methods)) for path, handler, methods in own
    ]

    async def frames(socket: WebSocket) -> None:
        await pages.frames(socket, service)

    routes.append(WebSocketRoute("/v1/stream", frames))
    handle = unknown("/openapi.json lists what there is")
    app = Starlette(routes=routes, lifespan=service.lifespan, exception_handlers={404: handle, 405: handle})
    known = {path for path, _, _ in own}

    def count(path: str, status: int) -> None:
        service.metrics.requests.labels(path if path in known else "other", str(status)).inc()

    return _shared(Guard(app, settings, count), settings)


def _shared(app: Any, settings: Settings) -> Any:
    """The application with what browsers need to be told before pages of other servers may use it."""
    if not settings.origins:
        return app
    from .kserve import HEADER

    return CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "Content-Type", HEADER),
        expose_headers=("Server-Timing", "Retry-After", HEADER),
    )
