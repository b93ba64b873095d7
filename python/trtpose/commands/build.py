# SPDX-License-Identifier: Apache-2.0
"""The command ``trtpose build``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._sizes import parse_bytes
from ..errors import InputError
from .console import Progress
from .options import add_thresholds
from .values import checked

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "build a TensorRT engine from ONNX, for the GPU of this machine or for RTX cards in general"


def _kept(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """A value checked when the command line is read, and kept as it was written: a recipe's are texts too."""
    read = checked(parse)

    def check(text: str) -> str:
        read(text)
        return text

    return check


def _size(name: str) -> Callable[[str], str]:
    return _kept(lambda text: parse_bytes(text, name))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = SUMMARY
    # What was not given must be told from a default: a recipe may say otherwise.
    parser.argument_default = argparse.SUPPRESS
    _add_network(parser)
    _add_sizes(parser)
    _add_builder(parser)
    add = parser.add_argument
    add("--nms-in-engine", action="store_true", help="put decode and NMS into the engine, as a plugin")
    add_thresholds(parser, also=("nms",), of="of --nms-in-engine: ")
    add("--check", action="store_true", help="compare the engine with the ONNX afterwards, where it runs here")
    add("--images", metavar="DIR", help="pictures for --check (default: the packaged ones)")
    add("--spec", metavar="FILE", help="model spec, JSON, for an ONNX that carries none")
    add("--device", metavar="cuda:N", help="the GPU to build on (default: the first)")
    add("--quiet", "-q", action="store_true", help="no lines and no progress bar")


def _add_network(parser: argparse.ArgumentParser) -> None:
    """What is built, and in which arithmetic."""
    from ..build import options

    add = parser.add_argument
    add("model", metavar="MODEL.onnx", nargs="?", help="the ONNX file (default: the recipe's)")
    add("-o", "--output", metavar="MODEL.engine", help="where to write (default: beside the ONNX)")
    kinds = parser.add_mutually_exclusive_group()
    for name, text in (
        ("fp32", "compute in FP32"),
        ("fp16", "compute in FP16, the raw heads in FP32"),
        ("int8", "compute in INT8 what has Q/DQ pairs, the rest in FP16"),
    ):
        kinds.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=text)
    add("--calib", metavar="DIR", help="pictures to quantise with, for --int8 and an ONNX without Q/DQ pairs")
    add("--runtime", choices=options.RUNTIMES, help="default: tensorrt where a GPU and the package are, else rtx")


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    """The shapes it takes, and memory."""
    from ..build import options

    add = parser.add_argument
    add(
        "--batch",
        metavar="N|MIN:OPT:MAX",
        type=_kept(options.parse_batch),
        help="frames per call (default: the ONNX's, or 1)",
    )
    add(
        "--imgsz",
        metavar="N|HxW|MIN:OPT:MAX",
        type=_kept(options.parse_imgsz),
        help="input size in pixels (default: the ONNX's)",
    )
    add("--vram-budget", metavar="SIZE", type=_size("--vram-budget"), help="memory of the card it is for, as 2GiB")
    add(
        "--workspace",
        metavar="SIZE",
        type=_size("--workspace"),
        help="scratch memory of a layer (default: a quarter of the budget)",
    )
    add(
        "--tactic-memory",
        metavar="SIZE",
        type=_size("--tactic-memory"),
        help="device memory for trying kernels (default: what the budget leaves)",
    )


def _add_builder(parser: argparse.ArgumentParser) -> None:
    """How it is built, and where it shall run."""
    from ..build import options

    add = parser.add_argument
    add("--opt-level", metavar="0..5", type=int, choices=range(6), help="effort of the builder (default: 3)")
    add(
        "--hardware-compatible",
        nargs="?",
        const="ampere_plus",
        choices=options.COMPATIBILITY,
        help="let a TensorRT engine run on other GPUs: ampere_plus (if no value is given), same_compute_capability",
    )
    add("--version-compatible", action="store_true", help="let a TensorRT engine run in later versions too")
    add(
        "--compute-capability",
        metavar="LIST",
        type=_kept(options.parse_capabilities),
        help="rtx: what to build for, as 8.6,8.9 (default: all from 8.0 on)",
    )
    add("--weight-streaming", action="store_true", help="let the engine keep weights in host memory")
    add("--timing-cache", metavar="FILE|none", help="timings of earlier builds (default: in the user's cache folder)")
    add("--tf32", action="store_true", help="let what is in FP32 compute in TF32")
    add(
        "--keep",
        metavar="NODE",
        action="append",
        help="ONNX node to leave in FP32 besides the heads, * and ? allowed; may be repeated",
    )
    add("--recipe", metavar="FILE.toml", help="options from a file; those of the command line win")


_OWN = ("recipe", "check", "images", "quiet", "model", "output", "onnx", "export")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    from ..build.recipe import load_recipe

    given = {
        key: value for key, value in vars(args).items() if key not in ("verb", "run", "debug") and value is not None
    }
    if "recipe" in given:
        values = dict(load_recipe(given["recipe"]).values)
        if "model" in given:
            values.pop("output", None)  # it belongs to the recipe's own ONNX
        given = {**values, **given}
    if "onnx" not in given and "model" not in given:
        raise InputError("no ONNX is named; give one, or a recipe that names one")
    if "model" not in given:
        given["model"] = given["onnx"]
        if not Path(given["model"]).exists() and "export" in given:
            raise InputError(
                f"{given['model']}: no such file; make it with: trtpose export {given['export']} -o {given['model']}"
            )
    if "precision" not in given:
        raise InputError(f"{given['model']}: name the precision: --fp32, --fp16 or --int8")
    if "images" in given and not given.get("check"):
        raise InputError("--images is for --check; give both")
    if given.get("check") and given.get("nms_in_engine"):
        raise InputError("--check compares raw heads with the ONNX, and --nms-in-engine leaves none; give one of them")
    return given


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status. Errors are raised as :class:`trtpose.Error`."""
    from ..build import build

    given = _settings(args)
    wanted = {key: value for key, value in given.items() if key not in _OWN}
    quiet = bool(given.get("quiet"))
    with Progress(quiet=quiet) as progress:

        def say(line: str) -> None:
            if not quiet:
                progress.line(line, sys.stdout)

        built = build(given["model"], given.get("output"), report=say, progress=progress.share, **wanted)
    for line in built.report():
        say(line)
    if not given.get("check"):
        return 0
    if not built.runs_here:
        say(
            "not compared: no GPU here can run the engine; what can be checked without one was: the network parses, "
            "builds and has the precision asked for"
        )
        return 0
    return _check(given, built, quiet)


def _check(given: dict[str, Any], built: Any, quiet: bool) -> int:
    from ..check import check, table

    images = given.get("images") or str(Path(__file__).parent.parent / "data" / "demo")
    agreement = check(given["model"], built.path, images, spec=given.get("spec"), device=given.get("device", "auto"))
    if not quiet:
        print(table(agreement))
    return 0 if agreement.passed else 1
