# SPDX-License-Identifier: Apache-2.0
"""Sizes as users write them: bytes of memory, and pixels of an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._checks import shown
from .errors import InputError

__all__ = ["parse_bytes", "parse_imgsz", "read_imgsz"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_MAX_SIDE = 65536


def parse_bytes(value: int | float | str | None, option: str = "vram_budget") -> int:
    """A number of bytes from ``"2GiB"``, ``"512 MiB"``, ``"1.5GB"`` or a plain number; None is 0, no limit.

    Raises:
        InputError: not a size; the message begins with ``option``.
    """
    if value is None:
        return 0
    text = value.strip().upper() if isinstance(value, str) else shown(value)
    digits = text.rstrip("BKMGI ")
    try:
        count = float(digits) * _UNITS[text[len(digits) :].strip()]
        if not 0 < count < 2**60:
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"{option} {shown(value)} is not a size; write for example 2GiB or 512MiB") from None
    return int(count)


def parse_imgsz(value: int | Sequence[int] | None) -> tuple[int, int]:
    """(height, width) from one number, a pair or None, which gives (0, 0): the model's own.

    Raises:
        InputError: not one or two whole numbers.
    """
    if value is None:
        return (0, 0)
    sides: tuple[Any, ...] = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or not all(isinstance(s, (int, np.integer)) and 0 < s < 2**31 for s in sides):
        raise InputError(f"imgsz {shown(value)} is not a size; give one number of pixels from 1, or (height, width)")
    return (int(sides[0]), int(sides[1]))


def read_imgsz(text: str) -> int | tuple[int, int]:
    """The side of a square from ``"960"``, or (height, width) from ``"544x960"`` or ``"544,960"``, in pixels.

    Raises:
        InputError: none of these, or out of range.
    """
    sides = text.lower().replace(",", "x").split("x")
    if not 1 <= len(sides) <= 2 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        raise InputError(f"{text!r} is not a size; write 960, or height and width as 544x960")
    values = [int(side) for side in sides]
    if not all(1 <= value <= _MAX_SIDE for value in values):
        raise InputError(f"{text!r} is not a size in pixels between 1 and {_MAX_SIDE}")
    return values[0] if len(values) == 1 else (values[0], values[1])
