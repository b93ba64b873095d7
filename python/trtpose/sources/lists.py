# SPDX-License-Identifier: Apache-2.0
"""Files that list sources, one on a line, as Ultralytics takes them."""

from __future__ import annotations

import os
from pathlib import Path

from .. import _run
from ..errors import InputError
from .pictures import open_regular, unreadable

__all__ = ["is_list", "read_list"]

_LISTS = frozenset({".txt", ".streams"})
_LONGEST = 1 << 24


def is_list(path: str) -> bool:
    """Whether a file is a list of sources, by its suffix."""
    return Path(path).suffix.lower() in _LISTS


def read_list(path: str) -> list[tuple[int, str]]:
    """The sources that a list names.

    Empty lines and those that begin with ``#`` are left out. A name that is no file from where the program runs and is
    one beside the list is taken from there.

    Args:
        path: a file of UTF-8 text.

    Returns:
        The number of each line, from 1, and what stands on it.

    Raises:
        InputError: the file is not there, no text, or names nothing.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            data = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name of the list") from None
    except OSError as error:
        raise InputError(f"{path}: {unreadable(error)}") from None
    _run.reads(path)
    if len(data) > _LONGEST:
        raise InputError(f"{path}: more than the {_LONGEST} bytes that are read of a list of sources")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no UTF-8 text; a list names one source on a line") from None
    found = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    found = [(number, line) for number, line in found if line and not line.startswith("#")]
    if not found:
        raise InputError(f"{path}: names no source; write one path, address or camera number on a line")
    return [(number, _beside(line, Path(path).parent)) for number, line in found]


def _beside(name: str, folder: Path) -> str:
    try:
        if "://" not in name and not Path(name).exists() and (folder / name).exists():
            return str(folder / name)
    except (OSError, ValueError):
        pass  # said with its name when it is looked at
    return name
