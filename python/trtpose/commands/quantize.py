# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose quantize``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from ..errors import InputError
from .console import Progress, complain, warn
from .values import count, size

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "make an INT8 ONNX with explicit Q/DQ, or an FP16 one, and measure what it loses"


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of points from 0 to 100")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ..quantize.ranges import METHODS

    parser.description = SUMMARY
    add = parser.add_argument
    add("model", metavar="MODEL.onnx", help="the float32 network")
    add("--calib", metavar="DIR", required=True, help="folder of pictures like those the network will see")
    add("-o", "--output", metavar="OUT.onnx", help="where to write (default: MODEL.int8.onnx or MODEL.fp16.onnx)")
    add("--annotations", metavar="FILE", help="COCO keypoint annotations; the loss is then measured as AP")
    add("--images", metavar="DIR", help="pictures to measure on (default: those of --calib not calibrated on)")
    add("--max-drop", type=_points, metavar="X", help="points that may be lost (default: 1 of AP, else 5 of agreement)")
    add("--method", choices=METHODS, default="percentile", help="how ranges are chosen (default: percentile)")
    add("--count", type=count, metavar="N", help="calibration pictures (default: all, at most 128)")
    add("--limit", type=count, default=200, metavar="N", help="pictures to measure on at most (default: 200)")
    add("--imgsz", type=size, metavar="N|HxW", help="input size in pixels (default: the model's)")
    add("--batch", type=count, default=1, metavar="N", help="pictures per run of the calibration (default: 1)")
    add("--spec", metavar="FILE", help="model spec, JSON, for a model that carries none")
    add("--keep", metavar="PATTERN", nargs="+", default=[], help="nodes to leave in floating point, * and ? allowed")
    add("--fp16", action="store_true", help="FP16 for what is not in INT8, as strongly typed TensorRT wants it")
    add("--no-int8", action="store_true", help="with --fp16: nothing in INT8")
    add("--no-measure", action="store_true", help="do not measure what is lost")
    add("--sensitivity", action="store_true", help="measure every group of layers, whatever is lost")
    add("--cache", metavar="DIR", help="where ranges are kept for the next run (default: the user's cache folder)")
    add("--no-cache", action="store_true", help="neither take the ranges of an earlier run nor keep these")
    add("--report", metavar="FILE", action="append", default=[], help="write a report: .md, .json or .png; repeatable")
    add("--quiet", "-q", action="store_true", help="no lines and no progress bar")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from ..quantize.quantizer import check_report_name

    if args.no_int8 and not args.fp16:
        raise InputError("--no-int8 leaves nothing to do; give --fp16 as well")
    if args.no_int8 and args.report:
        raise InputError("--report is for INT8; leave it out, the FP16 report is printed")
    for path in args.report:
        check_report_name(path)
    failures: list[InputError] = []
    with Progress(quiet=args.quiet) as progress:

        def say(line: str) -> None:
            if not args.quiet:
                progress.line(line, sys.stdout)

        def report(error: InputError) -> None:
            failures.append(error)
            complain(str(error), progress)

        def note(text: str) -> None:
            warn(text, progress)

        common: dict[str, Any] = {
            "output": args.output,
            "count": args.count,
            "imgsz": args.imgsz,
            "batch": args.batch,
            "spec": args.spec,
            "keep": args.keep,
            "annotations": args.annotations,
            "images": args.images,
            "measure": not args.no_measure,
            "limit": args.limit,
            "progress": progress.stage,
            "on_error": report,
            "on_warning": note,
        }
        within = _half(args, common, say) if args.no_int8 else _int8(args, common, say)
    return 1 if failures or not within else 0


def _half(args: argparse.Namespace, common: dict[str, Any], say: Callable[[str], None]) -> bool:
    from ..quantize.half import convert
    from ..quantize.options import MAX_DROP

    made = convert(args.model, args.calib, **common)
    for line in made.report.lines():
        say(line)
    say(f"wrote {made.path} ({made.path.stat().st_size / 1e6:.1f} MB)")
    limit = MAX_DROP[made.report.kind or "AP"] if args.max_drop is None else args.max_drop
    if made.report.loss is not None and made.report.loss > limit:
        raise InputError(
            f"{made.path}: was written, but FP16 loses {made.report.loss:.2f} points, more than {limit:g}; "
            "keep more nodes in FP32 with --keep"
        )
    return True


def _int8(args: argparse.Namespace, common: dict[str, Any], say: Callable[[str], None]) -> bool:
    from ..quantize.quantizer import quantize

    made = quantize(
        args.model,
        args.calib,
        **common,
        method=args.method,
        fp16=args.fp16,
        max_drop=args.max_drop,
        sensitivity=True if args.sensitivity else None,
        cache=False if args.no_cache else (args.cache or True),
        report=say,
    )
    report = made.report
    for path in args.report:
        report.write(path)
    done = report.convolutions - len(report.kept)
    say(f"{done} of {report.convolutions} convolutions in INT8, ranges by {report.method}")
    if report.final is not None:
        say(f"{report.kind}: {report.final.points:.2f} points, {report.final.loss:.2f} lost, on {report.measured_on}")
    say(f"wrote {made.path} ({made.path.stat().st_size / 1e6:.1f} MB)")
    if report.within is False and report.final is not None:
        raise InputError(
            f"{made.path}: was written, but loses {report.final.loss:.2f} points, more than {report.max_drop:g}; "
            "calibrate on more pictures, use another --method, or accept more with --max-drop"
        )
    return True
