# SPDX-License-Identifier: Apache-2.0
"""Talking to the user: lines, errors, progress and JSON."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, TextIO

from .._files import check_writable, write_text
from .._kinds import JSON
from .._terminal import bare, escaped

__all__ = [
    "INTERRUPTED",
    "Progress",
    "check_json",
    "complain",
    "counted",
    "note",
    "one_line",
    "say",
    "warn",
    "write_json",
]

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


class Progress:
    """A progress bar on stderr where that is a terminal, and lines that do not tear it. Any thread may call it.

    Args:
        total: units in all; None where it is not known.
        unit: what is counted; without a name the bar appears at the first :meth:`stage` or :meth:`share`.
        quiet: no bar at all.
    """

    def __init__(self, total: int | None = None, unit: str = "", *, quiet: bool = False) -> None:
        self._bar: Any = None
        self._stage = ""
        self._shown = not quiet and sys.stderr.isatty()
        self._lock = threading.RLock()
        if unit:
            self._open(total=total, unit=unit)

    def _open(self, **form: Any) -> None:
        if self._shown:
            from tqdm import tqdm

            # The bar moves the cursor, which nothing that is printed may.
            self._bar = tqdm(file=bare(sys.stderr), leave=False, dynamic_ncols=True, **form)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen for good."""
        with self._lock:
            self._shown = False
            self._clear()

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def step(self, count: int = 1) -> None:
        """``count`` units more are done."""
        with self._lock:
            if self._bar is not None:
                self._bar.update(count)

    def expect(self, total: int | None) -> None:
        """Say how many units there are in all."""
        with self._lock:
            if self._bar is not None:
                self._bar.total = total

    def at(self, done: int, total: int) -> None:
        """``done`` of ``total`` units are done."""
        with self._lock:
            if self._bar is not None:
                self._bar.total = total
                self._bar.update(done - self._bar.n)

    def stage(self, name: str, done: int, total: int) -> None:
        """``done`` of ``total`` of a stage; each stage has a bar of its own."""
        with self._lock:
            if self._shown and (self._bar is None or name != self._stage):
                self._clear()
                self._open(total=total, desc=escaped(name))
                self._stage = name
            self.at(done, total)

    def share(self, phase: str, done: float) -> None:
        """The share of the work that is done, 0 to 1, in a phase of it."""
        with self._lock:
            if self._bar is None:
                self._open(total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}")
            if self._bar is None:
                return
            self._bar.set_description_str(escaped(phase), refresh=False)
            if done < 0.1 and self._bar.n > 0.9:
                self._bar.reset()  # one half of the work has ended, as calibration before building
            # Phases are not announced ahead, so the share can fall; the bar does not.
            self._bar.update(max(done - self._bar.n, 0.0))

    def line(self, text: str, file: TextIO) -> None:
        """Print one line without tearing the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.clear()
            say(text, file)
            if self._bar is not None:
                self._bar.refresh()


def one_line(text: str) -> str:
    """A text of a library without its line breaks, so that every error is one line."""
    return " ".join(text.replace("\r", "\n").split("\n"))


def say(text: str, file: TextIO | None = None) -> None:
    """Print one line, by default on stdout; control characters in it are shown."""
    print(escaped(text), file=file or sys.stdout, flush=True)


def complain(text: str, progress: Progress | None = None) -> None:
    """Print an error on stderr."""
    _on_stderr(f"error: {text}", progress)


def note(text: str, progress: Progress | None = None) -> None:
    """Print on stderr what is good to know while the work goes on."""
    _on_stderr(f"note: {text}", progress)


def warn(text: str, progress: Progress | None = None) -> None:
    """Print on stderr what does not stop the work and changes what comes of it."""
    _on_stderr(f"warning: {text}", progress)


def _on_stderr(line: str, progress: Progress | None) -> None:
    if progress is not None:
        progress.line(one_line(line), sys.stderr)
    else:
        say(one_line(line), sys.stderr)


def counted(count: int, noun: str) -> str:
    """``1 pose``, ``2 poses``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def write_json(path: str, value: Any) -> None:
    """Write a file, or the standard output where the path is ``-``."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        write_text(path, text)


def check_json(path: str | None) -> None:
    """See before the work that the JSON can be written."""
    if path is not None and path != "-":
        check_writable(path, JSON)
