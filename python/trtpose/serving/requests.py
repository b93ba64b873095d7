# SPDX-License-Identifier: Apache-2.0
"""What stands in a request: pictures and thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._checks import shown
from ..errors import InputError
from ..thresholds import Thresholds
from .settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["RequestError", "Upload", "thresholds_of", "uploads_of"]

_RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Media types of a body that is one picture, beside those of pictures; the middle one is what curl calls any file."""


class RequestError(Exception):
    """A request that cannot be answered: the status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A picture as it came: its name and the bytes of its file."""

    name: str
    data: bytes


def thresholds_of(own: Thresholds, values: Mapping[str, Any]) -> Thresholds:
    """The engine's thresholds with those that a request names: ``conf``, ``iou``, ``max_det``, ``nms``, ``agnostic``.

    Raises:
        RequestError: one has no valid value.
    """
    changes: dict[str, Any] = {}
    for name, read in (("conf", _real), ("iou", _real), ("max_det", _whole), ("agnostic", _flag), ("nms", str)):
        if name in values:
            try:
                changes[name] = read(values[name])
            except (ValueError, OverflowError):
                raise RequestError(400, f"{name} is {shown(values[name])}; {_EXPECTED[name]}") from None
    try:
        return own.changed(changes)  # pyright: ignore[reportArgumentType]
    except InputError as error:
        raise RequestError(400, str(error)) from None


_EXPECTED = {
    "conf": "give a number from 0 to 1",
    "iou": "give a number from 0 to 1",
    "max_det": "give a whole number from 1 on",
    "agnostic": "give true or false",
}


def _real(value: Any) -> float:
    number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(value)
    return int(value)


def _flag(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    text = str(value).lower()
    if text not in known:
        raise ValueError(value)
    return known[text]


async def uploads_of(request: Request, settings: Settings) -> tuple[list[Upload], bool]:
    """The pictures of a request, and whether it may hold several.

    Raises:
        RequestError: it holds none, too many, or is of another kind.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request, settings), True
    if kind not in _RAW and not kind.startswith("image/"):
        raise RequestError(
            415, f"the body is {kind}; send a picture as it is (Content-Type: image/jpeg), or several as form-data"
        )
    data = await request.body()
    if not data:
        raise RequestError(400, "the body is empty; send a picture, such as with curl --data-binary @FILE")
    return [Upload(request.query_params.get("name", "picture"), data)], False


async def _parts(request: Request, settings: Settings) -> list[Upload]:
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    try:
        form = await request.form(max_files=settings.max_pictures, max_fields=16)
    except (HTTPException, MultiPartException) as error:
        why = getattr(error, "detail", None) or getattr(error, "message", str(error))
        raise RequestError(400, f"the form cannot be read ({why}); at most {settings.max_pictures} pictures") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise RequestError(400, "the form holds no file; add pictures as files, such as with curl -F image=@FILE")
        return [Upload(file.filename or f"picture {n}", await file.read()) for n, file in enumerate(files)]
    finally:
        await form.close()
