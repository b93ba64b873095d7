# SPDX-License-Identifier: Apache-2.0
"""Values of options that several commands take; what cannot be raises :class:`argparse.ArgumentTypeError`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, TypeVar

from .._sizes import read_imgsz
from ..errors import InputError

__all__ = [
    "Sides",
    "checked",
    "count",
    "count_or_none",
    "counts",
    "fraction",
    "frames",
    "number",
    "positive",
    "shard",
    "size",
    "whole_or_none",
]

_Value = TypeVar("_Value")


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def number(text: str) -> float:
    """Any number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def positive(text: str) -> float:
    """Any number above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _whole(text: str, least: int, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return value


def count(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def frames(text: str) -> int:
    """A camera gives a million frames in a few hours."""
    return _whole(text, 1, 2**53)


def whole_or_none(text: str) -> int:
    """A port; 0 is for any."""
    return _whole(text, 0, 65535)


def counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]


def count_or_none(text: str) -> int:
    return _whole(text, 0, 1_000_000)


def shard(text: str) -> tuple[int, int]:
    """``2/8``, the second of eight."""
    part, _, whole = text.partition("/")
    try:
        both = int(part), int(whole)
    except ValueError:
        both = 0, 0
    if not 1 <= both[0] <= both[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 2/8, the second of eight")
    return both


def size(text: str) -> int | tuple[int, int]:
    return checked(read_imgsz)(text)


def checked(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """A reader of the library as the type of an option."""

    def read(text: str) -> _Value:
        try:
            return parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


class Sides(argparse.Action):
    """A size whose height and width may also be two words."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        if len(values) > 2:
            raise InputError(f"{self.option_strings[0]} takes one or two numbers, not {len(values)}")
        try:
            setattr(namespace, self.dest, size("x".join(values)))
        except argparse.ArgumentTypeError as error:
            parser.error(str(argparse.ArgumentError(self, str(error))))
