# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose eval``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import options
from .console import Progress, check_json, complain, warn, write_json
from .options import add_model, add_thresholds

if TYPE_CHECKING:
    from ..errors import InputError

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "COCO keypoint figures of a model on annotated pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--images", metavar="DIR", required=True, help="folder of the pictures")
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoint annotations, JSON")
    add_thresholds(parser, "default: 0.001, as published figures have it")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from .. import evaluate

    check_json(args.json)
    args.conf = evaluate.CONF if args.conf is None else args.conf
    engine = options.open_engine(args)
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

        metrics = evaluate.evaluate(
            engine,
            args.images,
            args.annotations,
            thresholds=engine.thresholds,
            on_error=report,
            on_warning=note,
            progress=progress.at,
        )
    if args.json is not None:
        identity = {
            "model": str(engine.model),
            "device": engine.device,
            "backend": engine.backend,
            "precision": engine.precision,
        }
        rest = {"imgsz": list(engine.imgsz), "conf": args.conf, "warnings": warnings}
        write_json(args.json, {"metrics": metrics, **identity, **rest})
    if not args.quiet and args.json != "-":
        print(evaluate.table(metrics))
    return 1 if failures else 0
