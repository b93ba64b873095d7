# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose serve``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from .._sizes import parse_bytes
from ..errors import InputError
from . import listening, options
from .console import say
from .listening import TOKEN
from .options import SUPPRESSION, add_model, add_thresholds
from .values import count, positive, whole_or_none

if TYPE_CHECKING:
    from ..serving.settings import Settings

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "answer over HTTP who is in the pictures that are sent"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add_model(parser)
    add_thresholds(parser, also=SUPPRESSION)
    add("--host", default="127.0.0.1", help="address to listen at; other than this machine's own needs a token")
    add("--port", type=whole_or_none, default=8000, metavar="N", help="0 takes a free one (default: 8000)")
    add("--name", metavar="NAME", help="what the model is called (default: its file's name)")
    add("--token-file", metavar="FILE", help=f"file with the token that clients must show (or ${TOKEN})")
    add("--allow-origin", action="append", default=[], metavar="URL", help="pages of this server may use it too")
    add("--clones", type=count, default=1, metavar="N", help="engines that run at the same time (default: 1)")
    add("--deadline", type=positive, default=3.0, metavar="MS", help="longest wait for a batch to fill (default: 3)")
    add("--queue", type=count, default=128, metavar="N", help="pictures that may wait (default: 128)")
    add("--timeout", type=positive, default=30.0, metavar="S", help="seconds for an answer (default: 30)")
    add("--max-body", default="32MiB", metavar="SIZE", help="largest request (default: 32MiB)")
    add("--max-pixels", type=count_pixels, metavar="N", help="largest picture (default: 67108864)")
    add("--quiet", "-q", action="store_true", help="no line per request")


def count_pixels(text: str) -> int:
    """Width times height of a picture."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 1 << 28:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {1 << 28}")
    return value


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    for module in ("starlette", "uvicorn", "python_multipart", "prometheus_client", "websockets"):
        require(module, package=module.replace("_", "-"), extra="serve", purpose="trtpose serve")
    from ..serving.batcher import worthwhile_sizes

    settings = _settings(args)
    listener = listening.listen(args.host, args.port, f"--host {args.host} --port {args.port}")
    with contextlib.closing(listener):
        args.streams = args.clones
        engine = options.open_engine(args)
        settings = dataclasses.replace(settings, batches=tuple(worthwhile_sizes(engine)))
        if not args.quiet:
            say(f"pictures that go into the engine together: {', '.join(map(str, settings.batches))}", sys.stderr)
        engines = [engine, *(engine.clone() for _ in range(args.clones - 1))]
        return _serve(args, engines, settings, listener)


def _settings(args: argparse.Namespace) -> Settings:
    from ..serving.settings import Settings

    token, hosts = listening.access(args.host, args.token_file, f"--host {args.host}", "leave --host out")
    for origin in args.allow_origin:
        if not re.fullmatch(r"https?://[^/*\s]+/?", origin):
            raise InputError(f"--allow-origin {origin}: is no address of a server; give it as https://example.org")
    title = args.name or Path(args.model).stem
    given: dict[str, Any] = {} if args.max_pixels is None else {"max_pixels": args.max_pixels}
    return Settings(
        max_body=parse_bytes(args.max_body) or 0,
        queue=args.queue,
        timeout=args.timeout,
        deadline=args.deadline / 1e3,
        token=token,
        hosts=hosts,
        origins=tuple(origin.rstrip("/") for origin in args.allow_origin),
        title=re.sub(r"[^A-Za-z0-9._-]", "_", title) or "model",
        **given,
    )


def _serve(args: argparse.Namespace, engines: list[Any], settings: Settings, listener: socket.socket) -> int:
    import uvicorn

    from ..serving.app import create_app
    from ..serving.connections import BACKLOG, bounded, most_connections

    config = uvicorn.Config(
        create_app(engines, settings),
        log_level="warning" if args.quiet else "info",
        access_log=not args.quiet,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=max(round(settings.timeout), 1),
        ws_max_size=settings.max_body,
        http=bounded(most_connections(), settings.timeout),
        backlog=BACKLOG,
    )
    say(f"serving {settings.title} at {listening.address(listener)} until Ctrl-C", sys.stdout)
    # A signal ends the requests that have come in and takes no more; that is the server's ordinary end.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        uvicorn.Server(config).run(sockets=[listener])
    return 0
