# SPDX-License-Identifier: Apache-2.0
"""Talking to the user: lines, errors, progress and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from .._files import check_writable, refuse_overwrite, write_text

__all__ = ["INTERRUPTED", "Progress", "check_json", "complain", "counted", "one_line", "write_json"]

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


class Progress:
    """A progress bar on stderr where that is a terminal, and lines that do not tear it."""

    def __init__(self, total: int | None, unit: str, *, quiet: bool = False) -> None:
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, count: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def expect(self, total: int | None) -> None:
        if self._bar is not None:
            self._bar.total = total

    def at(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def line(self, text: str, file: TextIO) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(one_line(text), file=file, flush=True)
        if self._bar is not None:
            self._bar.refresh()


def one_line(text: str) -> str:
    return " ".join(text.split("\n")).replace("\r", " ")


def complain(text: str, progress: Progress | None = None) -> None:
    line = f"error: {text}"
    if progress is not None:
        progress.line(line, sys.stderr)
    else:
        print(one_line(line), file=sys.stderr, flush=True)


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def write_json(path: str, value: Any) -> None:
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)


def check_json(path: str | None, inputs: Sequence[Path]) -> None:
    """See before the work that the JSON can be written and is none of the files that are read."""
    if path is None or path == "-":
        return
    refuse_overwrite(Path(path), inputs)
    check_writable(path)
