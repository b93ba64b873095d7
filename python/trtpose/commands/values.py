# SPDX-License-Identifier: Apache-2.0
"""Values of options that several commands take; what cannot be raises :class:`argparse.ArgumentTypeError`."""

from __future__ import annotations

import argparse
import math

__all__ = ["count", "count_or_none", "counts", "fraction", "size"]


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return value


def counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]


def count_or_none(text: str) -> int:
    return 0 if text.strip() == "0" else count(text)


def size(text: str) -> int | tuple[int, int]:
    sides = text.lower().replace(",", "x").split("x")
    if not 1 <= len(sides) <= 2 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 960, or height and width as 544x960")
    values = [int(side) for side in sides]
    if not all(1 <= value <= 65536 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in pixels between 1 and 65536")
    return values[0] if len(values) == 1 else (values[0], values[1])
