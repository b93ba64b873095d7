# SPDX-License-Identifier: Apache-2.0
"""Where a verb listens for others, and who may come."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket

from .._files import describe, read_bounded
from ..errors import InputError

__all__ = ["TOKEN", "access", "address", "listen"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

TOKEN = "TRTPOSE_TOKEN"
"""The variable that may hold the token."""


def access(host: str, token_file: str | None, option: str, remedy: str) -> tuple[str, tuple[str, ...]]:
    """The token that clients must show, and without one the names that the server may be called by.

    Args:
        host: where it listens.
        token_file: file with the token, if one is named.
        option: how the host was given, and ``remedy`` what to do instead, for errors.

    Raises:
        InputError: others can reach the host and there is no token, or the token is none.
    """
    token = _token(token_file)
    if not token and not _is_loopback(host):
        raise InputError(
            f"{option}: others can reach this address; give a token with --token-file FILE or ${TOKEN}, or {remedy}"
        )
    return token, () if token else tuple(dict.fromkeys((_shown(host), *_LOOPBACK)))


def _token(file: str | None) -> str:
    if file is None:
        token = os.environ.get(TOKEN, "")
        where = f"${TOKEN}"
    else:
        try:
            token = read_bounded(file, 1 << 16).decode("ascii")
        except OSError as error:
            raise InputError(f"--token-file {file}: cannot be read ({describe(error)}); check it") from None
        except ValueError:
            token = "\n\n"
        where = f"--token-file {file}"
        token = token.strip() or "\n"
    if token and not re.fullmatch(r"[A-Za-z0-9._~+/=-]{8,}", token):
        raise InputError(f"{where}: a token is one line of at least 8 letters, digits and ._~+/=-; make another")
    return token


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def address(listener: socket.socket) -> str:
    """What to give a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{_shown(host)}:{port}"


def listen(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens; before the engine is opened, which takes longer.

    Raises:
        InputError: it cannot; begins with ``option``.
    """
    if port > 0xFFFF:  # the system would take the rest of a division
        raise InputError(f"{option}: there is no port {port}; choose one of at most 65535")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise _cannot_listen(option, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(option, error) from None
    return listener


def _cannot_listen(option: str, error: Exception) -> InputError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{option}: cannot listen there ({why}); choose another port or address")
