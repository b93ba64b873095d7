# SPDX-License-Identifier: Apache-2.0
"""Picture files that are decoded before their turn, where there are cores for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._machine import helping_threads, usable_cores
from .channel import Store
from .pictures import read_picture

__all__ = ["Ahead", "helpers"]

_LARGEST = 1 << 24
"""Pixels (48 MiB decoded) of a picture that is decoded before its turn; of larger ones one is in memory at a time."""

_LARGEST_FILE = 1 << 25
"""Bytes of one, which are in memory while it is looked at."""

_MAX_BYTES = 1 << 27
"""Of pictures that wait for their turn. Above it none is begun; those begun come on top."""


def helpers(pictures: int) -> int:
    """Threads that decode beside the one that reads."""
    return max(0, min(helping_threads(usable_cores()), pictures - 1))


class Ahead:
    """Pictures in a row, decoded by the thread that reads and by others that help it.

    Args:
        paths: the files, in the order in which they are read.
        max_pixels: larger ones are left to the thread that reads.
        store: with it this ends.
        helpers: how many threads are to call :meth:`run`.
    """

    def __init__(self, paths: Sequence[str], max_pixels: int, store: Store, helpers: int) -> None:
        self._paths = paths
        self._max_pixels = min(max_pixels, _LARGEST)
        self._store = store
        self._changed = store.condition()
        self.helpers = helpers
        self._room = 2 * (helpers + 1)
        self._begun = self._taken = self._bytes = 0
        self._done: dict[int, tuple[NDArray[np.uint8] | None, float]] = {}

    def run(self) -> None:
        """Decode until there is nothing left, in a thread of its own."""
        while (number := self._begin()) is not None:
            image, milliseconds = None, 0.0
            try:
                # The thread that reads does it again then, and says what is wrong.
                with contextlib.suppress(Exception):
                    start = time.perf_counter()
                    if Path(self._paths[number]).stat().st_size <= _LARGEST_FILE:
                        image = read_picture(self._paths[number], max_pixels=self._max_pixels)
                    milliseconds = (time.perf_counter() - start) * 1e3
            finally:
                with self._changed:
                    self._done[number] = image, milliseconds
                    self._bytes += 0 if image is None else image.nbytes
                    self._changed.notify_all()

    def _begin(self) -> int | None:
        """The number of the picture that is decoded next, when there is room for it; None at the end."""
        with self._changed:
            while not self._store.closed.is_set() and self._begun < len(self._paths):
                if self._begun < self._taken + self._room and self._bytes < _MAX_BYTES:
                    self._begun += 1
                    return self._begun - 1
                self._changed.wait()
            return None

    def take(self) -> tuple[NDArray[np.uint8] | None, float]:
        """The next picture and the milliseconds it took to read; None where the caller must read it himself, as nobody
        has begun to, it is too large, or something is wrong with it."""
        with self._changed:
            number, self._taken = self._taken, self._taken + 1
            self._changed.notify_all()
            if self._begun <= number:
                self._begun = number + 1
                return None, 0.0
            while number not in self._done and not self._store.closed.is_set():
                self._changed.wait()
            image, milliseconds = self._done.pop(number, (None, 0.0))
            self._bytes -= 0 if image is None else image.nbytes
            return image, milliseconds
