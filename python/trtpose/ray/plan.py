# SPDX-License-Identifier: Apache-2.0
"""What an actor is told: which model, how it is run, where the pictures stand in a row."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from .._checks import choice, file_name, instance, real, text, whole
from ..engine import Engine
from ..errors import InputError
from ..sources import MAX_PIXELS
from ..thresholds import Thresholds

__all__ = ["Plan", "Resources", "make_plan", "resources"]


@dataclass(frozen=True)
class Plan:
    """What an actor does.

    Attributes:
        model: path of the model, on each machine.
        options: of :class:`trtpose.Engine`; the thresholds are one object of them.
        column: where pictures stand in a row; empty looks for ``bytes``, ``image`` and ``path``.
        color: channel order of decoded pictures.
        raises: end the run at a picture that cannot be read, instead of a row that says so.
        max_pixels: of a picture, beyond which it is not decoded.
        readers: threads that read and decode.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))
    column: str = ""
    color: Literal["bgr", "rgb"] = "rgb"
    raises: bool = False
    max_pixels: int = MAX_PIXELS
    readers: int = 1


@dataclass(frozen=True)
class Resources:
    """What Ray keeps free for an actor: processors, and GPUs, of which a part is allowed."""

    cpus: float
    gpus: float


def resources(model: Any, options: Mapping[str, Any], cpus: Any, gpus: Any) -> Resources:
    """What an actor needs: of the GPUs by default one for an engine file and none for an ONNX model, of the processors
    as many as the engine has ``threads``.

    Raises:
        InputError: it is no such number, or the engine would run elsewhere.
    """
    name = _model(model)
    device = text(options.get("device", "auto"), "device", "auto, cpu, cuda or cuda:N")
    on_gpu = device.startswith("cuda") or (device == "auto" and Path(name).suffix.lower() != ".onnx")
    threads = whole(options.get("threads", 0), "threads")
    wanted = Resources(
        _share("num_cpus", (threads or 1) if cpus is None else cpus),
        _share("num_gpus", on_gpu if gpus is None else gpus),
    )
    if on_gpu and not wanted.gpus:
        raise InputError(f"num_gpus is 0, and {name} runs on a GPU; leave num_gpus out, or give a part of one, as 0.5")
    if wanted.gpus and not on_gpu:
        raise InputError(f"num_gpus is {wanted.gpus:g}, and {name} runs on the CPU; leave num_gpus out")
    if device.startswith("cuda:") and device != "cuda:0":
        raise InputError(f"device is {device}; Ray gives each actor GPUs of its own, numbered from 0: say cuda")
    return wanted


def _model(model: Any) -> str:
    return file_name(model, "model", "the path of an ONNX model or an engine file")


def _share(name: str, value: Any) -> float:
    number = float(value) if isinstance(value, bool) else real(value, name)
    if not math.isfinite(number) or number < 0 or (number > 1 and number != int(number)):
        raise InputError(f"{name} is {number:g}; give a whole number, or a part of 1")
    return number


def make_plan(model: Any, options: Mapping[str, Any], need: Resources, **how: Any) -> Plan:
    """A plan whose parts were checked as far as that goes on a machine that does not run it.

    Raises:
        InputError: an option is not known to :class:`trtpose.Engine` or has no valid value.
    """
    instance(how["column"], "column", (str, type(None)), "the name of the column with the pictures, or None")
    return Plan(
        model=_model(model),
        options=_checked(options, need),
        column=how["column"] or "",
        color=cast("Any", choice(how["color"], "color", ("rgb", "bgr"))),
        raises=choice(how["on_error"], "on_error", ("keep", "raise")) == "raise",
        max_pixels=whole(how["max_pixels"], "max_pixels", 1, 1 << 40),
        readers=whole(how["readers"], "readers", 1, 1024),
    )


def _checked(options: Mapping[str, Any], need: Resources) -> dict[str, Any]:
    """Options of an engine; on the CPU with no more threads than Ray keeps free, as others run beside it."""
    known = [name for name in inspect.signature(Engine.__init__).parameters if name not in ("self", "model", "changes")]
    changes = list(Thresholds.__dataclass_fields__)
    for name in options:
        if name not in known and name not in changes:
            raise InputError(
                f"{name} is no option of trtpose.ray nor of Engine; known are {', '.join(known + changes)}"
            )
    limits = options.get("thresholds")
    instance(limits, "thresholds", (Thresholds, type(None)), "a trtpose.Thresholds")
    given = {name: value for name, value in options.items() if name in changes}
    kept = (limits or Thresholds()).changed(cast("Any", given))
    rest = {name: value for name, value in options.items() if name not in changes}
    return {"threads": max(int(need.cpus), 1), **rest, "thresholds": kept}
