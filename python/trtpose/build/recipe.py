# SPDX-License-Identifier: Apache-2.0
"""Recipes: the options of a build in a TOML file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .. import _files, _run
from .._optional import require
from .._sizes import parse_bytes
from ..errors import InputError
from .options import (
    COMPATIBILITY,
    PRECISIONS,
    RUNTIMES,
    parse_batch,
    parse_capabilities,
    parse_imgsz,
)

__all__ = ["Recipe", "load_recipe"]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError("is not a text")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in cast("list[Any]", value)):
        raise InputError("is not a list of texts")
    return cast("list[str]", value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError("is neither true nor false")
    return value


def _choice(*choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in choices:
            raise InputError(f"is not one of {', '.join(choices)}")
        return value

    return convert


def _level(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 5:
        raise InputError("is not a whole number from 0 to 5")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError("is not a number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError("is not a whole number from 1 on")
    return value


def _bytes(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError("is not a size such as 2GiB")
    parse_bytes(value, "size")
    return value


def _checked(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, str, list)):
            raise InputError("is not of the expected type")
        parse(value)
        return cast("Any", value)

    return convert


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "onnx": _text,
    "export": _text,
    "output": _text,
    "spec": _text,
    "calib": _text,
    "precision": _choice(*PRECISIONS),
    "runtime": _choice(*RUNTIMES),
    "batch": _checked(parse_batch),
    "imgsz": _checked(parse_imgsz),
    "vram_budget": _bytes,
    "workspace": _bytes,
    "tactic_memory": _bytes,
    "opt_level": _level,
    "hardware_compatible": _choice(*COMPATIBILITY),
    "version_compatible": _flag,
    "compute_capability": _checked(parse_capabilities),
    "weight_streaming": _flag,
    "timing_cache": _text,
    "tf32": _flag,
    "keep": _texts,
    "nms_in_engine": _flag,
    "conf": _number,
    "iou": _number,
    "max_det": _count,
    "nms": _choice("iou", "oks"),
    "device": _text,
}
_MAX_RECIPE = 1 << 20
_PATHS = ("onnx", "output", "spec", "calib")


@dataclass(frozen=True)
class Recipe:
    """The options of a recipe.

    Attributes:
        path: the file.
        values: its keys, those of :func:`trtpose.build` and ``onnx``, ``output`` and ``export``. Names of files are
            taken relative to the recipe's folder.
    """

    path: Path
    values: Mapping[str, Any]


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        return importlib.import_module("tomllib")
    return require("tomli", package="tomli", extra="build", purpose="reading a recipe")


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: it cannot be read, has an unknown key or a value of the wrong kind; the message names it.
        DeviceError: on Python 3.10 the package tomli is missing.
    """
    source = Path(path)
    toml = _toml()
    _run.reads(source)
    try:
        values: dict[str, Any] = toml.loads(_files.read_bounded(source, _MAX_RECIPE).decode())
    except OSError as error:
        raise InputError(f"{source}: cannot read the recipe ({_files.describe(error)})") from None
    except ValueError as error:  # TOML or text encoding
        raise InputError(f"{source}: is not valid TOML ({error})") from None
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise InputError(f"{source}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    converted: dict[str, Any] = {}
    for key, value in values.items():
        try:
            converted[key] = _KEYS[key](value)
        except InputError as error:
            raise InputError(f"{source}: {key} = {value!r}: {error}") from None
        if key in _PATHS:
            converted[key] = str(source.parent / converted[key])
    if converted.get("timing_cache", "none") != "none":
        converted["timing_cache"] = str(source.parent / converted["timing_cache"])
    return Recipe(source, converted)
