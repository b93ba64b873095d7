# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, and the engine they describe."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ..tracking.methods import METHODS, Method
from .console import say
from .values import count, fraction, size

if TYPE_CHECKING:
    from ..engine import Engine
    from ..thresholds import Thresholds

__all__ = [
    "SUPPRESSION",
    "add_common",
    "add_engine",
    "add_model",
    "add_runs",
    "add_spec",
    "add_thresholds",
    "add_tracking",
    "open_engine",
    "thresholds",
    "tracking",
]


def add_common(parser: argparse.ArgumentParser) -> None:
    """``--debug``, which every verb has."""
    with contextlib.suppress(argparse.ArgumentError):  # the verb has one of its own
        parser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="print the traceback of an error"
        )


def add_spec(parser: argparse.ArgumentParser) -> None:
    """``--spec``."""
    parser.add_argument(
        "--spec",
        metavar="FILE",
        help="model spec, JSON, for a model that carries none; one of the model's name with .json beside it is found",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model and how it is run."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model or engine file")
    add_engine(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """How a model is run."""
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


SUPPRESSION = ("agnostic", "nms")
"""Options on what counts as the same pose twice."""


def add_thresholds(
    parser: argparse.ArgumentParser, conf: str = "default: 0.25", *, also: Collection[str] = (), of: str = ""
) -> None:
    """``--conf``, ``--iou``, ``--max-det``, and of :data:`SUPPRESSION` those that ``also`` names.

    None has a default here: what was not given is the engine's to choose. ``of`` begins the help of each.
    """
    add = parser.add_argument
    add("--conf", "--conf-thres", type=fraction, metavar="X", help=f"{of}least score of a pose ({conf})")
    text = f"{of}overlap above which the lesser pose goes (default: 0.65)"
    add("--iou", "--iou-thres", type=fraction, metavar="X", help=text)
    add("--max-det", type=count, metavar="N", help=f"{of}most poses per frame (default: 300)")
    if "agnostic" in also:
        text = f"{of}let poses of different classes suppress each other"
        add("--agnostic", action="store_true", default=None, help=text)
    if "nms" in also:
        add("--nms", choices=("iou", "oks"), help=f"{of}similarity of two poses (default: iou)")


def thresholds(args: argparse.Namespace) -> Thresholds:
    """The options of :func:`add_thresholds` that were given, for the rest the defaults.

    Raises:
        InputError: one is out of its range.
    """
    from ..thresholds import Thresholds

    fields = (field.name for field in dataclasses.fields(Thresholds))
    return Thresholds(**_given(args, *fields))


def add_tracking(parser: argparse.ArgumentParser, text: str) -> None:
    """``--track``, ``--tracker`` and ``--smooth``; ``text`` says what the first does."""
    add = parser.add_argument
    add("--track", action="store_true", help=text)
    add(
        "--tracker",
        choices=METHODS,
        help="--track by keypoints (oks), or by boxes with one of the package trackers (default: oks)",
    )
    add("--smooth", action="store_true", help="--track, and take the trembling out of keypoints (One Euro filter)")


def tracking(args: argparse.Namespace) -> Method | None:
    """The tracker that was asked for, if any."""
    method: Method | None = getattr(args, "tracker", None)  # verbs without it have no such argument
    if method is None and (getattr(args, "track", False) or getattr(args, "smooth", False)):
        return "oks"
    return method


_MOST_STREAMS = 256
"""That an engine takes."""

_UNASKED = 4
"""Batches at a time where nobody asked: each has memory of its own."""

_LARGE = 64 << 20
"""Bytes of a model whose weights are not held several times where nobody asked."""

_TURNS = 4
"""So many batches for each of them are worth it; fewer end with idle cores."""


def add_runs(parser: argparse.ArgumentParser) -> None:
    """``--latency`` and ``--throughput``."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--latency",
        action="store_true",
        help="on the CPU, one batch after the other with all cores (default for one camera or stream and few pictures)",
    )
    one.add_argument(
        "--throughput",
        action="store_true",
        help="on the CPU, as many batches at a time as there are cores, for files: each takes longer, all of them less "
        f"(default for videos, folders and several cameras, with no more than {_UNASKED} at a time)",
    )


def _is_large(model: str) -> bool:
    try:
        return os.stat(model).st_size > _LARGE  # noqa: PTH116 (an empty name is no folder)
    except (OSError, ValueError):
        return False  # which is said where it is opened


def _streams(args: argparse.Namespace, frames: float, cameras: int) -> dict[str, int]:
    """Batches that the CPU computes at a time, by :func:`add_runs`, by how many frames are at hand or by how many
    cameras there are."""
    cores = getattr(args, "threads", None) or len(os.sched_getaffinity(0))
    if getattr(args, "throughput", False):
        return {"streams": min(cores, _MOST_STREAMS)}
    if getattr(args, "latency", False) or getattr(args, "vram_budget", None) is not None or _is_large(args.model):
        return {}
    few = min(cores, _UNASKED, cameras or _UNASKED)
    worth = _TURNS * few * (getattr(args, "batch", None) or 1)
    return {"streams": few} if few > 1 and (cameras > 1 or frames >= worth) else {}


def open_engine(args: argparse.Namespace, *, frames: float = 0, cameras: int = 0, **more: Any) -> Engine:
    """The engine that the options of :func:`add_model`, :func:`add_thresholds` and :func:`add_runs` describe; ``more``
    is passed on. ``frames`` are at hand, none of which anybody waits for; or there are ``cameras`` and streams."""
    import trtpose

    more |= _streams(args, frames, cameras)
    given = _given(args, "precision", "spec", "imgsz", "batch", "threads", "streams", "vram_budget")
    engine = trtpose.Engine(
        args.model, device=args.device, rect=args.rect, thresholds=thresholds(args), **{**more, **given}
    )
    if engine.spec.final and (idle := _given(args, "iou", *SUPPRESSION)):
        options = ", ".join(f"--{name}" for name in idle)
        text = f"{engine.model} gives final poses (layout final), which nothing is suppressed of: no use for {options}"
        say(f"note: {text}", sys.stderr)
    return engine


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    values = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}
