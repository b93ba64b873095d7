# SPDX-License-Identifier: Apache-2.0
"""What is behind an http or https address: a picture or a stream, as the answer says, or why there is nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Generator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from .capture import OpenError
from .headers import looks_like_picture

__all__ = ["failure", "fetch_picture", "is_web", "refusal"]

_TIMEOUT = 10.0
_MAX_FILE = 1 << 30
_HEAD = 4096

_STREAMS = ("video/", "audio/", "multipart/")


def is_web(address: str) -> bool:
    return address.partition("://")[0].lower() in ("http", "https")


def fetch_picture(address: str) -> bytes | None:
    """The picture that an address answers with, or None where it answers with something else to be read as a stream.

    Raises:
        OpenError: it gives nothing, or a page.
    """
    with _opened(address) as reply:
        kind = str(reply.headers.get_content_type() if reply.headers.get("Content-Type") else "").lower()
        if kind.startswith(_STREAMS):
            return None
        head = reply.read(_HEAD)
        if not kind.startswith("image/") and not looks_like_picture(head):
            if kind == "text/html":
                raise OpenError("answers with a page (text/html), no picture and no video; check the address")
            return None
        data = head + reply.read(_MAX_FILE + 1 - len(head))
    if len(data) > _MAX_FILE:
        raise OpenError(f"more than the {_MAX_FILE} bytes that are read of a picture")
    return data


@contextlib.contextmanager
def _opened(address: str) -> Generator[Any]:
    try:
        plain, opener = _opener(address)
        with opener.open(plain, timeout=_TIMEOUT) as reply:
            yield reply
    except urllib.error.HTTPError as error:
        error.close()
        raise refusal(error.code, error.reason) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise failure(error) from None


def _opener(address: str) -> tuple[str, urllib.request.OpenerDirector]:
    """The address without user and password, and what gives them to the server when it asks."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit(parts._replace(netloc=host))
    if parts.username is None:
        return plain, urllib.request.build_opener()
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, plain, unquote(parts.username), unquote(parts.password or ""))
    basic, digest = urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)
    return plain, urllib.request.build_opener(basic, digest)


def refusal(code: int, reason: object) -> OpenError:
    """What a status of HTTP or RTSP means, without the address."""
    said = f"the server answers {code} ({reason})" if reason else f"the server answers {code}"
    if code in (401, 403, 407):
        return OpenError(f"{said}; check the user and the password in the address")
    if code in (408, 425, 429) or code >= 500:
        return OpenError(f"{said}; the address is known but not served now, try again later", passing=True)
    return OpenError(f"{said}; check the address")


def failure(error: Exception) -> OpenError:
    """Why nothing was answered, without the address."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ConnectionRefusedError):
        return OpenError("the connection is refused; check the port, and whether the server runs", passing=True)
    if isinstance(reason, socket.gaierror):
        return OpenError("no such host; check the name in the address and the network", passing=True)
    if isinstance(reason, TimeoutError):
        return OpenError(f"no answer within {_TIMEOUT:.0f} seconds; check the address and the network", passing=True)
    # A library's text may name the address, with its password.
    text = getattr(reason, "strerror", None) or reason
    return OpenError(f"cannot be fetched ({text}); check the address and the network", passing=True)
