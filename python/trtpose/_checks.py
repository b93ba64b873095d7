# SPDX-License-Identifier: Apache-2.0
"""Arguments of callers, brought to what the native side takes, or refused in one sentence."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InputError

__all__ = [
    "an_engine",
    "callbacks",
    "choice",
    "file_name",
    "file_path",
    "flag",
    "instance",
    "real",
    "shown",
    "text",
    "whole",
]

_INT_MAX = 2**31 - 1


def shown(value: Any) -> str:
    """A value for a message, on one line and cut to what one can read."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def whole(value: Any, name: str, least: int = 0, most: int = _INT_MAX) -> int:
    """A whole number, Python's or numpy's, between two bounds.

    Raises:
        InputError: it is none, or beyond them; the message begins with ``name``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} is {shown(value)}; expected a whole number from {least} to {most}")
    if not least <= int(value) <= most:
        raise InputError(f"{name} {shown(value)} must lie between {least} and {most}")
    return int(value)


def real(value: Any, name: str) -> float:
    """A number, Python's or numpy's; whoever takes it knows its range.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    raise InputError(f"{name} is {shown(value)}; expected a number")


def flag(value: Any, name: str) -> bool:
    """True or False, Python's or numpy's.

    Raises:
        InputError: it is neither; the message begins with ``name``.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise InputError(f"{name} is {shown(value)}; expected True or False")


def text(value: Any, name: str, what: str) -> str:
    """A text; ``what`` says which are known.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
        raise InputError(f"{name} is {shown(value)}; use {what}")
    return str(value)


def choice(value: Any, name: str, known: Sequence[str]) -> str:
    """One of some words.

    Raises:
        InputError: it is none of them; the message begins with ``name``.
    """
    if not isinstance(value, str) or value not in known:
        listed = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
        raise InputError(f"{name} {shown(value)} is not known; use {listed}")
    return str(value)


def callbacks(**values: Any) -> None:
    """See that each is something to call, or None.

    Raises:
        InputError: one is neither; the message begins with its name.
    """
    for name, value in values.items():
        if value is not None and not callable(value):
            raise InputError(f"{name} is {shown(value)}; give a function to call, or None")


def instance(value: Any, name: str, kinds: type | tuple[type, ...], what: str) -> None:
    """See that a value is of one of some types; ``what`` says what to give.

    Raises:
        InputError: it is not; the message begins with ``name``.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {shown(value)}; give {what}")


def an_engine(value: Any, name: str = "engine") -> Any:
    """An engine, or what acts as one.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    if not callable(getattr(value, "infer", None)) or not hasattr(value, "spec"):
        raise InputError(f"{name} is {shown(value)}; give a trtpose.Engine")
    return value


def file_path(value: Any, name: str, what: str = "the path of a file") -> Path:
    """A file or folder from a text, bytes or path; its name need not be UTF-8.

    Raises:
        InputError: it is none; the message begins with ``name``.
    """
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise InputError(f"{name} is {shown(value)}; give {what}") from None
    if not path or "\0" in path:
        raise InputError(f"{name} {shown(path)} is not a file name; give {what}")
    return Path(path)


def file_name(value: Any, name: str, what: str = "the path of a file") -> str:
    """The name of a file from a text, bytes or path.

    Raises:
        InputError: it is none, or cannot be written as UTF-8; the message begins with ``name`` or with the file's.
    """
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise InputError(f"{name} is {shown(value)}; give {what}") from None
    if not path or "\0" in path:
        raise InputError(f"{name} {shown(path)} is not a file name; give {what}")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path!r}: the name is not valid UTF-8; rename the file") from None
    return path
