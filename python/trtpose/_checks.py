# SPDX-License-Identifier: Apache-2.0
"""Arguments of callers, brought to what the native side takes, or refused in one sentence."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any

from .errors import InputError

__all__ = ["file_name", "flag", "real", "text", "whole"]

_INT_MAX = 2**31 - 1


def _shown(value: Any) -> str:
    """A value for a message, cut to what one can read."""
    try:
        shown = repr(value)
    except Exception:
        shown = f"a {type(value).__name__}"
    shown = " ".join(shown.split())
    return shown if len(shown) <= 60 else shown[:57] + "..."


def whole(value: Any, name: str, least: int = 0, most: int = _INT_MAX) -> int:
    """A whole number, Python's or numpy's, between two bounds.

    Raises:
        InputError: it is none, or beyond them; the message begins with ``name``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} is {_shown(value)}; expected a whole number from {least} to {most}")
    if not least <= int(value) <= most:
        raise InputError(f"{name} {_shown(value)} must lie between {least} and {most}")
    return int(value)


def real(value: Any, name: str) -> float:
    """A number, Python's or numpy's; the native side knows its range.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    raise InputError(f"{name} is {_shown(value)}; expected a number")


def flag(value: Any, name: str) -> bool:
    """True or False, Python's or numpy's.

    Raises:
        InputError: it is neither; the message begins with ``name``.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise InputError(f"{name} is {_shown(value)}; expected True or False")


def text(value: Any, name: str, what: str) -> str:
    """A text; ``what`` says which are known.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {_shown(value)}; use {what}")
    return str(value)


def file_name(value: Any, name: str, what: str = "the path of a file") -> str:
    """The name of a file from a text, bytes or path.

    Raises:
        InputError: it is none, or cannot be written as UTF-8; the message begins with ``name`` or with the file's.
    """
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise InputError(f"{name} is {_shown(value)}; give {what}") from None
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path!r}: the name is not valid UTF-8; rename the file") from None
    return path
