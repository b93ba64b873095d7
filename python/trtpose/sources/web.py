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
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from .capture import OpenError
from .headers import looks_like_picture

__all__ = ["failure", "fetch_picture", "is_web", "refusal"]

_TIMEOUT = 10.0
_MAX_FILE = 1 << 30
_HEAD = 4096

_STREAMS = ("video/", "audio/", "multipart/")
_NEXT_FRAME = b"\xff\xd9\xff\xd8\xff"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only to where an address could have led by itself."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not is_web(newurl):
            raise urllib.error.HTTPError(newurl, code, "leads to no http address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_web(address: str) -> bool:
    return address.partition("://")[0].lower() in ("http", "https")


def fetch_picture(address: str) -> bytes | None:
    """The picture that an address answers with, or None where it answers with something else to be read as a stream.

    Raises:
        OpenError: it gives nothing, or a page.
    """
    with _opened(address) as reply:
        kind = str(reply.headers.get_content_type() if reply.headers.get("Content-Type") else "").lower()
        streams = kind.startswith(_STREAMS)
        if streams and reply.headers.get("Content-Length") is None:
            return None
        head = reply.read(_HEAD)
        if not head:
            raise OpenError(f"answers with nothing ({reply.status}); check the address", passing=True)
        if not kind.startswith("image/") and not looks_like_picture(head):
            if not streams and _is_text(kind, head):
                raise OpenError(f"answers with a page ({kind}), no picture and no video; check the address")
            return None
        data = head + reply.read(_MAX_FILE + 1 - len(head))
    if len(data) > _MAX_FILE:
        raise OpenError(f"more than the {_MAX_FILE} bytes that are read of a picture")
    # What calls itself a video and begins as a JPEG is one frame after the other, or a snapshot under a wrong name.
    return None if streams and _NEXT_FRAME in data else data


def _is_text(kind: str, head: bytes) -> bool:
    """Whether an answer is for people or programs to read, and no list of a stream's parts."""
    if not kind.startswith("text/") and not kind.endswith(("json", "xml")):
        return False
    return b"\0" not in head and not head.lstrip().startswith(b"#EXTM3U") and b"<MPD" not in head


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
    # As browsers show addresses, and as their servers do not take them.
    path, query = (quote(part, safe="/%:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    plain = urlunsplit(parts._replace(netloc=host, path=path, query=query))
    if parts.username is None:
        return plain, urllib.request.build_opener(_Redirects)
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, plain, unquote(parts.username), unquote(parts.password or ""))
    basic, digest = urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)
    return plain, urllib.request.build_opener(_Redirects, basic, digest)


def refusal(code: int, reason: object) -> OpenError:
    """What a status of HTTP or RTSP means, without the address."""
    why = " ".join(str(reason or "").split())[:120]
    said = f"the server answers {code} ({why})" if why else f"the server answers {code}"
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
    text = " ".join(str(getattr(reason, "strerror", None) or reason).split())[:120]
    no_address = type(reason) in (str, ValueError) or isinstance(reason, (http.client.InvalidURL, UnicodeError))
    return OpenError(f"cannot be fetched ({text}); check the address and the network", passing=not no_address)
