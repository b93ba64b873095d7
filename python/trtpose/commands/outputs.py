# SPDX-License-Identifier: Apache-2.0
"""What ``infer`` and ``demo`` write, and where an earlier run left off."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._files import check_writable, make_folder
from .._kinds import CSV, JSON, PARQUET
from ..errors import InputError
from .console import note
from .options import tracking
from .values import shard

if TYPE_CHECKING:
    from ..engine import Engine
    from ..results import Poses
    from ..sinks.resume import Done
    from ..sources import Frame, Sources

__all__ = ["Sink", "add_files", "add_shares", "check", "divide", "leave_out_done", "open_sinks"]


class Sink(Protocol):
    """Takes what was found, frame after frame."""

    def add(self, frame: Frame, poses: Poses) -> None: ...


def add_files(parser: argparse.ArgumentParser) -> None:
    """Options that name result files."""
    parser.add_argument("--json", metavar="FILE", help="write the poses to this file; - is the standard output")
    parser.add_argument(
        "--jsonl",
        metavar="FILE",
        help="write a line per picture or frame to this file as it comes, which stays however the run ends; - is the "
        "standard output",
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="write a row per person to this file as it comes; - is the standard output",
    )
    parser.add_argument("--parquet", metavar="FILE", help="write a row per person to this Apache Parquet file")
    parser.add_argument(
        "--yolo", metavar="DIR", help="write labels for training to this folder, a text file per picture or frame"
    )

    parser.add_argument(
        "--show", action="store_true", help="show annotated frames in a window; q, Esc or closing ends it"
    )


def add_shares(parser: argparse.ArgumentParser) -> None:
    """Options on doing a part of the sources."""
    parser.add_argument(
        "--resume", action="store_true", help="--jsonl: go on where an earlier run with the same sources was stopped"
    )
    parser.add_argument(
        "--shard", type=shard, metavar="I/N", help="do the I-th of N shares of the sources, such as 2/8"
    )


def check(args: argparse.Namespace) -> None:
    """Refuse, before anything is opened, what cannot be written.

    Raises:
        InputError: two results in one place, a place that cannot be written, or options that exclude each other.
    """
    flags = {"--json": args.json, "--jsonl": args.jsonl, "--csv": args.csv}
    out = [name for name, value in flags.items() if value == "-"]
    if len(out) > 1:
        raise InputError(f"{' and '.join(out)}: both write to the standard output; give one of them a file")
    if args.parquet == "-":
        raise InputError("--parquet: the standard output cannot be written like this; give a file")
    if getattr(args, "resume", False):
        if args.jsonl in (None, "-"):
            raise InputError("--resume: goes on with the file of --jsonl; name one")
        for name in ("json", "csv", "parquet"):
            if getattr(args, name) is not None:
                raise InputError(f"--resume: a file of --{name} cannot be gone on with; leave --{name} out")
    for path, kind in ((args.json, JSON), (args.jsonl, JSON), (args.csv, CSV), (args.parquet, PARQUET)):
        if path not in (None, "-"):
            check_writable(path, kind)


def _how(args: argparse.Namespace) -> dict[str, Any]:
    """What changes the results and is not known to the engine, for the first line of a file."""
    method = tracking(args)
    how: dict[str, Any] = {} if method is None else {"tracker": method}
    return {**how, **{name: True for name in ("smooth", "crop", "rect") if getattr(args, name, False)}}


def divide(args: argparse.Namespace, sources: Sources) -> None:
    """Take this run's share of the sources."""
    part = getattr(args, "shard", None)
    if part is not None:
        mine, count = part
        sources.pass_over(i for i in range(len(sources.names)) if i % count != mine - 1)


def leave_out_done(args: argparse.Namespace, engine: Engine, sources: Sources) -> Done | None:
    """Leave out what an earlier run has done; None where there was none.

    Raises:
        InputError: the earlier run was another one, or what changed since cannot be taken out of its file.
    """
    if not getattr(args, "resume", False):
        return None
    from ..sinks.json_lines import JsonLines
    from ..sinks.resume import leave_out, read_done

    # A tracker and an annotated video need the frames of a video from the first on.
    whole = tracking(args) is not None or (args.out is not None and not args.no_draw)
    done = read_done(args.jsonl, JsonLines.head(engine, _how(args)), sources, whole_videos=whole)
    leave_out(args.jsonl, done)
    for position in done.changed:
        note(f"--resume: {sources.names[position]}: its file has another size than before; it is done anew")
    sources.pass_over(done.over)
    sources.begin_with(done.frames)
    return done


def open_sinks(
    args: argparse.Namespace,
    engine: Engine,
    sources: Sources,
    done: Done | None,
    stack: contextlib.ExitStack,
    made: list[Path],
) -> list[Sink]:
    """Open the result files that are wanted; ``stack`` closes them, ``made`` gets the folders that were made.

    Raises:
        InputError, DeviceError: as the sinks do.
    """
    sinks: list[Sink] = []
    how = _how(args)
    if args.json is not None:
        from ..sinks.json_stream import JsonStream

        sinks.append(stack.enter_context(JsonStream(args.json, engine, how=how)))
    if args.jsonl is not None:
        from ..sinks.json_lines import JsonLines

        keep = 0 if done is None else done.bytes
        sinks.append(stack.enter_context(JsonLines(args.jsonl, engine, keep=keep, how=how, sources=sources)))
    if args.csv is not None:
        from ..sinks.csv_rows import CsvRows

        sinks.append(stack.enter_context(CsvRows(args.csv, engine)))
    if args.parquet is not None:
        from ..sinks.parquet import Parquet

        sinks.append(stack.enter_context(Parquet(args.parquet, engine)))
    if args.show:
        from ..sinks.window import Show

        sinks.append(stack.enter_context(Show()))
    if args.yolo is not None:
        from ..sinks.yolo_text import YoloText

        sinks.append(YoloText(Path(args.yolo), sources))
        made += make_folder(Path(args.yolo))
    return sinks
