# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, and the engine they describe."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from .values import count, fraction, size

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["add_common", "add_engine", "add_model", "add_spec", "add_thresholds", "open_engine"]


def add_common(parser: argparse.ArgumentParser) -> None:
    with contextlib.suppress(argparse.ArgumentError):  # the verb has one of its own
        parser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="print the traceback of an error"
        )


def add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spec",
        metavar="FILE",
        help="model spec, JSON, for a model that carries none; one of the model's name with .json beside it is found",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="ONNX model or engine file")
    add_engine(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", choices=("f32", "fp16", "bf16", "auto"), help="arithmetic (default: f32 on the CPU)"
    )
    parser.add_argument("--imgsz", type=size, metavar="N|HxW", help="input size in pixels (default: the model's)")
    parser.add_argument("--batch", type=count, metavar="N", help="frames per run (default: the model's, or 1)")
    parser.add_argument("--rect", action="store_true", help="pad to the network's stride only, not to a square")
    parser.add_argument("--threads", type=count, metavar="N", help="threads on the CPU (default: all cores)")
    parser.add_argument("--vram-budget", metavar="SIZE", help="refuse to plan more device memory than this, as 2GiB")


def add_thresholds(parser: argparse.ArgumentParser, conf: str) -> None:
    parser.add_argument("--conf", "--conf-thres", type=fraction, metavar="X", help=f"least score of a pose ({conf})")
    parser.add_argument(
        "--iou",
        "--iou-thres",
        type=fraction,
        metavar="X",
        help="overlap above which the lesser pose goes (default: 0.65)",
    )
    parser.add_argument("--max-det", type=count, metavar="N", help="most poses per frame (default: 300)")


def open_engine(args: argparse.Namespace, **more: Any) -> Engine:
    import trtpose

    options: dict[str, Any] = {"device": args.device, "rect": args.rect, **more}
    for name in ("precision", "spec", "imgsz", "batch", "threads", "streams", "vram_budget", "conf", "iou", "max_det"):
        value = getattr(args, name, None)
        if value is not None:
            options[name] = value
    return trtpose.Engine(args.model, **options)
