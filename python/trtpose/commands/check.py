# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose check``."""

from __future__ import annotations

import argparse

from ..errors import InputError
from .console import Progress, check_json, complain, warn, write_json
from .values import fraction, number, size

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare an engine with the ONNX it came from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ..agreement import MAX_DROP, SCORE, TOLERANCES

    parser.description = "Say whether a model finds the people that another finds, and how far off its keypoints are."
    parser.add_argument("reference", metavar="MODEL.onnx", help="the model to trust")
    parser.add_argument("candidate", metavar="MODEL", help="the engine or ONNX to judge")
    parser.add_argument("--images", metavar="DIR", required=True, help="picture or folder of pictures")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoint annotations, JSON: compare AP as well")
    parser.add_argument("--spec", metavar="FILE", help="model spec, JSON, for models that carry none")
    parser.add_argument("--device", default="auto", help="where the candidate runs: auto, cpu, cuda or cuda:N")
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="input size in pixels (default: the candidate's)")
    parser.add_argument(
        "--conf", type=fraction, default=0.25, metavar="X", help="least score of a pose (default: 0.25)"
    )
    parser.add_argument(
        "--score", type=fraction, default=SCORE, metavar="X", help=f"poses count from this score on (default: {SCORE})"
    )
    defaults = ", ".join(f"{name} {px:g}" for name, px in TOLERANCES.items())
    parser.add_argument(
        "--tolerance-px",
        type=number,
        metavar="PX",
        help=f"median keypoint error at most, in pixels of the frame (default: {defaults})",
    )
    parser.add_argument(
        "--min-matched",
        type=fraction,
        default=1.0,
        metavar="X",
        help="share of the poses that must be found again (default: 1)",
    )
    parser.add_argument(
        "--max-extra",
        type=number,
        default=0.0,
        metavar="X",
        help="poses the reference has not, as a share of its own (default: 0)",
    )
    parser.add_argument(
        "--max-drop",
        type=number,
        default=MAX_DROP,
        metavar="X",
        help=f"AP points that may be lost, with --annotations (default: {MAX_DROP:g})",
    )
    parser.add_argument("--json", metavar="FILE", help="write the comparison to this file; - is the standard output")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status: 1 where the two do not agree. Errors are raised as :class:`trtpose.Error`."""
    from ..check import check, table

    if args.conf > args.score:
        raise InputError(f"--conf {args.conf:g} is above --score {args.score:g}, the score of the poses that count")
    check_json(args.json)
    failures = 0
    with Progress(None, "picture", quiet=args.quiet) as progress:

        def report(error: InputError) -> None:
            nonlocal failures
            failures += 1
            complain(str(error), progress)

        result = check(
            args.reference,
            args.candidate,
            args.images,
            annotations=args.annotations,
            spec=args.spec,
            device=args.device,
            imgsz=args.imgsz,
            conf=args.conf,
            score=args.score,
            tolerance_px=args.tolerance_px,
            min_matched=args.min_matched,
            max_extra=args.max_extra,
            max_drop=args.max_drop,
            on_error=report,
            on_warning=lambda text: warn(text, progress),
            progress=progress.at,
        )
    if args.json is not None:
        write_json(args.json, result.to_dict())
    if not args.quiet and args.json != "-":
        print(table(result))
    if not result.passed:
        complain(result.verdict)
    return 1 if failures or not result.passed else 0
