# SPDX-License-Identifier: Apache-2.0
"""Text of others on a terminal: shown, never obeyed.

Names of files, classes and nodes, metadata and answers of servers may hold control characters, which a terminal takes
for commands, and marks that reverse what is read. They are shown as ``\\x1b`` or ``\\u202e``.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Generator
from typing import Any, TextIO, cast

__all__ = ["bare", "escaped", "print_data", "shown"]

_BESIDES_LINES = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""C0 without the end of a line, DEL, C1, line separators and what turns the direction of text."""
_IN_STREAM = re.compile(f"[{_BESIDES_LINES}]")
_IN_NAME = re.compile(f"[\n{_BESIDES_LINES}]")


def _code(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def escaped(text: str) -> str:
    """A name of somebody else's for a line of text: without any control character, the end of a line included."""
    return _IN_NAME.sub(_code, text)


class _Shown:
    """A stream to a terminal or file; what is written to it arrives without control characters."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(_IN_STREAM.sub(_code, text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def bare(stream: TextIO) -> TextIO:
    """The stream behind one of :func:`shown`, for a progress bar, which moves the cursor."""
    return stream.stream if isinstance(stream, _Shown) else stream


def print_data(text: str) -> None:
    """Give a piece of a result to the standard output: its very bytes, as a file would get them, except that a terminal
    is shown what it must not obey."""
    buffer = getattr(bare(sys.stdout), "buffer", None)
    if buffer is None or sys.stdout.isatty():
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    sys.stdout.flush()
    buffer.write(text.encode("utf-8", "surrogateescape"))
    buffer.flush()


@contextlib.contextmanager
def shown() -> Generator[None]:
    """Everything that Python prints inside goes through here, whoever prints it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and cast("TextIO", _Shown(bare(stream))) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
