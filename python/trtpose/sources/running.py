# SPDX-License-Identifier: Apache-2.0
"""The decoder threads that are at work, so that none is left inside OpenCV when Python ends.

Python stops such a thread where it comes back, and OpenCV is taken down while it is still at work.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

from .channel import Store

__all__ = ["start"]

_LONGEST = 2.0
"""Seconds to wait at the end for a camera or stream that gives no frame."""

_running: dict[threading.Thread, Store] = {}
_ended = False


def start(thread: threading.Thread, store: Store) -> None:
    """Start a thread that reads into ``store``, and end it with the program."""
    if _ended and threading.current_thread() is not threading.main_thread():
        raise SystemExit  # only daemons are left; this one ends here, without a word
    for old in [old for old in _running if not old.is_alive()]:
        _running.pop(old, None)
    thread.start()
    _running[thread] = store


@atexit.register
def _end() -> None:
    global _ended
    _ended = True
    for store in list(_running.values()):
        store.close()
    latest = time.monotonic() + _LONGEST
    for thread in list(_running):
        thread.join(max(latest - time.monotonic(), 0.0))


os.register_at_fork(after_in_child=_running.clear)
