# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose eval``."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..errors import InputError
from . import options
from .console import Progress, check_json, complain, warn, write_json
from .options import add_model, add_thresholds
from .values import positive

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "COCO keypoint figures of a model on annotated pictures, or tracking figures on annotated videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--images", metavar="DIR", required=True, help="folder of the pictures")
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoint annotations, JSON")
    add_thresholds(parser, "default: 0.001, as published figures have it; 0.25 with --track")
    options.add_tracking(
        parser, "follow people through annotated videos, whose frames are the pictures: HOTA, MOTA, IDF1"
    )
    parser.add_argument(
        "--rate", type=positive, metavar="N", help="--track: frames a second of the videos (default: 30)"
    )
    options.add_runs(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from .. import evaluate
    from ..tracking import evaluate as tracks

    check_json(args.json)
    tracker = options.tracking(args)
    if args.conf is None and tracker is None:
        args.conf = evaluate.CONF
    if args.rate is not None and tracker is None:
        raise InputError("--rate: is for --track; leave it out, or give both")
    # Tracks are followed from frame to frame, one after the other.
    engine = options.open_engine(args, frames=math.inf if tracker is None else 0)
    failures = 0
    warnings: list[str] = []
    with Progress(None, "picture", quiet=args.quiet) as progress:

        def report(error: InputError) -> None:
            nonlocal failures
            failures += 1
            complain(str(error), progress)

        def note(text: str) -> None:
            warnings.append(text)
            warn(text, progress)

        run_it: Any = evaluate.evaluate
        also: dict[str, Any] = {}
        if tracker is not None:
            run_it, also = (
                tracks.evaluate_tracking,
                {"method": tracker, "smooth": args.smooth, "rate": args.rate or 30.0},
            )
        metrics = run_it(
            engine,
            args.images,
            args.annotations,
            thresholds=engine.thresholds,
            on_error=report,
            on_warning=note,
            progress=progress.at,
            **also,
        )
    if args.json is not None:
        identity = {
            "model": str(engine.model),
            "device": engine.device,
            "backend": engine.backend,
            "precision": engine.precision,
        }
        rest: dict[str, Any] = {"imgsz": list(engine.imgsz), "conf": engine.thresholds.conf, "warnings": warnings}
        if tracker is not None:
            rest["tracker"] = tracker
        write_json(args.json, {"metrics": metrics, **identity, **rest})
    if not args.quiet and args.json != "-":
        print((evaluate if tracker is None else tracks).table(metrics))
    return 1 if failures else 0
