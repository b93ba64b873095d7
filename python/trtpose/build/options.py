# SPDX-License-Identifier: Apache-2.0
"""What a build is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .._checks import file_name, file_path, flag, shown, text, whole
from .._kinds import TIMINGS, refuse_foreign
from .._sizes import parse_bytes, read_imgsz
from ..errors import InputError
from ..spec import ModelSpec
from ..thresholds import ThresholdChanges, Thresholds

__all__ = [
    "COMPATIBILITY",
    "PRECISIONS",
    "RUNTIMES",
    "OptionValues",
    "Options",
    "Range",
    "Size",
    "parse_batch",
    "parse_capabilities",
    "parse_imgsz",
]

PRECISIONS = ("fp32", "fp16", "int8")
RUNTIMES = ("tensorrt", "rtx")
COMPATIBILITY = ("none", "ampere_plus", "same_compute_capability")

_MAX_SIDE = 1 << 14
_MAX_BATCH = 1024

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Range:
    """Smallest, best and largest of one thing; equal where it is fixed.

    Attributes:
        low, best, high: batch sizes, or (height, width) in pixels.
    """

    low: Any
    best: Any
    high: Any

    @property
    def fixed(self) -> bool:
        """Whether there is only one value."""
        return self.low == self.high

    def __str__(self) -> str:
        def text(value: Any) -> str:
            return f"{value[0]}x{value[1]}" if isinstance(value, tuple) else str(value)

        return text(self.best) if self.fixed else ":".join(text(value) for value in (self.low, self.best, self.high))


class OptionValues(ThresholdChanges, total=False):
    """The keyword arguments of :func:`trtpose.build` beside the precision, as users write them."""

    calib: str | os.PathLike[str] | None
    runtime: str | None
    batch: int | str | Sequence[int] | None
    imgsz: int | str | Sequence[Any] | None
    vram_budget: int | str | None
    workspace: int | str | None
    tactic_memory: int | str | None
    opt_level: int | None
    hardware_compatible: str
    version_compatible: bool
    compute_capability: str | Sequence[str] | None
    weight_streaming: bool
    timing_cache: str | os.PathLike[str] | None
    tf32: bool
    keep: Sequence[str]
    nms_in_engine: bool
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None
    device: str | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a build is asked for.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        calib: folder of pictures to quantise with.
        runtime: ``tensorrt`` or ``rtx``, None for what fits this machine.
        batch: frames per call, None for the ONNX's.
        imgsz: (height, width) in pixels, None for the ONNX's or the spec's.
        vram_budget, workspace, tactic_memory: bytes, 0 where nothing was asked.
        opt_level: 0 to 5, None for the library's own.
        hardware_compatible: ``none``, ``ampere_plus`` or ``same_compute_capability``.
        version_compatible: whether a TensorRT engine also runs in later versions.
        compute_capability: RTX: what to build for, empty for all from 8.0 on.
        weight_streaming: whether the engine may keep weights in host memory.
        timing_cache: file of kernel timings, ``none`` for no such file, None for the one in the user's cache folder.
        tf32: whether what is in FP32 may compute in TF32.
        keep: names of ONNX nodes to leave in FP32 besides the heads, ``*`` and ``?`` allowed.
        nms_in_engine: whether decode and NMS go into the engine.
        thresholds: what is frozen into it then, None for the defaults.
        spec: model spec for an ONNX that carries none.
        device: ``cuda:N`` to build on, None for the first.

    Raises:
        InputError: a value is not among those that can be, or thresholds were given without ``nms_in_engine``.
    """

    precision: str
    calib: Path | None = None
    runtime: str | None = None
    batch: Range | None = None
    imgsz: Range | None = None
    vram_budget: int = 0
    workspace: int = 0
    tactic_memory: int = 0
    opt_level: int | None = None
    hardware_compatible: str = "none"
    version_compatible: bool = False
    compute_capability: tuple[str, ...] = ()
    weight_streaming: bool = False
    timing_cache: str | None = None
    tf32: bool = False
    keep: tuple[str, ...] = ()
    nms_in_engine: bool = False
    thresholds: Thresholds | None = None
    spec: ModelSpec | Mapping[str, Any] | str | os.PathLike[str] | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, PRECISIONS)
        if self.runtime is not None:
            _check_choice("runtime", self.runtime, RUNTIMES)
        _check_choice("hardware_compatible", self.hardware_compatible, COMPATIBILITY)
        if self.opt_level is not None:
            whole(self.opt_level, "opt_level", 0, 5)
        for name in ("version_compatible", "weight_streaming", "tf32", "nms_in_engine"):
            flag(getattr(self, name), name)
        if self.device is not None:
            text(self.device, "device", "cuda:N")
        if self.thresholds is not None and not self.nms_in_engine:
            raise InputError("thresholds are no part of an engine without nms_in_engine; give them where it is run")

    @classmethod
    def parse(cls, precision: str, values: OptionValues) -> Options:
        """Options from what users write: ``"1:4:8"`` for a batch, ``"2GiB"`` for a size, ``conf=0.3`` for a threshold.

        Raises:
            InputError: a value cannot be read or is not among those that can be; the message names it.
            TypeError: there is no such option.
        """
        for name in values:
            if name not in OptionValues.__optional_keys__:
                raise TypeError(f"unexpected keyword argument {name!r}")
        given = {name: value for name, value in cast("dict[str, Any]", values).items() if value is not None}
        names = [name for name in given if name in Thresholds.__dataclass_fields__]
        if names and not given.get("nms_in_engine"):
            raise InputError(
                f"{', '.join(names)}: thresholds are no part of an engine without nms_in_engine; give them where it is "
                "run"
            )
        thresholds = Thresholds(**{name: given.pop(name) for name in names}) if names else None
        parsed = {name: _PARSERS[name](value) if name in _PARSERS else value for name, value in given.items()}
        return cls(precision=precision, thresholds=thresholds, **parsed)


