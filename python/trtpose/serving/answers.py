# SPDX-License-Identifier: Apache-2.0
"""What answers are written as."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar, cast

import numpy as np
from starlette.responses import JSONResponse, Response

__all__ = ["Json", "together", "written"]

_AT_ONCE = 1 << 14
"""Numbers that are written as JSON in a few milliseconds."""

_Result = TypeVar("_Result")


class Json(JSONResponse):
    """JSON in ASCII: names that clients send back may hold halves of characters, which UTF-8 cannot write."""

    def render(self, content: Any) -> bytes:
        return _plain(content).encode("ascii")


def _plain(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"), default=_as_list)


def _as_list(array: Any) -> list[Any]:
    return array.reshape(-1).tolist()


async def written(
    numbers: int,
    executor: Executor,
    make: Callable[[], Mapping[str, Any]],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer as JSON.

    Python's writer of JSON lets no other thread run until it has come to its end. What is long is made and written in a
    thread and in pieces, so that others are answered meanwhile.

    Args:
        numbers: how many there are in it, about.
        executor: threads.
        make: makes what is written; arrays in it are written as flat lists.
        status, headers: of the answer.
    """

    if numbers <= _AT_ONCE:
        return Json(make(), status, headers)

    def work() -> bytes:
        return "".join(_pieces(make())).encode("ascii")

    data = await asyncio.get_running_loop().run_in_executor(executor, work)
    return Response(data, status, headers, media_type="application/json")


def _pieces(value: Any) -> Iterator[str]:
    """JSON in pieces none of which takes long to make."""
    if isinstance(value, dict):
        for number, (key, entry) in enumerate(cast("dict[str, Any]", value).items()):
            yield f"{',' if number else '{'}{_plain(key)}:"
            yield from _pieces(entry)
        yield "}" if value else "{}"
    elif isinstance(value, np.ndarray):
        flat = cast("np.ndarray[Any, Any]", value).reshape(-1)
        yield "["
        for begin in range(0, flat.size, _AT_ONCE):
            yield "," * (begin > 0) + _plain(flat[begin : begin + _AT_ONCE].tolist())[1:-1]
        yield "]"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, entry in enumerate(cast("list[Any]", value)):
            yield "," if number else "["
            yield from _pieces(entry)
        yield "]"
    else:
        yield _plain(value)


async def together(works: Sequence[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Results of works that run at the same time; where one fails the others are stopped, as nobody waits for them."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
