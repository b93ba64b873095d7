# SPDX-License-Identifier: Apache-2.0
"""``infer --serve``: the live view of a run."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .._optional import require
from ..errors import InputError
from . import listening
from .console import note
from .listening import TOKEN

if TYPE_CHECKING:
    from ..engine import Engine
    from ..serving.live_app import LiveServer
    from ..serving.settings import Settings
    from ..sources import Sources

__all__ = ["Announced", "add_view", "announce"]

_DEFAULT = "127.0.0.1:8000"


def add_view(parser: argparse.ArgumentParser) -> None:
    """``--serve`` and ``--token-file``."""
    parser.add_argument(
        "--serve",
        nargs="?",
        const=_DEFAULT,
        type=_place,
        metavar="HOST:PORT",
        help="show the newest frame of every source in a browser meanwhile; behind the sources, or with an address "
        f"(default: {_DEFAULT}; other than this machine's own needs a token)",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"--serve: file with the token that viewers must show (or ${TOKEN})"
    )


@dataclass(frozen=True)
class Announced:
    """A place to look at a run, before there is one."""

    listener: socket.socket
    settings: Settings

    def begin(self, engine: Engine, sources: Sources) -> LiveServer:
        """What shows the run from when it is entered on."""
        from ..serving.live import Live
        from ..serving.live_app import LiveServer

        server = LiveServer(Live(engine, sources, self.settings), self.listener)
        note(f"to be looked at: {listening.address(self.listener)} while this runs")
        return server


def announce(args: argparse.Namespace, stack: contextlib.ExitStack) -> Announced | None:
    """Listen where ``--serve`` says, if it is there; ``stack`` ends it.

    Raises:
        InputError, DeviceError: it cannot be, or may not be without a token.
    """
    place: str | None = getattr(args, "serve", None)
    if place is None:
        if getattr(args, "token_file", None) is not None:
            raise InputError("--token-file: is the token of --serve; give that too, or leave it out")
        return None
    for module in ("starlette", "uvicorn", "websockets"):
        require(module, package=module, extra="serve", purpose="--serve")
    host, port = _split(place)
    token, hosts = listening.access(host, args.token_file, f"--serve {place}", f"give --serve {_DEFAULT}")
    from ..serving.settings import Settings

    settings = Settings(token=token, hosts=hosts, title=Path(args.model).stem)
    return Announced(stack.enter_context(listening.listen(host, port, f"--serve {place}")), settings)


def _place(text: str) -> str:
    """An option whose value may be left out takes the word behind it, which may be meant for a source."""
    if _parts(text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r}, the word behind it, is no HOST:PORT such as {_DEFAULT}; give one, or put --serve behind the "
            f"sources: trtpose infer MODEL {shlex.quote(text)} --serve"
        )
    return text


def _parts(place: str) -> re.Match[str] | None:
    return re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*):([0-9]{1,5})", place)


def _split(place: str) -> tuple[str, int]:
    found = _parts(place)
    assert found is not None
    return found[1] or "127.0.0.1", int(found[2])
