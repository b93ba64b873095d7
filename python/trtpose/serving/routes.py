# SPDX-License-Identifier: Apache-2.0
"""What every route has around it: answers within a time, and sentences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import Error
from .answers import Json
from .batcher import BusyError, StoppedError
from .guard import FullError, TooLargeError, too_large
from .requests import RequestError
from .settings import Settings

__all__ = ["guarded", "unknown"]

_LOG = logging.getLogger("uvicorn.error")

_GONE = 499
"""Status, for the figures alone, of a request whose client hung up before all of it had come."""


class _HasSettings(Protocol):
    @property
    def settings(self) -> Settings: ...


_Owner = TypeVar("_Owner", bound=_HasSettings)


def guarded(handler: Callable[[Request, _Owner], Any], service: _Owner) -> Callable[[Request], Any]:
    """A route that answers within its time, and with a sentence where it cannot."""

    async def route(request: Request) -> Response:
        try:
            return await asyncio.wait_for(handler(request, service), service.settings.timeout)
        except RequestError as error:
            return Json({"error": str(error)}, error.status)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        except FullError as error:
            return Json({"error": str(error)}, 429, {"Retry-After": "1"})
        except TooLargeError:
            return too_large(service.settings)
        except BusyError:
            why = f"{service.settings.queue} pictures wait already; send this again in a second, or to another server"
            return Json({"error": why}, 429, {"Retry-After": "1"})
        except StoppedError:
            return Json({"error": "the server is going down; send this to another"}, 503, {"Retry-After": "5"})
        except asyncio.TimeoutError:
            why = f"no answer within {service.settings.timeout:g} s; send fewer pictures at once, or start the server "
            return Json({"error": why + "with a larger --timeout"}, 504)
        except Error as error:
            return Json({"error": str(error)}, 500)
        except Exception as error:
            _LOG.exception("%s failed", request.url.path)
            return Json({"error": f"unexpected {type(error).__name__}: {error}; the server's log has more"}, 500)

    return route


def unknown(known: str) -> Callable[[Request, Exception], Any]:
    """Answers to paths that there are not; ``known`` says which there are."""

    async def answer(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        what = "there is no such path" if status == 404 else f"{request.method} does not go with this path"
        return Json({"error": f"{request.url.path}: {what}; {known}"}, status, getattr(error, "headers", None))

    return answer
