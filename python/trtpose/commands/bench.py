# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import Error, InputError
from . import options
from .console import Progress, check_json, complain, write_json
from .options import add_model, add_thresholds
from .values import count, counts

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "time a model stage by stage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    add_thresholds(parser)
    parser.add_argument(
        "--images", metavar="DIR", help="picture or folder to time with (default: a synthetic 1080p picture)"
    )
    parser.add_argument("--runs", type=count, default=50, metavar="N", help="timed runs (default: 50)")
    parser.add_argument("--warmup", type=count, default=5, metavar="N", help="runs before them (default: 5)")
    parser.add_argument("--batches", type=counts, metavar="N,N", help="time each of these batch sizes, as 1,4,16")
    parser.add_argument(
        "--streams", type=count, default=1, metavar="N", help="clones at work at the same time (default: 1)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from .. import bench
    from ..sources import Sources, read_picture

    pictures: list[bytes] | None = None
    files: list[Path] = []
    if args.images is not None:
        sources = Sources([args.images])
        files = [path for number, path in enumerate(sources.files) if not sources.is_video(number)]
        if not files:
            raise InputError(f"{args.images}: holds no picture; give a picture or a folder of pictures")
        pictures = []
        for path in files[:64]:
            read_picture(path)
            pictures.append(path.read_bytes())
    check_json(args.json)
    if args.batches is not None and args.batch is not None:
        raise InputError("--batch and --batches exclude each other; give one of them")
    results: list[dict[str, Any]] = []
    failures = 0
    for batch in args.batches or [args.batch]:
        args.batch = batch
        try:
            results.append(_bench_once(args, pictures))
        except Error as error:
            if args.batches is None:
                raise
            failures += 1
            results.append({"batch": batch, "problem": str(error)})
            complain(str(error))
            continue
        if not args.quiet and args.json != "-":
            print(("\n" if len(results) > 1 else "") + bench.table(results[-1]), flush=True)
    if args.json is not None:
        write_json(args.json, results[0] if args.batches is None else {"batches": results})
    return 1 if failures else 0


def _bench_once(args: argparse.Namespace, pictures: list[bytes] | None) -> dict[str, Any]:
    from .. import bench

    with bench.Vram(args.device) as vram:
        engine = options.open_engine(args)
        with Progress(args.warmup + args.runs, "run", quiet=args.quiet) as progress:
            return bench.bench(
                engine,
                pictures,
                runs=args.runs,
                warmup=args.warmup,
                streams=args.streams,
                vram=vram,
                staged=lambda: options.open_engine(args, stage_times=True),
                progress=progress.at,
            )
