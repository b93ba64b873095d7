# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, ModelError
from . import infer
from .console import say
from .options import SUPPRESSION, add_engine, add_thresholds

if TYPE_CHECKING:
    from ..results import Poses

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "try the packaged model on the packaged pictures"


_NOBODY = (
    "nobody was found: the demo network was trained on drawings alone and does not know people in photographs; for "
    "those get a published network with: trtpose export yolov7-w6-pose, and give it to trtpose infer"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source", metavar="PICTURE", nargs="*", help="pictures of your own (default: the packaged ones)"
    )
    add_engine(parser)
    add_thresholds(parser, also=SUPPRESSION)
    infer.add_outputs(parser)
    parser.set_defaults(out="trtpose-demo")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    data = Path(__file__).parent.parent / "data"
    model = data / "demo.onnx"
    if not model.is_file():
        raise ModelError(f"{model}: this installation has no demo model; use trtpose infer with a model of your own")
    own = bool(args.source)
    if not own:
        args.source = sorted(str(path) for path in (data / "demo").glob("*.jpg"))
        if not args.source:
            raise InputError(f"{data / 'demo'}: this installation has no demo pictures; name pictures of your own")
    args.model = str(model)
    found = 0

    def count(poses: Poses) -> None:
        nonlocal found
        found += len(poses)

    report = sys.stderr if "-" in (args.json, args.jsonl, args.csv) else sys.stdout
    status = infer.run(args, seen=count)
    if own and not found and not args.quiet:
        say(_NOBODY, report)
    if not args.no_draw and not args.quiet:
        say(f"the pictures are in {Path(args.out).resolve()}", report)
    return status
