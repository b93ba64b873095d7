# SPDX-License-Identifier: Apache-2.0
"""One file from an https address, as far as it came continued by the next call; nothing a server says is believed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .. import _files
from .._terminal import bare
from ..errors import InputError

__all__ = ["check_address", "download"]

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_PATIENCE = 60.0
"""Seconds within which at least :data:`_LEAST` bytes must come."""
_LEAST = 1 << 16


def _is_loopback(address: str) -> bool:
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(address: str, *, loopback: bool = False) -> None:
    """See that nobody on the way can change what an address gives.

    Args:
        address: to fetch from.
        loopback: whether http will do where the server is this machine.

    Raises:
        InputError: it is no https address.
    """
    try:
        scheme = urllib.parse.urlsplit(address).scheme
        allowed = scheme == "https" or (scheme == "http" and loopback and _is_loopback(address))
    except ValueError:
        allowed = False
    if not allowed:
        raise InputError(
            f"{address}: not an https address, so that anybody on the way could change what comes (http is taken from "
            "this machine alone)"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, none of which may leave https."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            # Only an address of this machine may lead to http, and only to this machine.
            check_address(newurl, loopback=self._loopback and urllib.parse.urlsplit(req.full_url).scheme == "http")
        except InputError as error:
            fp.close()
            raise OSError(f"the server redirects to {error}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class _Version:
    """What tells one version of a file on a server from another.

    Attributes:
        url: its address.
        tag, modified: its ETag and date, empty where the server gives none.
        total: its length in bytes, None where the server does not tell.
    """

    url: str
    tag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def condition(self) -> str:
        """For If-Range; empty where only a whole answer is sure to be of one version. A weak tag tells too little."""
        return self.tag if self.tag.startswith('"') else "" if self.tag else self.modified

    @classmethod
    def load(cls, path: Path) -> _Version | None:
        """As :meth:`save` wrote it; None where it cannot be used."""
        try:
            with path.open("rb") as file:
                values: Any = json.loads(file.read(1 << 16))
            total: Any = values["total"]
            found = cls(str(values["url"]), str(values["tag"]), str(values["modified"]), total)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        known = total is None or (isinstance(total, int) and total > 0)
        return found if known and all(map(str.isprintable, (found.tag, found.modified))) else None

    def save(self, path: Path) -> None:
        _files.write_bytes(path, json.dumps(dataclasses.asdict(self)).encode(), follow=False)


def download(
    url: str, partial: Path, *, least: int, most: int, refuse: Callable[[bytes], str], loopback: bool = False
) -> None:
    """Bring a file to its end.

    What arrived stands in ``partial`` and, beside it with the ending ``.json``, of which version it is: where the
    server has another by now, it is fetched anew.

    Args:
        url: its address.
        partial: the file, which nobody else works on.
        least, most: bytes it may have.
        refuse: says of its first bytes what is wrong with them, nothing where they are right.
        loopback: as of :func:`check_address`.

    Raises:
        OSError, HTTPException, ValueError: it did not come, or not whole; or what came is not it.
    """
    note = partial.with_name(partial.name + ".json")
    have, known = partial.stat().st_size, _Version.load(note)
    total = None if known is None else known.total
    if known is None or known.url != url or not known.condition or have > (total or most):
        have, known = 0, None
    if not have or have != total:
        opener = urllib.request.build_opener(_Redirects(loopback=loopback))
        with _answer(opener, _request(url, have, known), partial) as answer:
            have, version = _begin(answer, url, have, known)
            _refuse_size(version.total, least, most)
            # Bytes of one version never stand beside the note of another.
            os.truncate(partial, have)
            version.save(note)
            _receive(answer, partial, have, version.total, most, refuse)
        have, total = partial.stat().st_size, version.total
    if not have:
        raise OSError("the answer was empty")
    if total is not None and have != total:
        raise OSError(f"{have} of {total} bytes arrived")
    _refuse_size(have, least, most)


@contextlib.contextmanager
def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request, partial: Path) -> Generator[Any]:
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            os.truncate(partial, 0)  # next time from the start
        raise


def _request(url: str, have: int, known: _Version | None) -> urllib.request.Request:
    headers = {"User-Agent": "trtpose", "Accept-Encoding": "identity"}
    if have and known is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.condition}
    return urllib.request.Request(url, headers=headers)


def _begin(answer: Any, url: str, have: int, known: _Version | None) -> tuple[int, _Version]:
    """How many bytes of the file are there before those of the answer, and of which version it is."""
    kind = str(answer.headers.get_content_type() if answer.headers.get("Content-Type") else "")
    if kind in ("text/html", "application/xhtml+xml"):
        raise OSError(f"the server answers with a page ({kind})")
    tag, modified = (str(answer.headers.get(name) or "") for name in ("ETag", "Last-Modified"))
    if answer.status != 206:
        length = answer.headers.get("Content-Length") or ""
        return 0, _Version(url, tag, modified, int(length) if length.isdigit() else None)
    place, _, total = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
    if known is None or place.partition("-")[0] != str(have):
        raise OSError("the server continued at another place")
    if (tag and known.tag and tag != known.tag) or (known.total and total != str(known.total)):
        raise OSError("the server continued with another version")
    return have, dataclasses.replace(known, total=int(total) if total.isdigit() else known.total)


def _refuse_size(size: int | None, least: int, most: int) -> None:
    if size is not None and not least <= size <= most:
        expected = f"{least}" if least == most else f"{least} to {most}"
        raise OSError(f"{size} bytes where {expected} are expected, so it is not the file")


def _receive(
    answer: Any, partial: Path, have: int, total: int | None, most: int, refuse: Callable[[bytes], str]
) -> None:
    limit = total or most
    with partial.open("r+b") as file, _bar(total, have) as bar:
        file.seek(have)
        since, got = time.monotonic(), 0
        while chunk := answer.read1(_CHUNK):
            problem = refuse(chunk) if file.tell() == 0 else ""
            if problem:
                raise OSError(problem)
            if file.tell() + len(chunk) > limit:
                file.truncate(0)
                raise OSError(f"more than the {limit} bytes of the file arrive")
            file.write(chunk)
            bar.update(len(chunk))
            got += len(chunk)
            if time.monotonic() - since > _PATIENCE:
                if got < _LEAST:
                    raise TimeoutError(f"{got} bytes in {_PATIENCE:.0f} seconds")
                since, got = time.monotonic(), 0


def _bar(total: int | None, done: int) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=bare(sys.stderr),
        disable=not sys.stderr.isatty(),
    )
