# SPDX-License-Identifier: Apache-2.0
"""The process something was made in: threads do not follow into one that is forked, and locks they held stay locked;
and what a thread takes of the processor."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

__all__ = ["Birth", "yield_to_others"]

_generation = 0


def _forked() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_forked)


class Birth:
    """Remembers the process in which it was made."""

    def __init__(self) -> None:
        self._generation = _generation

    @property
    def here(self) -> bool:
        """Whether this is still that process, and none that was forked from it."""
        return self._generation == _generation


def yield_to_others() -> None:
    """Let the calling thread have what others leave of the processor, where the system knows priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
