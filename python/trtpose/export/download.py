# SPDX-License-Identifier: Apache-2.0
"""Fetching published weights by name, once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import stat
import urllib.error
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from .. import _files, _parts
from .._files import cache_folder, describe
from ..errors import InputError
from ..families.family import Published, quiet
from .transport import check_address, download

__all__ = ["cache_folder", "fetch", "sha256"]

_CHUNK = 1 << 20
_MOST = 1 << 30
_LEAST_PER_PARAMETER, _MOST_PER_PARAMETER = 2, 16
"""Bytes of a parameter in FP16, and in FP32 with its average and two moments of an optimiser."""


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

    An interrupted download is continued by the next call, if the server still has the same file. What arrives must be a
    checkpoint of the size, and where that is known of the SHA-256, of the published one. Only https is spoken.

    Args:
        entry: of the catalogue.
        base: address of a folder with ``NAME.pt`` files to fetch from in place of the official places; default
            ``$TRTPOSE_WEIGHTS_URL``. It may begin with http where the server is this machine.
        folder: cache folder, the user's own; default :func:`cache_folder`.
        report: called with a line of text as the work goes on.

    Raises:
        InputError: nothing is published for this network, the folder is not the user's alone, or the download failed;
            the message says what to download by hand and where to put it.
    """
    say = report or quiet
    if not entry.url:
        raise InputError(
            f"{entry.name}: its weights cannot be fetched by name; download a checkpoint and give the file, "
            "or add --random for random weights"
        )
    base = base or os.environ.get("TRTPOSE_WEIGHTS_URL")
    url = f"{base.rstrip('/')}/{entry.file}" if base else entry.url
    target = (folder or cache_folder()) / entry.file
    _files.make_private_folder(target.parent)
    if _is_own_file(target):
        digest = sha256(target)
        _refuse_other(entry, target, digest)
        say(f"using {target}, SHA-256 {digest}{_compared(entry)}")
        return target
    check_address(url, loopback=base is not None)
    say(f"downloading {url}")
    digest = _fetched(entry, url, target, loopback=base is not None)
    say(f"saved {target} ({target.stat().st_size} bytes), SHA-256 {digest}{_compared(entry)}")
    return target


def _fetched(entry: Published, url: str, target: Path, *, loopback: bool) -> str:
    """Bring the file to its place; its SHA-256."""
    partial = target.with_name(target.name + ".part")
    hint = f"run the command again to continue it, or download {entry.url} by hand and put it at {target}"
    least, most = _bounds(entry)
    try:
        with _parts.locked(partial) as held:
            if held is None:
                raise InputError(f"{entry.name}: another process is downloading it to {partial}; wait for it")
            try:
                download(url, partial, least=least, most=most, refuse=_what_else, loopback=loopback)
                digest = _checked(entry, partial)
                partial.replace(target)
            finally:
                _tidy(partial)
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        shown = str(reason)[:300] or type(error).__name__
        raise InputError(f"{entry.name}: the download failed ({shown}); {hint}") from None
    return digest


def _compared(entry: Published) -> str:
    """Whether the SHA-256 is that of the published file, where it is not."""
    return "" if entry.sha256 else " (compared with nothing: its authors publish none)"


def _tidy(partial: Path) -> None:
    """Leave a part with its note, or neither."""
    if not partial.exists() or partial.stat().st_size == 0:
        partial.unlink(missing_ok=True)
        partial.with_name(partial.name + ".json").unlink(missing_ok=True)


def _bounds(entry: Published) -> tuple[int, int]:
    """Bytes that the file may have."""
    if entry.size:
        return entry.size, entry.size
    if not entry.parameters:
        return 1, _MOST
    return _LEAST_PER_PARAMETER * entry.parameters, _MOST_PER_PARAMETER * entry.parameters + (16 << 20)


def _what_else(start: bytes) -> str:
    """What is wrong with a file that begins so, nothing where it may be a checkpoint: a zip archive or a pickle."""
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return ""
    page = start.lstrip()[:1] == b"<"
    return "the server answers with a page, not with a checkpoint" if page else "what arrives is no checkpoint"


def _checked(entry: Published, partial: Path) -> str:
    """The SHA-256 of what arrived.

    Raises:
        OSError: it is not what is published; it is removed.
    """
    with partial.open("rb") as file:
        start = file.read(8)
    problem = _what_else(start)
    if not problem and start.startswith(b"PK") and not zipfile.is_zipfile(partial):
        problem = "what arrived is damaged, an archive without its end"
    digest = sha256(partial)
    if not problem and entry.sha256 and digest != entry.sha256:
        problem = f"what arrived has the SHA-256 {digest} where {entry.sha256} is published"
    if problem:
        os.truncate(partial, 0)
        raise OSError(problem)
    return digest


def _is_own_file(target: Path) -> bool:
    """Whether the file is there.

    Raises:
        InputError: something else has its name, or others could have put it there.
    """
    try:
        found = target.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({describe(error)}); check its permissions") from None
    what = ""
    if not stat.S_ISREG(found.st_mode):
        what = "is a link" if stat.S_ISLNK(found.st_mode) else "is not an ordinary file"
    elif found.st_uid != os.geteuid():
        what = "belongs to another user"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        what = "may be changed by others"
    if what:
        raise InputError(f"{target}: {what}; remove it to fetch it again, or give the checkpoint by its own name")
    return True


def _refuse_other(entry: Published, target: Path, digest: str) -> None:
    if entry.sha256 and digest != entry.sha256:
        raise InputError(
            f"{target}: has the SHA-256 {digest} where {entry.sha256} is published; delete it to fetch it again"
        )
