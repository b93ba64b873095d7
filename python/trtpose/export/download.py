# SPDX-License-Identifier: Apache-2.0
"""Fetching published weights by name, once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from .. import _files
from .._files import cache_folder
from ..errors import InputError
from ..families.family import Published, quiet

__all__ = ["cache_folder", "fetch", "sha256"]

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_MAX_BYTES = 4 << 30


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(
    entry: Published,
    *,
    base: str | None = None,
    folder: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:
    """The published weights of a network, from the cache or else from the web.

    An interrupted download is continued by the next call. The server's word on the size is checked, and the SHA-256 is
    reported.

    Args:
        entry: of the catalogue.
        base: address of a folder with ``NAME.pt`` files to fetch from in place of the official places; default
            ``$TRTPOSE_WEIGHTS_URL``.
        folder: cache folder; default :func:`cache_folder`.
        report: called with a line of text as the work goes on.

    Raises:
        InputError: nothing is published for this network, or the download failed; the message says what to download by
            hand and where to put it.
    """
    say = report or quiet
    if not entry.url:
        raise InputError(
            f"{entry.name}: its weights cannot be fetched by name; download a checkpoint and give the file, "
            "or add --random for random weights"
        )
    target = (folder or cache_folder()) / entry.file
    if target.is_file():
        say(f"using {target}, SHA-256 {sha256(target)}")
        return target
    base = base or os.environ.get("TRTPOSE_WEIGHTS_URL")
    url = f"{base.rstrip('/')}/{entry.file}" if base else entry.url
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url}: not an http or https address")
    _files.make_folder(target.parent)
    partial = target.with_name(entry.file + ".part")
    say(f"downloading {url}")
    try:
        _download(url, partial)
    except (OSError, HTTPException, ValueError) as error:
        reason: object = error
        if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
            reason = error.reason
        raise InputError(
            f"{entry.name}: the download failed ({str(reason)[:200] or type(error).__name__}); run the command again "
            "to continue "
            f"it, or download {entry.url} by hand and put it at {target}"
        ) from None
    digest = sha256(partial)
    partial.replace(target)
    say(f"saved {target} ({target.stat().st_size} bytes), SHA-256 {digest}")
    return target


def _download(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "trtpose", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            # 416: nothing behind what is there, so it is whole or longer than the file; the total decides.
            total = _total(error.headers.get("Content-Range"))
            if error.code == 416 and have and total == have:
                return
            if error.code == 416:
                partial.unlink()
        raise
    with response:
        resumed = response.status == 206
        expected: int | None = None
        if resumed:
            start = (response.headers.get("Content-Range") or "").partition("bytes ")[2].partition("-")[0]
            if start != str(have):
                raise OSError("the server continued at another place")
            expected = _total(response.headers.get("Content-Range"))
        elif (response.headers.get("Content-Length") or "").isdigit():
            expected = int(response.headers["Content-Length"])
        if (expected or 0) > _MAX_BYTES:
            raise OSError(f"the server states {expected} bytes, which is no checkpoint")
        with partial.open("ab" if resumed else "wb") as file, _bar(expected, have if resumed else 0) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > (expected or _MAX_BYTES):
                    break
    size = partial.stat().st_size
    if expected is not None and size != expected:
        if size > expected:
            partial.unlink()
        raise OSError(f"{size} of {expected} bytes arrived")
    if expected is None and size == 0:
        raise OSError("the answer was empty")


def _total(content_range: str | None) -> int | None:
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _bar(total: int | None, done: int) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total, initial=done, unit="B", unit_scale=True, unit_divisor=1024, disable=not sys.stderr.isatty()
    )
