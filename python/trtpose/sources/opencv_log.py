# SPDX-License-Identifier: Apache-2.0
"""OpenCV's own messages, kept quiet while it decodes.

A bad picture is reported by us in one sentence; OpenCV's log lines on top of it say nothing more. The level is global
to OpenCV, so it is lowered while any thread decodes and put back by the last.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from typing import Any

from .._opencv import cv2

__all__ = ["quiet"]


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_level = 0


def _forked() -> None:
    """The threads that held the lock or were decoding are not in this process."""
    global _quiet_lock, _quiet_users
    log = _logging()
    if log is not None and _quiet_users:
        log.setLogLevel(_quiet_level)
    _quiet_lock, _quiet_users = threading.Lock(), 0


os.register_at_fork(after_in_child=_forked)


def _logging() -> Any:
    if cv2 is None:
        return None
    # Moved between OpenCV 4 and 5.
    utils: Any = getattr(cv2.utils, "logging", None)
    return utils if utils is not None else (cv2 if hasattr(cv2, "setLogLevel") else None)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    global _quiet_users, _quiet_level
    log = _logging()
    if log is None:
        yield
        return
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_level = log.getLogLevel()
            log.setLogLevel(0)
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                log.setLogLevel(_quiet_level)
