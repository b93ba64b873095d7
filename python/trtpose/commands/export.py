# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..spec import ModelSpec
from .console import say
from .values import Sides

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "turn a checkpoint into an ONNX that describes itself, or cut another exporter's ONNX back to its raw heads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ..families.registry import export_layouts

    parser.description = SUMMARY
    parser.add_argument(
        "source", metavar="WEIGHTS", help="a .pt checkpoint, an .onnx, or a name such as yolov7-w6-pose"
    )
    parser.add_argument("-o", "--output", metavar="MODEL.onnx", help="where to write (default: beside the source)")
    parser.add_argument(
        "--imgsz", action=Sides, nargs="+", metavar="N", help="input side, or height and width, in pixels"
    )
    parser.add_argument(
        "--layout",
        choices=export_layouts(),
        help="raw heads (fastest) or decoded rows (default: heads, where there is a choice)",
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures per call (default: 1)")
    parser.add_argument("--dynamic-batch", action="store_true", help="accept any number of pictures")
    parser.add_argument("--dynamic", action="store_true", help="accept any number of pictures of any size")
    parser.add_argument("--arch", metavar="NAME", help="network or family of a file that does not describe itself")
    parser.add_argument("--spec", metavar="FILE", help="model spec (JSON) of an .onnx that carries none")
    parser.add_argument(
        "--random", action="store_true", help="random weights in place of published ones, for benchmarks"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")
    parser.add_argument("--no-verify", action="store_true", help="do not run the written file and compare")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from ..export import export

    spec = ModelSpec.load(args.spec) if args.spec else None
    made = export(
        args.source,
        Path(args.output) if args.output else None,
        imgsz=args.imgsz,
        layout=args.layout,
        batch=None if args.dynamic_batch else args.batch,
        dynamic=args.dynamic,
        arch=args.arch,
        spec=spec,
        random=args.random,
        seed=args.seed,
        verify=not args.no_verify,
        report=say,
    )
    say(made.action)
    for line in made.report:
        say(f"largest difference, {line}")
    say(f"wrote {made.path} ({made.path.stat().st_size / 1e6:.1f} MB)")
    return 0
