# SPDX-License-Identifier: Apache-2.0
"""Watching a build: what the library says, how far it is, and Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Cancelled", "Phases", "Progress", "in_thread", "log_class", "monitor_class"]

T = TypeVar("T")
Progress = Callable[[str, float], None]


class Cancelled(Exception):
    """The build was stopped on request."""


def log_class(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps errors and warnings; the library calls it from several threads."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            kinds = trt.ILogger.Severity
            if severity == kinds.ERROR or severity == kinds.INTERNAL_ERROR:
                self.errors.append(msg)
            elif severity == kinds.WARNING:
                self.warnings.append(msg)

    return Log


class Phases:
    """The share of the work that is done, from the nested phases that TensorRT reports."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, list[Any]] = {}  # name: parent, steps, done

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = [parent, max(steps, 1), 0]

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._phases:
                self._phases[name][2] = step + 1

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def done(self) -> float:
        """0 to 1; a phase counts as part of the next step of the phase around it."""
        with self._lock:

            def share(name: str, depth: int) -> float:
                _, steps, done = self._phases[name]
                inner = [child for child, entry in self._phases.items() if entry[0] == name and child != name]
                part = max((share(child, depth + 1) for child in inner), default=0.0) if depth < 16 else 0.0
                return min((done + part) / steps, 1.0)

            tops = [name for name, entry in self._phases.items() if entry[0] not in self._phases]
            return max((share(name, 0) for name in tops), default=0.0)


def monitor_class(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Reports progress, and stops the build when it is cancelled or when reporting fails."""

        def __init__(self, cancel: threading.Event, progress: Progress | None) -> None:
            super().__init__()
            self.failure: BaseException | None = None
            self._cancel = cancel
            self._progress = progress
            self._phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not pass through the library. KeyboardInterrupt arrives here where this is the main
            # thread.
            try:
                self._phases.step(phase_name, step)
                if self._progress is not None and self.failure is None:
                    self._progress(phase_name, self._phases.done())
            except BaseException as error:
                self.failure = error
                self._cancel.set()
            return not self._cancel.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._phases.finish(phase_name)

    return Monitor


def in_thread(work: Callable[[threading.Event], T], on_wait: Callable[[], None]) -> T:
    """Run ``work`` in a thread of its own and wait for it.

    The libraries hold the calling thread for minutes, in which Python cannot act on Ctrl-C; waiting for a thread it
    can. ``work`` is given an event that tells it to stop; it is waited for then, as the library cannot be left.
    """
    cancel = threading.Event()
    done = threading.Event()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if cancel.is_set():
                raise Cancelled
            results.append(work(cancel))
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="trtpose-build", daemon=True)
    try:
        thread.start()
        done.wait()
    except BaseException:
        cancel.set()
        if thread.is_alive():
            on_wait()
            done.wait()
            thread.join()
        raise
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