def _check_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{option} {shown(value)} is not one of {', '.join(choices)}")


def _whole(value: Any, top: int) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit()):
            raise ValueError
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= top:
        raise ValueError
    return value


def parse_batch(value: int | str | Sequence[int] | None) -> Range | None:
    """``4``, ``"4"``, ``"1:4:8"`` or ``(1, 4, 8)``: frames per call, smallest, best, largest.

    Raises:
        InputError: none of these, or not in order.
    """
    if value is None:
        return None
    try:
        parts: list[Any] = (
            list(value.split(":")) if isinstance(value, str) else [value] if isinstance(value, int) else list(value)
        )
        numbers = [_whole(part, _MAX_BATCH) for part in parts]
        if len(numbers) not in (1, 3) or numbers != sorted(numbers):
            raise ValueError
    except (ValueError, TypeError):
        raise InputError(
            f"batch {_show(value)}: write a number from 1 to {_MAX_BATCH}, or smallest, best and largest as 1:4:8"
        ) from None
    return Range(numbers[0], numbers[len(numbers) // 2], numbers[-1])


def _side(value: Any) -> Size:
    if isinstance(value, str):
        value = read_imgsz(value)
    parts: list[Any] = [value] if isinstance(value, int) else list(value)
    if len(parts) not in (1, 2):
        raise ValueError
    return _whole(parts[0], _MAX_SIDE), _whole(parts[-1], _MAX_SIDE)


def parse_imgsz(value: int | str | Sequence[Any] | None) -> Range | None:
    """``960``, ``"544x960"``, ``(544, 960)`` (height, width), or three such: smallest, best and largest, with colons
    between them in a text.

    Raises:
        InputError: none of these, or not in order.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            sizes = [_side(part) for part in value.split(":")]
        elif isinstance(value, int) or len(value) != 3:
            sizes = [_side(value)]
        else:
            sizes = [_side(part) for part in value]
        if len(sizes) not in (1, 3):
            raise ValueError
        for axis in (0, 1):
            sides = [size[axis] for size in sizes]
            if sides != sorted(sides):
                raise ValueError
    except (ValueError, TypeError, InputError):
        raise InputError(
            f"imgsz {_show(value)}: write a side such as 960, height and width as 544x960, or smallest, best and "
            "largest as 320:640:960"
        ) from None
    return Range(sizes[0], sizes[len(sizes) // 2], sizes[-1])


def parse_capabilities(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """``"8.6,8.9"`` or a sequence of such numbers, each once, in order.

    Raises:
        InputError: not a compute capability.
    """
    if value is None:
        return ()
    parts = [
        part.strip() for part in _texts(value.split(",") if isinstance(value, str) else value, "compute_capability")
    ]
    for part in parts:
        major, dot, minor = part.partition(".")
        if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
            raise InputError(f"compute capability {part!r}: write numbers such as 8.6, with commas between them")
    return tuple(sorted(set(parts), key=lambda part: [int(number) for number in part.split(".")]))


def _show(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts."""
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{name} is {shown(value)}; give a list of texts")
    return tuple(cast("Iterable[str]", value))


def _timings(value: Any) -> str:
    name = file_name(value, "timing_cache")
    refuse_foreign(Path(name), TIMINGS)
    return name


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "calib": lambda value: file_path(value, "calib", "a folder of pictures"),
    "batch": parse_batch,
    "imgsz": parse_imgsz,
    "vram_budget": lambda value: parse_bytes(value, "vram_budget"),
    "workspace": lambda value: parse_bytes(value, "workspace"),
    "tactic_memory": lambda value: parse_bytes(value, "tactic_memory"),
    "compute_capability": parse_capabilities,
    "timing_cache": _timings,
    "keep": lambda value: _texts(value, "keep"),
}
